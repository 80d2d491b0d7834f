"""How many pods an Agent has when it is cut off, and afterwards: the Deployment remembers what it had before."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from agent_operator.plan.context import Context
from ameide_shared.compile.context import annotation
from ameide_shared.kube.resources import DEPLOYMENT, Manifest
from ameide_shared.rollout import Workload

ANNOTATION_REPLICAS: Final = "agent.ameide.io/replicas-before-quarantine"
"""On the Deployment of an Agent that is cut off: how many replicas it had. Its group is not that of revisions' own."""


def emptied(ctx: Context, workload: Workload) -> tuple[Workload, dict[str, str]]:
    """The workload without pods, whatever scaled it, and the annotation that says how many it had."""
    before = _remembered(ctx)
    if before is None:
        live = _live(ctx)
        # None where the Deployment was deleted meanwhile: then it begins anew.
        before = int(((live or {}).get("spec") or {}).get("replicas", ctx.spec.replicas or 1))
    return _of(ctx, workload, 0), {ANNOTATION_REPLICAS: str(before)}


def refilled(ctx: Context, workload: Workload) -> Workload | None:
    """The workload with as many pods as before it was cut off; None where it was not.

    For one pass no autoscaler has a say: the usual one wakes nothing from zero, and is handed over to in the next pass.
    """
    before = _remembered(ctx)
    if before is None:
        return None
    fixed = ctx.spec.replicas if ctx.spec.autoscaling is None else None
    return _of(ctx, workload, before if fixed is None else fixed)


def is_marked(ctx: Context) -> bool:
    """Whether what runs has been cut off, and has not come back yet."""
    return _remembered(ctx) is not None


def _of(ctx: Context, workload: Workload, replicas: int) -> Workload:
    spec = ctx.spec.model_copy(update={"replicas": replicas, "autoscaling": None})
    return replace(workload, spec=spec, scalers=())


def _remembered(ctx: Context) -> int | None:
    live = _live(ctx)
    written = annotation(live, ANNOTATION_REPLICAS) if live is not None else ""
    return int(written) if written.isdecimal() else None


def _live(ctx: Context) -> Manifest | None:
    return ctx.observed.objects.get(DEPLOYMENT, ctx.primitive.namespace, ctx.primitive.child_name)
