"""The policy's word on manifests, offline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from agent_operator.policy import parse
from agent_operator.policy.offline import check, location_of

POLICY = parse((Path(__file__).parents[4] / "examples" / "20-agent-policy.yaml").read_text())


def agent(name: str = "coder", **spec: Any) -> dict[str, Any]:
    fields = {
        "definitionRef": {"id": "bot", "tenantId": "acme"},
        "model": {"provider": "echo", "name": "x"},
        "riskTier": "low",
        "concurrency": {"maxParallelSessions": 5},
    }
    metadata = {"name": name, "namespace": "shop"}
    return {"apiVersion": "ameide.io/v1", "kind": "Agent", "metadata": metadata, "spec": fields | spec}


def namespace(**labels: str) -> dict[str, Any]:
    found = {f"ameide.io/{key.replace('_', '-')}": value for key, value in labels.items()}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": found}}


def test_nothing_is_said_of_the_compliant_and_of_other_kinds() -> None:
    domain = {"apiVersion": "ameide.io/v1", "kind": "Domain", "metadata": {"name": "orders"}, "spec": {"riskTier": 1}}
    foreign = {"apiVersion": "elsewhere.io/v1", "kind": "Agent", "metadata": {"name": "x"}, "spec": {}}
    assert check(POLICY, [agent(), domain, foreign]) == []


def test_a_forbidden_tool() -> None:
    bad = agent(tools={"allowed": [{"domain": "orders"}, {"process": "l2o"}]})
    (found,) = check(POLICY, [agent(), bad])
    assert (found.manifest, found.object, found.rule) == (1, "Agent shop/coder", "tiers.low")
    assert found.problem.field == "spec.tools.allowed[1]"
    assert found.problem.loc == ("spec", "tools", "allowed", 1)
    assert f"(policy: {found.rule})" in found.problem.message
    assert "have the policy allow it" in found.problem.remedy


def test_namespaces_among_the_manifests_say_tenant_and_sku() -> None:
    high = agent(riskTier="high", observability={"logPrompts": "none"})
    assert [found.rule for found in check(POLICY, [high])] == ["tiers.high.availableTo"]
    assert check(POLICY, [high], sku="enterprise") == []
    assert check(POLICY, [namespace(tenant_id="acme", sku="business"), high]) == []
    assert check(POLICY, [high, namespace(tenant_id="acme", sku="business")]) == []
    rules = [found.rule for found in check(POLICY, [high, namespace(tenant_id="globex", sku="business")])]
    assert rules == ["tiers.high.availableTo"]
    assert [found.rule for found in check(POLICY, [high, namespace(sku="business")])] == ["tiers.high.availableTo"]


def test_lists_are_taken_apart() -> None:
    items = [namespace(tenant_id="acme"), agent("one", riskTier="none"), agent("two", riskTier="none")]
    found = check(POLICY, [{"apiVersion": "v1", "kind": "List", "items": items}])
    assert [(one.manifest, one.object) for one in found] == [(0, "Agent shop/one"), (0, "Agent shop/two")]


def test_locations() -> None:
    assert location_of("spec.tools.allowed[1].operations[0]") == ("spec", "tools", "allowed", 1, "operations", 0)
    assert location_of("metadata.namespace") == ("metadata", "namespace")
