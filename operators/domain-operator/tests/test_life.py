"""A Domain's life on real parts: PostgreSQL, Flyway and a service that answers, from creation through changes."""

from __future__ import annotations

import httpx
import pytest
from databases import flyway, given, given_secret, migration_jobs, outcomes, real
from domain_support import Domains

from ameide_dev.client import condition_of
from ameide_dev.platform import Platform

ORDERS = "ghcr.io/ameide/hostnode-orders:1.1.0"
PYTHON = "ghcr.io/ameide/hostnode-python:3"


def test_becomes_ready_with_all_children(domains: Domains) -> None:
    domains.create()
    domain = domains.ready()
    assert domain["status"]["workload"]["readyReplicas"] == 1
    assert domain["status"]["endpoints"]["grpc"] == f"orders-domain.{domains.namespace}.svc:50051"
    for api_version, kind in (("apps/v1", "Deployment"), ("v1", "Service"), ("networking.k8s.io/v1", "NetworkPolicy")):
        child = domains.child(api_version, kind, "orders-domain")
        assert child is not None
        assert child["metadata"]["ownerReferences"][0]["uid"] == domain["metadata"]["uid"]


def test_status_says_all_that_is_promised(domains: Domains) -> None:
    domains.create()
    domain = domains.ready()
    status = domain["status"]
    assert status["observedGeneration"] == domain["metadata"]["generation"]
    found = {condition["type"]: condition["status"] for condition in status["conditions"]}
    assert found == {
        "Ready": "True",
        "Progressing": "False",
        "Degraded": "False",
        "DBReady": "True",
        "MigrationSucceeded": "True",
        "MigrationFailed": "False",
        "WorkloadReady": "True",
    }
    assert "blocker" not in status
    assert status["revision"]["current"] == status["revision"]["target"]
    assert status["workload"]["imageDigest"].startswith("sha256:")
    assert status["workload"]["image"] == domain["spec"]["image"]
    children = {child["kind"] for child in status["children"]}
    assert {"Deployment", "Service", "ServiceAccount", "NetworkPolicy", "ControllerRevision"} <= children


def orders(chart: Platform, domains: Domains) -> httpx.Client:
    """A client of the running service, as tenant t123."""
    address, port = chart.host_node.service_address(domains.namespace, "orders-domain", 8080)
    return httpx.Client(base_url=f"http://{address}:{port}", headers={"x-tenant-id": "t123"}, timeout=5)


def test_database_is_migrated_and_served(chart: Platform, domains: Domains, cluster: str) -> None:
    domains.create(db=real(domains, cluster, "1.1.0"), image=ORDERS)
    domain = domains.ready(timeout=60)
    assert domain["status"]["db"]["migrationVersion"] == "2"
    assert condition_of(domain, "MigrationSucceeded")["status"] == "True"
    with orders(chart, domains) as client:
        assert client.post("/orders", json={"item": "chair", "quantity": 2}).status_code == 201
        assert "chair" in client.get("/orders").text


def test_service_answers_while_a_new_migration_fails(chart: Platform, domains: Domains, cluster: str) -> None:
    """Flyway really fails on the third migration; the pods of the current revision go on, data and all."""
    domains.create(db=real(domains, cluster, "1.1.0", migrations={"backoffLimit": 0}), image=ORDERS)
    domains.ready(timeout=60)
    with orders(chart, domains) as client:
        client.post("/orders", json={"item": "table", "quantity": 1}).raise_for_status()
        domains.patch(image="ghcr.io/ameide/hostnode-orders:1.2.0", db={"migrationJobImage": flyway("1.2.0-broken")})
        domain = domains.until("MigrationFailed", timeout=30)
        assert 'relation "orders" already exists' in domain["status"]["blocker"]["message"]
        assert domain["status"]["db"]["migrationVersion"] == "2"
        assert condition_of(domain, "WorkloadReady")["status"] == "True"
        assert "table" in client.get("/orders").text
    assert outcomes(domains) == ["complete", "failed"]


@pytest.mark.parametrize(
    ("log", "version"),
    [
        ("Successfully applied 2 migrations to schema, now at version v41 (execution time 00:00.012s)", "41"),
        ("Current version of schema orders: 42", "42"),
        ('{"migrationVersion": "43"}', "43"),
        ("done, nothing said of versions", None),
    ],
    ids=["flyway", "flyway-nothing-to-do", "json", "silent"],
)
def test_version_is_read_from_the_log_where_no_message_tells(domains: Domains, log: str, version: str | None) -> None:
    """The migrator writes to its standard output only; FallbackToLogsOnError shows that of failures alone."""
    given_secret(domains)
    command = ["python", "-c", f"print('starting'); print({log!r})"]
    domains.create(db=given(PYTHON, migrations={"command": command}))
    domain = domains.ready(timeout=30)
    (job,) = migration_jobs(domains)
    assert domain["status"]["db"].get("migrationVersion") == version
    assert domain["status"]["db"]["lastMigrationTime"] == job["status"]["completionTime"]


def test_version_is_read_from_the_termination_message(domains: Domains) -> None:
    given_secret(domains)
    write = "import os; open(os.environ['AMEIDE_TERMINATION_LOG'], 'w').write('{\"migrationVersion\": \"7.1\"}')"
    domains.create(db=given(PYTHON, migrations={"command": ["python", "-c", write]}))
    assert domains.ready(timeout=30)["status"]["db"]["migrationVersion"] == "7.1"


def test_failed_migration_shows_its_last_lines_without_credentials(domains: Domains) -> None:
    given_secret(domains)
    script = "import os, sys; print('connecting to', os.environ['DATABASE_URL']); sys.exit('boom: no such table')"
    domains.create(db=given(PYTHON, migrations={"command": ["python", "-c", script]}))
    domain = domains.until("MigrationFailed", timeout=30)
    assert "boom: no such table" in domain["status"]["blocker"]["message"]
    assert "given-by-somebody-else" not in str(domain["status"])
