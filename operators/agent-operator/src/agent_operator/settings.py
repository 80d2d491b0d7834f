"""Settings of the Agent operator: those of every operator, the policy, where secrets and grants are kept."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, field_validator
from pydantic.alias_generators import to_camel

from agent_operator.policy.document import RemoteKey
from ameide_shared.settings import OperatorSettings, Seconds, Section
from ameide_shared.transformation.settings import TransformationSettings
from ameide_shared.web import base_url


class PolicySettings(Section):
    """The policy that all Agents are held to."""

    file: Path = Field(
        Path("/etc/ameide/policy/policy.yaml"),
        description="File with the policy, such as a mounted ConfigMap; without it nothing is allowed.",
    )
    poll_seconds: Seconds = Field(5.0, description="Seconds between two looks at the file.")


class SecretStoreSettings(Section):
    """The store that ExternalSecrets read from, and where a credential is in it."""

    name: str = Field("", description="Name of the SecretStore or ClusterSecretStore. Empty: there is none.")
    kind: Literal["SecretStore", "ClusterSecretStore"] = Field(
        "ClusterSecretStore", description="SecretStore: one of the Agent's own namespace."
    )
    remote_key: RemoteKey = Field(
        "{tenant}/{credential}",
        description="Key in the store of a credential for which the policy names none; {tenant}, {namespace}, {agent} "
        "and {credential} are filled in.",
    )
    refresh_seconds: int = Field(3600, ge=1, description="Seconds between two looks at the store for a rotated value.")


class GrantsServiceSettings(Section):
    """The central grants service, if there is one."""

    url: str = Field("", description="Base URL of the grants service. Empty: there is none.")
    token_file: Path | None = Field(None, description="File with the bearer token; read anew whenever it changes.")
    ca_file: Path | None = Field(None, description="Certificate authorities (PEM) of the service; else the system's.")
    timeout: Seconds = Field(10.0, description="Seconds that one question to the service may take.")

    @field_validator("url")
    @classmethod
    def _is_base_url(cls, value: str) -> str:
        return base_url(value)


class SessionQueueSettings(Section):
    """How KEDA counts sessions that wait: one of its triggers."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    trigger: str = Field("", description="Type of the trigger, such as prometheus or redis. Empty: there is none.")
    metadata: dict[str, str] = Field(
        default_factory=dict,
        description="Metadata of the trigger; {tenant}, {namespace}, {agent} and {target} are filled in.",
    )
    authentication: str = Field("", description="ClusterTriggerAuthentication that the trigger uses.")


class AgentSettings(OperatorSettings):
    """`AMEIDE_*` settings of the Agent operator."""

    transformation: TransformationSettings = Field(default_factory=TransformationSettings)
    policy: PolicySettings = Field(default_factory=PolicySettings)
    secret_store: SecretStoreSettings = Field(default_factory=SecretStoreSettings)
    grants_service: GrantsServiceSettings = Field(default_factory=GrantsServiceSettings)
    session_queue: SessionQueueSettings = Field(default_factory=SessionQueueSettings)
    secret_seconds: Annotated[float, Field(ge=1)] = Field(
        300.0, description="Seconds between two looks at Secrets that others make for a credential (secretName)."
    )
