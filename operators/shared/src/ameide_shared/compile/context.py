"""What every part of a plan is given, whichever kind it is for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeVar

from ameide_shared.builders.identity import Primitive
from ameide_shared.kube.resources import NAMESPACE, Manifest
from ameide_shared.observed import Observed
from ameide_shared.plan import Action
from ameide_shared.settings import OperatorSettings
from ameide_shared.spec.common import CommonSpec
from ameide_shared.stages import Stage
from ameide_shared.tenancy import tenant_of

SpecT_co = TypeVar("SpecT_co", bound=CommonSpec, covariant=True)


class Owning(Protocol):
    """Whose children are meant, and what was observed: known of a resource whose spec cannot be read, too."""

    @property
    def primitive(self) -> Primitive: ...

    @property
    def observed(self) -> Observed: ...


class Compiling(Owning, Protocol[SpecT_co]):
    """The arguments of a plan, together; a kind's own context has more. `manifest` is as the API server has it."""

    @property
    def manifest(self) -> Manifest: ...

    @property
    def spec(self) -> SpecT_co: ...

    @property
    def settings(self) -> OperatorSettings: ...

    @property
    def now(self) -> datetime: ...


@dataclass(frozen=True, slots=True)
class Part:
    """What one part of a plan wants done, and how its stage stands."""

    stage: Stage
    actions: tuple[Action, ...] = ()


def primitive_for(manifest: Manifest, observed: Observed) -> Primitive:
    """Who children are built for: the resource, with the tenant that its namespace names."""
    metadata = manifest["metadata"]
    return Primitive(
        manifest["kind"],
        metadata["name"],
        metadata["namespace"],
        metadata.get("uid", ""),
        generation=int(metadata.get("generation", 0)),
        tenant_id=tenant_of(observed.objects.get(NAMESPACE, "", metadata["namespace"])),
    )


def annotation(manifest: Manifest, name: str) -> str:
    """An annotation of an object or a pod template, empty where it is not set."""
    return str(((manifest.get("metadata") or {}).get("annotations") or {}).get(name, ""))


def age(manifest: Manifest) -> tuple[str, str]:
    """By this, objects are in the order of their creation; of those of one second the uid decides, for everybody."""
    metadata = manifest["metadata"]
    return metadata.get("creationTimestamp") or "", metadata.get("uid") or ""
