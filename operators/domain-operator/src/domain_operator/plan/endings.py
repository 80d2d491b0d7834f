"""How a step of deletion ends: with the next one, by waiting, or with the finalizer; and what is elsewhere."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from ameide_shared import vocabulary as v
from ameide_shared.builders.identity import Primitive, is_marked
from ameide_shared.kube.resources import JOB, Manifest, ResourceType, key_of
from ameide_shared.plan import Action, Delete, Notify, Plan, RemoveFinalizer
from ameide_shared.reasons import Reason
from ameide_shared.stages import Stage, State
from ameide_shared.status import parse_time
from ameide_shared.workload import JobState
from domain_operator.observed import Observed
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


def waiting(
    ctx: Context,
    message: str,
    what: str,
    deadline: datetime,
    actions: tuple[Action, ...] = (),
    *,
    mend: str = "mend what the message names",
) -> Plan:
    """Somebody has to mend something, until the deadline."""
    stage = Stage(
        "",
        State.FAILED,
        Reason.DeletionBlocked,
        message,
        object=what,
        remedy=f"{mend}; at {deadline.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ} the Domain goes and the data is left behind",
        retry_at=None,
    )
    wait = min(LOOK_AGAIN_SECONDS, max(0.5, (deadline - ctx.now).total_seconds()))
    return Plan(actions, (stage,), requeue_after=wait)


def try_again(ctx: Context, live: Manifest, state: JobState) -> tuple[Action, ...]:
    """A Job that ended in vain goes after a while, so that the next pass makes it anew: ever more rarely with time."""
    since = parse_time(ctx.manifest["metadata"]["deletionTimestamp"])
    pause = max(LOOK_AGAIN_SECONDS, (ctx.now - since).total_seconds() / 4)
    ended = parse_time(state.finished_at) if state.finished_at else since
    if live["metadata"].get("deletionTimestamp") or (ctx.now - ended).total_seconds() < pause:
        return ()
    return (Delete(JOB, key_of(live), live["metadata"]["uid"], "it was in vain, and is tried again"),)


def finished(primitive: Primitive, observed: Observed, event: Notify | None, *actions: Action) -> Plan:
    """Nothing is left to wait for: Jobs in other namespaces go, which no garbage collector knows, and the finalizer."""
    told: tuple[Action, ...] = (event,) if event else ()
    release = RemoveFinalizer(FINALIZER, "nothing outside is left to do")
    stage = Stage("", State.PROGRESSING, Reason.Deleting, "its children are being collected")
    return Plan((*actions, *foreign_jobs(primitive, observed), *told, release), (stage,))


def owned(ctx: Context, resource: ResourceType, binding: Binding) -> list[Manifest]:
    """Objects of this Domain in the Cluster's namespace, by their owner labels."""
    found = ctx.observed.objects.list(resource, binding.cluster.namespace)
    return [live for live in found if is_marked(ctx.primitive, live)]


def foreign_jobs(primitive: Primitive, observed: Observed) -> list[Action]:
    """The end of all Jobs of a Domain in the Cluster's namespace."""
    return [
        Delete(JOB, key_of(live), live["metadata"]["uid"], "the Domain is being deleted")
        for live in observed.objects.list(JOB)
        if is_marked(primitive, live)
    ]
