"""What a resource needs of others: each exists, may be referred to, and is Ready."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Final

from ameide_shared.builders.networkpolicy import primitive_egress
from ameide_shared.compile.context import Compiling
from ameide_shared.kube.resources import Manifest, ObjectKey, ResourceType
from ameide_shared.reasons import Reason
from ameide_shared.spec.common import CommonSpec
from ameide_shared.stages import Stage, State, done
from ameide_shared.tenancy import reference_problem
from ameide_shared.vocabulary import ANNOTATION_ALLOWED_NAMESPACES

DEPENDENCIES_READY: Final = "DependenciesReady"
Context = Compiling[CommonSpec]


@dataclass(frozen=True, slots=True)
class Reference:
    """One entry of spec.dependencies: where it stands, as it is written, and what it means."""

    field: str
    written: str
    resource: ResourceType
    key: ObjectKey

    def __str__(self) -> str:
        return f"{self.resource.kind} {self.key}"

    @property
    def title(self) -> str:
        """As documents name it: `domain/sales`, `domain/shop/sales`."""
        return f"{self.resource.kind.lower()}/{self.written}"


def references_of(groups: Iterable[tuple[ResourceType, str, Sequence[str]]], namespace: str) -> list[Reference]:
    """What spec.dependencies refers to, in order, from (type, field, what is written there)."""
    found = []
    for resource, field, entries in groups:
        for index, written in enumerate(entries):
            where, _, name = written.rpartition("/")
            path = f"spec.dependencies.{field}[{index}]"
            found.append(Reference(path, written, resource, ObjectKey(where or namespace, name)))
    return found


def stage_of(ctx: Context, wanted: Sequence[Reference], always: AbstractSet[ResourceType] = frozenset()) -> Stage:
    """Done, or the first kind of trouble with all that have it. `always`: types whose API is never missing."""
    troubles: dict[Reason, list[tuple[Reference, str, str]]] = {}
    for reference in wanted:
        trouble = _trouble(ctx, reference, always)
        if trouble is not None:
            reason, message, remedy = trouble
            troubles.setdefault(reason, []).append((reference, message, remedy))
    for reason in (Reason.ReferenceNotPermitted, Reason.DependencyNotFound, Reason.DependencyNotReady):
        found = troubles.get(reason)
        if found:
            return Stage(
                DEPENDENCIES_READY,
                State.WAITING,
                reason,
                "; ".join(message for _, message, _ in found),
                object=str(found[0][0]),
                remedy="; ".join(dict.fromkeys(remedy for _, _, remedy in found)),
            )
    if not wanted:
        return done(DEPENDENCIES_READY, Reason.NotRequired, "spec.dependencies is empty")
    return done(DEPENDENCIES_READY, Reason.DependenciesReady)


def egress_to(ctx: Context, wanted: Iterable[Reference]) -> list[dict[str, Any]]:
    """Ways to the dependencies that may be referred to."""
    return [
        primitive_egress(reference.resource.kind.lower(), reference.key.name, reference.key.namespace)
        for reference in wanted
        if permitted(ctx, reference)
    ]


def projection(manifest: Manifest) -> Hashable:
    """What of a dependency concerns those that depend on it: a change of anything else wakes nobody."""
    metadata = manifest["metadata"]
    consent = (metadata.get("annotations") or {}).get(ANNOTATION_ALLOWED_NAMESPACES)
    return metadata.get("uid"), bool(metadata.get("deletionTimestamp")), consent, _ready(manifest), _why(manifest)


def permitted(ctx: Context, reference: Reference) -> bool:
    """Whether the way to a dependency is open: those in other namespaces must exist and consent."""
    if reference.key.namespace == ctx.primitive.namespace:
        return True
    live = ctx.observed.objects.get(reference.resource, reference.key.namespace, reference.key.name)
    return (
        live is not None and reference_problem(ctx.primitive.namespace, live, ctx.settings.references.allowed) is None
    )


def _trouble(ctx: Context, reference: Reference, always: AbstractSet[ResourceType]) -> tuple[Reason, str, str] | None:
    live = ctx.observed.objects.get(reference.resource, reference.key.namespace, reference.key.name)
    if live is None:
        known = reference.resource in always or reference.resource in ctx.observed.apis
        missing = "" if known else f", as this cluster knows no {reference.resource.kind}s at all"
        return (
            Reason.DependencyNotFound,
            f"{reference.field}: {reference} does not exist{missing}",
            "create what is missing, or correct the name",
        )
    problem = reference_problem(ctx.primitive.namespace, live, ctx.settings.references.allowed, field=reference.field)
    if problem is not None:
        return Reason.ReferenceNotPermitted, problem.message, problem.remedy
    if not _ready(live):
        why = _why(live)
        return (
            Reason.DependencyNotReady,
            f"{reference} is not Ready{f': {why}' if why else ''}",
            "see what it says of itself with kubectl describe",
        )
    return None


def _condition(manifest: Manifest) -> Mapping[str, Any]:
    conditions = (manifest.get("status") or {}).get("conditions") or ()
    return next((c for c in conditions if c.get("type") == "Ready"), {})


def _ready(manifest: Manifest) -> bool:
    """Whether a resource says of its current spec that it is Ready."""
    ready, generation = _condition(manifest), manifest["metadata"].get("generation")
    current = ready.get("observedGeneration", generation) == generation
    return ready.get("status") == "True" and current and not manifest["metadata"].get("deletionTimestamp")


def _why(manifest: Manifest) -> str:
    """The reason that a resource gives for not being Ready."""
    ready = _condition(manifest)
    return str(ready.get("reason", "")) if ready.get("status") != "True" else ""
