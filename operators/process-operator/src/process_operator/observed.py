"""What a Process's plan may know, as plain data; `observe` fills it, `render` reads it from files."""

from __future__ import annotations

from dataclasses import dataclass, field

from ameide_shared.observed import Observed as ObservedBase
from ameide_shared.transformation.model import Observation as DefinitionObservation
from process_operator.temporal.model import Batch, SchedulesPaused
from process_operator.temporal.model import Observation as TemporalObservation


@dataclass(frozen=True, slots=True)
class Observed(ObservedBase):
    """The cluster, Temporal and the Transformation service as one Process's plan may know them.

    Of others, `objects` holds the Domains and Agents that the spec depends on, the Processes that want the same task
    queue, and a ServiceAccount that the spec names. `temporal` is None before anything was asked. `schedules` and
    `batch` tell how far the closing of the queue is, while the Process is being deleted.
    """

    definition: DefinitionObservation = field(default_factory=DefinitionObservation)
    temporal: TemporalObservation | None = None
    schedules: SchedulesPaused | None = None
    batch: Batch | None = None
