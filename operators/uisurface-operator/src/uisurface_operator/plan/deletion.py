"""Deleting a UISurface: the route first, then its client in Keycloak; all else goes with its owner."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from ameide_shared.compile.surroundings import unwanted
from ameide_shared.kube.resources import HTTP_ROUTE, INGRESS
from ameide_shared.plan import Action, Notify, Plan, RemoveFinalizer
from ameide_shared.reasons import Reason
from ameide_shared.stages import Stage, State
from ameide_shared.status import parse_time
from ameide_shared.vocabulary import finalizer
from uisurface_operator.plan.auth import DELETE_CLIENT, call
from uisurface_operator.plan.context import Context
from uisurface_operator.target import PUBLIC

FINALIZER: Final = finalizer("UISurface")


def plan_deletion(ctx: Context) -> Plan:
    """Everything that is still to be done; without our finalizer that is nothing."""
    if FINALIZER not in (ctx.manifest["metadata"].get("finalizers") or ()):
        return Plan()
    routes: list[Action] = [
        action
        for resource in (HTTP_ROUTE, INGRESS)
        for action in unwanted(ctx, resource, "the UISurface is being deleted")
    ]
    release = RemoveFinalizer(FINALIZER, "nothing outside is left to do")
    if _has_no_client(ctx):
        stage = Stage("", State.PROGRESSING, Reason.Deleting, "its children are being collected")
        return Plan((*routes, release), (stage,))
    client = f"client {ctx.target.client.client_id}"
    stage = Stage("", State.PROGRESSING, Reason.Deleting, f"{client} is being removed", object=f"Keycloak {client}")
    if ctx.connection is None:
        left = _left_behind(ctx, "the operator's settings no longer have its Keycloak connection")
        return Plan((*routes, left, release), (stage,))
    since = parse_time(ctx.manifest["metadata"]["deletionTimestamp"])
    if ctx.now >= since + timedelta(seconds=ctx.settings.deletion_timeout):
        left = _left_behind(ctx, f"Keycloak did not remove it in {ctx.settings.deletion_timeout:g} s")
        return Plan((*routes, left, release), (stage,))
    remove = call(ctx, DELETE_CLIENT, "the UISurface is being deleted", required=True)
    return Plan((*routes, remove, release), (stage,))


def _has_no_client(ctx: Context) -> bool:
    recorded = (ctx.manifest.get("status") or {}).get("auth") or {}
    return ctx.mode == PUBLIC and not recorded.get("clientId")


def _left_behind(ctx: Context, why: str) -> Notify:
    target = ctx.target
    what = f"client {target.client.client_id} of Keycloak connection {target.connection} is left behind"
    return Notify("Warning", Reason.ClientLeftBehind, f"{what}: {why}")
