"""What is known of the policy at one moment: the one in force, and what is wrong with its file. Pure data."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from agent_operator.policy.loading import Policy


@dataclass(frozen=True, slots=True)
class PolicyFault:
    """Why the file holds no usable policy, what to do, and since when (UTC) it has held none."""

    message: str
    remedy: str
    since: datetime


@dataclass(frozen=True, slots=True)
class PolicyState:
    """The policy in force, when (UTC) it was taken up, and what is wrong with the file now.

    With a fault, the policy is the last good one; it is None if there has been none since the start.
    """

    policy: Policy | None = None
    loaded_at: datetime | None = None
    fault: PolicyFault | None = None
