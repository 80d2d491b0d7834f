"""Borders inside PostgreSQL: what the application's role and the owner's may do, tried with their own connections."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from databases import database_of, flyway, real, role_of, superuser
from domain_support import Domains
from psycopg import errors
from tenants import CLUSTERS, connection_values, session

from ameide_dev.client import KubeClient
from ameide_dev.platform import Platform
from ameide_dev.pytest_plugin import discard_namespace
from ameide_dev.testing.subject import namespaces


@pytest.fixture(scope="module")
def released(operator: object, chart: Platform, cluster: str, kube: KubeClient) -> Iterator[Domains]:
    """A Domain that is Ready, with two tenants' orders in its table, and another Domain beside it."""
    with namespaces(kube, "t-borders") as (namespace,):
        domains = Domains(kube, namespace)
        domains.create(db=real(domains, cluster))
        beside = {**real(domains, cluster), "database": f"{database_of(domains)}-2", "role": f"{role_of(domains)}-2"}
        domains.create("beside", db=beside)
        domains.ready(timeout=60)
        domains.ready("beside", timeout=60)
        with superuser(chart, database_of(domains)) as connection:
            for tenant in ("t1", "t2"):
                connection.execute(
                    "INSERT INTO orders.orders (tenant_id, item, quantity) VALUES (%s, 'chair', 1)", [tenant]
                )
        yield domains
    discard_namespace(kube, namespace)


@pytest.fixture
def app(chart: Platform, released: Domains) -> Iterator[psycopg.Connection]:
    with session(chart, released) as connection:
        yield connection


@pytest.fixture
def owner(chart: Platform, released: Domains) -> Iterator[psycopg.Connection]:
    with session(chart, released, owner=True) as connection:
        yield connection


def test_row_level_security_holds_for_the_application(app: psycopg.Connection) -> None:
    assert app.execute("SELECT count(*) FROM orders").fetchone() == (0,)
    app.execute("SELECT set_config('ameide.tenant_id', 't1', false)")
    assert app.execute("SELECT DISTINCT tenant_id FROM orders").fetchall() == [("t1",)]
    with pytest.raises(errors.InsufficientPrivilege, match="row-level security"):
        app.execute("INSERT INTO orders (tenant_id, item, quantity) VALUES ('t2', 'chair', 1)")


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE orders DISABLE ROW LEVEL SECURITY",
        "ALTER TABLE orders NO FORCE ROW LEVEL SECURITY",
        "DROP POLICY one_tenant ON orders",
        "CREATE POLICY all_rows ON orders USING (true)",
        "ALTER TABLE orders OWNER TO CURRENT_USER",
        "SET row_security = off; SELECT * FROM orders",
    ],
)
def test_application_cannot_get_around_row_level_security(app: psycopg.Connection, statement: str) -> None:
    with pytest.raises(errors.InsufficientPrivilege):
        app.execute(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE orders.mine (id int)",
        "CREATE TABLE public.mine (id int)",
        "CREATE TEMPORARY TABLE mine (id int)",
        "CREATE SCHEMA mine",
        "ALTER TABLE orders ADD COLUMN mine int",
        "TRUNCATE orders",
        "DROP TABLE orders",
        "DROP SCHEMA orders CASCADE",
        "CREATE FUNCTION orders.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE DATABASE mine",
        "CREATE ROLE mine",
        "ALTER ROLE CURRENT_USER BYPASSRLS",
        "ALTER ROLE CURRENT_USER SUPERUSER",
        "COPY orders TO PROGRAM 'cat'",
    ],
)
def test_application_changes_no_definitions(app: psycopg.Connection, statement: str) -> None:
    with pytest.raises(errors.InsufficientPrivilege):
        app.execute(statement)


def test_application_cannot_become_the_owner(app: psycopg.Connection, released: Domains) -> None:
    for role in (f"{role_of(released)}_owner", f"{role_of(released)}-2", "postgres"):
        with pytest.raises(errors.InsufficientPrivilege):
            app.execute(f'SET ROLE "{role}"')


@pytest.mark.parametrize("owner", [False, True])
def test_database_of_another_domain_cannot_be_entered(chart: Platform, released: Domains, owner: bool) -> None:
    """Neither the application nor the migrations get in, also within one namespace."""
    there = f"{database_of(released)}-2"
    with (
        pytest.raises(psycopg.OperationalError, match=f'permission denied for database "{there}"'),
        session(chart, released, owner=owner, dbname=there),
    ):
        pass


def test_owner_is_no_superuser(owner: psycopg.Connection) -> None:
    """The owner has the schema, and nothing beyond the database."""
    query = (
        "SELECT rolsuper, rolbypassrls, rolcreatedb, rolcreaterole, rolreplication"
        " FROM pg_roles WHERE rolname = current_user"
    )
    assert owner.execute(query).fetchone() == (False,) * 5
    assert owner.execute("SELECT current_schema()").fetchone() == ("orders",)
    memberships = "SELECT count(*) FROM pg_auth_members JOIN pg_roles r ON r.oid = member WHERE rolname = current_user"
    assert owner.execute(memberships).fetchone() == (0,)
    for statement in ("ALTER ROLE CURRENT_USER BYPASSRLS", "CREATE ROLE mine", "SELECT * FROM pg_authid"):
        with pytest.raises(errors.InsufficientPrivilege):
            owner.execute(statement)


def test_rights_extend_to_what_migrations_make_later(owner: psycopg.Connection, app: psycopg.Connection) -> None:
    owner.execute("CREATE TABLE later (id serial PRIMARY KEY, what text)")
    app.execute("INSERT INTO later (what) VALUES ('something')")
    app.execute("UPDATE later SET what = 'else'")
    assert app.execute("SELECT id, what FROM later").fetchall() == [(1, "else")]
    app.execute("DELETE FROM later")
    with pytest.raises(errors.InsufficientPrivilege):
        app.execute("ALTER TABLE later ADD COLUMN mine int")
    owner.execute("DROP TABLE later")


def test_connection_needs_tls(chart: Platform, released: Domains) -> None:
    assert "sslmode=require" in connection_values(released)["uri"]
    with session(chart, released) as connection:
        assert connection.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone() == (True,)
    with pytest.raises(psycopg.OperationalError), session(chart, released, sslmode="disable"):
        pass


@pytest.mark.parametrize(
    ("database", "role", "schema"),
    [
        ("select", "current_user", "order"),
        ("grant-to-public", "x-y", "user"),
        ("_", "order", "_"),
    ],
)
def test_words_of_sql_are_only_names(
    chart: Platform, domains: Domains, cluster: str, database: str, role: str, schema: str
) -> None:
    """The whole way: roles, database, schema, grants, migration, sessions by the URIs, and the drop at the end."""
    domains.create(
        db={
            "clusterRef": cluster,
            "database": database,
            "role": role,
            "schema": schema,
            "migrationJobImage": flyway("1.1.0"),
            "deletionPolicy": "Delete",
        }
    )
    assert domains.ready(timeout=60)["status"]["db"]["migrationVersion"] == "2"
    for owner, user in ((False, role), (True, f"{role}_owner")):
        with session(chart, domains, owner=owner) as connection:
            found = connection.execute("SELECT current_database(), current_user::text, current_schema()").fetchone()
            assert found == (database, user, schema)
            assert connection.execute("SELECT count(*) FROM orders").fetchone() == (0,)
    domains.kube.delete("ameide.io/v1", "Domain", "orders", domains.namespace, wait=30)
    with superuser(chart) as connection:
        left = connection.execute(
            "SELECT datname FROM pg_database WHERE datname = %s UNION SELECT rolname FROM pg_roles WHERE rolname = %s",
            [database, role],
        ).fetchall()
    assert left == []


def test_hostile_values_reach_neither_shell_nor_sql(chart: Platform, domains: Domains, cluster: str) -> None:
    """Values that a schema cannot refuse arrive as they are, and are never run."""
    hostile = '\'; DROP SCHEMA orders CASCADE; -- $(touch /tmp/x) `id` "${PGPASSWORD}" \\getenv\n\\! id\nSQL\nid\n'
    domains.create(
        annotations={"ameide.io/rotate-password": hostile, "ameide.io/retry-migration": hostile},
        db=real(domains, cluster),
        env=[{"name": "NOTE", "value": hostile}],
        podAnnotations={"example.com/note": hostile},
    )
    domains.ready(timeout=60)
    with session(chart, domains) as connection:
        assert connection.execute("SELECT count(*) FROM orders").fetchone() == (0,)
    deployment = domains.child("apps/v1", "Deployment", "orders-domain")
    assert deployment is not None
    template = deployment["spec"]["template"]
    assert {"name": "NOTE", "value": hostile} in template["spec"]["containers"][0]["env"]
    assert template["metadata"]["annotations"]["example.com/note"] == hostile
    for job in domains.kube.list("batch/v1", "Job", domains.namespace):
        for container in job["spec"]["template"]["spec"].get("initContainers", ()):
            assert "DROP SCHEMA orders" not in str(container)


def test_database_namespace_learns_no_more_than_the_claim(domains: Domains, kube: KubeClient, cluster: str) -> None:
    """Beside the Cluster there are the roles' passwords, and none of the superuser's in the Domain's namespace."""
    domains.create(db=real(domains, cluster))
    domains.until("DBReady")
    selector = f"ameide.io/owner-namespace={domains.namespace}"
    secrets = kube.list("v1", "Secret", CLUSTERS, label_selector=selector)
    assert sorted(sorted(secret["data"]) for secret in secrets) == [["password", "username"]] * 2
    own = kube.list("v1", "Secret", domains.namespace)
    assert sorted(secret["metadata"]["name"] for secret in own) == ["orders-domain-db", "orders-domain-db-owner"]
