"""Canaries: a small Deployment of the new revision comes first, and is promoted or removed; the main one waits."""

from __future__ import annotations

from domain_support import Domains
from test_rollout import V1, V2, deployment, image

from ameide_dev.client import condition_of
from ameide_dev.testing.waiting import until

CRASHES = "ghcr.io/ameide/scenario-crash-loop:1"
CANARY = {"canary": True, "canaryReplicas": 1, "canaryReadySeconds": 2}


def test_healthy_canary_is_promoted(domains: Domains) -> None:
    domains.create(image=V1, replicas=2, rollout=CANARY)
    domains.ready()
    domains.patch(image=V2)
    running = domains.until("Ready", "False", reason="CanaryInProgress")
    assert running["status"]["canary"]["state"] == "Running"
    assert image(domains) == V1
    canary = domains.kube.wait_for(
        "apps/v1", "Deployment", "orders-domain-canary", lambda it: it is not None, domains.namespace
    )
    assert canary["spec"]["template"]["spec"]["containers"][0]["image"] == V2
    domains.ready()
    assert image(domains) == V2
    domains.kube.wait_gone("apps/v1", "Deployment", "orders-domain-canary", domains.namespace, timeout=10)


def test_failing_canary_is_removed_and_the_main_workload_untouched(domains: Domains) -> None:
    domains.create(image=V1, rollout=CANARY)
    domains.ready()
    before = deployment(domains)["metadata"]["generation"]
    domains.patch(image=CRASHES)
    domain = domains.until("Stalled")
    assert condition_of(domain, "Ready")["reason"] == "CanaryFailed"
    assert condition_of(domain, "WorkloadReady")["status"] == "True"
    assert "cannot open configuration" in domain["status"]["blocker"]["message"]
    assert domain["status"]["canary"]["state"] == "Failed"
    domains.kube.wait_gone("apps/v1", "Deployment", "orders-domain-canary", domains.namespace, timeout=10)
    assert deployment(domains)["metadata"]["generation"] == before
    domains.patch(image=V2)
    domains.ready()
    assert image(domains) == V2
    assert "canary" not in domains.get()["status"]


def test_canary_switched_off_goes(domains: Domains) -> None:
    domains.create(image=V1, rollout={**CANARY, "canaryReadySeconds": 600})
    domains.ready()
    domains.patch(image=V2)
    domains.until("Ready", "False", reason="CanaryInProgress")
    domains.patch(rollout={"canary": False})
    domains.ready()
    assert image(domains) == V2
    domains.kube.wait_gone("apps/v1", "Deployment", "orders-domain-canary", domains.namespace, timeout=10)


def test_canary_given_up_by_going_back_goes(domains: Domains) -> None:
    domains.create(image=V1, rollout={**CANARY, "canaryReadySeconds": 600})
    domains.ready()
    domains.patch(image=V2)
    domains.until("Ready", "False", reason="CanaryInProgress")
    domains.patch(image=V1)
    domains.ready()
    domains.kube.wait_gone("apps/v1", "Deployment", "orders-domain-canary", domains.namespace, timeout=10)


def test_canary_pods_are_served_too(domains: Domains) -> None:
    """The Service selects both tracks, but no Job's pods."""
    domains.create(image=V1, rollout={**CANARY, "canaryReadySeconds": 600})
    domains.ready()
    domains.patch(image=V2)

    def endpoints() -> bool:
        slices = domains.kube.list("discovery.k8s.io/v1", "EndpointSlice", domains.namespace)
        targets = {e["targetRef"]["name"] for s in slices for e in s["endpoints"] or () if "targetRef" in e}
        return len(targets) == 2 and any("-canary-" in name for name in targets)

    until("an endpoint of each track", endpoints, timeout=15)
