"""Rollout by Temporal Worker Versioning: a WorkerDeployment of the worker controller instead of a Deployment.

The controller makes a Deployment for each version, moves workflows as `spec.rollout.versioned` says, and lets a version
go when no workflow is pinned to it any more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ameide_shared.builders.identity import child_metadata, is_owned
from ameide_shared.compile.surroundings import unwanted
from ameide_shared.kube.resources import DEPLOYMENT, TEMPORAL_CONNECTION, WORKER_DEPLOYMENT, Manifest
from ameide_shared.plan import Action, Ensure
from ameide_shared.reasons import Reason
from ameide_shared.revisions import PodTemplate
from ameide_shared.stages import Stage, State, blocked, done
from ameide_shared.vocabulary import WORKLOAD_READY
from ameide_shared.workload import workload_state
from process_operator.plan.context import Context
from process_operator.temporal.settings import credentials


def is_versioned(ctx: Context) -> bool:
    """Whether the spec asks for Worker Versioning."""
    return ctx.spec.rollout.strategy == "Versioned"


def api_refusal(ctx: Context) -> Stage | None:
    """Why a versioned rollout cannot be had on this cluster, or None."""
    if not is_versioned(ctx) or WORKER_DEPLOYMENT in ctx.observed.apis:
        return None
    return Stage(
        "",
        State.WAITING,
        Reason.APINotInstalled,
        "spec.rollout.strategy Versioned needs the Temporal worker controller, whose API temporal.io/v1alpha1 is not "
        "installed",
        remedy="install the worker controller, or choose RollingUpdate or Canary",
    )


def versioned_workload(ctx: Context, template: PodTemplate, annotations: Mapping[str, str]) -> list[Action]:
    """The WorkerDeployment and the Connection that it uses; a Deployment of before goes once it has taken over."""
    actions: list[Action] = [
        Ensure(_connection(ctx), "where the worker controller finds Temporal", required=True),
        Ensure(_worker_deployment(ctx, template, annotations), "the workload"),
    ]
    if _is_ready(live_of(ctx)):
        actions += unwanted(ctx, DEPLOYMENT, "workers are versioned now")
    return actions


def unversioned(ctx: Context) -> list[Action]:
    """What a versioned rollout has left goes, once the Deployment has taken over."""
    main = ctx.observed.objects.get(DEPLOYMENT, ctx.primitive.namespace, ctx.primitive.child_name)
    if not workload_state(main).rolled_out:
        return []
    reason = "workers are not versioned any more"
    return [*unwanted(ctx, WORKER_DEPLOYMENT, reason), *unwanted(ctx, TEMPORAL_CONNECTION, reason)]


def live_of(ctx: Context) -> Manifest | None:
    """The WorkerDeployment as it is."""
    live = ctx.observed.objects.get(WORKER_DEPLOYMENT, ctx.primitive.namespace, ctx.primitive.child_name)
    return live if live is not None and is_owned(ctx.primitive, live) else None


def versioned_stage(ctx: Context, template: PodTemplate | None, gate: Stage | None) -> Stage:
    """How the WorkerDeployment stands, in the words of its own conditions."""
    what = f"WorkerDeployment {ctx.primitive.child_name}"
    if template is None:
        waits = gate or Stage("", State.PROGRESSING, Reason.Converging, "nothing has been released yet")
        return blocked(WORKLOAD_READY, waits)
    live = live_of(ctx)
    if live is None:
        message = f"{what} is being created"
        return Stage(WORKLOAD_READY, State.PROGRESSING, Reason.DeploymentNotReady, message, object=what)
    if _is_ready(live):
        return done(WORKLOAD_READY, Reason.Available)
    condition = _ready(live)
    status: Mapping[str, Any] = live.get("status") or {}
    target, current = (str((status.get(key) or {}).get("buildID", "")) for key in ("targetVersion", "currentVersion"))
    progress = f"version {target or 'unknown'} follows {current or 'none'}"
    ramp = (status.get("targetVersion") or {}).get("rampPercentage")
    message = f"{what}: {progress}{f', {ramp:g} % of new workflows' if ramp is not None else ''}"
    if condition.get("message"):
        message += f": {condition['message']}"
    broken = condition.get("status") == "False" and "fail" in str(condition.get("reason", "")).lower()
    return Stage(
        WORKLOAD_READY,
        State.FAILED if broken else State.PROGRESSING,
        Reason.DeploymentNotReady if broken else Reason.RolloutInProgress,
        message,
        object=what,
        remedy="see kubectl describe workerdeployment, and the pods of its newest Deployment" if broken else "",
    )


def _ready(live: Manifest) -> Mapping[str, Any]:
    conditions = (live.get("status") or {}).get("conditions") or ()
    return next((c for c in conditions if c.get("type") == "Ready"), {})


def _is_ready(live: Manifest | None) -> bool:
    if live is None:
        return False
    condition, generation = _ready(live), live["metadata"].get("generation")
    return condition.get("status") == "True" and condition.get("observedGeneration", generation) == generation


def _connection(ctx: Context) -> dict[str, Any]:
    connection = ctx.connection
    spec: dict[str, Any] = {"hostPort": connection.address if connection is not None else ""}
    keys = {file.key for file in credentials(connection)}
    if connection is not None and "api-key" in keys:
        spec["apiKeySecretRef"] = {"name": connection.worker_secret, "key": "api-key"}
    elif connection is not None and "tls.crt" in keys:
        spec["mutualTLSSecretRef"] = {"name": connection.worker_secret}
    if connection is not None and connection.tls is not None and connection.tls.server_name:
        spec["tls"] = {"serverName": connection.tls.server_name}
    return {
        "apiVersion": TEMPORAL_CONNECTION.api_version,
        "kind": TEMPORAL_CONNECTION.kind,
        "metadata": child_metadata(ctx.primitive),
        "spec": spec,
    }


def _worker_deployment(ctx: Context, template: PodTemplate, annotations: Mapping[str, str]) -> dict[str, Any]:
    rollout = ctx.spec.rollout
    moves: dict[str, Any] = {"strategy": rollout.versioned.strategy}
    if rollout.versioned.steps:
        moves["steps"] = [
            {"rampPercentage": step.ramp_percentage, "pauseDuration": f"{step.pause_seconds}s"}
            for step in rollout.versioned.steps
        ]
    return {
        "apiVersion": WORKER_DEPLOYMENT.api_version,
        "kind": WORKER_DEPLOYMENT.kind,
        "metadata": child_metadata(ctx.primitive, annotations=annotations),
        "spec": {
            "replicas": 1 if ctx.spec.replicas is None else ctx.spec.replicas,
            "minReadySeconds": rollout.min_ready_seconds,
            "progressDeadlineSeconds": rollout.progress_deadline_seconds,
            "template": {"metadata": template["metadata"], "spec": template["spec"]},
            "rollout": moves,
            "sunset": {
                "scaledownDelay": f"{rollout.versioned.scaledown_delay_seconds}s",
                "deleteDelay": f"{rollout.versioned.delete_delay_seconds}s",
            },
            "workerOptions": {
                "connectionRef": {"name": ctx.primitive.child_name},
                "temporalNamespace": ctx.spec.temporal.namespace,
            },
        },
    }
