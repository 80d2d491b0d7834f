"""The route from browsers to the pods: an HTTPRoute of the Gateway API, or an Ingress."""

from __future__ import annotations

from typing import Any

from ameide_shared.builders.identity import child_metadata
from ameide_shared.compile.surroundings import unwanted
from ameide_shared.kube.resources import HTTP_ROUTE, INGRESS, SERVICE
from ameide_shared.plan import Action, Ensure
from ameide_shared.reasons import Reason
from ameide_shared.stages import Stage, State, blocked, done
from uisurface_operator.plan.auth import has_policy, has_secret, policy_is_waived, way_is_guarded
from uisurface_operator.plan.claims import ROUTING_READY
from uisurface_operator.plan.context import Context
from uisurface_operator.plan.standing import refused, verdicts
from uisurface_operator.target import GATEWAY

PORT = 3000
"""The port of the Service and of the pods."""


def route_actions(ctx: Context, *, claimed: bool) -> list[Action]:
    """The route, where the surface has its host and path and nobody gets past the login; else that it goes."""
    by_gateway = ctx.settings.routing.kind == "HTTPRoute"
    wanted, other = (HTTP_ROUTE, INGRESS) if by_gateway else (INGRESS, HTTP_ROUTE)
    actions = unwanted(ctx, other, f"surfaces are routed by {wanted.kind}")
    if not claimed:
        return [*actions, *unwanted(ctx, wanted, "another UISurface has the host")]
    if not way_is_guarded(ctx):
        # A route that is left without its policy would be open to everybody.
        lost = ctx.mode == GATEWAY and not has_policy(ctx)
        return [*actions, *(unwanted(ctx, wanted, "nothing would ask for a login") if lost else ())]
    if by_gateway and HTTP_ROUTE not in ctx.observed.apis:
        return actions
    manifest = _http_route(ctx) if by_gateway else _ingress(ctx)
    return [Ensure(manifest, f"{ctx.spec.host}{ctx.spec.path_prefix}"), *actions]


def routing_stage(ctx: Context, auth: Stage, gate: Stage | None) -> Stage:
    """Whether browsers get to the pods. `gate`: what held the first release back."""
    by_gateway = ctx.settings.routing.kind == "HTTPRoute"
    resource = HTTP_ROUTE if by_gateway else INGRESS
    if by_gateway and HTTP_ROUTE not in ctx.observed.apis:
        return Stage(
            ROUTING_READY,
            State.WAITING,
            Reason.APINotInstalled,
            "the cluster has no HTTPRoute (gateway.networking.k8s.io/v1)",
            remedy="install the Gateway API, or have routing.kind: Ingress set in the operator's settings",
        )
    what = f"{resource.kind} {ctx.primitive.child_name}"
    live = ctx.observed.objects.get(resource, ctx.primitive.namespace, ctx.primitive.child_name)
    if not way_is_guarded(ctx):
        return blocked(ROUTING_READY, auth)
    if live is None:
        if gate is not None:
            return blocked(ROUTING_READY, gate)
        if ctx.mode == GATEWAY and not has_secret(ctx) and not policy_is_waived(ctx):
            return blocked(ROUTING_READY, auth)
        return Stage(ROUTING_READY, State.PROGRESSING, Reason.RoutePending, f"{what} is being made", object=what)
    if not by_gateway:
        return _ingress_stage(ctx, live, what)
    told = verdicts(live, "parents", ("Accepted", "ResolvedRefs"), _parent(ctx))
    wrong = refused(told)
    if wrong is not None:
        return Stage(
            ROUTING_READY,
            State.FAILED,
            Reason.RouteRejected,
            f"{what} is refused: {wrong}",
            object=what,
            remedy="mend what the message names: listeners and allowed routes of the Gateway, or spec.host",
        )
    if not told:
        gateway = ctx.settings.routing.gateway
        where = f"{gateway.namespace or ctx.primitive.namespace}/{gateway.name}"
        message = f"Gateway {where} has not judged {what} yet"
        return Stage(
            ROUTING_READY,
            State.PROGRESSING,
            Reason.RoutePending,
            message,
            object=what,
            remedy="if it stays, see that the Gateway exists and that its controller runs",
        )
    return done(ROUTING_READY, Reason.RouteAccepted)


def _ingress_stage(ctx: Context, live: Any, what: str) -> Stage:
    addresses = ((live.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    if addresses or not ctx.settings.routing.ingress.require_address:
        return done(ROUTING_READY, Reason.RouteAccepted)
    return Stage(
        ROUTING_READY,
        State.PROGRESSING,
        Reason.RoutePending,
        f"no controller has given {what} an address yet",
        object=what,
        remedy="if it stays, see that the ingress class of the settings has a controller; one that writes no addresses "
        "needs routing.ingress.requireAddress: false",
    )


def _parent(ctx: Context) -> dict[str, str]:
    gateway = ctx.settings.routing.gateway
    parent = {"name": gateway.name}
    if gateway.namespace:
        parent["namespace"] = gateway.namespace
    if gateway.listener:
        parent["sectionName"] = gateway.listener
    return parent


def _http_route(ctx: Context) -> dict[str, Any]:
    parent = {"group": HTTP_ROUTE.group, "kind": "Gateway", **_parent(ctx)}
    backend = {"group": "", "kind": SERVICE.kind, "name": ctx.primitive.child_name, "port": PORT, "weight": 1}
    match = {"path": {"type": "PathPrefix", "value": ctx.spec.path_prefix}}
    return {
        "apiVersion": HTTP_ROUTE.api_version,
        "kind": HTTP_ROUTE.kind,
        "metadata": child_metadata(ctx.primitive),
        "spec": {
            "parentRefs": [parent],
            "hostnames": [ctx.spec.host],
            "rules": [{"matches": [match], "backendRefs": [backend]}],
        },
    }


def _ingress(ctx: Context) -> dict[str, Any]:
    settings = ctx.settings.routing.ingress
    backend = {"service": {"name": ctx.primitive.child_name, "port": {"number": PORT}}}
    path = {"path": ctx.spec.path_prefix, "pathType": "Prefix", "backend": backend}
    spec: dict[str, Any] = {"rules": [{"host": ctx.spec.host, "http": {"paths": [path]}}]}
    if settings.class_name:
        spec["ingressClassName"] = settings.class_name
    if settings.tls_secret:
        secret = settings.tls_secret.replace("{name}", ctx.primitive.child_name)
        spec["tls"] = [{"hosts": [ctx.spec.host], "secretName": secret}]
    return {
        "apiVersion": INGRESS.api_version,
        "kind": INGRESS.kind,
        "metadata": child_metadata(ctx.primitive, annotations=settings.annotations),
        "spec": spec,
    }
