"""What to do about a UISurface: (resource, observed, settings, now) → Plan. Pure; the files beside it are its parts.

The order of the stages is the order in which things stand in each other's way:
acceptance → dependencies → claim → login → route → canary → workload.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from ameide_shared.builders.inputs import FRONTEND
from ameide_shared.compile.acceptance import accept, network_profile, refusal_of
from ameide_shared.compile.context import annotation, primitive_for
from ameide_shared.compile.dependencies import DEPENDENCIES_READY, egress_to, stage_of
from ameide_shared.compile.surroundings import before_pods, beside_pods, other_service_accounts
from ameide_shared.kube.resources import DEPLOYMENT, Manifest
from ameide_shared.plan import Action, AddFinalizer, Notify, Plan, RemoveFinalizer
from ameide_shared.reasons import Reason
from ameide_shared.revisions import Revision
from ameide_shared.rollout import (
    Rollout,
    Workload,
    main_deployment,
    plan_rollout,
    planned_replicas,
    released,
    workload_stage,
)
from ameide_shared.spec import InvalidSpec
from ameide_shared.stages import Stage, awaits, blocked, first_blocker
from ameide_shared.vocabulary import ANNOTATION_REVISION, WORKLOAD_READY
from ameide_shared.workload import workload_state
from uisurface_operator.observed import Observed
from uisurface_operator.plan import app, auth, claims, kept
from uisurface_operator.plan.auth import AUTH_CONFIGURED, auth_stage
from uisurface_operator.plan.claims import ROUTING_READY
from uisurface_operator.plan.context import Context, Unread, references
from uisurface_operator.plan.deletion import FINALIZER, plan_deletion
from uisurface_operator.plan.routing import route_actions, routing_stage
from uisurface_operator.settings import UISurfaceSettings
from uisurface_operator.spec import UISurface
from uisurface_operator.target import APPLICATION, GATEWAY, PUBLIC

ASK_AGAIN_SECONDS: Final = 10.0
_SEEN_BY_ASKING: Final = frozenset(
    {Reason.ImageNotFound, Reason.RegistryUnavailable, Reason.ServiceAccountNotPermitted}
)
"""What waits for something of somebody else that no watch shows."""


def plan(manifest: Manifest, observed: Observed, settings: UISurfaceSettings, now: datetime) -> Plan:
    """Everything that is to be done about this UISurface now, and how its stages stand."""
    primitive = primitive_for(manifest, observed)
    deleting = bool(manifest["metadata"].get("deletionTimestamp"))
    try:
        surface = UISurface.parse(manifest)
    except InvalidSpec as error:
        return _invalid(Unread(manifest, primitive, observed, settings, now), error, deleting)
    ctx = Context(manifest, surface, primitive, observed, settings, now)
    return plan_deletion(ctx) if deleting else _plan(ctx)


def _plan(ctx: Context) -> Plan:
    pods = _workload(ctx)
    revisions = released(pods)
    accepted = accept(ctx, more=(auth.mode_refusal(ctx), claims.host_refusal(ctx)))
    forbidden = not accepted.done
    conflict = None if forbidden else claims.conflict(ctx)
    dependencies = stage_of(ctx, references(ctx.spec, ctx.primitive.namespace))
    login = auth_stage(ctx)
    # What the app needs of others holds back the first start only: pods that run are left alone. One that logs users in
    # by itself does not start without its client's secret.
    unready = ctx.mode == APPLICATION and not auth.has_secret(ctx)
    held = forbidden or (not revisions and (not dependencies.done or conflict is not None)) or unready
    rollout = _rollout(ctx, pods, revisions, held=held)
    actions: list[Action] = kept.guards(ctx) if forbidden else []
    if not forbidden or rollout.template is not None:
        actions += _children(ctx, pods, rollout, forbidden=forbidden, claimed=conflict is None)
    gates = _gates(ctx, accepted, dependencies, login, conflict, started=rollout.template is not None)
    gate = first_blocker(gates)
    workload = workload_stage(pods, rollout.template, planned_replicas(pods, actions), gate)
    stages = (*gates, *((rollout.stage,) if rollout.stage else ()), workload)
    facts: dict[str, Any] = {
        "revision": {"current": rollout.current, "target": rollout.target},
        "canary": rollout.canary,
        "child": ctx.primitive.child_name,
        "url": ctx.url if conflict is None and not forbidden else None,
        "claim": None if forbidden else _claim(ctx, conflict),
        "auth": None if forbidden else _auth(ctx),
    }
    asking = awaits(stages, _SEEN_BY_ASKING)
    return Plan(tuple(actions), stages, ASK_AGAIN_SECONDS if asking else None, facts)


def _gates(
    ctx: Context, accepted: Stage, dependencies: Stage, login: Stage, conflict: Stage | None, *, started: bool
) -> tuple[Stage, ...]:
    """What stands before the workload; nothing can be judged for a resource that may not be compiled."""
    if not accepted.done:
        # Whatever else is wrong: all that settings forbid is told at once.
        unknown = auth.connection_refusal(ctx) or blocked(AUTH_CONFIGURED, accepted)
        return accepted, blocked(DEPENDENCIES_READY, accepted), unknown, blocked(ROUTING_READY, accepted)
    if conflict is not None:
        return accepted, dependencies, conflict, blocked(AUTH_CONFIGURED, conflict)
    gate = None if started else first_blocker((dependencies, login))
    return accepted, dependencies, login, routing_stage(ctx, login, gate)


def _workload(ctx: Context) -> Workload:
    return Workload(
        ctx.primitive,
        ctx.spec,
        ctx.observed.objects,
        recorded=ctx.manifest.get("status") or {},
        history=ctx.settings.history.revisions,
        canary=ctx.spec.rollout.canary,
        now=ctx.now,
    )


def _rollout(ctx: Context, pods: Workload, revisions: Sequence[Revision], *, held: bool) -> Rollout:
    nameable = ctx.mode != APPLICATION or ctx.connection is not None  # else there is no issuer to tell the app
    return plan_rollout(
        pods,
        app.template(ctx) if nameable else None,
        revisions,
        annotations={},
        held=held,
        config=lambda worn: app.config_digest(worn, ctx),
    )


def _children(ctx: Context, pods: Workload, rollout: Rollout, *, forbidden: bool, claimed: bool) -> list[Action]:
    actions: list[Action] = []
    holds = FINALIZER in (ctx.manifest["metadata"].get("finalizers") or ())
    if not holds and not forbidden:
        actions.append(AddFinalizer(FINALIZER, "the route goes before the pods, and the client in Keycloak with both"))
    # A refused spec changes neither the borders of what runs nor what stands beside it; what is lost comes back.
    profile = None if forbidden else network_profile(ctx)
    ways = [*auth.egress(ctx), *egress_to(ctx, references(ctx.spec, ctx.primitive.namespace))]
    actions += before_pods(ctx, FRONTEND, profile, rollout.template, ways)
    if not forbidden:
        actions += auth.client_actions(ctx) if claimed else []
        actions += auth.secret_actions(ctx) if claimed and ctx.mode == APPLICATION else []  # its pods mount it
        actions += app.configuration(ctx)
    actions += rollout.actions
    if rollout.template is not None:
        annotations = {**rollout.annotations, app.ANNOTATION_DEPENDENCIES: app.dependencies_text(ctx)}
        actions += main_deployment(pods, rollout.template, annotations, scaled=not forbidden)
    if forbidden:
        return actions
    actions += beside_pods(ctx, FRONTEND)
    actions += other_service_accounts(ctx, rollout.template)
    settled = _settled(ctx, rollout)
    if claimed:
        actions += auth.secret_actions(ctx) if ctx.mode == GATEWAY else []
        actions += auth.policy_actions(ctx, others_gone=settled)
    if rollout.template is not None or not claimed:
        actions += route_actions(ctx, claimed=claimed)
    actions += auth.leaving_actions(ctx, others_gone=settled)
    if rollout.template is not None:
        actions += app.drop_unused(ctx, [rollout.template])
    return actions


def _settled(ctx: Context, rollout: Rollout) -> bool:
    """Whether all pods are of the revision that is wanted."""
    main = ctx.observed.objects.get(DEPLOYMENT, ctx.primitive.namespace, ctx.primitive.child_name)
    if main is None or not workload_state(main).rolled_out:
        return False
    return annotation(main["spec"]["template"], ANNOTATION_REVISION) == rollout.target == rollout.current


def _claim(ctx: Context, conflict: Stage | None) -> dict[str, str] | None:
    """The host and path that it holds."""
    return None if conflict is not None else {"host": ctx.spec.host, "pathPrefix": ctx.spec.path_prefix}


def _auth(ctx: Context) -> dict[str, Any]:
    """How users log in; the client is told of from when it may exist until it is known to be gone."""
    told: dict[str, Any] = {"mode": ctx.mode}
    if ctx.mode != PUBLIC:
        told |= {"connection": ctx.spec.auth.connection, "clientId": ctx.target.client.client_id}
        told["scopes"] = list(ctx.spec.auth.scopes)
    return told


def _invalid(ctx: Unread, error: InvalidSpec, deleting: bool) -> Plan:
    """A spec that cannot be compiled: what runs goes on running, guarded as it was."""
    stage = refusal_of(error)
    conditions = (DEPENDENCIES_READY, AUTH_CONFIGURED, ROUTING_READY, WORKLOAD_READY)
    actions: tuple[Action, ...] = () if deleting else (*kept.guards(ctx), *kept.border(ctx))
    if deleting and FINALIZER in (ctx.manifest["metadata"].get("finalizers") or ()):
        message = "the spec cannot be read, so a client that Keycloak may have is left behind"
        actions = (
            Notify("Warning", Reason.ClientLeftBehind, message),
            RemoveFinalizer(FINALIZER, "deletion never hangs on a spec that cannot be read"),
        )
    return Plan(
        actions,
        (stage, *(blocked(condition, stage) for condition in conditions)),
        facts={"child": ctx.primitive.child_name},
    )


__all__ = ["plan"]
