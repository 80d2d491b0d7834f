"""The operator killed at every write of a Domain's creation, and started again: the end is the same as without.

Each point twice: killed before the API server saw the write, and killed before the operator saw the answer.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from databases import database_of, migration_jobs, real, role_of
from domain_support import CLIENT_IMAGE, SUBJECT, Domains

from ameide_dev.client import KubeClient, condition_of
from ameide_dev.operators import OperatorProcess
from ameide_dev.platform import Platform
from ameide_dev.testing.apiproxy import ApiProxy, Call
from ameide_dev.testing.resources import secret_values
from ameide_dev.testing.subject import namespaces
from ameide_dev.testing.waiting import until

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
Chains = dict[bool, Future[int]]


@pytest.fixture(scope="module")
def chains(
    chart: Platform, kube: KubeClient, cluster: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Chains]:
    """The two chains of kills, which run beside each other; the result of each is how many kills there were."""
    with ThreadPoolExecutor(2) as pool:
        yield {
            done: pool.submit(kill_at_every_write, chart, kube, cluster, tmp_path_factory.mktemp("kill"), done)
            for done in (False, True)
        }


def kill_at_every_write(chart: Platform, kube: KubeClient, cluster: str, directory: Path, done: bool) -> int:
    """A Domain after the other, the operator killed one write later each time, until none is left to be killed at."""
    prefix = f"own-kill-{'after' if done else 'before'}"
    with ApiProxy(chart.control_plane) as proxy:
        operator = SUBJECT.process(chart, directory, f"{prefix}-*", kubeconfig=proxy.kubeconfig("domain", directory))
        with operator:
            number = 1
            while True:
                with namespaces(kube, f"{prefix}-{number}") as (namespace,):
                    if not survives(chart, operator, proxy, Domains(kube, namespace), cluster, number, done):
                        return number - 1
                number += 1


def survives(
    chart: Platform, operator: OperatorProcess, proxy: ApiProxy, domains: Domains, cluster: str, number: int, done: bool
) -> bool:
    """Kill at this write and compare the end with what it should be; False if there was no such write."""
    stop = proxy.stop_at(number, functools.partial(counts, domains.namespace), done=done)
    migrations = {"command": ["psql", "-v", "ON_ERROR_STOP=1", "-c", MIGRATE_ONCE], "backoffLimit": 0}
    domains.create(db={**real(domains, cluster), "migrationJobImage": CLIENT_IMAGE, "migrations": migrations})
    where = f"{'after' if done else 'before'} write {number}"
    until(f"{where}, or Ready", lambda: stop.reached.is_set() or is_ready(domains), timeout=60)
    if not stop.reached.wait(1.0):
        proxy.resume()
        return False
    operator.kill()
    proxy.resume()
    operator.start(wait=False)
    domains.ready(timeout=60)
    assert children(domains) == EXPECTED, where
    (job,) = migration_jobs(domains)
    assert job["status"].get("failed", 0) == 0, where
    assert passwords_work(chart, domains) == [(1,), (1,)], where
    return True


def counts(namespace: str, call: Call) -> bool:
    return call.writes and call.concerns(namespace)


def is_ready(domains: Domains) -> bool:
    condition = condition_of(domains.get(), "Ready")
    return condition is not None and condition["status"] == "True"


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


def test_killed_before_each_write_it_ends_the_same(chains: Chains) -> None:
    assert chains[False].result() >= WRITES


def test_killed_before_each_answer_it_ends_the_same(chains: Chains) -> None:
    assert chains[True].result() >= WRITES
