"""What guards a surface whose spec is refused: the gateway's policy as it was accepted last, or there is no route.

A refused spec does not say how users log in; what status recorded of the last one that was accepted does.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from ameide_shared.builders.inputs import FRONTEND
from ameide_shared.builders.network import NetworkProfile
from ameide_shared.builders.networkpolicy import network_policy
from ameide_shared.compile.surroundings import unwanted
from ameide_shared.kube.resources import DEPLOYMENT, HTTP_ROUTE, NETWORK_POLICY
from ameide_shared.plan import Action, Ensure
from ameide_shared.spec import InvalidSpec
from uisurface_operator.plan.auth import has_policy, policy_actions, policy_is_waived
from uisurface_operator.plan.context import Context, Unread, is_there
from uisurface_operator.spec import UISurface
from uisurface_operator.target import APPLICATION, PUBLIC

_NO_IMAGE: Final = "none"
"""Of what is rebuilt here no pod is made."""


def guards(ctx: Context | Unread) -> list[Action]:
    """The policy before a route that is there. Where it can be neither left as it is nor made again, the route goes.

    Nothing that is refused holds the rest of a plan back: what runs is repaired all the same.
    """
    recorded = (ctx.manifest.get("status") or {}).get("auth") or {}
    if not is_there(ctx, HTTP_ROUTE) or recorded.get("mode") in (PUBLIC, APPLICATION) or policy_is_waived(ctx):
        return []
    accepted = _accepted(ctx)
    policy = policy_actions(accepted, others_gone=False) if accepted is not None else []
    if policy:
        return [replace(action, required=False) if isinstance(action, Ensure) else action for action in policy]
    return [] if has_policy(ctx) else unwanted(ctx, HTTP_ROUTE, "nothing would ask for a login")


def border(ctx: Unread) -> list[Action]:
    """The NetworkPolicy of pods whose spec cannot be read, where somebody has deleted it: nobody gets to them."""
    if not is_there(ctx, DEPLOYMENT) or is_there(ctx, NETWORK_POLICY):
        return []
    ports = [port.number for port in FRONTEND.ports]
    closed = network_policy(ctx.primitive, NetworkProfile(), ports)
    return [Ensure(closed, "nobody knows whom the spec would let in")]


def _accepted(ctx: Context | Unread) -> Context | None:
    """The surface as far as its login goes, from what status recorded; None where that does not say all of it."""
    status = ctx.manifest.get("status") or {}
    claim, login = status.get("claim") or {}, status.get("auth") or {}
    if "scopes" not in login:
        return None
    spec = {
        "image": _NO_IMAGE,
        **{name: claim[name] for name in ("host", "pathPrefix") if name in claim},
        "auth": {name: login[name] for name in ("mode", "connection", "scopes") if name in login},
    }
    try:
        surface = UISurface.parse({**ctx.manifest, "spec": spec})
    except InvalidSpec:
        return None
    return Context(ctx.manifest, surface, ctx.primitive, ctx.observed, ctx.settings, ctx.now)
