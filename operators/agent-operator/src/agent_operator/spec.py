"""The Agent: its typed spec and status, and every rule a manifest must meet. The CRD is generated from here."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from agent_operator.policy.document import RUNTIME_ENV, LogPrompts, Name, TierName
from ameide_shared.spec import (
    Autoscaling,
    CommonSpec,
    CommonStatus,
    EnvVar,
    Lenient,
    ListType,
    Model,
    Observability,
    ResourceModel,
    Rollout,
    StatusModel,
    list_map,
    matching,
    rule,
)
from ameide_shared.spec.references import DefinitionId, DefinitionVersion, Reference, TenantId
from ameide_shared.spec.types import PositiveReplicas

_RESERVED_ENV: Final = re.compile(RUNTIME_ENV)


class AgentEnvVar(EnvVar):
    """An environment variable of the runtime. A Secret that it reads must be granted by the policy."""


@rule(
    AgentEnvVar,
    cel=f"!self.name.matches(r'^({RUNTIME_ENV})$')",
    message="this environment variable says what the agent is and which model it uses, and is set by the operator:"
    " AGENT_DEFINITION_*, TENANT_ID, MODEL_*, RISK_TIER, MAX_PARALLEL_SESSIONS, LOG_PROMPTS and EMIT_TOKENS are"
    " reserved",
    remedy="rename the variable; the values come from spec and policy",
    field=".name",
    reason="FieldValueForbidden",
)
def _env_is_not_the_runtime(variable: AgentEnvVar) -> bool:
    return _RESERVED_ENV.fullmatch(variable.name) is None


class DefinitionRef(Model):
    """Which agent definition the runtime runs, from the Transformation service."""

    id: DefinitionId = Field(description="Id of the definition.")
    tenant_id: TenantId = Field(description="Tenant that it belongs to; the namespace's own.")
    version: DefinitionVersion | None = Field(
        default=None, description="Version to stay on. Default: the newest; a new one is rolled out by itself."
    )


class ModelRef(Model):
    """The model that the runtime talks to. The policy knows where it is, and with which credential."""

    provider: Name = Field(description="Provider, by its name in the policy.")
    name: Annotated[
        str,
        Field(min_length=1, max_length=253),
        matching(
            "[A-Za-z0-9_.:/@+-]+", "is not the name of a model", "use the provider's own: letters, digits and _.:/@+-"
        ),
    ] = Field(description="Model, by the provider's name for it.")


Operation = Annotated[
    str,
    Field(min_length=1, max_length=253),
    matching(
        "[A-Za-z0-9_./-]+",
        "is not the name of an operation",
        "name operations one by one with letters, digits and _./-; without operations it is all that the policy allows",
    ),
]


class Tool(Model):
    """A tool that the agent may use, if the policy allows it. Exactly one of the four kinds."""

    domain: Reference | None = Field(default=None, description="A Domain: name, or namespace/name.")
    process: Reference | None = Field(default=None, description="A Process: name, or namespace/name.")
    agent: Reference | None = Field(default=None, description="Another Agent: name, or namespace/name.")
    primitive: Name | None = Field(default=None, description="A tool that the policy describes, by its name there.")
    operations: Annotated[tuple[Operation, ...], Lenient, Field(max_length=64), ListType("set")] = Field(
        default=(), description="Operations. Default: all that the policy allows."
    )


@rule(
    Tool,
    cel="[has(self.domain), has(self.process), has(self.agent), has(self.primitive)]"
    ".filter(present, present).size() == 1",
    message="a tool must be exactly one of domain, process, agent and primitive",
    remedy="keep one of them, and write the others as tools of their own",
)
def _one_kind(tool: Tool) -> bool:
    return sum(found is not None for found in (tool.domain, tool.process, tool.agent, tool.primitive)) == 1


class Tools(Model):
    """What the agent may use."""

    allowed: Annotated[tuple[Tool, ...], Lenient, Field(max_length=64), ListType("atomic")] = Field(
        default=(), description="Tools. The policy must allow each; one that does not exist yet is granted later."
    )


class Concurrency(Model):
    """How much the agent does at once."""

    max_parallel_sessions: Annotated[int, Field(ge=1, le=100000)] | None = Field(
        default=None,
        description="Sessions that one pod runs at once. Default: the runtime's own, where the policy sets no limit.",
    )


class AgentObservability(Observability):
    """Logs and metrics of the runtime."""

    log_prompts: LogPrompts = Field(
        default="none", description="What of prompts may be logged: none, redacted or full; the policy may limit it."
    )
    emit_tokens: bool = Field(default=False, description="Whether answers are streamed token by token.")


class AgentAutoscaling(Autoscaling):
    """Scales with waiting sessions where KEDA and a session queue are there, else with CPU use."""

    target_queued_sessions: Annotated[int, Field(ge=1, le=1000000)] | None = Field(
        default=None,
        description="Sessions that may wait per pod; needs KEDA and sessionQueue in the operator's settings, without"
        " which CPU use counts. Default: CPU use.",
    )
    min_replicas: Annotated[int, Field(ge=0, le=1000)] = Field(
        default=1, description="Fewest pods; 0 only takes effect where KEDA scales, else it is 1."
    )
    max_replicas: PositiveReplicas = Field(description="Most pods.")


class AgentSpec(CommonSpec):
    """What an Agent shall be: a runtime of an image, bound to a definition, a model and tools, within the policy."""

    env: Annotated[tuple[AgentEnvVar, ...], Lenient, Field(max_length=128), list_map("name")] = Field(
        default=(), description="More environment variables. Names that the operator sets are refused."
    )
    definition_ref: DefinitionRef = Field(description="The agent definition.")
    model: ModelRef = Field(description="The model.")
    tools: Tools = Field(default=Tools(), description="What the agent may use.")
    risk_tier: TierName = Field(description="How dangerous the agent may be; the policy says what each tier may do.")
    concurrency: Concurrency = Field(default=Concurrency(), description="How much it does at once.")
    rollout: Rollout = Field(default=Rollout(), description="How a new revision replaces the current one.")
    autoscaling: AgentAutoscaling | None = Field(
        default=None,
        description="Scales with waiting sessions where KEDA and a session queue are there, else with CPU use; needs a"
        " CPU request.",
    )
    observability: AgentObservability = Field(default=AgentObservability(), description="Logs and metrics.")


class DefinitionStatus(StatusModel):
    """The definition that all ready pods run."""

    id: str | None = Field(default=None, description="Its id.")
    version: Annotated[int, Field(json_schema_extra={"format": "int64"})] | None = Field(
        default=None, description="Its version."
    )
    checksum: str | None = Field(default=None, description="Digest of its content: sha256: and 64 hex digits.")
    available: Annotated[int, Field(json_schema_extra={"format": "int64"})] | None = Field(
        default=None, description="The newest version that was fetched."
    )


class GrantsStatus(StatusModel):
    """What the agent is granted: the content of its grants.json, in short."""

    digest: str | None = Field(default=None, description="Digest of grants.json: sha256: and 64 hex digits.")
    count: int | None = Field(default=None, description="Tools that are granted and there.")
    pending: Annotated[tuple[str, ...], ListType("atomic")] | None = Field(
        default=None,
        description="Tools that are granted and do not exist yet, or do not permit it: kind/namespace/name.",
    )
    published: str | None = Field(default=None, description="Digest that the grants service has acknowledged.")
    tenant: str | None = Field(
        default=None, description="Tenant under which the grants service knows them; empty where there was none."
    )


class PolicyStatus(StatusModel):
    """The policy by which the Agent was judged."""

    digest: str | None = Field(default=None, description="Digest of its meaning.")
    violations: Annotated[tuple[str, ...], ListType("atomic")] | None = Field(
        default=None, description="Paths of the rules that the spec breaks, in order."
    )
    quarantined: bool | None = Field(default=None, description="Whether what ran has been cut off.")


class AgentStatus(CommonStatus):
    """What the operator knows of an Agent."""

    definition: DefinitionStatus | None = Field(default=None, description="The definition that pods run.")
    grants: GrantsStatus | None = Field(default=None, description="What the agent is granted.")
    policy: PolicyStatus | None = Field(default=None, description="The policy in force.")


class Agent(ResourceModel):
    """An LLM runtime with a definition, a model, tool grants and secrets, held by a security policy."""

    PLURAL: ClassVar[str] = "agents"
    COLUMNS: ClassVar[tuple[tuple[str, str], ...]] = (
        ("Tier", ".spec.riskTier"),
        ("Tools", ".status.grants.count"),
    )
    STATUS: ClassVar[type[Model]] = AgentStatus

    kind: Literal["Agent"] = Field(description="Kind of the object: Agent.")
    spec: AgentSpec = Field(description="What the Agent shall be.")
