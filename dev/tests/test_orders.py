"""The example Domain's parts together: CloudNativePG objects, grants, migration, app and Service, all of them real."""

import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from ameide_dev.client import KubeClient
from ameide_dev.platform import Platform

Object = dict[str, Any]

API = "postgresql.cnpg.io/v1"
HOST = {"PGHOST": "pg-rw", "PGPORT": "5432", "PGDATABASE": "orders", "PGSSLMODE": "require", "DB_SCHEMA": "orders"}

GRANTS = """\
psql --no-psqlrc --quiet --tuples-only --set=ON_ERROR_STOP=1 <<'SQL' | tee /dev/termination-log
GRANT USAGE ON SCHEMA orders TO orders;
ALTER DEFAULT PRIVILEGES IN SCHEMA orders GRANT SELECT, INSERT ON TABLES TO orders;
SELECT 'granted by ' || current_user;
SQL
"""


def login(user: str) -> list[Object]:
    """The connection of a container as `user`, its password from the Secret of that name."""
    plain = [{"name": name, "value": value} for name, value in {**HOST, "PGUSER": user}.items()]
    reference = {"secretKeyRef": {"name": secret_of(user), "key": "password"}}
    return [*plain, {"name": "PGPASSWORD", "valueFrom": reference}]


def secret_of(user: str) -> str:
    return user.replace("_", "-") + "-password"


@pytest.fixture
def database(kube: KubeClient, namespace: str) -> str:
    """A namespace with a Cluster `pg`, the roles `orders` and `orders_owner`, and the database `orders`."""

    def create(kind: str, name: str, spec: Object) -> None:
        metadata = {"name": name, "namespace": namespace}
        kube.create({"apiVersion": API, "kind": kind, "metadata": metadata, "spec": spec})

    create("Cluster", "pg", {"instances": 1, "storage": {"size": "1Gi"}})
    for user in ("orders", "orders_owner"):
        kube.create(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "type": "kubernetes.io/basic-auth",
                "metadata": {"name": secret_of(user), "namespace": namespace},
                "stringData": {"username": user, "password": f"p/{user}"},
            }
        )
        secret = {"name": secret_of(user)}
        role = {"cluster": {"name": "pg"}, "name": user, "login": True, "passwordSecret": secret}
        create("DatabaseRole", user.replace("_", "-"), role)
    schemas = [{"name": "orders", "owner": "orders_owner"}]
    create(
        "Database", "orders", {"cluster": {"name": "pg"}, "name": "orders", "owner": "orders_owner", "schemas": schemas}
    )

    def applied(item: Object | None) -> bool:
        return item is not None and item.get("status", {}).get("applied") is True

    kube.wait_for(API, "Database", "orders", applied, namespace, what="applied")
    kube.wait_for(API, "DatabaseRole", "orders", applied, namespace, what="applied")
    return namespace


def migrate(kube: KubeClient, namespace: str, tag: str, condition: str) -> Object:
    """Run a migration Job with its grants until it has the condition; return its pod."""
    name = f"migrate-{tag.replace('.', '-')}"
    flyway = {
        "FLYWAY_URL": "jdbc:postgresql://pg-rw:5432/orders?sslmode=require",
        "FLYWAY_USER": "orders_owner",
        "FLYWAY_SCHEMAS": "orders",
        "FLYWAY_LOCATIONS": "filesystem:/flyway/sql",
    }
    password = {"secretKeyRef": {"name": secret_of("orders_owner"), "key": "password"}}
    pod = {
        "restartPolicy": "Never",
        "initContainers": [
            {
                "name": "grants",
                "image": "ghcr.io/ameide/hostnode-postgres:17",
                "command": ["sh", "-c", f"set -eu\n{GRANTS}"],
                "env": login("orders_owner"),
            }
        ],
        "containers": [
            {
                "name": "migrate",
                "image": f"ghcr.io/ameide/hostnode-flyway-migrator:{tag}",
                "env": [
                    *({"name": key, "value": value} for key, value in flyway.items()),
                    {"name": "FLYWAY_PASSWORD", "valueFrom": password},
                ],
            }
        ],
    }
    metadata = {"name": name, "namespace": namespace}
    spec = {"backoffLimit": 0, "template": {"spec": pod}}
    kube.create({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec})
    kube.wait_condition("batch/v1", "Job", name, condition, namespace, timeout=60)
    return kube.list("v1", "Pod", namespace, label_selector=f"job-name={name}")[0]


def ended(pod: Object, key: str) -> Object:
    state: Object = pod["status"][key][0]["state"]["terminated"]
    return state


def deploy(kube: KubeClient, namespace: str, tag: str) -> None:
    labels = {"app": "orders"}
    container = {
        "name": "orders",
        "image": f"ghcr.io/ameide/hostnode-orders:{tag}",
        "env": login("orders"),
        "ports": [{"name": "http", "containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": "http"}, "periodSeconds": 1, "timeoutSeconds": 3},
    }
    kube.apply(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "orders", "namespace": namespace},
            "spec": {
                "replicas": 2,
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {"containers": [container], "terminationGracePeriodSeconds": 2},
                },
            },
        }
    )
    service = {"selector": labels, "ports": [{"name": "http", "port": 8080, "targetPort": "http"}]}
    metadata = {"name": "orders", "namespace": namespace}
    kube.apply({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": service})


def eventually(what: str, holds: Callable[[], bool], timeout: float = 20.0) -> None:
    deadline = time.monotonic() + timeout
    while not holds():
        assert time.monotonic() < deadline, f"waited {timeout} s for {what}"
        time.sleep(0.1)


def test_orders_are_kept_per_tenant_by_an_app_that_may_not_do_more(
    platform: Platform, kube: KubeClient, database: str
) -> None:
    pod = migrate(kube, database, "1.1.0", "Complete")
    assert ended(pod, "initContainerStatuses")["message"].strip() == "granted by orders_owner"
    assert ended(pod, "containerStatuses")["message"] == '{"migrationVersion": "2"}'
    deploy(kube, database, "1.12.3")
    kube.wait_condition("apps/v1", "Deployment", "orders", "Available", database)
    host, port = platform.host_node.wait_for_service(database, "orders", 8080)
    with httpx.Client(base_url=f"http://{host}:{port}", trust_env=False, timeout=10) as web:
        tea = web.post("/orders", json={"item": "tea", "quantity": 2}, headers={"x-tenant-id": "a"})
        assert tea.status_code == 201
        assert web.get("/orders", headers={"x-tenant-id": "a"}).json()["orders"] == [tea.json()]
        assert web.get("/orders", headers={"x-tenant-id": "b"}).json() == {"orders": []}
        bad = web.post("/orders", json={"item": "tea", "quantity": 0}, headers={"x-tenant-id": "a"})
        assert (bad.status_code, "positive integer" in bad.text) == (400, True)
    with platform.cnpg.postgres(database, "pg").connect("orders") as connection:
        rights = connection.execute(
            "SELECT rolsuper, rolbypassrls, has_schema_privilege('orders', 'orders', 'CREATE'),"
            " has_table_privilege('orders', 'orders.orders', 'DELETE') FROM pg_roles WHERE rolname = 'orders'"
        ).fetchone()
    assert rights == (False, False, False, False)


def test_a_broken_migration_fails_its_job_with_postgresqls_words(
    platform: Platform, kube: KubeClient, database: str
) -> None:
    pod = migrate(kube, database, "1.2.0-broken", "Failed")
    end = ended(pod, "containerStatuses")
    assert end["exitCode"] == 1
    assert 'relation "orders" already exists' in end["message"]


def test_the_app_is_unready_while_its_database_is_away_and_recovers(
    platform: Platform, kube: KubeClient, database: str
) -> None:
    migrate(kube, database, "1.0.0", "Complete")
    deploy(kube, database, "1.12.3")
    kube.wait_condition("apps/v1", "Deployment", "orders", "Available", database)
    platform.cnpg.stop_postgres(database, "pg")
    kube.wait_condition("apps/v1", "Deployment", "orders", "Available", database, status="False")
    platform.cnpg.start_postgres(database, "pg")
    kube.wait_condition("apps/v1", "Deployment", "orders", "Available", database)


def test_a_broken_build_never_becomes_ready_and_the_old_one_serves_on(
    platform: Platform, kube: KubeClient, database: str
) -> None:
    migrate(kube, database, "1.0.0", "Complete")
    deploy(kube, database, "1.12.3")
    kube.wait_condition("apps/v1", "Deployment", "orders", "Available", database)
    deploy(kube, database, "1.13.0-bad")

    def statuses() -> dict[str, list[bool]]:
        pods = kube.list("v1", "Pod", database, label_selector="app=orders")
        found: dict[str, list[bool]] = {}
        for status in (each for pod in pods for each in pod["status"].get("containerStatuses", [])):
            found.setdefault(status["image"].partition(":")[2], []).append(status["ready"])
        return found

    eventually("a pod of the broken build", lambda: statuses().get("1.13.0-bad") == [False])
    time.sleep(1.5)
    assert statuses() == {"1.12.3": [True, True], "1.13.0-bad": [False]}
    host, port = platform.host_node.wait_for_service(database, "orders", 8080)
    assert httpx.get(f"http://{host}:{port}/healthz", trust_env=False).json()["version"] == "1.12.3"
