"""What every part of the plan is given: the parsed resource, what was observed, the settings and the time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ameide_shared.builders.identity import Primitive
from ameide_shared.kube.resources import Manifest
from ameide_shared.transformation.model import Observation as DefinitionObservation
from process_operator.observed import Observed
from process_operator.settings import ProcessSettings
from process_operator.spec import DefinitionRef, Process, ProcessSpec
from process_operator.temporal.model import Target
from process_operator.temporal.settings import TemporalConnection


@dataclass(frozen=True, slots=True)
class Context:
    """The arguments of a plan, together. `manifest` is the resource as the API server has it."""

    manifest: Manifest
    process: Process
    primitive: Primitive
    observed: Observed
    settings: ProcessSettings
    now: datetime

    @property
    def spec(self) -> ProcessSpec:
        return self.process.spec

    @property
    def reference(self) -> DefinitionRef:
        """Which definition is meant."""
        return self.process.spec.definition_ref

    @property
    def fetched(self) -> DefinitionObservation:
        """What the Transformation service has of it."""
        return self.observed.definition

    @property
    def target(self) -> Target:
        """The task queue."""
        return target_of(self.process)

    @property
    def connection(self) -> TemporalConnection | None:
        """The connection that the spec names; None if settings have none of that name."""
        return self.settings.temporal.connections.get(self.spec.temporal.connection)


def target_of(process: Process) -> Target:
    """The task queue of a Process."""
    temporal = process.spec.temporal
    return Target(temporal.connection, temporal.namespace, temporal.task_queue)
