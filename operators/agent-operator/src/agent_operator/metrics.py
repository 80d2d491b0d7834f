"""Metrics of Agents and of the policy: how many of each tier and tenant there are, and whether the policy is sound."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from agent_operator.policy.document import TIERS
from agent_operator.policy.state import PolicyState
from ameide_shared.kube.resources import Manifest

MOST_TENANTS: Final = 200
"""Tenants that are told apart; those with the fewest Agents beyond are counted together as `(other)`."""


class AgentMetrics(Collector):
    """Counts when it is asked, so that nothing is left over of what has gone."""

    def __init__(
        self,
        agents: Callable[[], Iterable[Manifest]],
        policy: Callable[[], PolicyState],
        tenant_of: Callable[[Manifest], str],
    ) -> None:
        self._agents, self._policy, self._tenant_of = agents, policy, tenant_of

    def collect(self) -> Iterable[Metric]:
        """Called for each scrape."""
        yield self._count()
        state = self._policy()
        sound = GaugeMetricFamily(
            "ameide_agent_policy_valid", "1: the policy's file holds the policy in force; 0: it is broken or missing."
        )
        sound.add_metric([], float(state.policy is not None and state.fault is None))
        yield sound
        loaded = GaugeMetricFamily(
            "ameide_agent_policy_loaded_timestamp_seconds", "When the policy in force was taken up; Unix time."
        )
        if state.loaded_at is not None:
            loaded.add_metric([], state.loaded_at.timestamp())
        yield loaded

    def _count(self) -> Metric:
        found: Counter[tuple[str, str, str, str]] = Counter()
        sizes: Counter[str] = Counter()
        for agent in self._agents():
            tenant = self._tenant_of(agent)
            sizes[tenant] += 1
            found[tenant, _tier(agent), _holds(agent, "Ready"), _holds(agent, "PolicyViolation")] += 1
        kept = {tenant for tenant, _ in sorted(sizes.items(), key=lambda item: (-item[1], item[0]))[:MOST_TENANTS]}
        counts: Counter[tuple[str, ...]] = Counter()
        for (tenant, *rest), count in found.items():
            counts[tenant if tenant in kept else "(other)", *rest] += count
        family = GaugeMetricFamily(
            "ameide_agents",
            "Agents by tenant, risk tier, and whether they are Ready and break the policy.",
            labels=["tenant_id", "risk_tier", "ready", "violation"],
        )
        for labels, count in sorted(counts.items()):
            family.add_metric(list(labels), count)
        return family


def _tier(agent: Manifest) -> str:
    tier = (agent.get("spec") or {}).get("riskTier")
    return tier if tier in TIERS else "unknown"


def _holds(agent: Manifest, condition: str) -> str:
    conditions = (agent.get("status") or {}).get("conditions") or ()
    return str(any(one.get("type") == condition and one.get("status") == "True" for one in conditions)).lower()
