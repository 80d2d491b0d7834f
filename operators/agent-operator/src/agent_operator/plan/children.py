"""The children of an Agent in the order in which they are written: borders before grants before pods, whoever runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from agent_operator.plan import credentials, definition, grants
from agent_operator.plan.context import Context
from agent_operator.plan.definition import Resolution
from agent_operator.plan.deletion import FINALIZER
from agent_operator.plan.grants import Held
from agent_operator.plan.judgement import Fate, Judged
from agent_operator.plan.network import border
from agent_operator.plan.pods import AGENT
from agent_operator.plan.scaling import by_sessions, scaling
from agent_operator.policy.subject import Subject
from agent_operator.policy.verdict import NeededCredential
from ameide_shared.compile.acceptance import network_profile
from ameide_shared.compile.surroundings import before_pods, beside_pods, other_service_accounts, unwanted
from ameide_shared.kube.resources import DEPLOYMENT, HORIZONTAL_POD_AUTOSCALER, SCALED_OBJECT
from ameide_shared.plan import Action, AddFinalizer, Ensure
from ameide_shared.revisions import PodTemplate
from ameide_shared.rollout import Rollout
from ameide_shared.transformation.children import ensure_definition
from ameide_shared.workload import workload_state


@dataclass(frozen=True, slots=True)
class Cast:
    """Who is in a plan: what the spec asks for and what runs, each judged, and the grants that each holds."""

    wanted: Judged
    running: Judged | None
    wanted_grants: Held
    running_grants: Held | None


@dataclass(frozen=True, slots=True)
class Scene:
    """What has been decided: who the main Deployment runs and with which grants, and what becomes of all that runs.

    `candidate`: a canary of what is wanted runs. `forbidden`: what is wanted may not run. `woken`: what was cut off
    comes back in this pass.
    """

    cast: Cast
    rollout: Rollout
    resolution: Resolution
    main: Judged | None
    main_grants: Held | None
    candidate: bool
    forbidden: bool
    cut_off: bool
    woken: bool

    @property
    def runs(self) -> list[Judged]:
        """All that runs, the main Deployment's first."""
        return [one for one in (self.main, self.cast.wanted if self.candidate else None) if one is not None]

    @property
    def held(self) -> list[Held]:
        """The grants of all that runs, in the same order."""
        return [one for one in (self.main_grants, self.cast.wanted_grants if self.candidate else None) if one]


def children(ctx: Context, scene: Scene, runtime: Sequence[Action]) -> list[Action]:
    """Everything that is to be written; `runtime` is the main Deployment."""
    if not scene.runs and scene.forbidden:
        return []
    if scene.cut_off:
        return _cut_off(ctx, scene, runtime)
    profile = None if scene.forbidden else network_profile(ctx)
    limits = border(ctx, profile, scene.runs or [scene.cast.wanted])
    actions = _finalizer(ctx, scene)
    actions += before_pods(ctx, AGENT, profile, scene.rollout.template, border=limits)
    actions += grants.ensure_grants(ctx, scene.held, required=True)
    if not scene.forbidden:
        actions += ensure_definition(ctx, scene.resolution.target, definition.FILE)
    kept = any(one.fate is Fate.KEPT for one in scene.runs)
    actions += credentials.external_secrets(ctx, _credentials(scene), keep_others=kept)
    actions += scene.rollout.actions
    actions += runtime
    if not scene.forbidden and not scene.woken:
        actions += beside_pods(ctx, AGENT, scaled_elsewhere=by_sessions(ctx))
        actions += scaling(ctx)
        actions += other_service_accounts(ctx, scene.rollout.template)
    if scene.rollout.template is not None and scene.held:
        actions += grants.publish(ctx, scene.held[0])
        actions += _drop_unused(ctx, scene, scene.rollout.template)
    return actions


def _cut_off(ctx: Context, scene: Scene, runtime: Sequence[Action]) -> list[Action]:
    """Quarantine: the ways out, the grants, what starts pods, and the pods, in this order.

    Nothing comes before, and no write that is refused holds the next one back. The service is told before pods go:
    whoever asks it has to hear of it first. One that has never heard of the Agent need not be told.
    """
    profile = None if scene.forbidden else network_profile(ctx)
    limits = border(ctx, profile, scene.runs)
    around = before_pods(ctx, AGENT, profile, scene.rollout.template, border=limits)
    return [
        limits,
        *grants.ensure_grants(ctx, scene.held, required=False),
        *(grants.publish(ctx, scene.held[0]) if _has_finalizer(ctx) else ()),
        *unwanted(ctx, HORIZONTAL_POD_AUTOSCALER, "quarantine: nothing starts pods"),
        *unwanted(ctx, SCALED_OBJECT, "quarantine: nothing starts pods"),
        *(replace(one, required=False) for one in around if isinstance(one, Ensure) and one is not limits),
        *scene.rollout.actions,
        *runtime,
    ]


def _finalizer(ctx: Context, scene: Scene) -> list[Action]:
    if _has_finalizer(ctx) or not ctx.settings.grants_service.url or scene.rollout.template is None:
        return []
    return [AddFinalizer(FINALIZER, "grants in the grants service outlive the Agent's own children")]


def _has_finalizer(ctx: Context) -> bool:
    return FINALIZER in (ctx.manifest["metadata"].get("finalizers") or ())


def _drop_unused(ctx: Context, scene: Scene, running: PodTemplate) -> list[Action]:
    """Grants and definitions that no pod has any more. While a rollout is under way the old ReplicaSet may still have
    to replace pods.
    """
    main = ctx.observed.objects.get(DEPLOYMENT, ctx.primitive.namespace, ctx.primitive.child_name)
    if not workload_state(main).rolled_out:
        return []
    return [*grants.drop_unused(ctx, scene.held), *definition.drop_unused(ctx, scene.resolution.target, [running])]


def _credentials(scene: Scene) -> list[tuple[Subject, NeededCredential]]:
    """The credentials of all that runs, and of what is about to."""
    wanted = [] if scene.forbidden else [scene.cast.wanted]
    judged = [one for one in (*scene.runs, *wanted) if one.verdict is not None]
    return [(one.subject, needed) for one in judged for needed in (one.verdict.credentials if one.verdict else ())]
