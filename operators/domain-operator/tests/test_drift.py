"""Drift: whatever somebody deletes or edits of a Domain's children comes back as it should be."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from databases import database_of, given, given_secret, migration_jobs, migrator, real, superuser
from domain_support import Domains

from ameide_dev.client import condition_of
from ameide_dev.platform import Platform
from ameide_dev.testing.resources import content

V1, V2 = "ghcr.io/ameide/orders-domain:1.0.0", "ghcr.io/ameide/orders-domain:1.1.0"
EVERYTHING = {"autoscaling": {"minReplicas": 2, "maxReplicas": 5}}

CHILDREN: dict[str, tuple[str, dict[str, Any]]] = {
    "Deployment": ("apps/v1", {"spec": {"template": {"metadata": {"labels": {"ameide.io/tier": "frontend"}}}}}),
    "Service": ("v1", {"spec": {"selector": {"somebody": "else"}}}),
    "NetworkPolicy": ("networking.k8s.io/v1", {"spec": {"ingress": [{}]}}),
    "ServiceAccount": ("v1", {"automountServiceAccountToken": True}),
    "ControllerRevision": ("apps/v1", {"metadata": {"labels": {"ameide.io/tier": "frontend"}}}),
    "HorizontalPodAutoscaler": ("autoscaling/v2", {"spec": {"maxReplicas": 100}}),
    "PodDisruptionBudget": ("policy/v1", {"metadata": {"labels": {"ameide.io/tier": "frontend"}}}),
    "ServiceMonitor": ("monitoring.coreos.com/v1", {"spec": {"endpoints": [{"path": "/else", "port": "http"}]}}),
}
"""Every kind of child of a Domain without a database, and an edit that must not stay."""


def child_of(domains: Domains, kind: str) -> dict[str, Any]:
    """The only child of a kind."""
    (found,) = (
        child
        for child in domains.kube.list(CHILDREN[kind][0], kind, domains.namespace)
        if child["metadata"]["name"].startswith("orders-domain")
    )
    return found


@pytest.mark.parametrize("kind", CHILDREN)
def test_deleted_child_comes_back(domains: Domains, kind: str) -> None:
    domains.create(**EVERYTHING)
    domains.ready()
    before = child_of(domains, kind)
    api_version, name = before["apiVersion"], before["metadata"]["name"]
    domains.kube.delete(api_version, kind, name, domains.namespace)
    after = domains.kube.wait_for(
        api_version,
        kind,
        name,
        lambda it: bool(it) and it["metadata"]["uid"] != before["metadata"]["uid"],
        domains.namespace,
        timeout=10,
    )
    if kind not in ("Service", "Deployment"):  # these get an address, and the autoscaler's count
        assert content(after) == content(before)
    domains.ready()


@pytest.mark.parametrize("kind", CHILDREN)
def test_edited_child_is_put_right(domains: Domains, kind: str) -> None:
    domains.create(**EVERYTHING)
    domains.ready()
    before = child_of(domains, kind)
    api_version, edit = CHILDREN[kind]
    name = before["metadata"]["name"]
    edited = domains.kube.merge_patch(api_version, kind, name, edit, domains.namespace)
    assert content(edited) != content(before)
    domains.kube.wait_for(
        api_version, kind, name, lambda it: bool(it) and content(it) == content(before), domains.namespace, timeout=10
    )


@pytest.mark.parametrize("kind", ["Deployment", "Service", "ControllerRevision"])
def test_child_without_its_labels_is_found_again(domains: Domains, kind: str) -> None:
    """Without the label that watches select it is out of sight, but still ours."""
    domains.create()
    domains.ready()
    before = child_of(domains, kind)
    api_version, name = before["apiVersion"], before["metadata"]["name"]
    without = {"metadata": {"labels": {"app.kubernetes.io/managed-by": None}}}
    domains.kube.merge_patch(api_version, kind, name, without, domains.namespace)
    after = domains.kube.wait_for(
        api_version,
        kind,
        name,
        lambda it: bool(it) and it["metadata"]["labels"] == before["metadata"]["labels"],
        domains.namespace,
        timeout=10,
    )
    assert after["metadata"]["uid"] == before["metadata"]["uid"]


def held_back(domains: Domains) -> dict[str, Any]:
    """V1 runs and V2 is held back by its failed migration; the Deployment."""
    given_secret(domains)
    domains.create(image="ghcr.io/ameide/orders-domain:0.9.0", db=given(migrator("ok:6")))
    domains.ready()
    domains.patch(image=V1)
    domains.ready()
    domains.patch(image=V2, db={"migrationJobImage": migrator("fail:1")})
    domains.until("MigrationFailed")
    return child_of(domains, "Deployment")


def test_current_revision_is_rebuilt_while_another_is_held_back(domains: Domains) -> None:
    before = held_back(domains)
    domains.kube.delete("apps/v1", "Deployment", "orders-domain", domains.namespace)
    after = domains.kube.wait_for(
        "apps/v1",
        "Deployment",
        "orders-domain",
        lambda it: bool(it) and it["metadata"]["uid"] != before["metadata"]["uid"],
        domains.namespace,
    )
    assert after["spec"]["template"] == before["spec"]["template"]
    domain = domains.until("WorkloadReady")
    assert condition_of(domain, "Ready")["reason"] == "MigrationFailed"
    assert len(migration_jobs(domains)) == 3


def test_lost_revision_does_not_bring_an_older_one_back(domains: Domains) -> None:
    """Its ControllerRevision is gone, but the Deployment still is what was released last."""
    before = held_back(domains)
    current = domains.get()["status"]["revision"]["current"]
    name = f"orders-domain-{current}"
    domains.kube.delete("apps/v1", "ControllerRevision", name, domains.namespace)
    domains.annotate(reconcile_at="now")
    domains.patch(replicas=3)  # seen and done, so the deletion has been seen as well
    domains.kube.wait_for(
        "apps/v1", "Deployment", "orders-domain", lambda it: bool(it) and it["spec"]["replicas"] == 3, domains.namespace
    )
    after = child_of(domains, "Deployment")
    assert after["spec"]["template"] == before["spec"]["template"]
    domains.patch(image=V1, db={"migrationJobImage": migrator("ok:6")})
    domains.ready()
    assert domains.child("apps/v1", "ControllerRevision", name) is not None
    assert child_of(domains, "Deployment")["spec"]["template"] == before["spec"]["template"]


def test_service_account_of_what_runs_stays_while_another_is_held_back(domains: Domains) -> None:
    held_back(domains)
    domains.patch(security={"serviceAccountName": "orders-two"})
    domains.until("MigrationFailed")
    first = domains.child("v1", "ServiceAccount", "orders-domain")
    assert first is not None
    domains.kube.delete("v1", "ServiceAccount", "orders-domain", domains.namespace)
    domains.kube.wait_for("v1", "ServiceAccount", "orders-domain", lambda it: it is not None, domains.namespace)
    domains.patch(db={"migrationJobImage": migrator("ok:8")})
    domains.ready()
    assert child_of(domains, "Deployment")["spec"]["template"]["spec"]["serviceAccountName"] == "orders-two"
    domains.kube.wait_gone("v1", "ServiceAccount", "orders-domain", domains.namespace, timeout=10)


def test_database_objects_and_secrets_come_back_with_the_same_data(
    chart: Platform, domains: Domains, cluster: str
) -> None:
    """CloudNativePG objects and connection Secrets, deleted and edited one after the other; the data is untouched."""
    domains.create(db=real(domains, cluster))
    domains.ready(timeout=60)
    with superuser(chart, database_of(domains)) as connection:
        connection.execute("INSERT INTO orders.orders (tenant_id, item, quantity) VALUES ('t123', 'chair', 1)")
    selector = f"ameide.io/owner-namespace={domains.namespace}"
    kinds = [("postgresql.cnpg.io/v1", "Database"), ("postgresql.cnpg.io/v1", "DatabaseRole")]
    for api_version, kind in kinds:
        for before in domains.kube.list(api_version, kind, "cnpg", label_selector=selector):
            name = before["metadata"]["name"]
            domains.kube.merge_patch(api_version, kind, name, {"spec": {_POLICY[kind]: "delete"}}, "cnpg")
            domains.kube.wait_for(
                api_version,
                kind,
                name,
                lambda it, k=kind: bool(it) and it["spec"][_POLICY[k]] == "retain",
                "cnpg",
                timeout=10,
            )
            domains.kube.delete(api_version, kind, name, "cnpg")
            domains.kube.wait_for(
                api_version,
                kind,
                name,
                lambda it, b=before: (
                    bool(it)
                    and it["metadata"]["uid"] != b["metadata"]["uid"]
                    and it.get("status", {}).get("applied") is True
                ),
                "cnpg",
                timeout=20,
            )
    pods = child_of(domains, "Deployment")["metadata"]["generation"]
    for name in ("orders-domain-db", "orders-domain-db-owner"):
        before = domains.child("v1", "Secret", name)
        assert before is not None
        wrong = {"data": {"password": base64.b64encode(b"wrong").decode()}}
        domains.kube.merge_patch("v1", "Secret", name, wrong, domains.namespace)
        same = lambda it, b=before: bool(it) and it["data"] == b["data"]  # noqa: E731 - used twice, three lines on
        domains.kube.wait_for("v1", "Secret", name, same, domains.namespace, timeout=10)
        domains.kube.delete("v1", "Secret", name, domains.namespace)
        domains.kube.wait_for("v1", "Secret", name, same, domains.namespace, timeout=10)
    domains.ready()
    assert len(migration_jobs(domains)) == 1
    assert child_of(domains, "Deployment")["metadata"]["generation"] == pods, (
        "pods rolled for what is put right at once"
    )
    with superuser(chart, database_of(domains)) as connection:
        assert connection.execute("SELECT count(*) FROM orders.orders").fetchone() == (1,)


_POLICY = {"Database": "databaseReclaimPolicy", "DatabaseRole": "databaseRoleReclaimPolicy"}
