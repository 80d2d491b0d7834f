"""What a Process depends on: Domains that become Ready, consent over namespaces, and what wakes nobody."""

from __future__ import annotations

import time

from processes import Around, Processes

from ameide_dev.client import KubeClient
from ameide_dev.operators import OperatorProcess
from ameide_dev.platform import Platform
from ameide_dev.pytest_plugin import NamespaceMaker
from ameide_dev.testing.subject import StartOperator, metric
from ameide_dev.testing.traffic import asked, settled
from ameide_dev.testing.waiting import until

DOMAIN = {"image": "ghcr.io/ameide/sales-domain:1.0.0"}


def make_domain(processes: Processes, namespace: str | None = None, **annotations: str) -> None:
    """A Domain that no operator looks after: the test writes its status."""
    metadata = {"name": "sales", "namespace": namespace or processes.namespace, "annotations": annotations}
    processes.kube.create({"apiVersion": "ameide.io/v1", "kind": "Domain", "metadata": metadata, "spec": DOMAIN})


def say(processes: Processes, status: str, message: str = "", namespace: str | None = None) -> None:
    """Write the Domain's condition Ready."""
    where = namespace or processes.namespace
    live = processes.kube.get("ameide.io/v1", "Domain", "sales", where)
    condition = {
        "type": "Ready",
        "status": status,
        "reason": "AllResourcesHealthy" if status == "True" else "DeploymentNotReady",
        "message": message,
        "observedGeneration": live["metadata"]["generation"],
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    processes.kube.patch_status("ameide.io/v1", "Domain", "sales", {"conditions": [condition]}, where)


def test_ready_domain_wakes_the_process_at_once(
    processes: Processes, platform: Platform, operator: OperatorProcess
) -> None:
    """Within a second, and without a request while it waits: a watch tells."""
    processes.create(replicas=0, dependencies={"domains": [{"name": "sales"}]})
    processes.until("DependenciesReady", "False", reason="DependencyNotFound")
    make_domain(processes)
    processes.until("DependenciesReady", "False", reason="DependencyNotReady")
    start = platform.control_plane.audit_position()
    settled(platform, operator.user, start, quiet=2)
    position = platform.control_plane.audit_position()
    time.sleep(3)
    assert asked(platform, operator.user, position, processes.namespace) == []
    say(processes, "True")
    began = time.monotonic()
    processes.until("DependenciesReady", timeout=10)
    took = time.monotonic() - began
    assert took < 2, f"it took {took:.1f} s"
    processes.ready(timeout=60)


def test_change_of_a_domain_that_does_not_matter_wakes_nobody(
    kube: KubeClient, make_namespace: NamespaceMaker, around: Around, start_operator: StartOperator
) -> None:
    """A message of its status is not what a Process goes by; that it is not Ready any more is."""
    processes = Processes(kube, make_namespace("own-wake"), around)
    processes.publish()
    operator = start_operator("own-wake", **around.settings())
    make_domain(processes)
    say(processes, "True")
    processes.create(replicas=0, dependencies={"domains": [{"name": "sales"}]})
    processes.ready(timeout=60)

    def count() -> float:
        return metric(operator, "controller_runtime_reconcile_total")

    until("nothing is under way", lambda: steady(count), timeout=30)
    before = count()
    for number in range(5):
        say(processes, "True", f"message {number}")
    time.sleep(2)
    assert count() == before
    say(processes, "False")
    process = processes.until("DependenciesReady", "False", reason="DependencyNotReady")
    workload = next(each for each in process["status"]["conditions"] if each["type"] == "WorkloadReady")
    assert workload["status"] == "True"  # what runs is not stopped


def steady(count: object) -> bool:
    """Whether a number does not move for a second."""
    assert callable(count)
    before = count()
    time.sleep(1.5)
    return bool(count() == before)


def test_domain_of_another_namespace_needs_consent(processes: Processes, make_namespace: NamespaceMaker) -> None:
    other = make_namespace("other")
    make_domain(processes, other)
    say(processes, "True", namespace=other)
    processes.create(replicas=0, dependencies={"domains": [{"name": f"{other}/sales"}]})
    process = processes.until("DependenciesReady", "False", reason="ReferenceNotPermitted")
    assert "ameide.io/allowed-namespaces" in process["status"]["blocker"]["remedy"]
    consent = {"metadata": {"annotations": {"ameide.io/allowed-namespaces": processes.namespace}}}
    processes.kube.merge_patch("ameide.io/v1", "Domain", "sales", consent, other)
    processes.ready(timeout=60)
