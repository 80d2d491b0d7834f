"""Deletion: the workload goes first, then the data is kept or dropped, and the finalizer goes last."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest
from databases import database_of, databases_and_roles, given, given_secret, migrator, real, superuser
from domain_support import CLIENT_IMAGE, Domains
from tenants import open_session

from ameide_dev.client import KubeClient, WaitTimeoutError
from ameide_dev.operators import OperatorProcess
from ameide_dev.platform import Platform
from ameide_dev.testing.resources import API
from ameide_dev.testing.subject import StartOperator
from ameide_dev.testing.waiting import until

CNPG = "postgresql.cnpg.io/v1"
ONE_ORDER = "INSERT INTO orders.orders (tenant_id, item, quantity) VALUES ('t123', 'chair', 1)"


def delete(domains: Domains, timeout: float = 30) -> None:
    """Delete the Domain and wait until it is gone."""
    domains.kube.delete(API, "Domain", "orders", domains.namespace, wait=timeout)


def claims(domains: Domains) -> list[str]:
    """Kinds of what stands for the Domain in the Cluster's namespace."""
    selector = f"ameide.io/owner-namespace={domains.namespace}"
    kinds = (("v1", "Secret"), (CNPG, "Database"), (CNPG, "DatabaseRole"), ("batch/v1", "Job"))
    return [
        kind
        for api_version, kind in kinds
        for _ in domains.kube.list(api_version, kind, "cnpg", label_selector=selector)
    ]


def events(domains: Domains, reason: str) -> list[str]:
    """Messages of the Events with a reason, waited for a little: they are written beside everything else."""

    def told() -> list[str]:
        found = domains.kube.list("events.k8s.io/v1", "Event", domains.namespace)
        return [event["note"] for event in found if event["reason"] == reason]

    return until(f"an Event {reason}", told, timeout=10)


def test_without_a_database_it_goes_at_once(domains: Domains) -> None:
    domains.create()
    assert not domains.ready()["metadata"].get("finalizers")
    delete(domains, timeout=5)
    # The garbage collector looks for new kinds only every 30 s.
    domains.kube.wait_gone("apps/v1", "Deployment", "orders-domain", domains.namespace, timeout=60)


def test_retained_data_waits_for_a_domain_of_the_same_name(chart: Platform, domains: Domains, cluster: str) -> None:
    domains.create(db=real(domains, cluster))
    domains.ready(timeout=60)
    with superuser(chart, database_of(domains)) as connection:
        connection.execute(ONE_ORDER)
    delete(domains)
    assert len(databases_and_roles(chart, domains)) == 3
    assert claims(domains) == ["Secret", "Secret", "Database", "DatabaseRole", "DatabaseRole"]
    assert database_of(domains) in events(domains, "DataRetained")[0]
    domains.kube.wait_gone("v1", "Secret", "orders-domain-db", domains.namespace, timeout=10)
    domains.create(db=real(domains, cluster))
    assert domains.ready(timeout=60)["status"]["db"]["migrationVersion"] == "2"
    with superuser(chart, database_of(domains)) as connection:
        assert connection.execute("SELECT count(*) FROM orders.orders").fetchone() == (1,)


def test_delete_drops_schema_database_and_roles(chart: Platform, domains: Domains, cluster: str) -> None:
    domains.create(db=real(domains, cluster, deletionPolicy="Delete"))
    domains.ready(timeout=60)
    assert len(databases_and_roles(chart, domains)) == 3
    delete(domains)
    assert databases_and_roles(chart, domains) == set()
    assert claims(domains) == []


def test_policy_may_change_until_the_end(chart: Platform, domains: Domains, cluster: str) -> None:
    """What counts is the policy at deletion, and a Domain that is being deleted can still be told otherwise."""
    domains.create(db=real(domains, cluster, deletionPolicy="Delete"))
    domains.ready(timeout=60)
    domains.patch(db={"deletionPolicy": "Retain"})
    delete(domains)
    assert len(databases_and_roles(chart, domains)) == 3


def test_workload_goes_before_the_data(chart: Platform, domains: Domains, cluster: str) -> None:
    """While a pod is ending, the data is still there."""
    domains.create(db=real(domains, cluster, deletionPolicy="Delete"))
    domains.ready(timeout=60)
    (pod,) = (
        pod
        for pod in domains.kube.list("v1", "Pod", domains.namespace)
        if pod["metadata"]["labels"].get("ameide.io/track") == "stable"
    )
    name = pod["metadata"]["name"]
    hold = {"metadata": {"finalizers": ["example.com/slow-to-end"]}}
    domains.kube.merge_patch("v1", "Pod", name, hold, domains.namespace)
    domains.kube.delete(API, "Domain", "orders", domains.namespace)
    domains.kube.wait_gone("apps/v1", "Deployment", "orders-domain", domains.namespace)
    domains.kube.wait_for(
        "v1", "Pod", name, lambda it: bool(it) and "deletionTimestamp" in it["metadata"], domains.namespace
    )
    domains.until("Ready", "False", reason="Deleting")
    assert len(databases_and_roles(chart, domains)) == 3
    domains.kube.merge_patch("v1", "Pod", name, {"metadata": {"finalizers": None}}, domains.namespace)
    domains.kube.wait_gone(API, "Domain", "orders", domains.namespace)
    assert databases_and_roles(chart, domains) == set()


def test_sessions_of_the_own_roles_are_ended_first(chart: Platform, domains: Domains, cluster: str) -> None:
    """Somebody's psql as the app, or as the owner, with a transaction that locks a table."""
    domains.create(db=real(domains, cluster, deletionPolicy="Delete"))
    domains.ready(timeout=60)
    for owner in (False, True):
        session = open_session(chart, domains, owner=owner, autocommit=False)
        session.execute("SELECT * FROM orders.orders")
    delete(domains)
    assert databases_and_roles(chart, domains) == set()
    with pytest.raises(psycopg.OperationalError):
        session.execute("SELECT 1")


def test_sessions_of_others_are_named_until_they_end(chart: Platform, domains: Domains, cluster: str) -> None:
    """A report tool with a role of its own: the owner may not end its session, but lets no new one begin."""
    domains.create(db=real(domains, cluster, deletionPolicy="Delete"))
    domains.ready(timeout=60)
    reporting = f"x-{domains.namespace[-40:]}"
    server = chart.cnpg.postgres("cnpg", "main")
    with superuser(chart) as root:
        root.execute(f"CREATE ROLE \"{reporting}\" LOGIN PASSWORD 'reports'")
        root.execute(f'GRANT CONNECT ON DATABASE "{database_of(domains)}" TO "{reporting}"')
        with psycopg.connect(server.dsn(reporting, "reports", database_of(domains))) as session:
            domains.kube.delete(API, "Domain", "orders", domains.namespace)
            blocked = domains.until("Ready", "False", reason="DeletionBlocked")["status"]["blocker"]
            assert f"is held open by {reporting} (pid {session.info.backend_pid})" in blocked["message"]
            assert "pg_terminate_backend" in blocked["remedy"]
            with pytest.raises(psycopg.OperationalError, match="permission denied"):
                psycopg.connect(server.dsn(reporting, "reports", database_of(domains)))
            assert len(databases_and_roles(chart, domains)) == 3
        domains.kube.wait_gone(API, "Domain", "orders", domains.namespace, timeout=60)
        assert databases_and_roles(chart, domains) == set()
        root.execute(f'DROP ROLE "{reporting}"')


@pytest.mark.parametrize("secret", ["there", "lost"])
def test_database_with_a_schema_of_others_stays(chart: Platform, domains: Domains, cluster: str, secret: str) -> None:
    """Also when the Secret that the drop needs has been lost: it is written again."""
    domains.create(db=real(domains, cluster, deletionPolicy="Delete"))
    domains.ready(timeout=60)
    with superuser(chart, database_of(domains)) as connection:
        connection.execute("CREATE SCHEMA reports; CREATE TABLE reports.kept (id int)")
    if secret == "lost":
        domains.annotate(paused="true")
        domains.until("Paused")
        domains.kube.delete("v1", "Secret", "orders-domain-db-owner", domains.namespace)
    delete(domains)
    with superuser(chart, database_of(domains)) as connection:
        schemas = {name for (name,) in connection.execute("SELECT nspname FROM pg_namespace").fetchall()}
    assert "reports" in schemas
    assert "orders" not in schemas
    assert "Job" not in claims(domains)
    (message,) = events(domains, "DataLeftBehind")
    assert "reports" in message
    assert database_of(domains) in message


def test_domain_that_never_got_its_database_goes(chart: Platform, domains: Domains, cluster: str) -> None:
    chart.cnpg.refuse("Database", "cnpg", f"*{domains.namespace[-20:]}*", "no space left")
    chart.cnpg.pause()
    try:
        domains.create(db=real(domains, cluster, deletionPolicy="Delete"))
        domains.until("Ready", "False", reason="DatabaseProvisioning")
    finally:
        chart.cnpg.resume()
    delete(domains)
    assert claims(domains) == []
    assert databases_and_roles(chart, domains) == set()


def test_paused_domain_can_be_deleted(chart: Platform, domains: Domains, cluster: str) -> None:
    domains.create(db=real(domains, cluster, deletionPolicy="Delete"))
    domains.ready(timeout=60)
    domains.annotate(paused="true")
    domains.until("Paused")
    delete(domains)
    assert databases_and_roles(chart, domains) == set()


def test_failed_migration_does_not_hold_deletion(domains: Domains) -> None:
    given_secret(domains)
    domains.create(db=given(migrator("fail:1")))
    domains.until("MigrationFailed")
    delete(domains, timeout=10)


def test_running_migration_is_ended_first(chart: Platform, domains: Domains, cluster: str) -> None:
    """A real migration under way, then deletion with Delete: nothing is left of either."""
    sleeping = {"command": ["sh", "-c", "sleep 60"]}
    spec = real(domains, cluster, deletionPolicy="Delete", migrations=sleeping)
    domains.create(db={**spec, "migrationJobImage": CLIENT_IMAGE})

    def migrating() -> bool:
        pods = domains.kube.list("v1", "Pod", domains.namespace)
        states = [s.get("state", {}) for pod in pods for s in pod.get("status", {}).get("containerStatuses", ())]
        return any("running" in state for state in states)

    until("a migration that runs", migrating, timeout=30)
    delete(domains, timeout=45)
    assert databases_and_roles(chart, domains) == set()


@pytest.fixture
def own(
    make_namespace: Callable[..., str], kube: KubeClient, start_operator: StartOperator
) -> tuple[Domains, OperatorProcess]:
    """Domains under an operator of the test's own, whose patience with deletion is short."""
    domains = Domains(kube, make_namespace("own"))
    operator = start_operator(domains.namespace, AMEIDE_DELETION_TIMEOUT="4")
    return domains, operator


def test_missing_cluster_holds_deletion_only_for_a_while(
    chart: Platform, kube: KubeClient, own: tuple[Domains, OperatorProcess]
) -> None:
    domains, _ = own
    name = f"short-{domains.namespace[-6:]}"
    metadata = {"name": name, "namespace": domains.namespace}
    spec = {"instances": 1, "storage": {"size": "1Gi"}}
    kube.create({"apiVersion": CNPG, "kind": "Cluster", "metadata": metadata, "spec": spec})
    domains.create(db=real(domains, name, deletionPolicy="Delete"))
    domains.ready(timeout=60)
    kube.delete(CNPG, "Cluster", name, domains.namespace, wait=20)
    domains.until("DBReady", "False", reason="ClusterNotFound")
    kube.delete(API, "Domain", "orders", domains.namespace)
    waiting = domains.until("Ready", "False", reason="DeletionBlocked", timeout=10)
    assert f"Cluster {domains.namespace}/{name} is missing" in waiting["status"]["blocker"]["message"]
    assert "left behind" in waiting["status"]["blocker"]["remedy"]
    with pytest.raises(WaitTimeoutError):
        kube.wait_gone(API, "Domain", "orders", domains.namespace, timeout=1)
    kube.wait_gone(API, "Domain", "orders", domains.namespace, timeout=15)
    (message,) = events(domains, "DataLeftBehind")
    assert database_of(domains) in message


def test_drop_is_tried_again_until_the_database_answers(chart: Platform, domains: Domains, cluster: str) -> None:
    domains.create(db=real(domains, cluster, deletionPolicy="Delete"))
    domains.ready(timeout=60)
    chart.cnpg.stop_postgres("cnpg", "main")
    try:
        domains.kube.delete(API, "Domain", "orders", domains.namespace)
        blocked = domains.until("Ready", "False", reason="DeletionBlocked", timeout=20)
        assert "could not drop schema orders" in blocked["status"]["blocker"]["message"]
    finally:
        chart.cnpg.start_postgres("cnpg", "main")
    domains.kube.wait_gone(API, "Domain", "orders", domains.namespace, timeout=40)
    assert databases_and_roles(chart, domains) == set()


def test_data_is_dropped_where_its_namespace_goes_first(
    chart: Platform, domains: Domains, cluster: str, kube: KubeClient
) -> None:
    """Nothing can be made in a namespace that is being deleted: the data is dropped from beside the Cluster."""
    domains.create(db=real(domains, cluster, deletionPolicy="Delete"))
    domains.ready(timeout=60)
    kube.delete("v1", "Namespace", domains.namespace)
    kube.wait_gone(API, "Domain", "orders", domains.namespace, timeout=60)
    assert databases_and_roles(chart, domains) == set()


def test_deleted_namespace_takes_the_domain_with_it(
    chart: Platform, domains: Domains, cluster: str, kube: KubeClient
) -> None:
    """In a namespace that is being deleted nothing can be created; with Retain nothing needs to be."""
    domains.create(db=real(domains, cluster))
    domains.ready(timeout=60)
    kube.delete("v1", "Namespace", domains.namespace)
    kube.wait_gone(API, "Domain", "orders", domains.namespace, timeout=30)
    assert len(databases_and_roles(chart, domains)) == 3
