"""The policy document: what Agents may do, as the cluster's owner writes it. Its JSON Schema is generated from here.

Default deny: what no rule allows is denied, and a deny wins over every allow, wherever the two stand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, model_validator

from agent_operator.policy.patterns import MODEL_REGEX, TOOL_REGEX, PatternError, model_pattern, tool_pattern
from ameide_shared.builders.network import NetworkProfile, NetworkRule
from ameide_shared.spec import Lenient, Model, matching
from ameide_shared.spec.rules import refusal
from ameide_shared.spec.types import ConfigKey, EnvName

VERSION: Final = "policy.ameide.io/v1"

TierName = Literal["low", "medium", "high", "critical"]
TIERS: Final[tuple[TierName, ...]] = ("low", "medium", "high", "critical")
"""From the least to the most dangerous."""

LogPrompts = Literal["none", "redacted", "full"]
Tightening = Literal["Quarantine", "KeepLast"]


RUNTIME_ENV: Final = (
    "AGENT_DEFINITION_(ID|VERSION|CHECKSUM)|TENANT_ID|MODEL_(PROVIDER|NAME|BASE_URL)|RISK_TIER"
    "|MAX_PARALLEL_SESSIONS|LOG_PROMPTS|EMIT_TOKENS"
)
"""Variables that the operator sets on an Agent's containers, besides those of every kind; a regular expression."""


def _checked(parse: Callable[[str], object]) -> AfterValidator:
    def verify(text: str) -> str:
        try:
            parse(text)
        except PatternError as error:
            raise refusal(error.message, error.remedy) from None
        return text

    return AfterValidator(verify)


ToolPatternText = Annotated[
    str, Field(min_length=1, max_length=512, json_schema_extra={"pattern": TOOL_REGEX}), _checked(tool_pattern)
]
ModelPatternText = Annotated[
    str, Field(min_length=1, max_length=512, json_schema_extra={"pattern": MODEL_REGEX}), _checked(model_pattern)
]
Glob = Annotated[
    str,
    Field(min_length=1, max_length=253),
    matching(r"[A-Za-z0-9_.:*?-]+", "is not a glob over names", "use letters, digits, '-', '_', '.', and * and ?"),
]
Name = Annotated[
    str,
    Field(min_length=1, max_length=63),
    matching(
        "[a-z0-9]([-a-z0-9]*[a-z0-9])?",
        "is not a name of the policy's own",
        "use lowercase letters, digits and '-', at most 63 of them",
    ),
]
"""The name of a provider, primitive or credential: it becomes part of object names and paths."""
RoleName = Annotated[
    str,
    Field(min_length=1, max_length=63),
    matching("[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?", "is not the name of a role", "use letters, digits and -_."),
]
PLACEHOLDERS: Final = ("tenant", "namespace", "agent", "credential")
_FILLED: Final = "|".join(PLACEHOLDERS)
RemoteKey = Annotated[
    str,
    Field(min_length=1, max_length=512),
    matching(
        rf"([-A-Za-z0-9_./:@+=]|\{{({_FILLED})\}})+",
        "is not a template of a key in the secret store",
        f"use letters, digits, -_./:@+= and {{{'}, {'.join(PLACEHOLDERS)}}}",
    ),
]
SecretName = Annotated[
    str,
    Field(min_length=1, max_length=253),
    matching(
        rf"([a-z0-9]|\{{({_FILLED})\}})(([-.a-z0-9]|\{{({_FILLED})\}})*([a-z0-9]|\{{({_FILLED})\}}))?",
        "is not a template of a Secret's name",
        f"use lowercase letters, digits, '-', '.' and {{{'}, {'.join(PLACEHOLDERS)}}}",
    ),
]
Address = Annotated[
    str,
    Field(min_length=1, max_length=512),
    matching(
        r"(https?|grpcs?|wss?)://(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?)(:[0-9]{1,5})?(/[-A-Za-z0-9_.~/%]*)?",
        "is not an address",
        "write scheme://host:port/path, the scheme one of http, https, grpc, grpcs, ws and wss; no user, no query",
    ),
]

ToolPatterns = Annotated[tuple[ToolPatternText, ...], Lenient, Field(max_length=1024)]
ModelPatterns = Annotated[tuple[ModelPatternText, ...], Lenient, Field(max_length=1024)]
Globs = Annotated[tuple[Glob, ...], Lenient, Field(min_length=1, max_length=1024)]
AnyGlobs = Annotated[tuple[Glob, ...], Lenient, Field(max_length=1024)]
Names = Annotated[tuple[Name, ...], Lenient, Field(max_length=64)]
Peers = Annotated[tuple[NetworkRule, ...], Lenient, Field(max_length=64)]


class Scope(Model):
    """Whom something is for: tenant, SKU and namespace must all be among the globs. `*` also means none at all."""

    tenants: Globs = Field(
        default=("*",), description="Globs over tenants (label ameide.io/tenant-id of the namespace)."
    )
    skus: Globs = Field(default=("*",), description="Globs over SKUs (label ameide.io/sku of the namespace).")
    namespaces: Globs = Field(default=("*",), description="Globs over namespaces of Agents.")


class ToolRules(Scope):
    """Tools that some Agents may have, and tools that they must not have."""

    allow: ToolPatterns = Field(default=(), description="Patterns over tools that are allowed.")
    deny: ToolPatterns = Field(default=(), description="Patterns over tools that are denied; wins over every allow.")


class ModelRules(Scope):
    """Models that some Agents may use, and models that they must not use."""

    allow: ModelPatterns = Field(default=(), description="Patterns provider/model that are allowed.")
    deny: ModelPatterns = Field(default=(), description="Patterns provider/model that are denied; wins over allow.")


class SecretRules(Scope):
    """Secrets of their namespace that Agents may read through env[].valueFrom.secretKeyRef."""

    allow: AnyGlobs = Field(default=(), description="Globs over names of Secrets that are granted.")
    deny: AnyGlobs = Field(default=(), description="Globs over names of Secrets that are denied; wins over allow.")


class Limits(Model):
    """What an Agent may ask for. Those of a tier hold for it and all higher ones: the strictest counts."""

    max_parallel_sessions: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="Highest spec.concurrency.maxParallelSessions. Default: not limited here."
    )
    log_prompts: Annotated[tuple[LogPrompts, ...], Lenient, Field(min_length=1)] | None = Field(
        default=None, description="Values that spec.observability.logPrompts may have. Default: not limited here."
    )


class Tier(Model):
    """A risk tier: who may claim it, and what comes with it.

    An Agent of a tier is allowed what its tier and the lower ones allow, and denied what its tier and the higher ones
    deny: a higher tier never has fewer tools.
    """

    available_to: Annotated[tuple[Scope, ...], Lenient, Field(min_length=1, max_length=256)] = Field(
        description="Who may set this tier as spec.riskTier; any of the entries."
    )
    tools: Annotated[tuple[ToolRules, ...], Lenient, Field(max_length=256)] = Field(
        default=(), description="Tools: allows hold for this tier and higher ones, denies for it and lower ones."
    )
    limits: Limits = Field(default=Limits(), description="Limits of this tier and of higher ones.")
    on_tightening: Tightening | None = Field(
        default=None, description="onTightening for Agents of this tier, where it differs."
    )


class Tiers(Model):
    """The tiers that there are, from the least to the most dangerous; one that is absent cannot be used."""

    low: Tier | None = Field(default=None, description="The least dangerous Agents.")
    medium: Tier | None = Field(default=None, description="Above low.")
    high: Tier | None = Field(default=None, description="Above medium.")
    critical: Tier | None = Field(default=None, description="The most dangerous Agents.")

    def named(self, name: str) -> Tier | None:
        """The tier of a name; None where it is absent or unknown."""
        return getattr(self, name) if name in TIERS else None


class Role(Model):
    """A role that an AgentDefinition has; one that the policy does not know cannot be had."""

    min_tier: TierName = Field(description="The lowest tier that an Agent of this role may have.")
    definitions: AnyGlobs = Field(
        default=(), description="Globs over ids of definitions that have the role, whatever they say themselves."
    )


class CredentialKey(Model):
    """One value of a credential."""

    key: ConfigKey = Field(description="Key in the Secret, and name of the file.")
    property: Annotated[str, Field(min_length=1, max_length=253)] | None = Field(
        default=None, description="Property of the entry in the secret store. Default: the whole entry."
    )
    env: EnvName | None = Field(default=None, description="Variable that carries it; with delivery Env only.")


class Credential(Model):
    """A secret that a provider or tool needs: kept in the secret store, or in a Secret that somebody else makes."""

    remote_key: RemoteKey | None = Field(
        default=None, description="Key in the secret store. Default: by the operator's settings."
    )
    secret_name: SecretName | None = Field(
        default=None, description="A Secret in the Agent's namespace, instead of the secret store."
    )
    keys: Annotated[tuple[CredentialKey, ...], Lenient, Field(min_length=1, max_length=32)] = Field(
        description="The values that it has."
    )
    delivery: Literal["File", "Env"] = Field(default="File", description="Whether pods get files or variables.")


class Reached(Model):
    """Something outside the platform that Agents talk to."""

    description: Annotated[str, Field(max_length=1024)] = Field(default="", description="What it is.")
    credentials: Names = Field(default=(), description="Credentials that it takes, by name.")
    egress: Peers = Field(default=(), description="Where it is: peers and ports, as in network profiles.")
    allow_internet: bool = Field(default=False, description="Permit CIDRs as wide as the internet in egress.")

    @model_validator(mode="after")
    def _guarded(self) -> Reached:
        NetworkProfile(egress=self.egress, allow_internet=self.allow_internet)
        return self


class Provider(Reached):
    """A provider of models."""

    address: Address | None = Field(default=None, description="Base URL. Default: the one that the runtime knows.")


class PrimitiveTool(Reached):
    """A tool that is no Ameide resource."""

    address: Address = Field(description="URL at which Agents reach it.")


class ToolCredentials(Scope):
    """Credentials that tools take which are Ameide resources."""

    tools: Annotated[tuple[ToolPatternText, ...], Lenient, Field(min_length=1, max_length=1024)] = Field(
        description="Patterns over the tools; an operation makes no difference."
    )
    credentials: Annotated[tuple[Name, ...], Lenient, Field(min_length=1, max_length=64)] = Field(
        description="Credentials that these tools take, by name."
    )


class PolicyDocument(Model):
    """What Agents may do."""

    version: Literal["policy.ameide.io/v1"] = Field(description="Version of this document's form.")
    description: Annotated[str, Field(max_length=4096)] = Field(default="", description="What the policy is for.")
    on_tightening: Tightening = Field(
        default="KeepLast",
        description="What becomes of a running Agent that a new policy makes illegal. Quarantine: its egress and grants"
        " are taken at once, then its pods. KeepLast: it runs on as it is, and says so.",
    )
    tools: Annotated[tuple[ToolRules, ...], Lenient, Field(max_length=256)] = Field(
        default=(), description="Tools allowed to, and denied to, every tier."
    )
    limits: Limits = Field(default=Limits(), description="Limits of every tier.")
    tiers: Tiers = Field(description="The risk tiers.")
    models: Annotated[tuple[ModelRules, ...], Lenient, Field(max_length=256)] = Field(
        description="Models by tenant and SKU."
    )
    providers: Mapping[Name, Provider] = Field(description="Providers of models, by the name that spec.model has.")
    roles: Mapping[RoleName, Role] = Field(default={}, description="Roles that need a tier.")
    credentials: Mapping[Name, Credential] = Field(default={}, description="Credentials, by name.")
    tool_credentials: Annotated[tuple[ToolCredentials, ...], Lenient, Field(max_length=256)] = Field(
        default=(), description="Credentials that Domains, Processes and Agents take as tools."
    )
    primitives: Mapping[Name, PrimitiveTool] = Field(
        default={}, description="Tools that are no Ameide resources, by name."
    )
    secrets: Annotated[tuple[SecretRules, ...], Lenient, Field(max_length=256)] = Field(
        default=(), description="Secrets that Agents may read into variables of their own."
    )


def tier_rank(name: str) -> int:
    """How dangerous a tier is, from 0; -1 where there is no tier of that name."""
    return TIERS.index(name) if name in TIERS else -1


def plain(document: PolicyDocument) -> dict[str, Any]:
    """The document as plain data, without what was left out."""
    return document.model_dump(mode="json", by_alias=True, exclude_unset=True)
