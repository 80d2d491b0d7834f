"""Deletion: nothing new is started, open workflows end as the policy says, then the workers go; the finalizer last.

The server itself cannot refuse starts. So Temporal Schedules of the queue are paused, and a flag that workers read
makes them refuse new workflows. Visibility lags behind: only when two looks ten seconds apart found no open workflow
are there none.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from ameide_shared import vocabulary as v
from ameide_shared.builders.identity import child_metadata
from ameide_shared.compile.surroundings import unwanted
from ameide_shared.kube.resources import (
    CONFIG_MAP,
    CRON_JOB,
    DEPLOYMENT,
    HORIZONTAL_POD_AUTOSCALER,
    JOB,
    SCALED_OBJECT,
    WORKER_DEPLOYMENT,
    ResourceType,
)
from ameide_shared.plan import Action, Call, Ensure, Notify, Plan, RemoveFinalizer
from ameide_shared.reasons import Reason
from ameide_shared.stages import Stage, State
from ameide_shared.status import parse_time
from process_operator.plan.context import Context
from process_operator.plan.temporal import claim_refusal
from process_operator.plan.workers import DRAIN_KEY, drain_name
from process_operator.temporal.model import BatchState, NamespaceState, ProblemKind

FINALIZER: Final = v.finalizer("Process")
PAUSE_SCHEDULES: Final = "pause Temporal Schedules"
CLOSE_WORKFLOWS: Final = "close open workflows"
SURE_SECONDS: Final = 10.0
"""How far apart two looks must be that found no open workflow."""
LOOK_SECONDS: Final = 2.0
_SCALERS_AND_JOBS: Final = (CRON_JOB, JOB)
_WORKERS: Final = (HORIZONTAL_POD_AUTOSCALER, SCALED_OBJECT, DEPLOYMENT, WORKER_DEPLOYMENT)


def holds_queue(ctx: Context) -> bool:
    """Whether there may be workflows of this Process: one that never got its queue must not touch another's."""
    return claim_refusal(ctx) is None


def plan_deletion(ctx: Context) -> Plan:
    """The next step of deletion. Every step waits for the one before it to be seen done."""
    if FINALIZER not in (ctx.manifest["metadata"].get("finalizers") or ()):
        # Ours is done; somebody else's finalizer, or foreground deletion of its children, still holds it.
        return Plan((), (Stage("", State.PROGRESSING, Reason.Deleting, "nothing is left to do for the operator"),))
    policy = ctx.spec.deletion.policy
    if policy == "Abandon" or not holds_queue(ctx) or _nothing_there(ctx):
        return _finished(ctx, None)
    since = parse_time(ctx.manifest["metadata"]["deletionTimestamp"])
    deadline = since + timedelta(seconds=ctx.spec.deletion.timeout_seconds)
    actions: list[Action] = [
        *_delete(ctx, _SCALERS_AND_JOBS, "nothing new is started"),
        Ensure(_drain_flag(ctx), "workers refuse new workflows"),
    ]
    seen, paused = ctx.observed.temporal, ctx.observed.schedules
    resting = paused is not None and paused.complete and not paused.failed
    if not resting:
        actions.append(_call(ctx, PAUSE_SCHEDULES, "nothing new is started"))
    open_ = seen.open if seen is not None else None
    if resting and open_ is not None and open_.none_for(SURE_SECONDS):
        return _finished(ctx, None)
    if ctx.now >= deadline:
        return _finished(ctx, _left_behind(ctx))
    blocked = _blocked(ctx, deadline)
    facts = _facts(ctx, resting) | {"blocked": blocked}
    wait = max(0.5, min(LOOK_SECONDS, (deadline - ctx.now).total_seconds()))
    if seen is not None and seen.problem is not None:
        return Plan(tuple(actions), (replace(blocked, message=seen.problem.message),), wait, facts)
    if open_ is None:
        stage = Stage("", State.PROGRESSING, Reason.Deleting, "Temporal is being asked for open workflows")
        return Plan(tuple(actions), (stage,), wait, facts)
    if open_.count and policy in ("Cancel", "Terminate"):
        actions.append(_call(ctx, CLOSE_WORKFLOWS, f"deletion.policy: {policy}", policy=policy))
    return Plan(tuple(actions), (Stage("", State.PROGRESSING, Reason.Deleting, _progress(ctx)),), wait, facts)


def _blocked(ctx: Context, deadline: datetime) -> Stage:
    """The stage of a deletion that Temporal keeps from going on; why, says whoever meets it."""
    remedy = f"mend what the message names; at {deadline:%Y-%m-%dT%H:%M:%SZ} open workflows are left behind"
    return Stage("", State.FAILED, Reason.DeletionBlocked, "", object=_queue(ctx), remedy=remedy)


def _progress(ctx: Context) -> str:
    seen, batch = ctx.observed.temporal, ctx.observed.batch
    open_ = seen.open if seen is not None else None
    count, policy = (open_.count if open_ is not None else 0), ctx.spec.deletion.policy
    if not count:
        return f"no workflow of {_queue(ctx)} is open; looking again to be sure"
    if policy == "Drain":
        return f"{count} open workflows of {_queue(ctx)} are waited for"
    word = "cancelled" if policy == "Cancel" else "terminated"
    state = f" ({batch.done} of {batch.total} done)" if batch is not None and batch.state is BatchState.Running else ""
    return f"{count} open workflows of {_queue(ctx)} are being {word}{state}"


def _facts(ctx: Context, resting: bool) -> dict[str, Any]:
    seen = ctx.observed.temporal
    open_ = seen.open if seen is not None else None
    told: dict[str, Any] = {"policy": ctx.spec.deletion.policy, "schedulesPaused": resting}
    if open_ is not None:
        told["openWorkflows"] = open_.count
    return {"deletion": told, "child": ctx.primitive.child_name}


def _nothing_there(ctx: Context) -> bool:
    """Whether there is no namespace, and with it no workflow, or no worker was ever made."""
    seen = ctx.observed.temporal
    if seen is not None:
        gone = seen.namespace is not None and seen.namespace.state in (NamespaceState.Missing, NamespaceState.Deleted)
        if gone or (seen.problem is not None and seen.problem.kind is ProblemKind.NamespaceMissing):
            return True
    return not ((ctx.manifest.get("status") or {}).get("revision") or {}).get("current")


def _drain_flag(ctx: Context) -> dict[str, Any]:
    return {
        "apiVersion": CONFIG_MAP.api_version,
        "kind": CONFIG_MAP.kind,
        "metadata": child_metadata(ctx.primitive, drain_name(ctx)),
        "data": {DRAIN_KEY: "true"},
    }


def _call(ctx: Context, operation: str, reason: str, **more: str) -> Call:
    target = ctx.target
    arguments = {
        "connection": target.connection,
        "namespace": target.namespace,
        "queue": target.queue,
        "uid": ctx.primitive.uid,
        "process": str(ctx.primitive),
        **more,
    }
    return Call(operation, arguments, reason)


def _delete(ctx: Context, kinds: tuple[ResourceType, ...], reason: str) -> list[Action]:
    return [action for resource in kinds for action in unwanted(ctx, resource, reason)]


def _left_behind(ctx: Context) -> Notify:
    seen = ctx.observed.temporal
    open_ = seen.open if seen is not None else None
    count = str(open_.count) if open_ is not None else "an unknown number of"
    return Notify(
        "Warning",
        Reason.WorkflowsLeftBehind,
        f"after {ctx.spec.deletion.timeout_seconds} s {count} workflows of {_queue(ctx)} are still open; they are left "
        "behind without workers",
    )


def _queue(ctx: Context) -> str:
    return f"task queue {ctx.target.queue} in namespace {ctx.target.namespace}"


def _finished(ctx: Context, event: Notify | None) -> Plan:
    told: tuple[Action, ...] = (event,) if event else ()
    workers = _delete(ctx, (*_SCALERS_AND_JOBS, *_WORKERS), "the Process is being deleted")
    release = RemoveFinalizer(FINALIZER, "nothing outside is left to do")
    stage = Stage("", State.PROGRESSING, Reason.Deleting, "its children are being collected")
    return Plan((*workers, *told, release), (stage,))
