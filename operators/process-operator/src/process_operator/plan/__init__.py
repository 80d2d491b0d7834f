"""What to do about a Process: (resource, observed, settings, now) → Plan. Pure; the files beside it are its parts.

The order of the stages is the order in which things stand in each other's way:
acceptance → definition → dependencies → Temporal → canary → workload → workers.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from ameide_shared.builders.inputs import BACKEND
from ameide_shared.compile.acceptance import accept, behind, network_profile, refusal_of
from ameide_shared.compile.context import primitive_for
from ameide_shared.compile.surroundings import before_pods, beside_pods, other_service_accounts
from ameide_shared.kube.resources import (
    HORIZONTAL_POD_AUTOSCALER,
    SCALED_OBJECT,
    Manifest,
)
from ameide_shared.plan import Action, AddFinalizer, Notify, Plan, RemoveFinalizer
from ameide_shared.reasons import Reason
from ameide_shared.revisions import PodTemplate, Revision
from ameide_shared.rollout import (
    RUNNING,
    Rollout,
    Workload,
    main_deployment,
    plan_rollout,
    planned_replicas,
    released,
    workload_stage,
)
from ameide_shared.spec import InvalidSpec
from ameide_shared.stages import Stage, State, awaits, blocked, first_blocker
from ameide_shared.transformation.children import DEFINITION_RESOLVED, ensure_definition, stored
from ameide_shared.vocabulary import WORKLOAD_READY
from process_operator.observed import Observed
from process_operator.plan import temporal
from process_operator.plan.context import Context
from process_operator.plan.definition import TABLE, Resolution, drop_unused, resolve
from process_operator.plan.deletion import FINALIZER, plan_deletion
from process_operator.plan.dependencies import DEPENDENCIES_READY, dependencies_stage
from process_operator.plan.dependencies import egress as dependency_egress
from process_operator.plan.scaling import by_backlog, scaling
from process_operator.plan.schedules import schedules
from process_operator.plan.temporal import TEMPORAL_READY, rival_refusal, settings_refusal, temporal_part
from process_operator.plan.versioned import (
    api_refusal,
    is_versioned,
    unversioned,
    versioned_stage,
    versioned_workload,
)
from process_operator.plan.workers import (
    WORKERS_READY,
    canary_proof,
    with_needed,
    worker_template,
    workers_stage,
)
from process_operator.settings import ProcessSettings
from process_operator.spec import Process

ASK_AGAIN_SECONDS: Final = 10.0
POLLING_SECONDS: Final = 2.0
UNUSED_SECONDS: Final = 60.0
_SEEN_BY_ASKING: Final = frozenset(
    {Reason.ImageNotFound, Reason.RegistryUnavailable, Reason.ServiceAccountNotPermitted}
)
"""What waits for something of somebody else that no watch shows."""
_POLLED_FOR: Final = frozenset({Reason.WorkersNotPolling, Reason.CanaryInProgress})


def plan(manifest: Manifest, observed: Observed, settings: ProcessSettings, now: datetime) -> Plan:
    """Everything that is to be done about this Process now, and how its stages stand."""
    primitive = primitive_for(manifest, observed)
    deleting = bool(manifest["metadata"].get("deletionTimestamp"))
    try:
        process = Process.parse(manifest)
    except InvalidSpec as error:
        return _invalid(manifest, primitive.child_name, error, deleting)
    ctx = Context(manifest, process, primitive, observed, settings, now)
    return plan_deletion(ctx) if deleting else _plan(ctx)


def _plan(ctx: Context) -> Plan:
    pods = _workload(ctx)
    revisions = released(pods)
    current = revisions[-1].template if revisions else None
    accepted = accept(ctx, tenant_id=ctx.spec.definition_ref.tenant_id, more=(api_refusal(ctx),))
    resolution = resolve(ctx, current)
    barred = settings_refusal(ctx)
    claimed = barred or rival_refusal(ctx)
    server = temporal_part(ctx)
    dependencies = dependencies_stage(ctx)
    gates = (accepted, *behind(accepted, resolution.stage, dependencies, claimed or server.stage))
    if barred is not None:
        gates = (*gates[:-1], barred)  # whatever else is wrong: all that settings forbid is told at once
    forbidden = not accepted.done or claimed is not None or resolution.target is None
    unmet = any(not gate.done for gate in gates)
    # What it needs of others holds back the first start only: workers that run are left alone.
    held = forbidden or (not revisions and unmet)
    rollout = _rollout(ctx, pods, resolution, current, revisions, held=held)
    candidate = resolution.target.checksum if rollout.canary.get("state") == RUNNING and resolution.target else ""
    rollout = replace(rollout, template=with_needed(ctx, rollout.template, candidate))
    actions: list[Action] = []
    if claimed is None and accepted.done:
        actions += server.actions
    if (accepted.done and claimed is None) or rollout.template is not None:
        actions += _children(ctx, pods, rollout, resolution, current, forbidden=forbidden)
    gate = first_blocker(gates)
    if is_versioned(ctx):
        workload = versioned_stage(ctx, rollout.template, gate)
    else:
        workload = workload_stage(pods, rollout.template, planned_replicas(pods, actions), gate)
    workers = workers_stage(ctx, workload, ctx.observed.ready_pods())
    stages = (*gates, *((rollout.stage,) if rollout.stage else ()), workload, workers)
    facts: dict[str, Any] = {
        "revision": {"current": rollout.current, "target": rollout.target},
        "canary": rollout.canary,
        "child": ctx.primitive.child_name,
        "available": resolution.available,
    }
    return Plan(tuple(actions), stages, _look_again(ctx, stages), facts)


def _workload(ctx: Context) -> Workload:
    return Workload(
        ctx.primitive,
        ctx.spec,
        ctx.observed.objects,
        recorded=ctx.manifest.get("status") or {},
        history=ctx.settings.history.revisions,
        canary=ctx.spec.rollout.strategy == "Canary",
        now=ctx.now,
        scalers=(SCALED_OBJECT, HORIZONTAL_POD_AUTOSCALER),
    )


def _rollout(
    ctx: Context,
    pods: Workload,
    resolution: Resolution,
    current: PodTemplate | None,
    revisions: list[Revision],
    *,
    held: bool,
) -> Rollout:
    if resolution.target is None:
        # There is no target to name; what was released last, if anything, goes on.
        last = revisions[-1] if revisions else None
        return Rollout(last.template if last else None, "", last.digest if last else "")
    return plan_rollout(
        pods,
        worker_template(ctx, resolution.target, current),
        revisions,
        annotations={},
        held=held,
        config=lambda template: "",
        proof=lambda live, canaries: canary_proof(ctx, live, canaries),
    )


def _children(
    ctx: Context,
    pods: Workload,
    rollout: Rollout,
    resolution: Resolution,
    current: PodTemplate | None,
    *,
    forbidden: bool,
) -> list[Action]:
    actions: list[Action] = []
    holds = FINALIZER in (ctx.manifest["metadata"].get("finalizers") or ())
    if not holds and ctx.spec.deletion.policy != "Abandon" and rollout.template is not None:
        actions.append(AddFinalizer(FINALIZER, "open workflows outlive the Process's own children"))
    # A refused spec changes neither the borders of what runs nor what stands beside it.
    profile = network_profile(ctx) if not forbidden else None
    ways = [*temporal.egress(ctx), *dependency_egress(ctx)]
    actions += before_pods(ctx, BACKEND, profile, rollout.template, ways)
    if not forbidden:
        actions += ensure_definition(ctx, resolution.target, TABLE)
    actions += rollout.actions
    if rollout.template is not None:
        if is_versioned(ctx):
            if api_refusal(ctx) is None:
                actions += versioned_workload(ctx, rollout.template, rollout.annotations)
        else:
            actions += main_deployment(pods, rollout.template, rollout.annotations, scaled=not forbidden)
            actions += unversioned(ctx)
    if not forbidden:
        actions += beside_pods(ctx, BACKEND, scaled_elsewhere=by_backlog(ctx))
        actions += scaling(ctx)
        actions += other_service_accounts(ctx, rollout.template)
        actions += drop_unused(ctx, resolution.target)
        if resolution.target is not None and rollout.template is not None:
            actions += schedules(ctx, resolution.target, current)
    return actions


def _look_again(ctx: Context, stages: tuple[Stage, ...]) -> float | None:
    """Seconds after which to look although no event may come."""
    waits = []
    if awaits(stages, _SEEN_BY_ASKING):
        waits.append(ASK_AGAIN_SECONDS)
    if any(stage.reason in _POLLED_FOR and stage.state is State.PROGRESSING for stage in stages):
        waits.append(POLLING_SECONDS)
    if len(stored(ctx)) > 1:
        waits.append(max(UNUSED_SECONDS, ctx.settings.definitions.retention_seconds / 4))
    return min(waits, default=None)


def _invalid(manifest: Manifest, child: str, error: InvalidSpec, deleting: bool) -> Plan:
    """A spec that cannot be compiled: nothing is touched, what runs goes on running."""
    stage = refusal_of(error)
    conditions = (DEFINITION_RESOLVED, DEPENDENCIES_READY, TEMPORAL_READY, WORKLOAD_READY, WORKERS_READY)
    actions: tuple[Action, ...] = ()
    if deleting and FINALIZER in (manifest["metadata"].get("finalizers") or ()):
        message = "the spec cannot be read, so workflows that may be open are left behind"
        actions = (
            Notify("Warning", Reason.WorkflowsLeftBehind, message),
            RemoveFinalizer(FINALIZER, "deletion never hangs on a spec that cannot be read"),
        )
    return Plan(actions, (stage, *(blocked(condition, stage) for condition in conditions)), facts={"child": child})


__all__ = ["plan"]
