"""Which definition the workers run: the one that was fetched, compiled and pinned, else the last good one.

Compiled definitions are immutable ConfigMaps named by checksum. They stay as long as anything may run on them: open
workflows replay on the definition they were started on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import lru_cache
from typing import Any, Final

from ameide_shared.compile.context import annotation
from ameide_shared.kube.resources import CONFIG_MAP, DEPLOYMENT, POD, WORKER_DEPLOYMENT, key_of
from ameide_shared.plan import Action, Delete
from ameide_shared.reasons import Reason
from ameide_shared.revisions import PodTemplate
from ameide_shared.stages import Stage, State
from ameide_shared.status import parse_time
from ameide_shared.transformation.children import (
    ANNOTATION_CHECKSUM,
    DEFINITION_RESOLVED,
    Resolved,
    mismatch,
    released_definition,
    stored,
    with_definition,
    without_definition,
    wrong_version,
)
from ameide_shared.transformation.model import Definition
from process_operator.bpmn import Compiled, Dependencies, InvalidDefinition, Problem, compile
from process_operator.plan.context import Context
from process_operator.plan.dependencies import declared

TABLE: Final = "table.json"
_SHOWN_PROBLEMS: Final = 5


@dataclass(frozen=True, slots=True)
class Resolution:
    """The definition to run (None: there is none), how the stage stands, and what status says is available."""

    target: Resolved | None
    stage: Stage
    available: Mapping[str, Any]


def resolve(ctx: Context, current: PodTemplate | None) -> Resolution:
    """Decide. `current` is the template that was released last, whose definition serves when no other can be had."""
    seen = ctx.observed.definition
    kept = _kept(ctx, current)
    if seen.definition is None:
        return Resolution(kept, without_definition(ctx, kept), {})
    fetched = seen.definition
    compiled = _compiled(_Source(fetched), declared(ctx.spec, ctx.primitive.namespace))
    if isinstance(compiled, InvalidDefinition):
        return Resolution(kept, _invalid(fetched, compiled), {"version": fetched.version})
    available = {"version": fetched.version, "checksum": compiled.checksum}
    mismatch = _mismatch(ctx, fetched, compiled)
    if mismatch is not None:
        return Resolution(kept, mismatch, available)
    target = Resolved(fetched.version, compiled.checksum, compiled.bytes.decode())
    return Resolution(target, _noted(with_definition(ctx, fetched), compiled), available)


def _noted(stage: Stage, compiled: Compiled) -> Stage:
    """The stage with what the compiler warned of: it keeps nothing back, and is probably not meant."""
    if not compiled.warnings:
        return stage
    shown, more = _shown(compiled.warnings)
    warned = f"it can be run; its author may want to know: {'; '.join(map(str, shown))}{more}"
    return replace(stage, message="; ".join(filter(None, (stage.message, warned))))


def _shown(problems: Sequence[Problem]) -> tuple[Sequence[Problem], str]:
    """The first few problems, and how many more there are in words."""
    more = len(problems) - _SHOWN_PROBLEMS
    return problems[:_SHOWN_PROBLEMS], f" (and {more} more)" if more > 0 else ""


def _invalid(fetched: Definition, error: InvalidDefinition) -> Stage:
    shown, more = _shown(error.problems)
    what = f"definition {fetched.id} version {fetched.version}"
    too_large = all("bytes, and" in problem.message for problem in error.problems)
    return Stage(
        DEFINITION_RESOLVED,
        State.STALLED,
        Reason.DefinitionTooLarge if too_large else Reason.DefinitionInvalid,
        f"{what} cannot be run: " + "; ".join(f"{p.element_id or p.path}: {p.message}" for p in shown) + more,
        object=what,
        remedy="; ".join(dict.fromkeys(problem.remedy for problem in shown)) + "; then publish a new version",
    )


def _mismatch(ctx: Context, fetched: Definition, compiled: Compiled) -> Stage | None:
    pinned = ctx.reference.checksum
    if pinned is None or compiled.checksum == pinned:
        return wrong_version(ctx, fetched)
    return wrong_version(ctx, fetched) or mismatch(
        ctx,
        f"spec.definitionRef.checksum pins {pinned}, but version {fetched.version} compiles to {compiled.checksum}",
    )


class _Source:
    """A fetched definition as an argument that can be remembered: by its digest, which stands for its content."""

    __slots__ = ("definition",)

    def __init__(self, definition: Definition) -> None:
        self.definition = definition

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Source) and other.definition.digest == self.definition.digest

    def __hash__(self) -> int:
        return hash(self.definition.digest)


@lru_cache(maxsize=256)  # the same few definitions are planned with again and again
def _compiled(source: _Source, dependencies: Dependencies) -> Compiled | InvalidDefinition:
    try:
        return compile(source.definition.definition, dependencies)
    except InvalidDefinition as error:
        return error


# --- what is kept -----------------------------------------------------------------------------------------------------


def drop_unused(ctx: Context, target: Resolved | None) -> list[Action]:
    """Delete definitions that no pod and no open workflow runs on, once that is certain.

    Visibility lags, and a workflow may just have been started by a worker that is going: a definition stays for the
    retention time after it was superseded and the last pod that ran it has gone.
    """
    kept = stored(ctx)
    usage = ctx.observed.temporal.usage if ctx.observed.temporal is not None else None
    if len(kept) < 2 or target is None or usage is None or not usage.complete or usage.checked_at is None:
        return []
    newest = max(parse_time(live["metadata"]["creationTimestamp"]) for live in kept.values())
    settled_since = max([newest, *_started(ctx)])
    quiet = timedelta(seconds=ctx.settings.definitions.retention_seconds)
    if usage.checked_at < settled_since + quiet:
        return []
    used = {target.checksum, *usage.checksums, *_running(ctx)}
    return [
        Delete(CONFIG_MAP, key_of(live), live["metadata"]["uid"], "no workflow and no worker runs on this definition")
        for checksum, live in sorted(kept.items())
        if checksum not in used
    ]


def _running(ctx: Context) -> set[str]:
    """Definitions that a workload or a pod names as its current one."""
    workloads = [
        ((live.get("spec") or {}).get("template") or {})
        for resource in (DEPLOYMENT, WORKER_DEPLOYMENT)
        for live in ctx.observed.objects.list(resource, ctx.primitive.namespace)
    ]
    pods = ctx.observed.objects.list(POD, ctx.primitive.namespace)
    return {annotation(each, ANNOTATION_CHECKSUM) for each in (*workloads, *pods)} - {""}


def _started(ctx: Context) -> list[Any]:
    """When the pods that run were started: before that, others ran."""
    pods = ctx.observed.objects.list(POD, ctx.primitive.namespace)
    times = ((pod.get("status") or {}).get("startTime") for pod in pods)
    return [parse_time(time) for time in times if time]


def _kept(ctx: Context, current: PodTemplate | None) -> Resolved | None:
    """The definition of the released template, where it is of the reference that the spec has now."""
    kept = released_definition(ctx, current, TABLE)
    return kept if kept is None or ctx.reference.checksum in (None, kept.checksum) else None
