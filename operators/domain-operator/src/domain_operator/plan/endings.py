"""How a step of deletion ends: with the next one, by waiting, or with the finalizer; and what is elsewhere."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from ameide_shared import vocabulary as v
from ameide_shared.kube.resources import JOB, Manifest, ResourceType, key_of
from ameide_shared.plan import Action, Delete, Notify, Plan, RemoveFinalizer
from ameide_shared.reasons import Reason
from ameide_shared.stages import Stage, State
from ameide_shared.status import parse_time
from ameide_shared.workload import JobState
from domain_operator.plan.binding import Binding
from domain_operator.plan.context import Context

FINALIZER: Final = v.finalizer("Domain")
LOOK_AGAIN_SECONDS: Final = 10.0


def step(message: str, actions: list[Action], deadline: datetime, now: datetime | None = None) -> Plan:
    """Something is under way by itself, or by these actions."""
    stage = Stage("", State.PROGRESSING, Reason.Deleting, message)
    wait = LOOK_AGAIN_SECONDS
    if now is not None and deadline > now:
        wait = min(wait, (deadline - now).total_seconds())
    return Plan(tuple(actions), (stage,), requeue_after=max(wait, 0.5))


def waiting(ctx: Context, message: str, what: str, deadline: datetime, actions: tuple[Action, ...] = ()) -> Plan:
    """Somebody has to mend something, until the deadline."""
    stage = Stage(
        "",
        State.FAILED,
        Reason.DeletionBlocked,
        message,
        object=what,
        remedy=f"mend what the message names; at {deadline.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ} the Domain goes and the "
        "data is left behind",
        retry_at=None,
    )
    wait = min(LOOK_AGAIN_SECONDS, max(0.5, (deadline - ctx.now).total_seconds()))
    return Plan(actions, (stage,), requeue_after=wait)


def try_again(ctx: Context, live: Manifest, state: JobState) -> tuple[Action, ...]:
    """A failed Job goes after a while, so that the next pass makes it anew: ever more rarely as deletion drags on."""
    since = parse_time(ctx.manifest["metadata"]["deletionTimestamp"])
    pause = max(LOOK_AGAIN_SECONDS, (ctx.now - since).total_seconds() / 4)
    ended = parse_time(state.finished_at) if state.finished_at else since
    if live["metadata"].get("deletionTimestamp") or (ctx.now - ended).total_seconds() < pause:
        return ()
    return (Delete(JOB, key_of(live), live["metadata"]["uid"], "it failed, and is tried again"),)


def finished(event: Notify | None, actions: list[Action] | None = None) -> Plan:
    """Nothing is left to wait for: the finalizer goes."""
    told: tuple[Action, ...] = (event,) if event else ()
    release = RemoveFinalizer(FINALIZER, "nothing outside is left to do")
    stage = Stage("", State.PROGRESSING, Reason.Deleting, "its children are being collected")
    return Plan((*(actions or ()), *told, release), (stage,))


def owned(ctx: Context, resource: ResourceType, binding: Binding) -> list[Manifest]:
    """Objects of this Domain in the Cluster's namespace, by their owner labels."""
    wanted = (ctx.primitive.namespace, ctx.primitive.name, ctx.primitive.primitive)
    found = []
    for live in ctx.observed.objects.list(resource, binding.cluster.namespace):
        labels = live["metadata"].get("labels") or {}
        marks = (labels.get(v.LABEL_OWNER_NAMESPACE), labels.get(v.LABEL_OWNER_NAME), labels.get(v.LABEL_PRIMITIVE))
        if marks == wanted:
            found.append(live)
    return found


def foreign_jobs(ctx: Context, binding: Binding) -> list[Action]:
    """The end of all Jobs of this Domain in the Cluster's namespace."""
    return [
        Delete(JOB, key_of(live), live["metadata"]["uid"], "the Domain is being deleted")
        for live in owned(ctx, JOB, binding)
    ]
