"""The operator's own metrics: how many Agents of which tenant and tier, and never more series than bounded ones."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from agent_operator.metrics import MOST_TENANTS, AgentMetrics
from agent_operator.policy.loading import parse
from agent_operator.policy.state import PolicyFault, PolicyState

LOADED = datetime(2026, 3, 1, 12, tzinfo=UTC)
POLICY = parse("{version: policy.ameide.io/v1, tiers: {}, models: [], providers: {}}")


def agent(tenant: str, tier: str = "low", **conditions: str) -> dict[str, Any]:
    told = [{"type": kind, "status": status} for kind, status in conditions.items()]
    return {"metadata": {"labels": {"tenant": tenant}}, "spec": {"riskTier": tier}, "status": {"conditions": told}}


def scraped(
    agents: list[dict[str, Any]], state: PolicyState | None = None
) -> dict[str, list[tuple[Mapping[str, str], float]]]:
    """The samples of each metric."""
    registry = CollectorRegistry()
    told = PolicyState(POLICY, LOADED) if state is None else state
    registry.register(AgentMetrics(lambda: agents, lambda: told, lambda one: one["metadata"]["labels"]["tenant"]))
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {family.name: [(each.labels, each.value) for each in family.samples] for family in families}


def test_agents_are_counted_by_tenant_tier_and_standing() -> None:
    agents = [
        agent("t1", Ready="True", PolicyViolation="False"),
        agent("t1", Ready="True", PolicyViolation="False"),
        agent("t1", "high", Ready="False", PolicyViolation="True"),
        agent("t2"),  # of which nothing is known yet
    ]
    labels = ("tenant_id", "risk_tier", "ready", "violation")
    found = {tuple(each[name] for name in labels): value for each, value in scraped(agents)["ameide_agents"]}
    assert found == {
        ("t1", "low", "true", "false"): 2,
        ("t1", "high", "false", "true"): 1,
        ("t2", "low", "false", "false"): 1,
    }


def test_many_tenants_are_bounded_and_none_of_their_agents_is_lost() -> None:
    """However many tenants and whatever tiers there are; those with the most Agents keep their names."""
    agents = [agent(f"t{number}", f"made-up-{number}") for number in range(3 * MOST_TENANTS)]
    agents += [agent("large") for _ in range(5)]
    samples = scraped(agents)["ameide_agents"]
    tenants = {labels["tenant_id"] for labels, _ in samples}
    assert len(tenants) == MOST_TENANTS + 1
    assert {"large", "(other)"} <= tenants
    assert sum(value for _, value in samples) == len(agents)
    assert {labels["risk_tier"] for labels, _ in samples} == {"unknown", "low"}


def test_what_has_gone_is_not_told_any_more() -> None:
    agents = [agent("t1")]
    registry = CollectorRegistry()
    registry.register(AgentMetrics(lambda: agents, lambda: PolicyState(), lambda one: "t1"))
    assert b"ameide_agents{" in generate_latest(registry)
    agents.clear()
    assert b"ameide_agents{" not in generate_latest(registry)


def test_policy_is_told_to_be_sound_or_not() -> None:
    fault = PolicyFault("is not valid", "mend it", LOADED)
    for state, valid in (
        (PolicyState(), 0.0),
        (PolicyState(POLICY, LOADED), 1.0),
        (PolicyState(POLICY, LOADED, fault), 0.0),
    ):
        found = scraped([], state)
        assert found["ameide_agent_policy_valid"][0][1] == valid
        loaded = [value for _, value in found.get("ameide_agent_policy_loaded_timestamp_seconds", ())]
        assert loaded == ([LOADED.timestamp()] if state.policy is not None else [])
