"""Deleting an Agent: pods first, then its grants are taken back; all else goes with its owner.

None of it needs a spec: the grants service knows an Agent by tenant, namespace and name.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from agent_operator.plan.context import Context, Unread
from agent_operator.plan.grants import revoke
from ameide_shared.compile.surroundings import unwanted
from ameide_shared.kube.resources import DEPLOYMENT, HORIZONTAL_POD_AUTOSCALER, SCALED_OBJECT
from ameide_shared.plan import Action, Notify, Plan, RemoveFinalizer
from ameide_shared.reasons import Reason
from ameide_shared.stages import Stage, State
from ameide_shared.status import parse_time
from ameide_shared.vocabulary import finalizer

FINALIZER: Final = finalizer("Agent")


def plan_deletion(ctx: Context | Unread) -> Plan:
    """Everything that is still to be done; without our finalizer that is nothing."""
    if FINALIZER not in (ctx.manifest["metadata"].get("finalizers") or ()):
        return Plan()
    workloads: list[Action] = [
        action
        for resource in (SCALED_OBJECT, HORIZONTAL_POD_AUTOSCALER, DEPLOYMENT)
        for action in unwanted(ctx, resource, "the Agent is being deleted")
    ]
    stage = Stage("", State.PROGRESSING, Reason.Deleting, "its grants are being taken back", object="grants service")
    release = RemoveFinalizer(FINALIZER, "nothing outside is left to do")
    if not ctx.settings.grants_service.url:
        left = _left_behind(ctx, "the operator's settings no longer name the grants service")
        return Plan((*workloads, left, release), (stage,))
    since = parse_time(ctx.manifest["metadata"]["deletionTimestamp"])
    if ctx.now >= since + timedelta(seconds=ctx.settings.deletion_timeout):
        left = _left_behind(ctx, f"the grants service did not take them back in {ctx.settings.deletion_timeout:g} s")
        return Plan((*workloads, left, release), (stage,))
    return Plan((*workloads, revoke(ctx, "the Agent is being deleted", required=True), release), (stage,))


def _left_behind(ctx: Context | Unread, why: str) -> Notify:
    names = revoke(ctx, why, required=True).arguments
    what = f"grants of Agent {names['namespace']}/{names['agent']} of tenant {names['tenant']} are left behind"
    return Notify("Warning", Reason.GrantsLeftBehind, f"{what}: {why}")
