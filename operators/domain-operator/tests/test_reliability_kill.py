"""The operator killed at every write of a Domain's creation, and started again: the end is the same as without."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from databases import database_of, migration_jobs, real, role_of
from domain_support import CLIENT_IMAGE, SUBJECT, Domains

from ameide_dev.client import KubeClient
from ameide_dev.platform import Platform
from ameide_dev.testing import kills
from ameide_dev.testing.resources import secret_values

WRITES = 17
"""At least so many writes a Domain with a database takes; how many of status there are is up to timing."""
MIGRATE_ONCE = "CREATE TABLE orders.runs AS SELECT 1 AS run"
"""A migration that a second run of would fail."""
CHILDREN = (
    ("apps/v1", "Deployment"),
    ("apps/v1", "ControllerRevision"),
    ("batch/v1", "Job"),
    ("v1", "Service"),
    ("v1", "ServiceAccount"),
    ("v1", "Secret"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
    ("monitoring.coreos.com/v1", "ServiceMonitor"),
)
EXPECTED = {
    "Deployment": 1,
    "ControllerRevision": 1,
    "Job": 1,
    "Service": 1,
    "ServiceAccount": 1,
    "Secret": 2,
    "NetworkPolicy": 1,
    "ServiceMonitor": 1,
    "cnpg Secret": 2,
    "cnpg DatabaseRole": 2,
    "cnpg Database": 1,
}


@pytest.fixture(scope="module")
def chains(
    chart: Platform, kube: KubeClient, cluster: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[kills.Chains]:
    """The creation of a Domain with a database and a migration."""
    migrations = {"command": ["psql", "-v", "ON_ERROR_STOP=1", "-c", MIGRATE_ONCE], "backoffLimit": 0}

    def create(namespace: str) -> None:
        domains = Domains(kube, namespace)
        domains.create(db={**real(domains, cluster), "migrationJobImage": CLIENT_IMAGE, "migrations": migrations})

    def check(namespace: str, where: str) -> None:
        domains = Domains(kube, namespace)
        assert children(domains) == EXPECTED, where
        (job,) = migration_jobs(domains)
        assert job["status"].get("failed", 0) == 0, where
        assert passwords_work(chart, domains) == [(1,), (1,)], where

    deed = kills.Deed(create, lambda namespace: Domains(kube, namespace).is_ready(), check)
    with kills.chains(SUBJECT, chart, kube, tmp_path_factory.mktemp("kill"), deed) as running:
        yield running


def children(domains: Domains) -> dict[str, int]:
    """How many children of each kind there are, here and beside the Cluster."""
    selector = "app.kubernetes.io/managed-by=domain-operator"
    found = {
        kind: len(domains.kube.list(api_version, kind, domains.namespace, label_selector=selector))
        for api_version, kind in CHILDREN
    }
    for api_version, kind in (
        ("v1", "Secret"),
        ("postgresql.cnpg.io/v1", "DatabaseRole"),
        ("postgresql.cnpg.io/v1", "Database"),
    ):
        objects = domains.kube.list(api_version, kind, "cnpg", label_selector=selector)
        found[f"cnpg {kind}"] = sum(it["metadata"]["name"].startswith(f"{domains.namespace}-") for it in objects)
    return found


def passwords_work(chart: Platform, domains: Domains) -> list[tuple[int]]:
    """What the owner and the application read in the migrated table, with the passwords that their pods get."""
    server = chart.cnpg.postgres("cnpg", "main")
    rows = []
    for secret, user in (
        ("orders-domain-db-owner", f"{role_of(domains)}_owner"),
        ("orders-domain-db", role_of(domains)),
    ):
        password = secret_values(domains.kube, domains.namespace, secret)["password"]
        with psycopg.connect(server.dsn(user, password, database_of(domains))) as connection:
            rows += connection.execute("SELECT run FROM orders.runs").fetchall()
    return rows


def test_killed_before_each_write_it_ends_the_same(chains: kills.Chains) -> None:
    assert chains[False].result() >= WRITES


def test_killed_before_each_answer_it_ends_the_same(chains: kills.Chains) -> None:
    assert chains[True].result() >= WRITES
