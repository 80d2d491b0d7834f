"""What every part of the plan is given: the parsed resource, what was observed, the settings and the time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from agent_operator.observed import Observed
from agent_operator.policy.subject import LABEL_SKU
from agent_operator.settings import AgentSettings
from agent_operator.spec import Agent, AgentSpec, DefinitionRef
from ameide_shared.builders.identity import Primitive
from ameide_shared.kube.resources import AGENT, DOMAIN, NAMESPACE, PROCESS, Manifest, ResourceType
from ameide_shared.transformation.model import Observation as DefinitionObservation

RESOURCES: Final[dict[str, ResourceType]] = {"domain": DOMAIN, "process": PROCESS, "agent": AGENT}
"""The resource type of each kind of tool that is an Ameide resource."""


@dataclass(frozen=True, slots=True)
class Unread:
    """What a plan is given of an Agent whose spec cannot be read: who it is, and what status recorded of it."""

    manifest: Manifest
    primitive: Primitive
    observed: Observed
    settings: AgentSettings
    now: datetime


@dataclass(frozen=True, slots=True)
class Context:
    """The arguments of a plan, together. `manifest` is the resource as the API server has it."""

    manifest: Manifest
    agent: Agent
    primitive: Primitive
    observed: Observed
    settings: AgentSettings
    now: datetime

    @property
    def spec(self) -> AgentSpec:
        return self.agent.spec

    @property
    def reference(self) -> DefinitionRef:
        """Which definition is meant."""
        return self.agent.spec.definition_ref

    @property
    def fetched(self) -> DefinitionObservation:
        """What the Transformation service has of it."""
        return self.observed.definition

    @property
    def sku(self) -> str:
        """What the tenant has bought for the namespace; empty where its label is not set."""
        namespace = self.observed.objects.get(NAMESPACE, "", self.primitive.namespace) or {"metadata": {}}
        return str((namespace["metadata"].get("labels") or {}).get(LABEL_SKU, ""))
