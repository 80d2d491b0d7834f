"""Canaries that must poll before they are promoted, Worker Versioning, and scaling by KEDA or CPU."""

from __future__ import annotations

from typing import Any

from processes import WORKER, Around, Processes, finish, open_workflow, run

from ameide_dev.client import KubeClient
from ameide_dev.pytest_plugin import NamespaceMaker
from ameide_dev.testing.subject import StartOperator
from ameide_dev.testing.waiting import until

CANARY = {"strategy": "Canary", "canaryReadySeconds": 1}


def tagged(tag: str) -> str:
    """The worker's image with another tag."""
    return f"{WORKER.rpartition(':')[0]}:{tag}"


def image(processes: Processes, name: str = "flow-process") -> str:
    """The image of a Deployment's pods."""
    deployment = processes.child("apps/v1", "Deployment", name)
    return str(deployment["spec"]["template"]["spec"]["containers"][0]["image"]) if deployment else ""


def canary_state(processes: Processes) -> str:
    """What status says of the canary."""
    return str((processes.get()["status"].get("canary") or {}).get("state", ""))


def test_healthy_canary_is_promoted(processes: Processes) -> None:
    """While it is tried, the main workers go on; an open workflow ends under the new ones."""
    processes.create(rollout=CANARY)
    processes.ready(timeout=60)
    workflow = run(open_workflow(processes.around.temporal, processes.queue()))
    processes.patch(image=tagged("1.1.0"))
    until("a canary pod", lambda: processes.pods(track="canary"), timeout=30)
    until("it is promoted", lambda: image(processes) == tagged("1.1.0"), timeout=60)
    processes.ready(timeout=60)
    until("the canary is gone", lambda: not processes.pods(track="canary"), timeout=30)
    assert run(finish(processes.around.temporal, workflow)) == {"edition": 1}


def test_canary_that_crashes_is_removed(processes: Processes) -> None:
    processes.create(rollout=CANARY)
    processes.ready(timeout=60)
    pods = processes.uids()
    processes.patch(image=tagged("1.1.0-crash"))
    process = processes.until("Ready", "False", reason="CanaryFailed", timeout=60)
    message = process["status"]["blocker"]["message"]
    assert "-canary-" in message
    assert "this build is broken on purpose" in message
    until("the canary is gone", lambda: not processes.pods(track="canary"), timeout=30)
    assert image(processes) == WORKER
    assert processes.uids() == pods


def test_canary_that_never_polls_is_removed(
    kube: KubeClient, make_namespace: NamespaceMaker, around: Around, start_operator: StartOperator
) -> None:
    """It is healthy by its probes, so that only Temporal can tell; the reason is kept."""
    processes = Processes(kube, make_namespace("own-nopoll"), around)
    processes.publish()
    start_operator("own-nopoll", **around.settings(), AMEIDE_WORKERS_EXPECTED__POLLING_SECONDS="5")
    processes.create(rollout=CANARY)
    processes.ready(timeout=60)
    pods = processes.uids()
    processes.patch(image=tagged("1.1.0-nopoll"))
    process = processes.until("Ready", "False", reason="CanaryFailed", timeout=60)
    assert "does not poll" in process["status"]["blocker"]["message"]
    until("the canary is gone", lambda: not processes.pods(track="canary"), timeout=30)
    assert image(processes) == WORKER
    assert processes.uids() == pods


def test_versioned_rollout_is_left_to_the_worker_controller(processes: Processes) -> None:
    """Its objects are made, no Deployment is; what it writes into its status is what the Process says."""
    processes.create(rollout={"strategy": "Versioned"})
    made = until(
        "the WorkerDeployment",
        lambda: processes.child("temporal.io/v1alpha1", "WorkerDeployment", "flow-process"),
        timeout=30,
    )
    assert made["spec"]["workerOptions"]["temporalNamespace"] == "processes"
    connection = processes.child("temporal.io/v1alpha1", "Connection", "flow-process")
    assert connection is not None
    assert connection["spec"]["hostPort"] == processes.around.temporal.address
    processes.until("WorkloadReady", "False", timeout=30)
    condition: dict[str, Any] = {
        "type": "Ready",
        "status": "True",
        "reason": "RolloutComplete",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
        "observedGeneration": made["metadata"]["generation"],
    }
    status = {"conditions": [condition], "targetVersion": {"buildID": "1", "status": "Current"}}
    processes.kube.patch_status("temporal.io/v1alpha1", "WorkerDeployment", "flow-process", status, processes.namespace)
    processes.until("WorkloadReady", timeout=30)
    assert processes.child("apps/v1", "Deployment", "flow-process") is None


def test_autoscaling_counts_the_backlog_through_keda(processes: Processes) -> None:
    """The Deployment's replicas are left to it; without autoscaling it goes again."""
    processes.create(autoscaling={"minReplicas": 1, "maxReplicas": 3, "targetCPUUtilizationPercentage": 80})
    scaled = until(
        "the ScaledObject", lambda: processes.child("keda.sh/v1alpha1", "ScaledObject", "flow-process"), timeout=30
    )
    (trigger,) = scaled["spec"]["triggers"]
    assert trigger["metadata"]["taskQueue"] == processes.queue()
    assert trigger["metadata"]["endpoint"] == processes.around.temporal.address
    assert (scaled["spec"]["minReplicaCount"], scaled["spec"]["maxReplicaCount"]) == (1, 3)
    assert processes.child("autoscaling/v2", "HorizontalPodAutoscaler", "flow-process") is None
    processes.patch(autoscaling=None)
    processes.kube.wait_gone("keda.sh/v1alpha1", "ScaledObject", "flow-process", processes.namespace, timeout=30)
