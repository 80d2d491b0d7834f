"""Definitions from the Transformation service as children: immutable ConfigMaps named by checksum, and what stands in
for a definition that cannot be fetched just now.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from ameide_shared import vocabulary as v
from ameide_shared.builders.identity import Primitive, child_metadata, is_owned
from ameide_shared.compile.context import annotation
from ameide_shared.compile.immutable import ensure_immutable
from ameide_shared.kube.resources import CONFIG_MAP, Manifest
from ameide_shared.observed import Observed
from ameide_shared.plan import Action
from ameide_shared.reasons import Reason
from ameide_shared.revisions import PodTemplate
from ameide_shared.stages import Stage, State, done
from ameide_shared.transformation.model import Definition, Failure, Observation

DEFINITION_RESOLVED: Final = "DefinitionResolved"
ANNOTATION_ID: Final = f"{v.GROUP}/definition-id"
ANNOTATION_VERSION: Final = f"{v.GROUP}/definition-version"
ANNOTATION_CHECKSUM: Final = f"{v.GROUP}/definition-checksum"

_STATES: Final[Mapping[Failure, State]] = {
    Failure.NOT_FOUND: State.WAITING,
    Failure.UNAVAILABLE: State.FAILED,
    Failure.REFUSED: State.FAILED,
    Failure.INVALID: State.STALLED,
}


class Pinned(Protocol):
    """`spec.definitionRef`: which definition is meant."""

    @property
    def id(self) -> str: ...

    @property
    def version(self) -> int | None: ...


class Defined(Protocol):
    """The context of a plan whose resource runs a definition."""

    @property
    def primitive(self) -> Primitive: ...

    @property
    def observed(self) -> Observed: ...

    @property
    def reference(self) -> Pinned: ...

    @property
    def fetched(self) -> Observation: ...


@dataclass(frozen=True, slots=True)
class Resolved:
    """A definition that pods can run. `content` is empty where only its ConfigMap is left of it."""

    version: int
    checksum: str
    content: str = ""


def config_map_name(primitive: Primitive, checksum: str) -> str:
    """The name of the ConfigMap of a definition."""
    return f"{primitive.child_name}-definition-{checksum.removeprefix('sha256:')[:16]}"


def annotations_of(ctx: Defined, resolved: Resolved) -> dict[str, str]:
    """What tells which definition a ConfigMap holds, or a pod runs."""
    return {
        ANNOTATION_ID: ctx.reference.id,
        ANNOTATION_VERSION: str(resolved.version),
        ANNOTATION_CHECKSUM: resolved.checksum,
    }


def ensure_definition(ctx: Defined, target: Resolved | None, key: str) -> list[Action]:
    """The ConfigMap of the definition to run, under `key`; it must be there before pods that mount it."""
    if target is None or not target.content:
        return []
    name = config_map_name(ctx.primitive, target.checksum)
    manifest: dict[str, Any] = {
        "apiVersion": CONFIG_MAP.api_version,
        "kind": CONFIG_MAP.kind,
        "metadata": child_metadata(ctx.primitive, name, annotations=annotations_of(ctx, target)),
        "data": {key: target.content},
        "immutable": True,
    }
    reason = f"definition version {target.version}"
    return [ensure_immutable(ctx.primitive, ctx.observed.objects, manifest, reason, required=True)]


def stored(ctx: Defined) -> dict[str, Manifest]:
    """The ConfigMaps of definitions that the resource has, by checksum."""
    return {
        annotation(live, ANNOTATION_CHECKSUM): live
        for live in ctx.observed.objects.list(CONFIG_MAP, ctx.primitive.namespace)
        if is_owned(ctx.primitive, live)
        and annotation(live, ANNOTATION_CHECKSUM)
        and not live["metadata"].get("deletionTimestamp")
    }


def released_definition(ctx: Defined, current: PodTemplate | None, key: str) -> Resolved | None:
    """The definition of the template that was released last, where it is of the reference that the spec has now."""
    if current is None:
        return None
    id_, version = annotation(current, ANNOTATION_ID), annotation(current, ANNOTATION_VERSION)
    checksum, wanted = annotation(current, ANNOTATION_CHECKSUM), ctx.reference
    if id_ != wanted.id or not version.isdigit() or not checksum or wanted.version not in (None, int(version)):
        return None
    live = stored(ctx).get(checksum)
    return Resolved(int(version), checksum, str((live.get("data") or {}).get(key, "")) if live else "")


def without_definition(ctx: Defined, kept: Resolved | None) -> Stage:
    """The stage where nothing has been fetched, with or without an older definition to fall back on."""
    error = ctx.fetched.error
    what = f"definition {ctx.reference.id}"
    if kept is not None and kept.checksum not in stored(ctx):
        name = config_map_name(ctx.primitive, kept.checksum)
        why = f": {error.message}" if error is not None else ""
        return Stage(
            DEFINITION_RESOLVED,
            State.FAILED,
            Reason.DefinitionNotFound,
            f"ConfigMap {name} of version {kept.version} is gone, and cannot be made anew before the definition is "
            f"fetched{why}; pods that run go on, new ones cannot start",
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
        retry_at=ctx.fetched.next_attempt if error.reason is Failure.UNAVAILABLE else None,
        degraded=kept is not None,
    )


def with_definition(ctx: Defined, fetched: Definition) -> Stage:
    """The stage where a sound definition has been fetched: done, and degraded if it cannot be looked at any more."""
    error = ctx.fetched.error
    if error is None:
        return done(DEFINITION_RESOLVED, Reason.DefinitionReady)
    message = f"version {fetched.version} goes on being served: {error.message}"
    return done(DEFINITION_RESOLVED, Reason(error.reason), message, degraded=True)


def mismatch(ctx: Defined, message: str) -> Stage:
    """The stage where what was fetched is not what `spec.definitionRef` pins."""
    remedy = "correct the pin, or publish what it names"
    what = f"definition {ctx.reference.id}"
    return Stage(DEFINITION_RESOLVED, State.STALLED, Reason.DefinitionMismatch, message, object=what, remedy=remedy)


def wrong_version(ctx: Defined, fetched: Definition) -> Stage | None:
    """The stage where another version was sent than the pinned one."""
    pinned = ctx.reference.version
    if pinned is None or fetched.version == pinned:
        return None
    return mismatch(
        ctx,
        f"spec.definitionRef.version pins {pinned}, but the Transformation service sent version {fetched.version}",
    )
