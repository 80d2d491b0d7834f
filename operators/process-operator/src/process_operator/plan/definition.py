"""Which definition the workers run: the one that was fetched, compiled and pinned, else the last good one.

Compiled definitions are immutable ConfigMaps named by checksum. They stay as long as anything may run on them: open
workflows replay on the definition they were started on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Any, Final

from ameide_shared import vocabulary as v
from ameide_shared.builders.identity import child_metadata, is_owned
from ameide_shared.compile.context import annotation
from ameide_shared.kube.resources import CONFIG_MAP, DEPLOYMENT, POD, WORKER_DEPLOYMENT, Manifest, key_of
from ameide_shared.plan import Action, Delete, Ensure
from ameide_shared.reasons import Reason
from ameide_shared.revisions import PodTemplate
from ameide_shared.stages import Stage, State, done
from ameide_shared.status import parse_time
from ameide_shared.transformation.model import Definition, Failure
from process_operator.bpmn import Compiled, Dependencies, InvalidDefinition, compile
from process_operator.plan.context import Context
from process_operator.plan.dependencies import declared

DEFINITION_RESOLVED: Final = "DefinitionResolved"
TABLE: Final = "table.json"
ANNOTATION_ID: Final = f"{v.GROUP}/definition-id"
ANNOTATION_VERSION: Final = f"{v.GROUP}/definition-version"
ANNOTATION_CHECKSUM: Final = f"{v.GROUP}/definition-checksum"
_SHOWN_PROBLEMS: Final = 5

_STATES: Final[Mapping[Failure, State]] = {
    Failure.NOT_FOUND: State.WAITING,
    Failure.UNAVAILABLE: State.FAILED,
    Failure.REFUSED: State.FAILED,
    Failure.INVALID: State.STALLED,
}


@dataclass(frozen=True, slots=True)
class Resolved:
    """A definition that workers can run. `content` is empty where only its ConfigMap is left of it."""

    version: int
    checksum: str
    content: str = ""


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
        return Resolution(kept, _without(ctx, kept), {})
    fetched = seen.definition
    compiled = _compiled(_Source(fetched), declared(ctx.spec, ctx.primitive.namespace))
    if isinstance(compiled, InvalidDefinition):
        return Resolution(kept, _invalid(fetched, compiled), {"version": fetched.version})
    available = {"version": fetched.version, "checksum": compiled.checksum}
    mismatch = _mismatch(ctx, fetched, compiled)
    if mismatch is not None:
        return Resolution(kept, mismatch, available)
    target = Resolved(fetched.version, compiled.checksum, compiled.bytes.decode())
    if seen.error is not None:
        message = f"version {fetched.version} goes on being served: {seen.error.message}"
        return Resolution(
            target, done(DEFINITION_RESOLVED, Reason(seen.error.reason), message, degraded=True), available
        )
    return Resolution(target, done(DEFINITION_RESOLVED, Reason.DefinitionReady), available)


def _without(ctx: Context, kept: Resolved | None) -> Stage:
    """The stage where nothing has been fetched, with or without an older definition to fall back on."""
    error = ctx.observed.definition.error
    what = f"definition {ctx.spec.definition_ref.id}"
    if kept is not None and kept.checksum not in stored(ctx):
        name = config_map_name(ctx, kept.checksum)
        why = f": {error.message}" if error is not None else ""
        return Stage(
            DEFINITION_RESOLVED,
            State.FAILED,
            Reason.DefinitionNotFound,
            f"ConfigMap {name} of version {kept.version} is gone, and cannot be made anew before the definition is "
            f"fetched{why}; workers that run go on, new ones cannot start",
            object=f"ConfigMap {name}",
            remedy=(error.remedy if error is not None else "") or "wait until it is fetched",
        )
    if error is None:
        if kept is not None:
            return done(DEFINITION_RESOLVED, Reason.DefinitionReady)
        return Stage(DEFINITION_RESOLVED, State.PROGRESSING, Reason.DefinitionFetching, f"{what} is being fetched")
    if kept is not None and error.reason in (Failure.UNAVAILABLE, Failure.REFUSED):
        message = f"version {kept.version} goes on being served: {error.message}"
        return done(DEFINITION_RESOLVED, Reason(error.reason), message, degraded=True)
    return Stage(
        DEFINITION_RESOLVED,
        _STATES[error.reason],
        Reason(error.reason),
        error.message,
        object=what,
        remedy=error.remedy,
        retry_at=ctx.observed.definition.next_attempt if error.reason is Failure.UNAVAILABLE else None,
        degraded=kept is not None,
    )


def _invalid(fetched: Definition, error: InvalidDefinition) -> Stage:
    shown = error.problems[:_SHOWN_PROBLEMS]
    more = f" (and {len(error.problems) - len(shown)} more)" if len(error.problems) > len(shown) else ""
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
    pinned, field = ctx.spec.definition_ref, "spec.definitionRef"
    what = f"definition {pinned.id}"
    if pinned.version is not None and fetched.version != pinned.version:
        message = (
            f"{field}.version pins {pinned.version}, but the Transformation service sent version {fetched.version}"
        )
    elif pinned.checksum is not None and compiled.checksum != pinned.checksum:
        message = (
            f"{field}.checksum pins {pinned.checksum}, but version {fetched.version} compiles to {compiled.checksum}"
        )
    else:
        return None
    remedy = "correct the pin, or publish what it names"
    return Stage(DEFINITION_RESOLVED, State.STALLED, Reason.DefinitionMismatch, message, object=what, remedy=remedy)


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


def config_map_name(ctx: Context, checksum: str) -> str:
    """The name of the ConfigMap of a compiled definition."""
    return f"{ctx.primitive.child_name}-definition-{checksum.removeprefix('sha256:')[:16]}"


def config_map(ctx: Context, resolved: Resolved) -> dict[str, Any]:
    """The immutable ConfigMap of a compiled definition."""
    annotations = {
        ANNOTATION_ID: ctx.spec.definition_ref.id,
        ANNOTATION_VERSION: str(resolved.version),
        ANNOTATION_CHECKSUM: resolved.checksum,
    }
    return {
        "apiVersion": CONFIG_MAP.api_version,
        "kind": CONFIG_MAP.kind,
        "metadata": child_metadata(ctx.primitive, config_map_name(ctx, resolved.checksum), annotations=annotations),
        "data": {TABLE: resolved.content},
        "immutable": True,
    }


def ensure_definition(ctx: Context, target: Resolved | None) -> list[Action]:
    """The ConfigMap of the definition to run; it must be there before pods that mount it."""
    if target is None or not target.content:
        return []
    return [Ensure(config_map(ctx, target), f"definition version {target.version}", create_only=True, required=True)]


def stored(ctx: Context) -> dict[str, Manifest]:
    """The ConfigMaps of definitions that this Process has, by checksum."""
    return {
        annotation(live, ANNOTATION_CHECKSUM): live
        for live in ctx.observed.objects.list(CONFIG_MAP, ctx.primitive.namespace)
        if is_owned(ctx.primitive, live)
        and annotation(live, ANNOTATION_CHECKSUM)
        and not live["metadata"].get("deletionTimestamp")
    }


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
    if current is None:
        return None
    id_, version = annotation(current, ANNOTATION_ID), annotation(current, ANNOTATION_VERSION)
    checksum, wanted = annotation(current, ANNOTATION_CHECKSUM), ctx.spec.definition_ref
    if id_ != wanted.id or not version.isdigit() or not checksum:
        return None
    if wanted.version not in (None, int(version)) or wanted.checksum not in (None, checksum):
        return None
    live = stored(ctx).get(checksum)
    return Resolved(int(version), checksum, str((live.get("data") or {}).get(TABLE, "")) if live else "")
