"""`provisioning: Job`: databases that several Domains share, made by a Job with the superuser's Secret."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from databases import flyway, real, role_of, superuser
from domain_support import Domains
from psycopg import errors
from tenants import CLUSTERS, CNPG_API, claims, connection_values, make_cluster, session

from ameide_dev.client import KubeClient, condition_of
from ameide_dev.platform import Platform
from ameide_dev.testing.resources import API, secret_values
from ameide_dev.testing.waiting import until
from domain_operator.plan import sql

MakeNamespace = Callable[..., str]


@pytest.fixture(scope="module")
def shared(chart: Platform, kube: KubeClient) -> str:
    """A Cluster that lends its superuser to provisioning Jobs."""
    allowed = {"ameide.io/allowed-namespaces": "*"}
    return make_cluster(kube, "shared", annotations=allowed, enableSuperuserAccess=True)


@pytest.fixture
def other(domains: Domains, make_namespace: MakeNamespace, kube: KubeClient) -> Domains:
    """Domains of another namespace."""
    return Domains(kube, make_namespace())


@pytest.fixture
def root(chart: Platform, shared: str) -> Iterator[psycopg.Connection]:
    with superuser(chart, cluster="shared") as connection:
        yield connection


def shared_db(domains: Domains, cluster: str, database: str, **db: object) -> dict[str, object]:
    """`spec.db` with a schema of its own in a shared database."""
    return {**real(domains, cluster), "provisioning": "Job", "database": database, **db}


def database_name(domains: Domains) -> str:
    return f"s-{domains.namespace[-40:]}"


def names(connection: psycopg.Connection, domains: Domains) -> set[str]:
    """Which roles of a Domain's there are."""
    query = "SELECT rolname FROM pg_roles WHERE rolname = ANY(%s)"
    return {name for (name,) in connection.execute(query, [[role_of(domains), f"{role_of(domains)}_owner"]]).fetchall()}


def refused(domains: Domains, reason: str) -> str:
    """The message of the blocker, once it is for this reason."""
    domain = domains.until("DBReady", "False", reason=reason, timeout=40)
    message: str = domain["status"]["blocker"]["message"]
    return message


def delete(domains: Domains) -> None:
    domains.kube.delete(API, "Domain", "orders", domains.namespace, wait=40)


def test_two_domains_share_a_database(
    chart: Platform, domains: Domains, other: Domains, shared: str, root: psycopg.Connection, kube: KubeClient
) -> None:
    """Each in its schema with its roles: neither sees the other's, and the one that goes leaves the other's alone."""
    database = database_name(domains)
    domains.create(db=shared_db(domains, shared, database, schema="orders", deletionPolicy="Delete"))
    other.create(db=shared_db(other, shared, database, schema="billing", deletionPolicy="Delete"))
    domains.ready(timeout=60)
    other.ready(timeout=60)
    owner = root.execute("SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = %s", [database]).fetchone()
    assert owner == ("postgres",), "an owner among the Domains could drop it"
    with session(chart, domains, cluster="shared") as connection:
        assert connection.execute("SELECT current_schema(), count(*) FROM orders").fetchone() == ("orders", 0)
        with pytest.raises(errors.InsufficientPrivilege):
            connection.execute("SELECT * FROM billing.orders")
    with session(chart, other, cluster="shared", owner=True) as connection:
        for statement in ("SELECT * FROM orders.orders", "CREATE SCHEMA more", "CREATE TABLE orders.mine (id int)"):
            with pytest.raises(errors.InsufficientPrivilege):
                connection.execute(statement)
        with pytest.raises((errors.InsufficientPrivilege, errors.ObjectInUse)):
            connection.execute(f'DROP DATABASE "{database}"')
    delete(domains)
    assert names(root, domains) == set()
    assert claims(kube, domains) == []
    with session(chart, other, cluster="shared") as connection:
        schemas = connection.execute(
            "SELECT nspname FROM pg_namespace WHERE nspname IN ('orders', 'billing')"
        ).fetchall()
        assert schemas == [("billing",)]
        assert connection.execute("SELECT count(*) FROM orders").fetchone() == (0,)
    other.ready()


def test_database_that_was_made_for_it_goes_when_left_empty(
    chart: Platform, domains: Domains, shared: str, root: psycopg.Connection, kube: KubeClient
) -> None:
    """Also where somebody has a session in it."""
    database = database_name(domains)
    domains.create(db=shared_db(domains, shared, database, deletionPolicy="Delete"))
    domains.ready(timeout=60)
    held = chart.cnpg.postgres(CLUSTERS, "shared").connect(database)
    delete(domains)
    held.close()
    assert root.execute("SELECT FROM pg_database WHERE datname = %s", [database]).fetchone() is None
    assert names(root, domains) == set()
    assert claims(kube, domains) == []


def test_database_of_others_stays_when_left_empty(domains: Domains, shared: str, root: psycopg.Connection) -> None:
    """Here the Cluster's bootstrap database."""
    domains.create(db=shared_db(domains, shared, "app", schema=f"s_{domains.namespace[-6:]}", deletionPolicy="Delete"))
    domains.ready(timeout=60)
    delete(domains)
    assert root.execute("SELECT count(*) FROM pg_database WHERE datname = 'app'").fetchone() == (1,)
    assert names(root, domains) == set()


def test_superuser_stays_beside_the_cluster(chart: Platform, domains: Domains, shared: str, kube: KubeClient) -> None:
    """The Job with the superuser runs there; no Secret, Job or pod of the Domain's namespace knows it."""
    domains.create(db=shared_db(domains, shared, database_name(domains)))
    domains.ready(timeout=60)
    password = secret_values(kube, CLUSTERS, "shared-superuser")["password"]
    assert password == chart.cnpg.postgres(CLUSTERS, "shared").superuser_password
    for secret in kube.list("v1", "Secret", domains.namespace):
        assert password not in secret_values(kube, domains.namespace, secret["metadata"]["name"]).values()
    for api_version, kind in (("batch/v1", "Job"), ("v1", "Pod"), ("apps/v1", "Deployment")):
        assert "shared-superuser" not in json.dumps(kube.list(api_version, kind, domains.namespace))
    (job,) = kube.list("batch/v1", "Job", CLUSTERS, label_selector=f"ameide.io/owner-namespace={domains.namespace}")
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "ghcr.io/ameide/hostnode-postgres:18"
    assert {"name": "shared-superuser", "key": "password"} in [
        env["valueFrom"]["secretKeyRef"] for env in container["env"] if "valueFrom" in env
    ]
    assert "orders" not in " ".join(container["command"])


def test_superuser_secret_that_the_cluster_names_is_used(domains: Domains, kube: KubeClient) -> None:
    """CloudNativePG then makes no `<cluster>-superuser`."""
    metadata = {"name": "root-of-near", "namespace": domains.namespace}
    values = {"username": "postgres", "password": "chosen-by-somebody"}
    kube.create({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": values})
    given = {"enableSuperuserAccess": True, "superuserSecret": {"name": "root-of-near"}}
    make_cluster(kube, "near", namespace=domains.namespace, **given)
    domains.create(db=shared_db(domains, "near", "app", deletionPolicy="Delete"))
    domains.ready(timeout=60)
    delete(domains)
    assert claims(kube, domains, namespace=domains.namespace) == []


def test_cluster_without_superuser_access_is_named(domains: Domains, cluster: str, kube: KubeClient) -> None:
    domains.create(db=shared_db(domains, cluster, database_name(domains)))
    assert f"Cluster {cluster}" in refused(domains, "SuperuserAccessDisabled")
    assert "spec.enableSuperuserAccess: true" in domains.get()["status"]["blocker"]["remedy"]
    assert kube.list("batch/v1", "Job", CLUSTERS, label_selector=f"ameide.io/owner-namespace={domains.namespace}") == []


def test_role_that_exists_is_not_taken_over(
    chart: Platform, domains: Domains, shared: str, root: psycopg.Connection
) -> None:
    """Its password stays what it was."""
    root.execute(f"CREATE ROLE \"{role_of(domains)}\" LOGIN PASSWORD 'unchanged'")
    domains.create(db=shared_db(domains, shared, database_name(domains), migrationJobImage=flyway("1.1.0")))
    assert "role exists" in refused(domains, "DatabaseNameTaken")
    server = chart.cnpg.postgres(CLUSTERS, "shared")
    psycopg.connect(server.dsn(role_of(domains), "unchanged", "postgres")).close()
    delete(domains)
    assert names(root, domains) == {role_of(domains)}
    root.execute(f'DROP ROLE "{role_of(domains)}"')


def test_schema_that_exists_is_not_taken_over(
    chart: Platform, domains: Domains, shared: str, root: psycopg.Connection
) -> None:
    """After it has been moved out of the way, `retry-migration` tries again."""
    database = database_name(domains)
    root.execute(f'CREATE DATABASE "{database}"')
    with superuser(chart, database, cluster="shared") as connection:
        connection.execute("CREATE SCHEMA orders; CREATE TABLE orders.kept (id int)")
        domains.create(db=shared_db(domains, shared, database))
        assert "schema exists" in refused(domains, "DatabaseNameTaken")
        assert names(root, domains) == set()
        connection.execute("ALTER SCHEMA orders RENAME TO others")
    domains.annotate(retry_migration="1")
    domains.ready(timeout=60)
    with superuser(chart, database, cluster="shared") as connection:
        assert connection.execute("SELECT count(*) FROM others.kept").fetchone() == (0,)


def test_schema_of_another_domain_is_refused(domains: Domains, other: Domains, shared: str, kube: KubeClient) -> None:
    database = database_name(domains)
    domains.create(db=shared_db(domains, shared, database))
    domains.ready(timeout=60)
    other.create(db=shared_db(other, shared, database))
    message = refused(other, "DatabaseConflict")
    assert "the schema 'orders'" in message
    assert f"Domain {domains.namespace}/orders" in message
    assert claims(kube, other) == []


def test_database_of_one_domain_alone_is_not_shared(
    domains: Domains, other: Domains, shared: str, kube: KubeClient
) -> None:
    """What `provisioning: Database` made is exclusive, also once its Domain has gone and the data is retained."""
    database = database_name(domains)
    domains.create(db={**real(domains, shared), "database": database})
    domains.ready(timeout=60)
    delete(domains)
    other.create(db=shared_db(other, shared, database, schema="billing"))
    assert f"Domain {domains.namespace}/orders" in refused(other, "DatabaseConflict")
    assert claims(kube, other) == []


@pytest.mark.parametrize("provisioning", ["Job", "Database"])
@pytest.mark.parametrize("what", ["role", "database"])
def test_retained_data_is_refused_to_another_namespace(
    chart: Platform,
    domains: Domains,
    other: Domains,
    shared: str,
    kube: KubeClient,
    provisioning: str,
    what: str,
) -> None:
    """Whichever way it is asked for. CloudNativePG knows nothing of what the Job has made, and would adopt it."""
    if (provisioning, what) == ("Job", "database"):
        pytest.skip("a shared database may be shared")
    database = database_name(domains)
    domains.create(db=shared_db(domains, shared, database))
    domains.ready(timeout=60)
    delete(domains)
    wanted = {"role": role_of(domains)} if what == "role" else {"database": database}
    other.create(db={**real(other, shared), "provisioning": provisioning, "schema": "billing", **wanted})
    assert f"Domain {domains.namespace}/orders" in refused(other, "DatabaseConflict")
    assert claims(kube, other) == []


def test_retained_data_returns_to_its_domain(chart: Platform, domains: Domains, shared: str, kube: KubeClient) -> None:
    """No more than the claim to it stays: the Job goes with the Domain."""
    domains.create(db=shared_db(domains, shared, database_name(domains)))
    domains.ready(timeout=60)
    with session(chart, domains, cluster="shared", owner=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS number; COMMENT ON SCHEMA orders IS 'said by a migration'")
    delete(domains)
    assert [kind for kind, _, _ in (claim.partition("/") for claim in claims(kube, domains))] == ["Secret", "Secret"]
    domains.kube.wait_gone("v1", "Secret", "orders-domain-db", domains.namespace, timeout=60)
    domains.create(db=shared_db(domains, shared, database_name(domains)))
    domains.ready(timeout=60)
    with session(chart, domains, cluster="shared") as connection:
        assert connection.execute("SELECT number FROM kept").fetchone() == (7,)


def test_refused_domain_ends_no_sessions_and_drops_nothing(
    chart: Platform, domains: Domains, other: Domains, shared: str, kube: KubeClient
) -> None:
    """Deletion with Delete of a Domain that named another's roles, and got nothing."""
    domains.create(db=shared_db(domains, shared, database_name(domains)))
    domains.ready(timeout=60)
    with session(chart, domains, cluster="shared") as connection:
        wanted = {"role": role_of(domains), "deletionPolicy": "Delete"}
        other.create(db=shared_db(other, shared, database_name(domains), **wanted))
        refused(other, "DatabaseConflict")
        delete(other)
        assert connection.execute("SELECT count(*) FROM orders").fetchone() == (0,)
    assert kube.list("batch/v1", "Job", CLUSTERS, label_selector=f"ameide.io/owner-namespace={other.namespace}") == []


def test_reference_without_consent_runs_no_job(domains: Domains, chart: Platform, kube: KubeClient) -> None:
    """Neither when it is made nor when it is deleted."""
    closed = make_cluster(kube, f"closed-{domains.namespace[-6:]}", enableSuperuserAccess=True)
    domains.create(db=shared_db(domains, closed, "app", deletionPolicy="Delete"))
    refused(domains, "ReferenceNotPermitted")
    delete(domains)
    assert kube.list("batch/v1", "Job", CLUSTERS, label_selector=f"ameide.io/owner-namespace={domains.namespace}") == []
    kube.delete(CNPG_API, "Cluster", closed.partition("/")[2], CLUSTERS)


def test_what_is_being_made_is_dropped_only_once_it_is_there(
    chart: Platform, domains: Domains, shared: str, root: psycopg.Connection, kube: KubeClient
) -> None:
    """Deleted while the Job makes the roles: what it makes after the drop would stay for ever."""
    with superuser(chart, cluster="shared") as holding:
        holding.execute("BEGIN")
        holding.execute(f'CREATE ROLE "{role_of(domains)}_owner"')  # the Job's own statement waits for the end of this
        domains.create(db=shared_db(domains, shared, database_name(domains), deletionPolicy="Delete"))
        waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE %s"
        statement = f"CREATE ROLE%{role_of(domains)}_owner%"
        until("a Job that waits", lambda: root.execute(waiting, [statement]).fetchone(), timeout=60)
        domains.kube.delete(API, "Domain", "orders", domains.namespace)

        def told(domain: dict[str, Any] | None) -> bool:
            message: str = (domain or {}).get("status", {}).get("blocker", {}).get("message", "")
            return "is to end before the data is dropped" in message

        domains.kube.wait_for(API, "Domain", "orders", told, domains.namespace)
        holding.execute("ROLLBACK")
    domains.kube.wait_gone(API, "Domain", "orders", domains.namespace, timeout=60)
    assert names(root, domains) == set()
    assert root.execute("SELECT FROM pg_database WHERE datname = %s", [database_name(domains)]).fetchone() is None
    assert claims(kube, domains) == []


def test_rotation_is_another_job(chart: Platform, domains: Domains, shared: str) -> None:
    domains.create(db=shared_db(domains, shared, database_name(domains)))
    domains.ready(timeout=60)
    old = connection_values(domains)["password"]
    domains.annotate(rotate_password="1")
    until("another password", lambda: connection_values(domains)["password"] != old, timeout=40)
    domain = domains.ready(timeout=40)
    assert condition_of(domain, "DBReady")["status"] == "True"
    with session(chart, domains, cluster="shared") as connection:
        assert connection.execute("SELECT count(*) FROM orders").fetchone() == (0,)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        session(chart, domains, cluster="shared", password=old).__enter__()


def test_cluster_beside_the_domain(domains: Domains, kube: KubeClient) -> None:
    """The Job then runs in the Domain's own namespace, and deletion does not mistake it for the workload."""
    make_cluster(kube, "near", namespace=domains.namespace, enableSuperuserAccess=True)
    domains.create(db=shared_db(domains, "near", "app", deletionPolicy="Delete"))
    domains.ready(timeout=60)
    delete(domains)
    assert claims(kube, domains, namespace=domains.namespace) == []


@pytest.mark.parametrize("script", [sql.GRANTS, sql.PROVISION, sql.SHUT_OUT, sql.DROP_SCHEMA, sql.DROP_SHARED])
def test_scripts_survive_the_expansion_of_commands(script: str) -> None:
    """In a container's command Kubernetes makes one `$` of two, and takes `$(NAME)` for a variable."""
    assert "$" not in script
    command = "".join([*sql.shell(script), *sql.drop_shell()])
    assert "$$" not in command
    assert not re.search(r"\$\([A-Z_]+\)", command)
