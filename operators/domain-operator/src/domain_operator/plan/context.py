"""What every part of the plan is given: the parsed resource, what was observed, the settings and the time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ameide_shared.builders.identity import Primitive
from ameide_shared.compile.context import annotation
from ameide_shared.kube.resources import Manifest
from domain_operator.observed import Observed
from domain_operator.settings import DomainSettings
from domain_operator.spec import Domain, DomainSpec


@dataclass(frozen=True, slots=True)
class Context:
    """The arguments of a plan, together. `manifest` is the resource as the API server has it."""

    manifest: Manifest
    domain: Domain
    primitive: Primitive
    observed: Observed
    settings: DomainSettings
    now: datetime

    @property
    def spec(self) -> DomainSpec:
        return self.domain.spec

    def annotation(self, name: str) -> str:
        """An annotation of the resource, empty where it is not set."""
        return annotation(self.manifest, name)
