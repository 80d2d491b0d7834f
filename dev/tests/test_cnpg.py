"""The CloudNativePG stand-in, against the real CRDs on a real API server and with real PostgreSQL servers."""

import base64
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from ameide_dev import crds
from ameide_dev.client import InvalidError, KubeClient, NotFoundError
from ameide_dev.cnpg import CLUSTER_GONE, DATABASE_FINALIZER, ROLE_FINALIZER, CnpgStandIn
from ameide_dev.controlplane import ControlPlane
from ameide_dev.postgres import Postgres

pytestmark = pytest.mark.platform

Object = dict[str, Any]

API = "postgresql.cnpg.io/v1"
NAMESPACE = "databases"


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    with ControlPlane() as plane:
        crds.install(["cnpg"], plane.client)
        plane.client.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
        yield plane


@pytest.fixture(scope="module")
def client(plane: ControlPlane) -> KubeClient:
    return plane.client


@pytest.fixture(scope="module")
def standin(client: KubeClient) -> Iterator[CnpgStandIn]:
    standin = CnpgStandIn(client, retry_seconds=0.2)
    standin.start()
    yield standin
    standin.stop()


def make_cluster(client: KubeClient, name: str, **spec: Any) -> Object:
    client.create(
        {
            "apiVersion": API,
            "kind": "Cluster",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {"instances": 1, "storage": {"size": "1Gi"}, **spec},
        }
    )
    return client.wait_condition(API, "Cluster", name, "Ready", NAMESPACE)


@pytest.fixture(scope="module")
def server(client: KubeClient, standin: CnpgStandIn) -> Postgres:
    """The server behind the Cluster `pg`, which most tests share, each with names of its own."""
    make_cluster(client, "pg")
    return standin.postgres(NAMESPACE, "pg")


def make_secret(client: KubeClient, user: str, password: str, **labels: str) -> str:
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/basic-auth",
        "metadata": {"name": f"{user}-password", "namespace": NAMESPACE, "labels": labels},
        "stringData": {"username": user, "password": password},
    }
    client.apply(secret)
    return f"{user}-password"


def make_role(client: KubeClient, role: str, *, name: str = "", cluster: str = "pg", **spec: Any) -> str:
    name = name or f"{role.replace('_', '-')}-role"
    client.create(
        {
            "apiVersion": API,
            "kind": "DatabaseRole",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {"cluster": {"name": cluster}, "name": role, "login": True, **spec},
        }
    )
    return name


def make_database(client: KubeClient, database: str, owner: str, *, name: str = "", **spec: Any) -> str:
    name = name or f"{database}-database"
    client.create(
        {
            "apiVersion": API,
            "kind": "Database",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {"cluster": {"name": "pg"}, "name": database, "owner": owner, **spec},
        }
    )
    return name


def wait_applied(client: KubeClient, kind: str, name: str, applied: bool = True, message: str = "") -> Object:
    def holds(item: Object | None) -> bool:
        status = (item or {}).get("status", {})
        return status.get("applied") is applied and message in status.get("message", "")

    return client.wait_for(API, kind, name, holds, NAMESPACE, what=f"applied={applied} {message}")


def wait_until(what: str, holds: Callable[[], bool], timeout: float = 15.0) -> None:
    deadline = time.monotonic() + timeout
    while not holds():
        assert time.monotonic() < deadline, f"waited {timeout} s for {what}"
        time.sleep(0.05)


def role_attributes(server: Postgres, role: str) -> tuple[bool, ...] | None:
    with server.connect() as connection:
        return connection.execute(
            "SELECT rolcanlogin, rolsuper, rolbypassrls, rolcreatedb, rolcreaterole FROM pg_roles WHERE rolname = %s",
            [role],
        ).fetchone()


def databases(server: Postgres) -> set[str]:
    with server.connect() as connection:
        return {row[0] for row in connection.execute("SELECT datname FROM pg_database")}


def login(server: Postgres, user: str, password: str, database: str = "postgres") -> None:
    psycopg.connect(server.dsn(user, password, database)).close()


class TestCluster:
    def test_a_cluster_gets_a_server_and_what_clients_of_it_read(self, client: KubeClient, server: Postgres) -> None:
        cluster = client.get(API, "Cluster", "pg", NAMESPACE)
        assert cluster["status"]["phase"] == "Cluster in healthy state"
        assert cluster["status"]["writeService"] == "pg-rw"
        service = client.get("v1", "Service", "pg-rw", NAMESPACE)
        assert service["spec"]["ports"][0]["port"] == 5432
        endpoints = client.get("discovery.k8s.io/v1", "EndpointSlice", "pg-rw", NAMESPACE)
        assert endpoints["ports"][0]["port"] == server.port
        assert service["metadata"]["ownerReferences"][0]["uid"] == cluster["metadata"]["uid"]

    def test_the_app_secret_lets_the_bootstrap_owner_in(self, client: KubeClient, server: Postgres) -> None:
        secret = client.get("v1", "Secret", "pg-app", NAMESPACE)
        data = {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}
        assert data["host"] == "pg-rw"
        assert f"@pg-rw.{NAMESPACE}:5432/app" in data["uri"]
        login(server, data["username"], data["password"], data["dbname"])

    def test_there_is_a_superuser_secret_only_when_it_is_asked_for(
        self, client: KubeClient, standin: CnpgStandIn, server: Postgres
    ) -> None:
        assert client.find("v1", "Secret", "pg-superuser", NAMESPACE) is None
        make_cluster(client, "open", enableSuperuserAccess=True)
        secret = client.get("v1", "Secret", "open-superuser", NAMESPACE)
        password = base64.b64decode(secret["data"]["password"]).decode()
        login(standin.postgres(NAMESPACE, "open"), "postgres", password)
        client.merge_patch(API, "Cluster", "open", {"spec": {"enableSuperuserAccess": False}}, NAMESPACE)
        client.wait_gone("v1", "Secret", "open-superuser", NAMESPACE)

    def test_bootstrap_names_database_and_owner(self, client: KubeClient, standin: CnpgStandIn) -> None:
        make_cluster(client, "named", bootstrap={"initdb": {"database": "sales", "owner": "sales_admin"}})
        with standin.postgres(NAMESPACE, "named").connect() as connection:
            row = connection.execute("SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'sales'")
            assert row.fetchone() == ("sales_admin",)

    def test_deleting_a_cluster_frees_what_belongs_to_it(self, client: KubeClient, standin: CnpgStandIn) -> None:
        make_cluster(client, "short")
        name = make_role(client, "leftover", cluster="short")
        wait_applied(client, "DatabaseRole", name)
        lost = standin.postgres(NAMESPACE, "short")
        client.delete(API, "Cluster", "short", NAMESPACE, wait=10)
        role = wait_applied(client, "DatabaseRole", name, applied=False, message=CLUSTER_GONE)
        wait_until("the server's end", lambda: not lost.running)
        client.wait_for(
            API, "DatabaseRole", name, lambda it: it is not None and not it["metadata"].get("finalizers"), NAMESPACE
        )
        assert role["status"].get("observedGeneration", 0) == 0
        client.delete(API, "DatabaseRole", name, NAMESPACE, wait=10)

    def test_nothing_is_written_or_read_at_rest(self, plane: ControlPlane, server: Postgres) -> None:
        time.sleep(1.0)
        position = plane.audit_position()
        time.sleep(2.0)
        events = [
            event
            for event in plane.audit_events(after=position)
            if event.get("userAgent", "").startswith("ameide-dev") and event["verb"] != "watch"
        ]
        assert events == []


class TestRole:
    def test_a_role_has_no_more_rights_than_its_spec(self, client: KubeClient, server: Postgres) -> None:
        secret = make_secret(client, "modest", "pass word/1")
        name = make_role(client, "modest", passwordSecret={"name": secret})
        status = wait_applied(client, "DatabaseRole", name)["status"]
        assert role_attributes(server, "modest") == (True, False, False, False, False)
        assert status["observedGeneration"] == 1
        assert (
            status["secretResourceVersion"]
            == (client.get("v1", "Secret", secret, NAMESPACE)["metadata"]["resourceVersion"])
        )
        login(server, "modest", "pass word/1")

    def test_an_existing_role_is_adopted_and_loses_what_its_spec_does_not_grant(
        self, client: KubeClient, server: Postgres
    ) -> None:
        with server.connect() as connection:
            connection.execute("CREATE ROLE grown LOGIN SUPERUSER BYPASSRLS")
        wait_applied(client, "DatabaseRole", make_role(client, "grown"))
        assert role_attributes(server, "grown") == (True, False, False, False, False)

    def test_a_rotated_password_is_applied_when_its_secret_is_labelled(
        self, client: KubeClient, server: Postgres
    ) -> None:
        secret = make_secret(client, "turning", "first", **{"cnpg.io/reload": "true"})
        name = make_role(client, "turning", passwordSecret={"name": secret})
        before = wait_applied(client, "DatabaseRole", name)["status"]["secretResourceVersion"]
        make_secret(client, "turning", "second", **{"cnpg.io/reload": "true"})
        version = client.get("v1", "Secret", secret, NAMESPACE)["metadata"]["resourceVersion"]
        assert version != before
        client.wait_for(
            API,
            "DatabaseRole",
            name,
            lambda it: it is not None and it["status"]["secretResourceVersion"] == version,
            NAMESPACE,
        )
        login(server, "turning", "second")
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            login(server, "turning", "first")

    def test_without_the_label_a_rotated_password_goes_unnoticed(self, client: KubeClient, server: Postgres) -> None:
        secret = make_secret(client, "deaf", "first")
        wait_applied(client, "DatabaseRole", make_role(client, "deaf", passwordSecret={"name": secret}))
        make_secret(client, "deaf", "second")
        time.sleep(1.0)
        login(server, "deaf", "first")

    def test_a_missing_secret_is_named_and_heals(self, client: KubeClient, server: Postgres) -> None:
        name = make_role(client, "patient", passwordSecret={"name": "patient-password"})
        role = wait_applied(client, "DatabaseRole", name, applied=False, message='secrets "patient-password" not found')
        assert "observedGeneration" not in role["status"]
        make_secret(client, "patient", "there")
        wait_applied(client, "DatabaseRole", name)
        login(server, "patient", "there")

    def test_a_secret_for_another_user_is_refused(self, client: KubeClient, server: Postgres) -> None:
        secret = make_secret(client, "someone", "x")
        name = make_role(client, "else", passwordSecret={"name": secret})
        wait_applied(client, "DatabaseRole", name, applied=False, message="does not match role")
        assert role_attributes(server, "else") is None

    def test_memberships_follow_the_spec(self, client: KubeClient, server: Postgres) -> None:
        wait_applied(client, "DatabaseRole", make_role(client, "readers", login=False))
        name = make_role(client, "member", inRoles=["readers"])
        wait_applied(client, "DatabaseRole", name)

        def is_member() -> bool:
            with server.connect() as connection:
                row = connection.execute("SELECT pg_has_role('member', 'readers', 'member')").fetchone()
            assert row is not None
            return bool(row[0])

        assert is_member()
        client.merge_patch(API, "DatabaseRole", name, {"spec": {"inRoles": None}}, NAMESPACE)
        wait_until("the membership's end", lambda: not is_member())

    @pytest.mark.parametrize("reserved", ["postgres", "streaming_replica", "pg_mine", "cnpg_mine"])
    def test_reserved_names_are_refused_by_the_api_server(
        self, client: KubeClient, server: Postgres, reserved: str
    ) -> None:
        with pytest.raises(InvalidError, match="reserved"):
            make_role(client, reserved, name="reserved-role")

    def test_a_role_that_the_cluster_manages_itself_is_left_to_it(
        self, client: KubeClient, standin: CnpgStandIn
    ) -> None:
        make_cluster(client, "inline", managed={"roles": [{"name": "inner", "login": True, "createdb": True}]})
        name = make_role(client, "inner", cluster="inline")
        wait_applied(client, "DatabaseRole", name, applied=False, message="already managed by the CNPG cluster")
        attributes = role_attributes(standin.postgres(NAMESPACE, "inline"), "inner")
        assert attributes is not None
        assert attributes[3] is True

    def test_deleting_by_policy_waits_until_nothing_depends_on_the_role(
        self, client: KubeClient, server: Postgres
    ) -> None:
        name = make_role(client, "owning", databaseRoleReclaimPolicy="delete")
        assert ROLE_FINALIZER in wait_applied(client, "DatabaseRole", name)["metadata"]["finalizers"]
        with server.connect() as connection:
            connection.execute("CREATE DATABASE owned OWNER owning")
        client.delete(API, "DatabaseRole", name, NAMESPACE)
        wait_applied(client, "DatabaseRole", name, applied=False, message="some objects depend on it")
        with server.connect() as connection:
            connection.execute("DROP DATABASE owned")
        client.wait_gone(API, "DatabaseRole", name, NAMESPACE)
        assert role_attributes(server, "owning") is None


class TestDatabase:
    def test_a_database_has_its_owner_and_schemas(self, client: KubeClient, server: Postgres) -> None:
        wait_applied(client, "DatabaseRole", make_role(client, "shop_owner"))
        name = make_database(client, "shop", "shop_owner", schemas=[{"name": "shop", "owner": "shop_owner"}])
        status = wait_applied(client, "Database", name)["status"]
        assert status["schemas"] == [{"name": "shop", "applied": True}]
        with server.connect("shop") as connection:
            row = connection.execute(
                "SELECT pg_get_userbyid(datdba), (SELECT pg_get_userbyid(nspowner) FROM pg_namespace"
                " WHERE nspname = 'shop') FROM pg_database WHERE datname = current_database()"
            ).fetchone()
        assert row == ("shop_owner", "shop_owner")

    def test_a_missing_owner_is_reported_and_heals(self, client: KubeClient, server: Postgres) -> None:
        name = make_database(client, "early", "late_owner")
        wait_applied(client, "Database", name, applied=False, message='role "late_owner" does not exist')
        make_role(client, "late_owner")
        wait_applied(client, "Database", name)

    def test_an_extension_that_does_not_exist_fails_alone(self, client: KubeClient, server: Postgres) -> None:
        extensions = [{"name": "no_such_extension"}, {"name": "plpgsql"}]
        name = make_database(client, "extended", "postgres", extensions=extensions)
        status = wait_applied(client, "Database", name, applied=False, message="object reconciliation failed")["status"]
        outcome = {entry["name"]: entry["applied"] for entry in status["extensions"]}
        assert outcome == {"no_such_extension": False, "plpgsql": True}

    def test_a_second_object_for_the_same_database_is_refused_and_harmless(
        self, client: KubeClient, server: Postgres
    ) -> None:
        first = make_database(client, "single", "postgres")
        wait_applied(client, "Database", first)
        second = make_database(client, "single", "app", name="second", databaseReclaimPolicy="delete")
        wait_applied(client, "Database", second, applied=False, message=f'already managed by object "{first}"')
        client.delete(API, "Database", second, NAMESPACE, wait=10)
        assert "single" in databases(server)

    def test_retained_data_outlives_the_object_and_is_adopted_again(self, client: KubeClient, server: Postgres) -> None:
        name = make_database(client, "kept", "postgres")
        assert DATABASE_FINALIZER in wait_applied(client, "Database", name)["metadata"]["finalizers"]
        with server.connect("kept") as connection:
            connection.execute("CREATE TABLE note AS SELECT 'still here' AS text")
        client.delete(API, "Database", name, NAMESPACE, wait=10)
        wait_applied(client, "Database", make_database(client, "kept", "app"))
        with server.connect("kept") as connection:
            assert connection.execute("SELECT text FROM note").fetchone() == ("still here",)

    def test_dropping_waits_for_open_sessions(self, client: KubeClient, server: Postgres) -> None:
        name = make_database(client, "busy", "postgres", databaseReclaimPolicy="delete")
        wait_applied(client, "Database", name)
        session = server.connect("busy")
        client.delete(API, "Database", name, NAMESPACE)
        time.sleep(0.6)
        assert client.find(API, "Database", name, NAMESPACE) is not None
        session.close()
        client.wait_gone(API, "Database", name, NAMESPACE)
        assert "busy" not in databases(server)

    def test_absent_drops_the_database_and_keeps_the_object(self, client: KubeClient, server: Postgres) -> None:
        name = make_database(client, "passing", "postgres")
        wait_applied(client, "Database", name)
        client.merge_patch(API, "Database", name, {"spec": {"ensure": "absent"}}, NAMESPACE)
        wait_until("the drop", lambda: "passing" not in databases(server))
        wait_applied(client, "Database", name)


class TestFaults:
    def test_an_unready_cluster_holds_back_changes(
        self, client: KubeClient, standin: CnpgStandIn, server: Postgres
    ) -> None:
        standin.set_cluster_unready(NAMESPACE, "pg")
        try:
            client.wait_condition(API, "Cluster", "pg", "Ready", NAMESPACE, status="False", reason="ClusterIsNotReady")
            name = make_role(client, "waiting")
            time.sleep(0.6)
            assert "status" not in client.get(API, "DatabaseRole", name, NAMESPACE)
        finally:
            standin.set_cluster_ready(NAMESPACE, "pg")
        wait_applied(client, "DatabaseRole", name)

    def test_a_refusal_stands_until_it_is_taken_back(
        self, client: KubeClient, standin: CnpgStandIn, server: Postgres
    ) -> None:
        standin.refuse("DatabaseRole", NAMESPACE, "unwanted-*", "out of luck")
        name = make_role(client, "unwanted")
        wait_applied(client, "DatabaseRole", name, applied=False, message="out of luck")
        standin.allow("DatabaseRole", NAMESPACE, "unwanted-*")
        wait_applied(client, "DatabaseRole", name)

    def test_a_paused_operator_does_nothing_until_resumed(
        self, client: KubeClient, standin: CnpgStandIn, server: Postgres
    ) -> None:
        standin.pause()
        name = make_role(client, "sleeping")
        time.sleep(0.6)
        assert "status" not in client.get(API, "DatabaseRole", name, NAMESPACE)
        standin.resume()
        wait_applied(client, "DatabaseRole", name)

    def test_a_server_that_was_down_comes_back_with_its_data(
        self, client: KubeClient, standin: CnpgStandIn, server: Postgres
    ) -> None:
        wait_applied(client, "DatabaseRole", make_role(client, "survivor"))
        standin.stop_postgres(NAMESPACE, "pg")
        try:
            client.wait_condition(API, "Cluster", "pg", "Ready", NAMESPACE, status="False")
        finally:
            standin.start_postgres(NAMESPACE, "pg")
        client.wait_condition(API, "Cluster", "pg", "Ready", NAMESPACE)
        assert role_attributes(server, "survivor") is not None


def test_objects_of_a_cluster_that_does_not_exist_stay_untouched(client: KubeClient, standin: CnpgStandIn) -> None:
    name = make_role(client, "orphan", cluster="nowhere")
    time.sleep(0.5)
    role = client.get(API, "DatabaseRole", name, NAMESPACE)
    assert "status" not in role
    assert "finalizers" not in role["metadata"]
    client.delete(API, "DatabaseRole", name, NAMESPACE)
    with pytest.raises(NotFoundError):
        client.get(API, "DatabaseRole", name, NAMESPACE)
