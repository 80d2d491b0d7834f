"""Borders between tenants: whose Cluster a Domain may name, and whether its namespace belongs to a tenant."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from databases import given, given_secret, migration_jobs, migrator, real
from domain_support import Domains
from tenants import CLUSTERS, annotate_cluster, claims, make_cluster

from ameide_dev.client import KubeClient, condition_of
from ameide_dev.operators import OperatorProcess
from ameide_dev.platform import Platform
from ameide_dev.testing.resources import API
from ameide_dev.testing.subject import StartOperator

MakeNamespace = Callable[..., str]


@pytest.fixture(scope="module")
def private(chart: Platform, kube: KubeClient) -> str:
    """A Cluster that consents to nobody."""
    return make_cluster(kube, "private")


@pytest.fixture
def closed(private: str, kube: KubeClient) -> str:
    """The private Cluster, as it was made."""
    annotate_cluster(kube, "private", None)
    return private


def test_cluster_of_another_namespace_needs_consent(domains: Domains, kube: KubeClient, closed: str) -> None:
    """The refusal names the field and both ways to consent; nothing is made beside the Cluster meanwhile."""
    domains.create(db=real(domains, closed))
    domain = domains.until("DBReady", "False", reason="ReferenceNotPermitted")
    blocker = domain["status"]["blocker"]
    assert blocker["reason"] == "ReferenceNotPermitted"
    assert blocker["object"] == f"Cluster {closed}"
    assert "spec.db.clusterRef" in blocker["message"]
    assert f'ameide.io/allowed-namespaces: "{domains.namespace}"' in blocker["remedy"]
    assert "references.allowed" in blocker["remedy"]
    assert claims(kube, domains) == []
    assert domains.child("apps/v1", "Deployment", "orders-domain") is None


def test_consent_by_annotation_is_noticed(domains: Domains, kube: KubeClient, closed: str) -> None:
    domains.create(db=real(domains, closed))
    domains.until("DBReady", "False", reason="ReferenceNotPermitted")
    annotate_cluster(kube, "private", f"somebody-else, {domains.namespace[:-3]}*")
    domains.until("DBReady")


def test_glob_that_does_not_match_is_no_consent(domains: Domains, kube: KubeClient, closed: str) -> None:
    annotate_cluster(kube, "private", f"{domains.namespace}-2, x{domains.namespace}, {domains.namespace[:-1]}")
    domains.create(db=real(domains, closed))
    domains.until("DBReady", "False", reason="ReferenceNotPermitted")
    assert claims(kube, domains) == []


def test_consent_taken_back_stops_nothing_that_runs(domains: Domains, kube: KubeClient, closed: str) -> None:
    annotate_cluster(kube, "private", domains.namespace)
    domains.create(db=real(domains, closed))
    domains.ready()
    before = domains.child("apps/v1", "Deployment", "orders-domain")
    border = domains.child("networking.k8s.io/v1", "NetworkPolicy", "orders-domain")
    assert "'cnpg.io/cluster': 'private'" in str(border["spec"]["egress"] if border else "")
    annotate_cluster(kube, "private", None)
    domain = domains.until("DBReady", "False", reason="ReferenceNotPermitted")
    assert condition_of(domain, "WorkloadReady")["status"] == "True"
    after = domains.child("apps/v1", "Deployment", "orders-domain")
    assert before is not None
    assert after is not None
    assert after["metadata"]["generation"] == before["metadata"]["generation"]
    assert domains.child("networking.k8s.io/v1", "NetworkPolicy", "orders-domain") == border, "its way is cut"


def test_given_secret_opens_no_cluster(domains: Domains, kube: KubeClient, closed: str) -> None:
    """Whoever knows a password still needs the consent of the Cluster: no migration hangs without a word."""
    given_secret(domains)
    domains.create(db=given(migrator("ok:1"), clusterRef=closed))
    domain = domains.until("DBReady", "False", reason="ReferenceNotPermitted")
    assert condition_of(domain, "MigrationSucceeded")["reason"] == "Blocked"
    assert migration_jobs(domains) == []
    annotate_cluster(kube, "private", domains.namespace)
    domains.ready()


def test_settings_can_consent_for_a_cluster(
    start_operator: StartOperator, make_namespace: MakeNamespace, kube: KubeClient, closed: str
) -> None:
    own, other = make_namespace("own-a"), make_namespace("own-b")
    start_operator("own-", AMEIDE_REFERENCES__ALLOWED=f'[{{"from": "{own}", "to": "{CLUSTERS[:2]}*"}}]')
    allowed, refused = Domains(kube, own), Domains(kube, other)
    for domains in (allowed, refused):
        domains.create(db=real(domains, closed))
    refused.until("DBReady", "False", reason="ReferenceNotPermitted")
    allowed.until("DBReady")
    assert claims(kube, refused) == []


def test_cluster_of_the_own_namespace_needs_no_consent(domains: Domains, kube: KubeClient) -> None:
    """It is named without its namespace."""
    make_cluster(kube, "near", namespace=domains.namespace)
    domains.create(db=real(domains, "near"))
    domain = domains.ready()
    assert domain["status"]["db"]["clusterRef"] == f"{domains.namespace}/near"


def test_namespace_without_a_tenant_is_refused(
    operator: OperatorProcess, make_namespace: MakeNamespace, kube: KubeClient
) -> None:
    namespace = make_namespace(labels={})
    domains = Domains(kube, namespace)
    domains.create()
    domain = domains.until("Ready", "False", reason="TenantLabelMissing")
    assert f"Namespace {namespace}" in domain["status"]["blocker"]["object"]
    assert "ameide.io/tenant-id" in domain["status"]["blocker"]["remedy"]
    assert "tenancy.requireLabel" in domain["status"]["blocker"]["remedy"]
    assert domains.child("apps/v1", "Deployment", "orders-domain") is None
    kube.merge_patch("v1", "Namespace", namespace, {"metadata": {"labels": {"ameide.io/tenant-id": "t7"}}})
    domains.ready()
    deployment = domains.child("apps/v1", "Deployment", "orders-domain")
    assert deployment is not None
    env = deployment["spec"]["template"]["spec"]["containers"][0]["env"]
    assert {"name": "AMEIDE_TENANT_ID", "value": "t7"} in env


def test_settings_can_do_without_tenants(
    start_operator: StartOperator, make_namespace: MakeNamespace, kube: KubeClient
) -> None:
    namespace = make_namespace("own", labels={})
    start_operator(namespace, AMEIDE_TENANCY__REQUIRE_LABEL="false")
    domains = Domains(kube, namespace)
    domains.create()
    domains.ready()


def test_objects_that_claim_to_be_anothers_children_change_nothing(
    domains: Domains, make_namespace: MakeNamespace, kube: KubeClient
) -> None:
    """Labels anybody can write: in a stranger's namespace they make no child, and the status does not show them."""
    domains.create()
    before = domains.ready()
    stranger = make_namespace()
    forged = {
        "app.kubernetes.io/managed-by": "domain-operator",
        "ameide.io/primitive": "domain",
        "ameide.io/owner-namespace": domains.namespace,
        "ameide.io/owner-name": "orders",
        "ameide.io/name": "orders",
        "ameide.io/track": "stable",
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "forged", "namespace": stranger, "labels": forged},
        "spec": {"containers": [{"name": "orders", "image": "ghcr.io/ameide/scenario-crash-loop:1"}]},
    }
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "orders-domain-db", "namespace": stranger, "labels": forged},
        "stringData": {"password": "x"},
    }
    kube.create(pod)
    kube.create(secret)
    kube.wait_for(
        "v1", "Pod", "forged", lambda it: bool((it or {}).get("status", {}).get("containerStatuses")), stranger
    )
    domains.annotate(reconcile_at="now")
    domains.patch(podAnnotations={"example.com/round": "2"})
    after = domains.ready()
    assert {**after["status"]["workload"]} == before["status"]["workload"]
    assert kube.find("v1", "Secret", "orders-domain-db", stranger) is not None
    assert kube.find(API, "Domain", "orders", stranger) is None
