"""Who may have a host and path: one namespace a host, one surface a path, whoever had it first."""

from __future__ import annotations

from typing import Final

from ameide_shared.compile.context import age
from ameide_shared.kube.resources import UI_SURFACE, Manifest, key_of
from ameide_shared.reasons import Reason
from ameide_shared.spec import InvalidSpec
from ameide_shared.stages import Stage, State
from uisurface_operator.plan.context import Context
from uisurface_operator.spec import UISurface

ROUTING_READY: Final = "RoutingReady"


def claim_of(manifest: Manifest) -> tuple[str, str] | None:
    """The host and path that a surface asks for; None where its spec cannot be read."""
    try:
        spec = UISurface.parse(manifest).spec
    except InvalidSpec:
        return None
    return spec.host, spec.path_prefix


def host_refusal(ctx: Context) -> Stage | None:
    """Why settings keep the host from this namespace, or None."""
    if ctx.settings.routing.permits(ctx.spec.host, ctx.primitive.namespace):
        return None
    return Stage(
        "",
        State.STALLED,
        Reason.HostNotPermitted,
        f"spec.host: {ctx.spec.host} is bound to other namespaces than {ctx.primitive.namespace}",
        remedy="choose another host, or have routing.hosts of the operator's settings name this namespace",
    )


def conflict(ctx: Context) -> Stage | None:
    """Who has the host or the path already, or None."""
    holders = [rival for rival in _rivals(ctx) if _rank(rival) < _rank(ctx.manifest)]
    if not holders:
        return None
    # Those that share our path first, then those whose namespace has the host.
    same = [rival for rival in holders if claim_of(rival) == (ctx.spec.host, ctx.spec.path_prefix)]
    holder = min(same or holders, key=_rank)
    what = f"{ctx.spec.host}{ctx.spec.path_prefix}" if same else f"host {ctx.spec.host}"
    name = f"UISurface {key_of(holder)}"
    return Stage(
        ROUTING_READY,
        State.WAITING,
        Reason.RouteConflict,
        f"{what} belongs to {name}, which had it before",
        object=name,
        remedy="choose another host or path, or delete the other one; this one then takes over by itself",
    )


def _rivals(ctx: Context) -> list[Manifest]:
    """The surfaces that want what this one wants: of its path, and of its host in other namespaces."""
    bound = ctx.settings.routing.is_bound(ctx.spec.host)
    found = []
    for other in ctx.observed.objects.list(UI_SURFACE):
        claim = claim_of(other)
        if key_of(other) == key_of(ctx.manifest) or claim is None or claim[0] != ctx.spec.host:
            continue
        elsewhere = other["metadata"]["namespace"] != ctx.primitive.namespace
        if elsewhere and not ctx.settings.routing.permits(claim[0], other["metadata"]["namespace"]):
            continue
        if claim[1] == ctx.spec.path_prefix or (elsewhere and not bound):
            found.append(other)
    return found


def _rank(manifest: Manifest) -> tuple[bool, tuple[str, str]]:
    """Who comes first: whoever has it already, then the older. An older surface cannot take a host by asking later."""
    recorded = (manifest.get("status") or {}).get("claim") or {}
    holds = (recorded.get("host"), recorded.get("pathPrefix")) == claim_of(manifest)
    return not holds, age(manifest)
