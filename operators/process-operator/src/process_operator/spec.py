"""The Process: its typed spec and status, and every rule a manifest must meet. The CRD is generated from here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from ameide_shared.spec import (
    Argument,
    Autoscaling,
    CommonSpec,
    CommonStatus,
    EnvVar,
    Lenient,
    ListType,
    Model,
    Observability,
    ResourceModel,
    RolloutBase,
    StatusModel,
    Timestamp,
    fixed,
    list_map,
    matching,
    not_matching,
    rule,
)
from ameide_shared.spec.references import DefinitionId, DefinitionVersion, Reference, ReferenceChecksum, TenantId
from ameide_shared.spec.rules import every_key
from ameide_shared.spec.types import PositiveReplicas, Seconds
from process_operator.cron import CRON_REGEX

RESERVED_ENV: Final = "TEMPORAL_[A-Z_]+|TASK_QUEUE"
"""Names that the operator sets on workers, besides those of every kind; a regular expression."""
_RESERVED_ENV: Final = re.compile(RESERVED_ENV)


class ProcessEnvVar(EnvVar):
    """An environment variable of the workers, and of their scheduled jobs."""


@rule(
    ProcessEnvVar,
    cel=f"!self.name.matches(r'^({RESERVED_ENV})$')",
    message="this environment variable says which Temporal the workers talk to and is set by the operator: TEMPORAL_*"
    " and TASK_QUEUE are reserved",
    remedy="rename the variable; what to connect to is said by spec.temporal",
    field=".name",
    reason="FieldValueForbidden",
)
def _env_is_not_the_connection(variable: ProcessEnvVar) -> bool:
    return _RESERVED_ENV.fullmatch(variable.name) is None


class DefinitionRef(Model):
    """Which process definition the workers run, from the Transformation service."""

    id: DefinitionId = Field(description="Id of the definition.")
    tenant_id: TenantId = Field(description="Tenant that it belongs to; the namespace's own.")
    version: DefinitionVersion | None = Field(
        default=None, description="Version to stay on. Default: the newest; a new one is rolled out by itself."
    )
    checksum: ReferenceChecksum | None = Field(
        default=None, description="Checksum that the compiled definition must have, as in status.definition."
    )


QueueName = Annotated[
    str,
    Field(min_length=1, max_length=200),
    matching(
        r"[A-Za-z0-9_][-A-Za-z0-9_.:/]*",
        "is not a name that Temporal's searches are safe with",
        "use letters, digits and '-', '_', '.', ':', '/', beginning with a letter, a digit or '_'",
    ),
    not_matching(
        "/?_sys/.*",
        "begins with _sys/, which Temporal keeps for itself",
        "choose another name",
    ),
]


class Temporal(Model):
    """Where the workers find their work."""

    namespace: Annotated[
        str,
        Field(min_length=1, max_length=255),
        matching(
            r"[A-Za-z0-9][-A-Za-z0-9_.]*",
            "is not the name of a Temporal namespace",
            "use letters, digits and '-', '_', '.', beginning with a letter or digit",
        ),
        not_matching("temporal-system", "is Temporal's own namespace", "choose another one"),
    ] = Field(description="Namespace in Temporal. Cannot change.")
    task_queue: QueueName = Field(description="Task queue that the workers poll. Cannot change.")
    connection: Annotated[
        str,
        Field(min_length=1, max_length=63),
        matching(
            "[a-z0-9]([-a-z0-9]*[a-z0-9])?",
            "is not the name of a connection",
            "use the name of a Temporal connection in the operator's settings",
        ),
    ] = Field(default="default", description="Temporal server, by its name in the operator's settings.")


fixed(
    Temporal,
    "namespace",
    "taskQueue",
    instead="workflows cannot move, so create a Process of another name beside this one",
)


class Dependency(Model):
    """A resource that the process calls."""

    name: Reference = Field(description="Name, or namespace/name, of the resource.")


class Dependencies(Model):
    """What the process calls: bindings of its definition may name nothing else."""

    domains: Annotated[tuple[Dependency, ...], Lenient, Field(max_length=64), list_map("name")] = Field(
        default=(), description="Domains."
    )
    agents: Annotated[tuple[Dependency, ...], Lenient, Field(max_length=64), list_map("name")] = Field(
        default=(), description="Agents."
    )


class VersionedRollout(Model):
    """How the worker controller moves workflows to a new version of the workers."""

    strategy: Literal["AllAtOnce", "Progressive", "Manual"] = Field(
        default="AllAtOnce", description="AllAtOnce: at once when it is ready; Progressive: by steps; Manual: by hand."
    )
    steps: Annotated[tuple[RampStep, ...], Lenient, Field(max_length=20), ListType("atomic")] = Field(
        default=(), description="With Progressive: how much goes to the new version, and for how long."
    )
    scaledown_delay_seconds: Seconds = Field(
        default=3600, description="How long workers of a version without workflows stay."
    )
    delete_delay_seconds: Annotated[int, Field(ge=0, le=2592000)] = Field(
        default=86400, description="How long the Deployment of a version without workflows stays."
    )


class RampStep(Model):
    """One step of a progressive rollout."""

    ramp_percentage: Annotated[int, Field(ge=1, le=99)] = Field(description="Percent of new workflows.")
    pause_seconds: Annotated[int, Field(ge=30, le=86400)] = Field(description="How long this step lasts.")


VersionedRollout.model_rebuild()


@rule(
    VersionedRollout,
    cel="(self.strategy == 'Progressive') == (has(self.steps) && size(self.steps) > 0)",
    message="steps go with strategy Progressive, and only with it",
    remedy="set strategy to Progressive and give steps, or remove steps",
    field=".steps",
)
def _steps_are_progressive(versioned: VersionedRollout) -> bool:
    return (versioned.strategy == "Progressive") == bool(versioned.steps)


class ProcessRollout(RolloutBase):
    """How workers of a new image or definition replace the current ones."""

    strategy: Literal["RollingUpdate", "Canary", "Versioned"] = Field(
        default="RollingUpdate",
        description="RollingUpdate: new workers before old ones go; Canary: a small Deployment of the new workers must"
        " stay ready and poll before the main one follows; Versioned: Temporal Worker Versioning, by the worker"
        " controller's WorkerDeployment.",
    )
    max_concurrency_per_tenant: Annotated[int, Field(ge=1, le=100000)] | None = Field(
        default=None, description="Activities that a worker runs at once for one tenant. Default: no limit."
    )
    canary_replicas: Annotated[int, Field(ge=1, le=100)] = Field(default=1, description="Pods of the canary.")
    canary_ready_seconds: Seconds = Field(
        default=60, description="Time that the canary must stay ready before its revision is promoted."
    )
    versioned: VersionedRollout = Field(
        default=VersionedRollout(), description="With Versioned: how workflows move to the new version."
    )


class ProcessAutoscaling(Autoscaling):
    """Scales with the task queue's backlog where KEDA is installed, else with CPU use."""

    target_backlog: Annotated[int, Field(ge=1, le=1000000)] = Field(
        default=10, description="Tasks that may wait per worker."
    )
    activation_backlog: Annotated[int, Field(ge=0, le=1000000)] = Field(
        default=0, description="Tasks that must wait before idle workers are started; with minReplicas 0 only."
    )
    min_replicas: Annotated[int, Field(ge=0, le=1000)] = Field(
        default=1, description="Fewest pods; 0 only takes effect where KEDA is installed, else it is 1."
    )
    max_replicas: PositiveReplicas = Field(description="Most pods.")


class ProcessObservability(Observability):
    """Logs and metrics of the workers."""

    metrics_tags: Annotated[
        Mapping[str, Annotated[str, Field(max_length=128)]],
        Field(max_length=16),
        every_key(
            "[a-zA-Z_][a-zA-Z0-9_]{0,62}",
            "has a key that is not the name of a label in Prometheus",
            "use letters, digits and '_', not beginning with a digit",
        ),
    ] = Field(default={}, description="Labels that the workers' metrics carry.")


class Schedule(Model):
    """A job of the worker image that runs at given times."""

    name: Annotated[
        str,
        Field(min_length=1, max_length=20),
        matching(
            "[a-z]([-a-z0-9]*[a-z0-9])?",
            "is not the name of a schedule",
            "use at most 20 lowercase letters, digits and '-', beginning with a letter",
        ),
    ] = Field(description="Name, unique within the Process.")
    purpose: Literal["SLACheck", "TimeoutSweep", "Cleanup"] = Field(description="What the worker image is to do.")
    schedule: Annotated[
        str,
        Field(min_length=1, max_length=128),
        matching(
            CRON_REGEX,
            "is not a cron schedule",
            "write five fields (minute hour day month weekday) as in '*/15 * * * *', or @hourly, @daily, @weekly,"
            " @monthly, @yearly; a time zone goes into timeZone",
        ),
    ] = Field(description="When, in cron's format.")
    time_zone: (
        Annotated[
            str,
            Field(min_length=1, max_length=64),
            matching(
                r"[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*",
                "is not the name of a time zone",
                "write it as in Europe/Berlin or Etc/UTC",
            ),
            not_matching("Local", "depends on where the controller runs", "name a time zone"),
        ]
        | None
    ) = Field(default=None, description="Time zone of the schedule. Default: that of the cluster's controllers.")
    args: Annotated[tuple[Argument, ...], Lenient, Field(max_length=32), ListType("atomic")] = Field(
        default=(), description="More arguments of the job."
    )
    suspend: bool = Field(default=False, description="true: no new jobs are started.")
    timeout_seconds: Annotated[int, Field(ge=1, le=86400)] = Field(
        default=3600, description="Seconds that one job may take."
    )


class Deletion(Model):
    """What becomes of open workflows when the Process is deleted."""

    policy: Literal["Drain", "Cancel", "Terminate", "Abandon"] = Field(
        default="Drain",
        description="Drain: new workflows are refused, open ones are waited for; Cancel, Terminate: open ones are;"
        " Abandon: they stay as they are, without workers.",
    )
    timeout_seconds: Annotated[int, Field(ge=0, le=604800)] = Field(
        default=3600, description="How long is waited for open workflows; then they are left behind, with an Event."
    )


class ProcessSpec(CommonSpec):
    """What a Process shall be: workers of an image, bound to a definition and a task queue."""

    env: Annotated[tuple[ProcessEnvVar, ...], Lenient, Field(max_length=128), list_map("name")] = Field(
        default=(), description="More environment variables. Names that the operator sets are refused."
    )
    definition_ref: DefinitionRef = Field(description="The process definition.")
    temporal: Temporal = Field(description="Where the workers find their work.")
    dependencies: Dependencies = Field(default=Dependencies(), description="What the process calls.")
    rollout: ProcessRollout = Field(default=ProcessRollout(), description="How new workers replace the current ones.")
    autoscaling: ProcessAutoscaling | None = Field(
        default=None,
        description="Scales with the task queue's backlog where KEDA is installed, else with CPU use; needs a CPU"
        " request.",
    )
    observability: ProcessObservability = Field(default=ProcessObservability(), description="Logs and metrics.")
    schedules: Annotated[tuple[Schedule, ...], Lenient, Field(max_length=20), list_map("name")] = Field(
        default=(), description="Jobs of the worker image that run at given times."
    )
    deletion: Deletion = Field(default=Deletion(), description="What becomes of open workflows on deletion.")


@rule(
    ProcessSpec,
    cel="!has(self.autoscaling) || !has(self.rollout) || self.rollout.strategy != 'Versioned'",
    message="autoscaling cannot go with rollout strategy Versioned: each version has a Deployment of its own",
    remedy="remove spec.autoscaling and set spec.replicas, or choose another strategy",
    field=".autoscaling",
)
def _versions_are_not_scaled(spec: ProcessSpec) -> bool:
    return spec.autoscaling is None or spec.rollout.strategy != "Versioned"


class AvailableDefinition(StatusModel):
    """The newest definition that was fetched."""

    version: int | None = Field(default=None, description="Its version.")
    checksum: str | None = Field(default=None, description="Checksum of what it compiles to; absent if it does not.")


class DefinitionStatus(StatusModel):
    """The definition that all ready workers run."""

    id: str | None = Field(default=None, description="Its id.")
    version: Annotated[int, Field(json_schema_extra={"format": "int64"})] | None = Field(
        default=None, description="Its version."
    )
    checksum: str | None = Field(default=None, description="Checksum of what it compiles to.")
    config_map: str | None = Field(default=None, description="ConfigMap that holds it.")
    available: AvailableDefinition | None = Field(default=None, description="The newest that was fetched.")


class TemporalStatus(StatusModel):
    """What was last seen of the task queue."""

    reachable: bool | None = Field(default=None, description="Whether the server answers.")
    namespace_state: str | None = Field(
        default=None, description="Registered, Deprecated, Deleted, Missing or Unknown."
    )
    pollers: int | None = Field(default=None, description="Workers that poll for workflow tasks.")
    backlog: int | None = Field(default=None, description="Tasks that wait, by order of magnitude kept current.")
    last_checked: Timestamp | None = Field(
        default=None,
        description="When something of this was last found to differ; a look that finds nothing new is not written.",
    )


class DeletionStatus(StatusModel):
    """How far a deletion is."""

    policy: str | None = Field(default=None, description="Drain, Cancel, Terminate or Abandon.")
    open_workflows: int | None = Field(default=None, description="Workflows of the queue that are still open.")
    schedules_paused: bool | None = Field(default=None, description="Whether Temporal Schedules of the queue rest.")


class ProcessStatus(CommonStatus):
    """What the operator knows of a Process."""

    definition: DefinitionStatus | None = Field(default=None, description="The definition that workers run.")
    temporal: TemporalStatus | None = Field(default=None, description="The task queue.")
    deletion: DeletionStatus | None = Field(default=None, description="How far a deletion is.")


class Process(ResourceModel):
    """Temporal workers bound to a BPMN definition, with schedules, scaling and network policy."""

    PLURAL: ClassVar[str] = "processes"
    SHORT_NAMES: ClassVar[tuple[str, ...]] = ("proc",)
    COLUMNS: ClassVar[tuple[tuple[str, str], ...]] = (
        ("Definition", ".status.definition.version"),
        ("Queue", ".spec.temporal.taskQueue"),
    )
    STATUS: ClassVar[type[Model]] = ProcessStatus

    kind: Literal["Process"] = Field(description="Kind of the object: Process.")
    spec: ProcessSpec = Field(description="What the Process shall be.")
