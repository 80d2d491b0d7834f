"""Databases for the tests on the local platform: `spec.db` of several sorts, and a look into the real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg
from domain_support import Domains

from ameide_dev.client import KubeClient, condition_of
from ameide_dev.platform import Platform

KEYS = {
    "host": "db.example",
    "port": "5432",
    "dbname": "orders",
    "username": "orders",
    "password": "given-by-somebody-else",
    "uri": "postgresql://orders:given-by-somebody-else@db.example:5432/orders",
    "jdbc-uri": "jdbc:postgresql://db.example:5432/orders?user=orders&password=given-by-somebody-else",
}
"""A connection Secret as CloudNativePG's `<cluster>-app` Secrets are; nothing listens there."""


def migrator(scenario: str) -> str:
    """The image of a migrator whose end kwok plays, such as `ok:12`, `fail:1`, `slow:3` or `hang:1`."""
    return f"ghcr.io/ameide/scenario-migrator-{scenario}"


def flyway(tag: str) -> str:
    """The image of the orders migrations, which Flyway really runs: 1.0.0, 1.1.0 or 1.2.0-broken."""
    return f"ghcr.io/ameide/hostnode-flyway-migrator:{tag}"


def open_cluster(kube: KubeClient) -> str:
    """A Ready CloudNativePG Cluster in namespace `cnpg` that every namespace may use: `cnpg/main`."""
    kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "cnpg"}})
    allowed = {"ameide.io/allowed-namespaces": "*"}
    metadata = {"name": "main", "namespace": "cnpg", "annotations": allowed}
    spec = {"instances": 1, "storage": {"size": "1Gi"}}
    kube.apply({"apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster", "metadata": metadata, "spec": spec})
    kube.wait_condition("postgresql.cnpg.io/v1", "Cluster", "main", "Ready", "cnpg", timeout=30)
    return "cnpg/main"


def given_secret(domains: Domains, name: str = "given", keys: Mapping[str, str] | None = None) -> None:
    """A connection Secret of somebody else's, and the Cluster that it would be of."""
    open_cluster(domains.kube)
    metadata = {"name": name, "namespace": domains.namespace}
    manifest = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": dict(keys or KEYS)}
    domains.kube.create(manifest)


def external_secret(domains: Domains, name: str, target: str) -> None:
    """An ExternalSecret that makes a Secret of another name; nobody fetches it."""
    metadata = {"name": name, "namespace": domains.namespace}
    spec = {"target": {"name": target}, "dataFrom": [{"extract": {"key": "orders"}}]}
    api_version = "external-secrets.io/v1"
    domains.kube.create({"apiVersion": api_version, "kind": "ExternalSecret", "metadata": metadata, "spec": spec})


def given(migrator_image: str | None = None, **db: Any) -> dict[str, Any]:
    """`spec.db` with a connection that is given: migrations run without a database, played by kwok."""
    spec: dict[str, Any] = {
        "clusterRef": "cnpg/main",
        "schema": "orders",
        "provisioning": "None",
        "connectionSecretRef": {"name": "given"},
        "migrations": {"backoffLimit": 0},
    }
    if migrator_image:
        spec["migrationJobImage"] = migrator_image
    migrations = {**spec["migrations"], **db.pop("migrations", {})}
    return {**spec, **db, "migrations": migrations}


def real(domains: Domains, cluster: str, tag: str = "1.1.0", **db: Any) -> dict[str, Any]:
    """`spec.db` in a real PostgreSQL, under names of this test's own, migrated by Flyway."""
    return {
        "clusterRef": cluster,
        "schema": "orders",
        "database": database_of(domains),
        "role": role_of(domains),
        "migrationJobImage": flyway(tag),
        **db,
    }


def database_of(domains: Domains) -> str:
    """The database of `real`."""
    return f"d-{domains.namespace[-40:]}"


def role_of(domains: Domains) -> str:
    """The application's role of `real`; the owner's has `_owner` behind it."""
    return f"r-{domains.namespace[-40:]}"


@contextmanager
def superuser(platform: Platform, database: str = "postgres", cluster: str = "main") -> Iterator[psycopg.Connection]:
    """A connection to the PostgreSQL behind `cnpg/<cluster>`, which sees and may do everything."""
    with platform.cnpg.postgres("cnpg", cluster).connect(database) as connection:
        connection.autocommit = True
        yield connection


def databases_and_roles(platform: Platform, domains: Domains) -> set[str]:
    """Which of the database and the two roles of `real` exist."""
    with superuser(platform) as connection:
        names = connection.execute("SELECT datname FROM pg_database UNION ALL SELECT rolname FROM pg_roles").fetchall()
    wanted = {database_of(domains), role_of(domains), f"{role_of(domains)}_owner"}
    return {str(name) for (name,) in names} & wanted


def migration_jobs(domains: Domains) -> list[dict[str, Any]]:
    """The migration Jobs of the namespace, oldest first."""
    jobs = domains.kube.list("batch/v1", "Job", domains.namespace)
    found = [job for job in jobs if "ameide.io/migration-key" in (job["metadata"].get("annotations") or {})]
    return sorted(found, key=lambda job: (job["metadata"]["creationTimestamp"], job["metadata"]["resourceVersion"]))


def outcomes(domains: Domains) -> list[str]:
    """How the migration Jobs of the namespace stand: `complete`, `failed` or `running`, sorted."""

    def outcome(job: dict[str, Any]) -> str:
        complete, failed = (condition_of(job, name) for name in ("Complete", "Failed"))
        return "complete" if complete else "failed" if failed else "running"

    return sorted(outcome(job) for job in migration_jobs(domains))
