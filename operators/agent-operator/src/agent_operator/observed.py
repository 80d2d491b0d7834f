"""What an Agent's plan may know, as plain data; `observe` fills it, `render` reads it from files."""

from __future__ import annotations

from dataclasses import dataclass, field

from agent_operator.policy.state import PolicyState
from ameide_shared.observed import Observed as ObservedBase
from ameide_shared.transformation.model import Observation as DefinitionObservation


@dataclass(frozen=True, slots=True)
class Observed(ObservedBase):
    """The cluster, the policy and the Transformation service as one Agent's plan may know them.

    Of others, `objects` holds the Domains, Processes and Agents that are its tools, Secrets that others make for its
    credentials, and a ServiceAccount that the spec names.
    """

    definition: DefinitionObservation = field(default_factory=DefinitionObservation)
    policy: PolicyState = field(default_factory=PolicyState)
