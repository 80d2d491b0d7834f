"""Settings of the Process operator: those of every operator, Temporal's servers, and where definitions come from."""

from __future__ import annotations

from pydantic import Field

from ameide_shared.settings import OperatorSettings, Seconds, Section
from ameide_shared.transformation.settings import TransformationSettings
from process_operator.temporal.settings import TemporalSettings


class DefinitionSettings(Section):
    """How definitions are kept."""

    retention_seconds: float = Field(
        600.0, ge=0, description="Seconds that a superseded definition is kept at least, though nothing uses it."
    )


class WorkerSettings(Section):
    """What is expected of workers."""

    polling_seconds: Seconds = Field(
        120.0, description="Seconds after which ready workers that do not poll their task queue count as failed."
    )


class ProcessSettings(OperatorSettings):
    """`AMEIDE_*` settings of the Process operator."""

    transformation: TransformationSettings = Field(default_factory=TransformationSettings)
    temporal: TemporalSettings = Field(default_factory=TemporalSettings)
    definitions: DefinitionSettings = Field(default_factory=DefinitionSettings)
    workers_expected: WorkerSettings = Field(default_factory=WorkerSettings)
