"""Diagnosis over what a real control plane says of Deployments and Jobs that we built and that go wrong."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest
from pydantic import Field

from ameide_dev.client import KubeClient
from ameide_shared.builders.deployment import deployment
from ameide_shared.builders.identity import Primitive
from ameide_shared.builders.job import job
from ameide_shared.builders.pod import job_template, pod_template
from ameide_shared.diagnosis import diagnose
from ameide_shared.revisions import stamp
from ameide_shared.spec.common import CommonSpec
from ameide_shared.spec.rollout import Rollout
from ameide_shared.workload import Cause, JobPhase, JobState, WorkloadState, job_state, workload_state

Object = dict[str, Any]
T = TypeVar("T")
PATIENCE = 60.0  # seconds until a scenario must have shown


class Spec(CommonSpec):
    """The fields that all kinds have, and the rollout of most."""

    rollout: Rollout = Field(default=Rollout())


@dataclass(frozen=True)
class Scenario:
    """What is deployed, and what must be said about it."""

    code: str
    words: str
    image: str = "ghcr.io/ameide/orders:1"
    spec: Object = field(default_factory=dict)
    objects: tuple[Object, ...] = ()


QUOTA: Object = {
    "apiVersion": "v1",
    "kind": "ResourceQuota",
    "metadata": {"name": "none"},
    "spec": {"hard": {"pods": "0"}},
}
LIMITS: Object = {
    "apiVersion": "v1",
    "kind": "LimitRange",
    "metadata": {"name": "small"},
    "spec": {"limits": [{"type": "Container", "max": {"cpu": "1"}}]},
}
SCENARIOS = {
    "image pull": Scenario(
        "ImagePullBackOff", "scenario-image-pull-backoff", "ghcr.io/ameide/scenario-image-pull-backoff:1"
    ),
    "crash loop": Scenario("CrashLoopBackOff", "ended with exit code", "ghcr.io/ameide/scenario-crash-loop:1"),
    "out of memory": Scenario(
        "OOMKilled", "limit of 64Mi", "ghcr.io/ameide/scenario-oom:1", {"resources": {"memory": "64Mi"}}
    ),
    "never ready": Scenario(
        "ReadinessProbeFailing", "GET /readyz on port 8080", "ghcr.io/ameide/scenario-never-ready:1"
    ),
    "node selector": Scenario(
        "Unschedulable", "cannot be scheduled", spec={"scheduling": {"nodeSelector": {"no-such": "node"}}}
    ),
    "too much cpu": Scenario("Unschedulable", "Insufficient cpu", spec={"resources": {"requests": {"cpu": "9999"}}}),
    "quota": Scenario("QuotaExceeded", "exceeded quota: none", objects=(QUOTA,)),
    "limit range": Scenario(
        "LimitRangeViolation", "maximum cpu usage per Container", spec={"resources": {"cpu": "2"}}, objects=(LIMITS,)
    ),
    "priority class": Scenario(
        "PriorityClassMissing", "no PriorityClass with name", spec={"scheduling": {"priorityClassName": "no-such"}}
    ),
}


def eventually(look: Callable[[], T | None]) -> T:
    """The first answer that is not None."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        found = look()
        if found is not None:
            return found
        time.sleep(0.25)
    raise AssertionError(f"nothing to see within {PATIENCE:.0f} s")


def prepare(kube: KubeClient, namespace: str, spec: Spec) -> tuple[Primitive, Object]:
    """The resource, its ServiceAccount, and its pod template."""
    primitive = Primitive("Domain", "orders", namespace, "00000000-0000-4000-8000-000000000000", tenant_id="t123")
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": primitive.child_name}}
    kube.create(account, namespace)
    return primitive, stamp(pod_template(primitive, spec))[0]


def without_owner(manifest: Object) -> Object:
    """The garbage collector would rightly take children whose Domain does not exist."""
    del manifest["metadata"]["ownerReferences"]
    return manifest


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS.keys())
def test_a_deployment_that_does_not_come_up(scenario: Scenario, kube: KubeClient, namespace: str) -> None:
    for manifest in scenario.objects:
        kube.create(manifest, namespace)
    if scenario.code == "QuotaExceeded":  # it is enforced once it has been counted
        kube.wait_for("v1", "ResourceQuota", "none", lambda quota: bool(quota and quota.get("status")), namespace)
    spec = Spec.model_validate({"image": scenario.image} | scenario.spec)
    primitive, template = prepare(kube, namespace, spec)
    kube.create(without_owner(deployment(primitive, template, replicas=1, spec=spec)))

    def look() -> Cause | None:
        live = kube.get("apps/v1", "Deployment", primitive.child_name, namespace)
        pods = kube.list("v1", "Pod", namespace)
        assert not workload_state(live, pods).rolled_out
        cause = diagnose(live, pods)
        # The way there may pass other causes: a crash loop begins with a first crash.
        return cause if cause is not None and cause.code == scenario.code and scenario.words in cause.message else None

    assert eventually(look).remedy


def test_a_deployment_that_comes_up(kube: KubeClient, namespace: str) -> None:
    spec = Spec.model_validate({"image": "ghcr.io/ameide/orders:1", "replicas": 2})
    primitive, template = prepare(kube, namespace, spec)
    kube.create(without_owner(deployment(primitive, template, replicas=2, spec=spec)))

    def look() -> WorkloadState | None:
        live = kube.get("apps/v1", "Deployment", primitive.child_name, namespace)
        pods = kube.list("v1", "Pod", namespace)
        state = workload_state(live, pods)
        if not state.rolled_out:
            return None
        assert diagnose(live, pods) is None
        return state

    state = eventually(look)
    assert state.image_digest.startswith("sha256:")
    assert state.as_status() == {
        "name": "orders-domain",
        "image": "ghcr.io/ameide/orders:1",
        "imageDigest": state.image_digest,
        "desiredReplicas": 2,
        "readyReplicas": 2,
        "updatedReplicas": 2,
    }


def run_job(kube: KubeClient, namespace: str, image: str, **arguments: Any) -> Callable[[], JobState]:
    """Start a Job; the answer looks at its state."""
    spec = Spec.model_validate({"image": "ghcr.io/ameide/orders:1"})
    primitive, _ = prepare(kube, namespace, spec)
    template = job_template(primitive, spec, name="migrate", image=image)
    options = {"backoff_limit": 0, "deadline_seconds": 120} | arguments
    kube.create(without_owner(job(primitive, "orders-migrate-1", template, **options)))
    return lambda: job_state(
        kube.get("batch/v1", "Job", "orders-migrate-1", namespace), kube.list("v1", "Pod", namespace)
    )


def ended(look: Callable[[], JobState]) -> JobState:
    def once() -> JobState | None:
        state = look()
        return state if state.phase is not JobPhase.RUNNING else None

    return eventually(once)


def test_a_job_that_succeeds_reports_its_version(kube: KubeClient, namespace: str) -> None:
    state = ended(run_job(kube, namespace, "ghcr.io/ameide/scenario-migrator-ok:12"))
    assert state.phase is JobPhase.SUCCEEDED
    assert '"12"' in state.termination
    assert state.finished_at


def test_a_job_that_fails_reports_the_error(kube: KubeClient, namespace: str) -> None:
    state = ended(run_job(kube, namespace, "ghcr.io/ameide/scenario-migrator-fail:1"))
    assert state.phase is JobPhase.FAILED
    assert state.reason == "BackoffLimitExceeded"
    assert state.exit_code == 1
    assert "ERROR" in state.message
    assert state.container == "migrate"


def test_a_job_that_hangs_misses_its_deadline(kube: KubeClient, namespace: str) -> None:
    state = ended(run_job(kube, namespace, "ghcr.io/ameide/scenario-migrator-hang:1", deadline_seconds=3))
    assert state.phase is JobPhase.FAILED
    assert state.reason == "DeadlineExceeded"
    assert state.message.startswith("did not finish within 3 s")


def test_a_job_whose_image_cannot_be_pulled_says_so_while_it_runs(kube: KubeClient, namespace: str) -> None:
    look = run_job(kube, namespace, "ghcr.io/ameide/scenario-image-pull-backoff:1")

    def once() -> JobState | None:
        state = look()
        return state if state.cause is not None else None

    state = eventually(once)
    assert state.phase is JobPhase.RUNNING
    assert state.cause is not None
    assert state.cause.code == "ImagePullBackOff"
