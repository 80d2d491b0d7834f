"""Clusters of other tenants, and how a test looks into PostgreSQL as one of the roles that were made for a Domain."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg
from domain_support import Domains

from ameide_dev.client import KubeClient
from ameide_dev.platform import Platform
from ameide_dev.testing.resources import secret_values

CNPG_API = "postgresql.cnpg.io/v1"
CLUSTERS = "cnpg"
"""Namespace of the Clusters."""
OURS = "app.kubernetes.io/managed-by=domain-operator"


def make_cluster(
    kube: KubeClient, name: str, *, annotations: Mapping[str, str] | None = None, namespace: str = CLUSTERS, **spec: Any
) -> str:
    """A Ready Cluster with a PostgreSQL of its own; its reference."""
    kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    kube.apply(
        {
            "apiVersion": CNPG_API,
            "kind": "Cluster",
            "metadata": {"name": name, "namespace": namespace, "annotations": dict(annotations or {})},
            "spec": {"instances": 1, "storage": {"size": "1Gi"}, **spec},
        }
    )
    kube.wait_condition(CNPG_API, "Cluster", name, "Ready", namespace, timeout=30)
    return f"{namespace}/{name}"


def annotate_cluster(kube: KubeClient, name: str, allowed: str | None, namespace: str = CLUSTERS) -> None:
    """Set, or with None take away, the namespaces that may refer to a Cluster."""
    annotations = {"ameide.io/allowed-namespaces": allowed}
    kube.merge_patch(CNPG_API, "Cluster", name, {"metadata": {"annotations": annotations}}, namespace)


def connection_values(domains: Domains, *, owner: bool = False, name: str = "orders") -> dict[str, str]:
    """What the application's pods, or with `owner` the migrations, get to connect with."""
    return secret_values(domains.kube, domains.namespace, f"{name}-domain-db{'-owner' if owner else ''}")


def open_session(
    platform: Platform,
    domains: Domains,
    *,
    owner: bool = False,
    name: str = "orders",
    cluster: str = "main",
    **overrides: Any,
) -> psycopg.Connection:
    """A session by the DATABASE_URL of a Domain's connection Secret; only the address is that of the test's machine."""
    server = platform.cnpg.postgres(CLUSTERS, cluster)
    uri = connection_values(domains, owner=owner, name=name)["uri"]
    address = {"hostaddr": server.host, "port": server.port}
    return psycopg.connect(uri, **{**address, "connect_timeout": 5, "autocommit": True, **overrides})


@contextmanager
def session(platform: Platform, domains: Domains, **options: Any) -> Iterator[psycopg.Connection]:
    """`open_session`, closed at the end."""
    with open_session(platform, domains, **options) as connection:
        yield connection


def claims(kube: KubeClient, domains: Domains, name: str = "orders", namespace: str = CLUSTERS) -> list[str]:
    """What of a Domain is in the Clusters' namespace, as `Kind/name`."""
    selector = f"ameide.io/owner-namespace={domains.namespace},ameide.io/owner-name={name}"
    kinds = ((CNPG_API, "Database"), (CNPG_API, "DatabaseRole"), ("v1", "Secret"), ("batch/v1", "Job"))
    return [
        f"{kind}/{found['metadata']['name']}"
        for api_version, kind in kinds
        for found in kube.list(api_version, kind, namespace, label_selector=selector)
    ]
