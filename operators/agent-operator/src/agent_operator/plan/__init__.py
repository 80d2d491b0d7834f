"""What to do about an Agent: (resource, observed, settings, now) → Plan. Pure; the files beside it are its parts.

The order of the stages is the order in which things stand in each other's way:
acceptance → policy → definition → secrets → canary → workload → grants → runtime.
Two Agents are judged: the one that the spec asks for, and the one that was released last. What the policy refuses is
never released; what runs gets what the policy grants it now, keeps what it has, or is cut off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from agent_operator.observed import Observed
from agent_operator.plan import credentials, grants
from agent_operator.plan.children import Cast, Scene, children
from agent_operator.plan.context import Context, Unread
from agent_operator.plan.credentials import SECRETS_READY, secrets_stage
from agent_operator.plan.definition import Resolution, resolve, undeclared
from agent_operator.plan.deletion import plan_deletion
from agent_operator.plan.grants import GRANTS_READY, Held, grants_of, grants_stage
from agent_operator.plan.judgement import (
    ANNOTATION_SUBJECT,
    Fate,
    Judged,
    facts,
    fault_text,
    judge_running,
    judge_wanted,
    policy_stage,
    subject_text,
)
from agent_operator.plan.pods import RUNTIME_READY, runtime_stage, template
from agent_operator.plan.quarantine import emptied, refilled
from agent_operator.policy.verdict import NeededCredential
from agent_operator.settings import AgentSettings
from agent_operator.spec import Agent, AgentSpec
from ameide_shared.compile.acceptance import accept, behind, refusal_of
from ameide_shared.compile.context import annotation, primitive_for
from ameide_shared.kube.resources import HORIZONTAL_POD_AUTOSCALER, SCALED_OBJECT, Manifest
from ameide_shared.plan import Action, Plan
from ameide_shared.reasons import Reason
from ameide_shared.revisions import PodTemplate, Revision
from ameide_shared.revisions import stamp as stamp_template
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
from ameide_shared.stages import Stage, awaits, blocked, first_blocker
from ameide_shared.transformation.children import DEFINITION_RESOLVED
from ameide_shared.vocabulary import ANNOTATION_REVISION, WORKLOAD_READY

ASK_AGAIN_SECONDS: Final = 10.0
_SEEN_BY_ASKING: Final = frozenset(
    {
        Reason.ImageNotFound,
        Reason.RegistryUnavailable,
        Reason.ServiceAccountNotPermitted,
        Reason.SecretNotFound,
        Reason.SecretKeyMissing,
    }
)
"""What waits for something of somebody else that no watch shows."""


def plan(manifest: Manifest, observed: Observed, settings: AgentSettings, now: datetime) -> Plan:
    """Everything that is to be done about this Agent now, and how its stages stand."""
    primitive = primitive_for(manifest, observed)
    deleting = bool(manifest["metadata"].get("deletionTimestamp"))
    try:
        agent = Agent.parse(manifest)
    except InvalidSpec as error:
        unread = Unread(manifest, primitive, observed, settings, now)
        return plan_deletion(unread) if deleting else _invalid(primitive.child_name, error)
    ctx = Context(manifest, agent, primitive, observed, settings, now)
    return plan_deletion(ctx) if deleting else _plan(ctx)


def judged(ctx: Context) -> list[Judged]:
    """All that a plan is about: what the spec asks for, and what runs."""
    _, _, wanted, running = _judged(ctx)
    return [one for one in (wanted, running) if one is not None]


def _judged(ctx: Context) -> tuple[Sequence[Revision], Resolution, Judged, Judged | None]:
    """What was released, the definition to run, and the judgements of what the spec asks for and of what runs."""
    revisions = released(_workload(ctx, ctx.spec))
    current = revisions[-1] if revisions else None
    resolution = resolve(ctx, current.template if current else None)
    running = judge_running(ctx, current)
    return revisions, resolution, judge_wanted(ctx, resolution.parsed, running), running


def _plan(ctx: Context) -> Plan:
    revisions, resolution, wanted, running = _judged(ctx)
    accepted = accept(ctx, tenant_id=ctx.spec.definition_ref.tenant_id)
    defined = undeclared(ctx, wanted.subject) or resolution.stage
    holder = next((one for one in (wanted, running) if one is not None and one.allowed), None)
    secrets = secrets_stage(ctx, _needed(holder)) if holder is not None else None
    forbidden = not accepted.done or not wanted.allowed or resolution.target is None or not defined.done
    held = forbidden or secrets is None or not secrets.done
    cast = Cast(wanted, running, grants_of(ctx, wanted), grants_of(ctx, running) if running is not None else None)
    rollout = _rollout(ctx, cast, resolution, revisions, held=held)
    main, main_grants = _main(cast, rollout, held=held)
    cut_off = main is not None and main.fate is Fate.CUT_OFF
    pods = _workload(ctx, ctx.spec)
    marks: dict[str, str] = {}
    woken = None if cut_off else refilled(ctx, pods)
    if cut_off:
        pods, marks = emptied(ctx, pods)
    elif woken is not None:
        pods = woken
    candidate = rollout.canary.get("state") == RUNNING
    runtime: Sequence[Action] = ()
    if rollout.template is not None:
        annotations = {**rollout.annotations, **marks}
        runtime = main_deployment(pods, rollout.template, annotations, scaled=not forbidden)
    scene = Scene(cast, rollout, resolution, main, main_grants, candidate, forbidden, cut_off, woken is not None)
    actions = children(ctx, scene, runtime)
    policy = policy_stage(ctx, wanted, running, cut_off=cut_off)
    gates = (accepted, policy, *behind(accepted, defined, secrets or blocked(SECRETS_READY, policy)))
    workload = workload_stage(pods, rollout.template, planned_replicas(pods, actions), first_blocker(gates))
    stages = (
        *gates,
        *((rollout.stage,) if rollout.stage else ()),
        workload,
        _grants(ctx, main_grants, gates),
        runtime_stage(workload, ctx.observed.ready_pods(), rollout.template),
    )
    told: dict[str, Any] = {
        "revision": {"current": rollout.current, "target": rollout.target},
        "canary": rollout.canary,
        "child": ctx.primitive.child_name,
        "available": resolution.available,
        "grants": main_grants,
        "policy": facts(ctx, wanted, running, cut_off=cut_off),
        "judged": wanted.verdict is not None,
        "fault": fault_text(ctx),
        "violation": policy if policy.reason in (Reason.PolicyViolation, Reason.Quarantined) else None,
    }
    return Plan(tuple(actions), stages, _look_again(ctx, stages, holder), told)


def _look_again(ctx: Context, stages: Sequence[Stage], holder: Judged | None) -> float | None:
    """Seconds after which to look although no event may come."""
    if awaits(stages, _SEEN_BY_ASKING):
        return ASK_AGAIN_SECONDS
    if awaits(stages, {Reason.SecretsSyncing}):
        return credentials.NOTICED_SECONDS
    # Whether somebody else's Secret was rotated no watch shows.
    theirs = any(needed.secret_name is not None for needed in _needed(holder))
    return ctx.settings.secret_seconds if theirs else None


def _grants(ctx: Context, held: Held | None, gates: tuple[Stage, ...]) -> Stage:
    """The stage of the grants; before the first release there are none."""
    if held is not None:
        return grants_stage(ctx, held)
    return blocked(GRANTS_READY, first_blocker(gates) or gates[0])


def _needed(judged: Judged | None) -> tuple[NeededCredential, ...]:
    return judged.verdict.credentials if judged is not None and judged.verdict is not None else ()


def _workload(ctx: Context, spec: AgentSpec) -> Workload:
    return Workload(
        ctx.primitive,
        spec,
        ctx.observed.objects,
        recorded=ctx.manifest.get("status") or {},
        history=ctx.settings.history.revisions,
        canary=ctx.spec.rollout.canary,
        now=ctx.now,
        scalers=(SCALED_OBJECT, HORIZONTAL_POD_AUTOSCALER),
    )


def _rollout(ctx: Context, cast: Cast, resolution: Resolution, revisions: Sequence[Revision], *, held: bool) -> Rollout:
    """Which template runs, with the grants of whoever runs it."""
    verdict = cast.wanted.verdict
    target = None
    if resolution.target is not None and verdict is not None and verdict.allowed:
        target = template(ctx, resolution.target, verdict)  # else its credentials are not known
    digest = stamp_template(target)[1] if target is not None else ""

    def dress(worn: PodTemplate) -> PodTemplate:
        is_target = annotation(worn, ANNOTATION_REVISION) == digest
        own = cast.wanted_grants if is_target and not held else cast.running_grants
        return grants.dress(ctx, worn, own or cast.wanted_grants)

    workload = _workload(ctx, ctx.spec)
    if cast.running is not None and cast.running.fate is Fate.CUT_OFF:
        workload = replace(workload, canary=False)  # nothing runs beside which a canary could be tried
    return plan_rollout(
        workload,
        target,
        revisions,
        annotations={ANNOTATION_SUBJECT: subject_text(cast.wanted.subject)},
        held=held,
        config=lambda worn: credentials.config_digest(ctx, worn),
        dress=dress,
    )


def _main(cast: Cast, rollout: Rollout, *, held: bool) -> tuple[Judged | None, Held | None]:
    """Who the main Deployment runs, with its grants; nobody before the first release."""
    if rollout.template is None:
        return None, None
    if not held and rollout.current == rollout.target:
        return cast.wanted, cast.wanted_grants
    return cast.running, cast.running_grants


def _invalid(child: str, error: InvalidSpec) -> Plan:
    """A spec that cannot be compiled: nothing is touched, what runs goes on running."""
    stage = refusal_of(error)
    conditions = (DEFINITION_RESOLVED, SECRETS_READY, WORKLOAD_READY, GRANTS_READY, RUNTIME_READY)
    return Plan((), (stage, *(blocked(condition, stage) for condition in conditions)), facts={"child": child})


__all__ = ["judged", "plan"]
