"""`agent-operator check --policy`: the policy's word on manifests without a cluster, for pull requests."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from agent_operator.main import command
from agent_operator.policy.offline import location_of

EXAMPLES = Path(__file__).parents[3] / "examples"
POLICY = EXAMPLES / "20-agent-policy.yaml"


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AMEIDE_")]:
        monkeypatch.delenv(name)


def check(*arguments: str, manifests: list[dict[str, Any]] | None = None) -> Result:
    """Run the program over files, or over manifests from its input."""
    text = yaml.safe_dump_all(manifests) if manifests is not None else None
    given = ["-f", "-"] if manifests is not None else []
    result = CliRunner().invoke(command, ["check", *given, *arguments], input=text)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def judged(*manifests: dict[str, Any]) -> list[dict[str, Any]]:
    """What the example policy has against manifests."""
    result = check("--policy", str(POLICY), "-o", "json", manifests=list(manifests))
    told = json.loads(result.stdout)
    assert result.exit_code == (1 if told["findings"] else 0)
    found: list[dict[str, Any]] = told["findings"]
    return found


def agent(name: str = "coder", **spec: Any) -> dict[str, Any]:
    fields = {
        "image": "ghcr.io/ameide/agent-langgraph:2.1.0",
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


def test_compliant_agents_and_other_kinds_pass() -> None:
    other = {"apiVersion": "elsewhere.io/v1", "kind": "Agent", "metadata": {"name": "x"}, "spec": {}}
    assert judged(agent(), other) == []
    assert check("-f", str(EXAMPLES / "order-desk.yaml"), "--policy", str(POLICY)).exit_code == 0


def test_forbidden_tool_is_named_with_line_field_rule_and_remedy() -> None:
    """The example that fails on purpose, as an author of a pull request sees it."""
    file = EXAMPLES / "failing" / "refunds.yaml"
    result = check("-f", str(file), "--policy", str(POLICY))
    assert result.exit_code == 1
    line = next(number for number, text in enumerate(file.read_text().splitlines(), 1) if "RefundOrder" in text)
    assert result.stdout.startswith(
        f"{file}:{line}: Agent shop/refunds: spec.tools.allowed[0].operations[1]: domain/shop/orders:RefundOrder is "
    )
    assert "(policy: tiers.high.tools[1].deny[0])" in result.stdout
    assert "remove it from the Agent" in result.stdout


def test_every_rule_that_is_broken_is_a_finding() -> None:
    bad = agent(tools={"allowed": [{"domain": "orders"}, {"process": "l2o"}]}, model={"provider": "acme", "name": "x"})
    assert {one["field"] for one in judged(agent("good"), bad)} == {
        "spec.tools.allowed[1]",
        "spec.model",
        "spec.model.provider",
    }
    assert {one["reason"] for one in judged(bad)} == {"PolicyViolation"}


def test_namespaces_among_the_manifests_say_tenant_and_sku() -> None:
    high = agent(riskTier="high", observability={"logPrompts": "none"})
    assert [one["field"] for one in judged(high)] == ["spec.riskTier"]
    assert judged(namespace(tenant_id="acme", sku="business"), high) == []
    assert judged(high, namespace(tenant_id="acme", sku="business")) == []
    assert [one["field"] for one in judged(high, namespace(tenant_id="acme"))] == ["spec.riskTier"]


def test_lists_are_taken_apart() -> None:
    tools = {"allowed": [{"primitive": "code-runner"}]}
    items = [namespace(tenant_id="acme"), agent("one", tools=tools), agent("two", tools=tools)]
    found = judged({"apiVersion": "v1", "kind": "List", "items": items})
    assert [one["object"] for one in found] == ["Agent shop/one", "Agent shop/two"]


def test_without_a_policy_it_says_that_none_judged() -> None:
    """Nobody takes a check for a pull request that forgot the policy for one that passed it."""
    result = check(manifests=[agent(tools={"allowed": [{"primitive": "code-runner"}]})])
    assert result.exit_code == 0
    assert "not judged by any policy: there is no --policy FILE" in result.stderr


def test_broken_policy_is_an_error_and_no_verdict(tmp_path: Path) -> None:
    broken = tmp_path / "policy.yaml"
    broken.write_text("version: policy.ameide.io/v1\ntiers: {lowest: {}}\n")
    result = check("--policy", str(broken), manifests=[agent()])
    assert result.exit_code == 2
    assert "lowest" in result.stderr


def test_locations() -> None:
    assert location_of("spec.tools.allowed[1].operations[0]") == ("spec", "tools", "allowed", 1, "operations", 0)
    assert location_of("metadata.namespace") == ("metadata", "namespace")
