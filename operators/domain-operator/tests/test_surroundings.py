"""What stands around a Domain: objects of others, optional APIs, pausing, policies, and what it says of its pods."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from databases import KEYS, external_secret, given, given_secret, migrator
from domain_support import Domains

from ameide_dev import crds
from ameide_dev.client import KubeClient, condition_of
from ameide_dev.platform import Platform
from ameide_dev.testing.subject import StartOperator
from ameide_dev.testing.waiting import until

V1, V2 = "ghcr.io/ameide/orders-domain:1.0.0", "ghcr.io/ameide/orders-domain:1.1.0"
MONITORS = "servicemonitors.monitoring.coreos.com"
EXTERNAL = "externalsecrets.external-secrets.io"


def image(domains: Domains) -> str:
    found = domains.child("apps/v1", "Deployment", "orders-domain")
    assert found is not None
    return found["spec"]["template"]["spec"]["containers"][0]["image"]


# --- objects of others -----------------------------------------------------------------------------------------------


def test_foreign_child_is_left_alone_until_it_goes(domains: Domains) -> None:
    """An object of the same name is never taken over; the other children are written all the same."""
    domains.kube.create(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "orders-domain", "namespace": domains.namespace},
            "spec": {"ports": [{"port": 80}], "selector": {"app": "somebody-else"}},
        }
    )
    domains.create()
    domain = domains.until("Ready", "False", reason="ChildConflict")
    blocker = domain["status"]["blocker"]
    assert blocker["object"] == "Service orders-domain"
    assert "rename or delete" in blocker["remedy"]
    assert image(domains)
    service = domains.child("v1", "Service", "orders-domain")
    assert service is not None
    assert service["spec"]["selector"] == {"app": "somebody-else"}
    domains.kube.delete("v1", "Service", "orders-domain", domains.namespace)
    domains.annotate(reconcile_at="freed")
    domains.ready(timeout=10)


def test_service_account_of_others_needs_its_consent(domains: Domains) -> None:
    metadata: dict[str, Any] = {"name": "shared", "namespace": domains.namespace}
    domains.kube.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})
    domains.create()
    domains.ready()
    domains.patch(security={"serviceAccountName": "shared"}, image=V2)
    domain = domains.until("Ready", "False", reason="ServiceAccountNotPermitted")
    assert "ameide.io/allow-use" in domain["status"]["blocker"]["remedy"]
    assert condition_of(domain, "WorkloadReady")["status"] == "True"
    assert domains.child("v1", "ServiceAccount", "orders-domain") is not None
    consent = {"metadata": {"annotations": {"ameide.io/allow-use": "true"}}}
    domains.kube.merge_patch("v1", "ServiceAccount", "shared", consent, domains.namespace)
    domains.ready(timeout=25)
    shared = domains.child("v1", "ServiceAccount", "shared")
    assert shared is not None
    assert not shared["metadata"].get("ownerReferences")
    assert image(domains) == V2


def test_named_service_account_is_made_where_there_is_none(domains: Domains) -> None:
    domains.create(security={"serviceAccountName": "of-orders"})
    domains.ready()
    account = domains.child("v1", "ServiceAccount", "of-orders")
    assert account is not None
    assert account["metadata"]["ownerReferences"][0]["name"] == "orders"


def test_given_connection_secret_is_waited_for(domains: Domains) -> None:
    """Missing, then without its keys, then complete: each is said, and noticed without being told."""
    domains.create(db=given(migrator("ok:7")))
    domain = domains.until("Ready", "False", reason="SecretNotFound")
    assert domain["status"]["blocker"]["object"] == "Secret given"
    given_secret(domains, keys={"host": "db.example"})
    domain = domains.until("Ready", "False", reason="SecretKeyMissing", timeout=15)
    message = domain["status"]["blocker"]["message"]
    assert all(key in message for key in ("password", "username", "dbname", "port", "uri"))
    assert "jdbc-uri" not in message
    domains.kube.merge_patch("v1", "Secret", "given", {"stringData": KEYS}, domains.namespace)
    assert domains.ready(timeout=25)["status"]["db"]["secretName"] == "given"


def test_external_secret_leads_to_its_target(domains: Domains, cluster: str) -> None:
    reference = {"kind": "ExternalSecret", "name": "orders-db"}
    domains.create(db=given(migrator("ok:7"), connectionSecretRef=reference))
    domain = domains.until("Ready", "False", reason="SecretNotFound")
    assert domain["status"]["blocker"]["object"] == "ExternalSecret orders-db"
    external_secret(domains, "orders-db", target="given")
    given_secret(domains)
    domain = domains.ready(timeout=25)
    assert domain["status"]["db"]["secretName"] == "given"
    container = domains.child("apps/v1", "Deployment", "orders-domain")["spec"]["template"]["spec"]["containers"][0]  # type: ignore[index]
    host = next(variable for variable in container["env"] if variable["name"] == "PGHOST")
    assert host["valueFrom"]["secretKeyRef"]["name"] == "given"


# --- optional APIs ---------------------------------------------------------------------------------------------------


def without(kube: KubeClient, source: str, name: str) -> Iterator[Callable[[], None]]:
    """A cluster without a CustomResourceDefinition; call what it yields to install it."""
    kube.delete("apiextensions.k8s.io/v1", "CustomResourceDefinition", name, wait=20)

    def install() -> None:
        crds.install_objects([crd for crd in crds.load(source) if crd["metadata"]["name"] == name], kube)
        kube.wait_condition("apiextensions.k8s.io/v1", "CustomResourceDefinition", name, "Established", timeout=20)

    yield install
    install()


@pytest.fixture
def without_monitors(kube: KubeClient, domains: Domains) -> Iterator[Callable[[], None]]:
    """A cluster without the ServiceMonitor API, until it is called."""
    yield from without(kube, "prometheus-operator", MONITORS)


@pytest.fixture
def without_external_secrets(kube: KubeClient, chart: Platform) -> Iterator[Callable[[], None]]:
    """A cluster without the ExternalSecret API, until it is called."""
    yield from without(kube, "external-secrets", EXTERNAL)


def test_service_monitor_api_may_be_installed_later(domains: Domains, without_monitors: Callable[[], None]) -> None:
    domains.create()
    domains.ready()
    without_monitors()
    domains.kube.wait_for(
        "monitoring.coreos.com/v1",
        "ServiceMonitor",
        "orders-domain",
        lambda it: it is not None,
        domains.namespace,
        timeout=20,
    )


def test_external_secret_api_that_is_missing_is_told_and_noticed_when_it_comes(
    without_external_secrets: Callable[[], None],
    start_operator: StartOperator,
    make_namespace: Callable[..., str],
    kube: KubeClient,
    cluster: str,
) -> None:
    domains = Domains(kube, make_namespace("own"))
    start_operator(domains.namespace)
    reference = {"kind": "ExternalSecret", "name": "orders-db"}
    domains.create(db=given(migrator("ok:7"), clusterRef=cluster, connectionSecretRef=reference))
    domain = domains.until("Ready", "False", reason="APINotInstalled", timeout=20)
    assert "install external-secrets" in domain["status"]["blocker"]["remedy"]
    without_external_secrets()
    domains.until("Ready", "False", reason="SecretNotFound", timeout=20)


# --- pausing and waking ----------------------------------------------------------------------------------------------


def test_paused_domain_is_reported_but_not_written(domains: Domains) -> None:
    domains.create(image=V1)
    domains.ready()
    domains.annotate(paused="true")
    domains.until("Paused")
    domains.patch(image=V2, replicas=3)
    domains.kube.delete("v1", "Service", "orders-domain", domains.namespace)
    domain = domains.until("WorkloadReady", "False")
    assert domain["status"]["observedGeneration"] == domain["metadata"]["generation"]
    assert image(domains) == V1
    assert domains.child("v1", "Service", "orders-domain") is None
    domains.annotate(paused=None)
    assert condition_of(domains.ready(), "Paused") is None
    assert image(domains) == V2
    assert domains.child("v1", "Service", "orders-domain") is not None


def test_pausing_by_another_word_is_reported_and_does_not_pause(domains: Domains) -> None:
    domains.create(annotations={"ameide.io/paused": "yes"})
    domain = domains.ready()
    condition = domains.until("Paused", "False", reason="InvalidAnnotation")
    assert '"true" or "false"' in condition_of(condition, "Paused")["message"]
    assert domain["status"]["workload"]["readyReplicas"] == 1


# --- policies --------------------------------------------------------------------------------------------------------


def test_unknown_network_profile_holds_the_change_back(domains: Domains) -> None:
    domains.create(image=V1)
    domains.ready()
    domains.patch(image=V2, security={"networkProfile": "backend2"})
    domain = domains.until("Stalled")
    assert condition_of(domain, "Ready")["reason"] == "InvalidSpec"
    assert "backend2" in domain["status"]["blocker"]["message"]
    assert "backend, frontend, isolated, open" in domain["status"]["blocker"]["remedy"]
    assert condition_of(domain, "WorkloadReady")["status"] == "True"
    domains.kube.delete("apps/v1", "Deployment", "orders-domain", domains.namespace)
    domains.kube.wait_for("apps/v1", "Deployment", "orders-domain", lambda it: it is not None, domains.namespace)
    assert image(domains) == V1


def test_image_policy_holds_the_current_revision(
    kube: KubeClient, make_namespace: Callable[..., str], start_operator: StartOperator
) -> None:
    domains = Domains(kube, make_namespace("own"))
    start_operator(domains.namespace, AMEIDE_IMAGES__ALLOWED="ghcr.io/ameide/*", AMEIDE_IMAGES__REFUSE_LATEST="true")
    domains.create(image=V1)
    domains.ready()
    for refused, named in (("docker.io/evil/orders:1", "ghcr.io/ameide/*"), ("ghcr.io/ameide/orders:latest", "latest")):
        domains.patch(image=refused)
        domain = domains.until("Stalled")
        assert condition_of(domain, "Ready")["reason"] == "ImageNotAllowed"
        blocker = domain["status"]["blocker"]
        assert "spec.image" in blocker["message"]
        assert named in blocker["message"] + blocker["remedy"]
        assert condition_of(domain, "WorkloadReady")["status"] == "True"
        assert image(domains) == V1
    domains.patch(image=V2)
    domains.ready()
    assert image(domains) == V2


# --- what is said of pods --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scenario", "said", "remedy"),
    [
        ("image-pull-backoff", "ImagePullBackOff", "image"),
        ("crash-loop", "exit code 1", "log"),
        ("oom", "memory", "memory"),
        ("unschedulable", "cannot be scheduled", "spec."),
    ],
)
def test_real_cause_of_pods_that_do_not_come_up(domains: Domains, scenario: str, said: str, remedy: str) -> None:
    domains.create(image=f"ghcr.io/ameide/scenario-{scenario}:1")

    def told() -> dict[str, Any] | None:
        domain = domains.get()
        return domain if said in domain.get("status", {}).get("blocker", {}).get("message", "") else None

    domain = until(f"{said!r} in the blocker's message", told, timeout=15)
    assert condition_of(domain, "Ready")["reason"] == "DeploymentNotReady"
    assert condition_of(domain, "Degraded")["status"] == "True"
    assert remedy in domain["status"]["blocker"]["remedy"]
    assert domain["status"]["blocker"]["object"].startswith("Pod ")


def test_exceeded_quota_is_named(domains: Domains) -> None:
    metadata = {"name": "small", "namespace": domains.namespace}
    domains.kube.create(
        {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata, "spec": {"hard": {"pods": "1"}}}
    )
    until(
        "the quota counts",
        lambda: domains.kube.get("v1", "ResourceQuota", "small", domains.namespace).get("status", {}).get("hard"),
        timeout=10,
    )
    domains.create(replicas=2)
    domain = domains.until("Degraded")
    assert "exceeded quota: small" in domain["status"]["blocker"]["message"]
    assert "raise the ResourceQuota" in domain["status"]["blocker"]["remedy"]


def test_slow_start_is_no_failure(domains: Domains) -> None:
    domains.create(image="ghcr.io/ameide/scenario-slow-start:1")
    domain = domains.until("Ready", "False")
    assert condition_of(domain, "Degraded")["status"] == "False"
    assert condition_of(domain, "Reconciling")["status"] == "True"
    domains.ready()


# --- for people ------------------------------------------------------------------------------------------------------


def test_kubectl_wait_and_columns(chart: Platform, domains: Domains) -> None:
    domains.create()
    out = chart.kubectl("wait", "--for=condition=Ready", "domain/orders", "-n", domains.namespace, "--timeout=20s")
    assert "condition met" in out
    header, row = chart.kubectl("get", "domains", "-n", domains.namespace, "-o", "wide").splitlines()
    columns = header.split()
    assert columns[:3] == ["NAME", "READY", "REASON"]
    assert columns[-2:] == ["AGE", "MESSAGE"]
    assert row.split()[:3] == ["orders", "True", "AllResourcesHealthy"]
    assert "domain.ameide.io/orders" in chart.kubectl("get", "ameide", "-n", domains.namespace, "-o", "name")
    domains.patch(image="ghcr.io/ameide/scenario-image-pull-backoff:1")
    domains.until("Degraded")
    _, row = chart.kubectl("get", "domain", "orders", "-n", domains.namespace, "-o", "wide").splitlines()
    assert row.split()[:3] == ["orders", "False", "DeploymentNotReady"]
    assert "ImagePull" in row


def test_transitions_are_told_once(domains: Domains) -> None:
    """One Event per transition of Ready, however many passes there are."""
    domains.create()
    domains.ready()
    for number in range(3):
        domains.annotate(reconcile_at=str(number))
        domains.patch(replicas=number + 1)
        domains.ready()

    def told() -> list[dict[str, Any]]:
        events = domains.kube.list("events.k8s.io/v1", "Event", domains.namespace)
        return [event for event in events if event["regarding"]["kind"] == "Domain"]

    events = until("Events about the Domain", told, timeout=10)
    keys = [(event["reason"], event["note"]) for event in events]
    assert len(keys) == len(set(keys))
    assert any(event["reason"] == "AllResourcesHealthy" and event["type"] == "Normal" for event in events)
