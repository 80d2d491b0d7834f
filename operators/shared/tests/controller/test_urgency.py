"""Which changes wake at once: what ends a phase, breaks something or was done by others; never mere counters."""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ameide_shared.controller.urgency import can_wait
from ameide_shared.kube.resources import (
    DEPLOYMENT,
    HORIZONTAL_POD_AUTOSCALER,
    JOB,
    POD,
    SECRET,
    SERVICE,
    Manifest,
    ResourceType,
)


def waits(resource: ResourceType, old: Manifest | None, new: Manifest | None) -> bool:
    rule = can_wait(resource)
    return rule is not None and rule(old, new)


def edited(manifest: Manifest, path: str, value: Any) -> dict[str, Any]:
    """A copy with one field set; `path` has dots, numbers are indices."""
    result = copy.deepcopy(dict(manifest))
    *parents, last = path.split(".")
    place: Any = result
    for name in parents:
        place = place[int(name)] if isinstance(place, list) else place.setdefault(name, {})
    place[last] = value
    return result


def deployment(**status: Any) -> dict[str, Any]:
    """Three replicas, of which a rollout has brought up one."""
    container = {"name": "app", "image": "app:2"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "orders", "namespace": "shop", "generation": 2, "resourceVersion": "7", "labels": {}},
        "spec": {
            "replicas": 3,
            "selector": {"matchLabels": {}},
            "template": {"metadata": {}, "spec": {"containers": [container]}},
        },
        "status": {
            "observedGeneration": 2,
            "replicas": 4,
            "updatedReplicas": 2,
            "readyReplicas": 3,
            "availableReplicas": 3,
            "conditions": [{"type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated"}],
            **status,
        },
    }


DONE = {"replicas": 3, "updatedReplicas": 3, "readyReplicas": 3, "availableReplicas": 3}


def test_a_rollout_that_goes_on_can_wait() -> None:
    old = deployment()
    new = deployment(replicas=4, updatedReplicas=3, readyReplicas=2, availableReplicas=2)
    new["metadata"]["resourceVersion"] = "8"
    new["metadata"]["annotations"] = {"deployment.kubernetes.io/revision": "2"}
    new["status"]["conditions"][0]["lastUpdateTime"] = "2030-01-01T00:00:00Z"
    assert waits(DEPLOYMENT, old, new)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("status", deployment(**DONE)["status"]),
        ("status.readyReplicas", 0),
        ("status.conditions", [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]),
        ("status.conditions", [{"type": "Available", "status": "False", "reason": "MinimumReplicasUnavailable"}]),
        ("status.conditions", [{"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}]),
        ("spec.replicas", 5),
        ("spec.template.spec.containers.0.image", "evil:1"),
        ("metadata.labels", {"ameide.io/name": "other"}),
        ("metadata.annotations", {"ameide.io/field-set": "x"}),
        ("metadata.ownerReferences", []),
        ("metadata.deletionTimestamp", "2030-01-01T00:00:00Z"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_what_ends_or_breaks_a_rollout_and_what_others_did_cannot_wait(path: str, value: Any) -> None:
    old = deployment()
    new = edited(old, path, value)
    assert not waits(DEPLOYMENT, old, new)
    assert not waits(DEPLOYMENT, new, old)


def test_a_deployment_that_comes_or_goes_cannot_wait() -> None:
    assert not waits(DEPLOYMENT, None, deployment())
    assert not waits(DEPLOYMENT, deployment(), None)


def pod(**status: Any) -> dict[str, Any]:
    running = {"name": "app", "ready": True, "restartCount": 0, "state": {"running": {}}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "orders-1", "namespace": "shop", "labels": {"ameide.io/name": "orders"}},
        "status": {"phase": "Running", "containerStatuses": [running], **status},
    }


STARTING = {"name": "app", "restartCount": 0, "state": {"waiting": {"reason": "ContainerCreating"}}}
PULLING = {"name": "app", "restartCount": 0, "state": {"waiting": {"reason": "ImagePullBackOff"}}}
CRASHED = {"name": "app", "restartCount": 1, "state": {"running": {}}}
KILLED = {"name": "app", "restartCount": 0, "state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}
NOWHERE = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}


def test_a_pod_on_its_way_can_wait() -> None:
    steps = [
        None,
        pod(phase="Pending", containerStatuses=[]),
        pod(phase="Pending", containerStatuses=[STARTING]),
        pod(),
        pod(conditions=[{"type": "Ready", "status": "True"}]),
        edited(pod(), "metadata.deletionTimestamp", "2030-01-01T00:00:00Z"),
    ]
    for old, new in pairwise(steps):
        assert waits(POD, old, new)


@pytest.mark.parametrize(
    "status",
    [
        {"containerStatuses": [PULLING]},
        {"containerStatuses": [CRASHED]},
        {"containerStatuses": [KILLED]},
        {"initContainerStatuses": [KILLED]},
        {"phase": "Pending", "conditions": [NOWHERE]},
        {"phase": "Failed", "reason": "Evicted"},
    ],
    ids=str,
)
def test_a_pod_in_trouble_cannot_wait(status: dict[str, Any]) -> None:
    assert not waits(POD, pod(), pod(**status))
    assert not waits(POD, None, pod(**status))
    assert not waits(POD, pod(**status), pod()), "nor can that it is over"


def test_a_pod_that_is_gone_and_those_of_jobs_cannot_wait() -> None:
    assert not waits(POD, pod(), None)
    of_job = edited(pod(), "metadata.labels", {"batch.kubernetes.io/job-name": "orders-migrate"})
    assert not waits(POD, of_job, edited(of_job, "status.phase", "Succeeded"))
    assert not waits(POD, None, of_job)


def test_an_autoscaler_that_only_measures_can_wait() -> None:
    old = {
        "metadata": {"name": "orders", "resourceVersion": "1"},
        "spec": {"maxReplicas": 5},
        "status": {"currentReplicas": 2, "conditions": [{"type": "AbleToScale", "status": "True", "reason": "x"}]},
    }
    assert waits(HORIZONTAL_POD_AUTOSCALER, old, edited(old, "status.currentReplicas", 3))
    assert not waits(HORIZONTAL_POD_AUTOSCALER, old, edited(old, "status.conditions.0.status", "False"))
    assert not waits(HORIZONTAL_POD_AUTOSCALER, old, edited(old, "spec.maxReplicas", 6))


@pytest.mark.parametrize("resource", [JOB, SECRET, SERVICE], ids=str)
def test_everything_else_is_looked_at_at_once(resource: ResourceType) -> None:
    assert can_wait(resource) is None


numbers = st.integers(0, 4)


@given(numbers, numbers, numbers, numbers, numbers)
def test_nothing_that_status_calls_ready_ever_waits(
    total: int, updated: int, ready: int, available: int, generation: int
) -> None:
    """From a rollout under way to one that is through, and back."""
    new = deployment(
        replicas=total,
        updatedReplicas=updated,
        readyReplicas=ready,
        availableReplicas=available,
        observedGeneration=generation,
    )
    through = generation >= 2 and updated >= 3 and total <= updated and available >= updated
    old = deployment()
    assert waits(DEPLOYMENT, old, new) == (not through and ready > 0)
