"""What the judgement says, rule by rule: paths, fields, messages and remedies; and what it grants."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent_operator.policy import (
    GrantedTool,
    NeededCredential,
    SecretUse,
    SecretValue,
    Subject,
    ToolKey,
    ToolRequest,
    Violation,
    evaluate,
    parse,
)

EXAMPLE = parse((Path(__file__).parents[4] / "examples" / "20-agent-policy.yaml").read_text())
ORDERS = ToolKey("domain", "shop", "orders")
CODER = Subject(
    "shop", "coder", "acme", "high", "openai", "gpt-5.1-pro", sku="enterprise", definition_id="core-platform-coder-v4",
    max_parallel_sessions=20, log_prompts="redacted",
)  # fmt: skip


def violations(**changes: Any) -> list[Violation]:
    return list(evaluate(EXAMPLE, replace(CODER, **changes)).violations)


def request(tool: ToolKey, *operations: str) -> ToolRequest:
    return ToolRequest(tool, operations, "spec.tools.allowed[0]")


def test_a_compliant_agent() -> None:
    verdict = evaluate(
        EXAMPLE, replace(CODER, tools=(request(ORDERS), request(ToolKey("primitive", "", "code-runner"))))
    )
    assert verdict.violations == ()
    assert verdict.on_tightening == "Quarantine"
    assert verdict.model is not None
    assert (verdict.model.address, verdict.model.credentials) == ("https://api.openai.com/v1", ("openai",))
    assert [peer.pod_labels for peer in verdict.model.egress[0].peers] == [{"app": "egress-gateway"}]
    orders, runner = verdict.tools
    assert orders == GrantedTool(ORDERS, ("*",), ("Delete*", "Refund*"))
    assert (runner.tool.name, runner.address, runner.credentials) == (
        "code-runner", "https://code-runner.tools.svc:8443", ("code-runner",),
    )  # fmt: skip
    assert verdict.credentials == (
        NeededCredential(
            "code-runner", (SecretValue("token", None, "CODE_RUNNER_TOKEN"),), "Env", ("primitive/code-runner",),
            "ameide/shared/code-runner",
        ),
        NeededCredential(
            "openai", (SecretValue("api-key", "apiKey"),), "File", ("provider/openai",), "ameide/acme/openai"
        ),
    )  # fmt: skip


def test_a_forbidden_tool_is_named_with_rule_and_remedy() -> None:
    tool = ToolKey("process", "shop", "l2o")
    assert violations(risk_tier="medium", definition_id="", tools=(request(tool),)) == [
        Violation(
            "tiers.medium.tools",
            "spec.tools.allowed[0]",
            "process/shop/l2o is not allowed to tier medium by any rule",
            "remove it from the Agent, set spec.riskTier: high, or have the policy allow it to this tier",
        )
    ]


def test_every_violated_rule_is_listed_in_the_order_of_the_spec() -> None:
    found = violations(
        risk_tier="medium", model="gpt-4-preview", max_parallel_sessions=51, log_prompts="full",
        tools=(request(ORDERS, "GetOrder", "DeleteOrder", "RefundOrder"), request(ToolKey("primitive", "", "shell"))),
        secrets=(SecretUse("orders-db", "spec.env[0].valueFrom.secretKeyRef.name"),), roles=("wizard",),
        definition_tools=(ToolRequest(ToolKey("process", "other", "x"), (), "definition.tools[0]"),),
    )  # fmt: skip
    assert [(violation.field, violation.rule) for violation in found] == [
        ("definition.roles[0]", "roles"),
        ("spec.riskTier", "roles.coder.minTier"),
        ("spec.model", "models[1].deny[0]"),
        ("spec.model", "models"),
        ("spec.tools.allowed[0].operations[1]", "tools[0].deny[0]"),
        ("spec.tools.allowed[0].operations[2]", "tiers.high.tools[1].deny[0]"),
        ("spec.tools.allowed[0]", "primitives"),
        ("spec.tools.allowed[0]", "tiers.medium.tools"),
        ("spec.concurrency.maxParallelSessions", "tiers.low.limits.maxParallelSessions"),
        ("spec.env[0].valueFrom.secretKeyRef.name", "secrets[0].deny[0]"),
        ("spec.env[0].valueFrom.secretKeyRef.name", "secrets"),
        ("definition.tools[0]", "tiers.medium.tools"),
    ]
    verdict = evaluate(EXAMPLE, replace(CODER, risk_tier="medium"))
    assert (verdict.tools, verdict.model, verdict.credentials) == ((), None, ())


def test_operations_that_are_asked_for_are_all_that_is_granted() -> None:
    verdict = evaluate(
        EXAMPLE, replace(CODER, tools=(request(ORDERS, "PayOrder", "GetOrder"), request(ORDERS, "Ship")))
    )
    assert verdict.tools == (GrantedTool(ORDERS, ("GetOrder", "PayOrder", "Ship")),)
    tool = verdict.tools[0]
    assert tool.permits("Ship")
    assert not tool.permits("CancelOrder")


def test_a_whole_tool_is_what_the_policy_allows_of_it() -> None:
    verdict = evaluate(
        EXAMPLE, replace(CODER, risk_tier="low", definition_id="", tools=(request(ORDERS),), max_parallel_sessions=1)
    )
    assert verdict.tools == (GrantedTool(ORDERS, ("Get*", "List*"), ("Delete*", "Refund*")),)
    assert verdict.tools[0].permits("GetOrder")
    assert not verdict.tools[0].permits("PayOrder")
    assert not verdict.tools[0].permits("DeleteOrder")


def test_the_deny_of_a_tier_does_not_bind_higher_ones() -> None:
    subject = replace(CODER, risk_tier="critical", max_parallel_sessions=1, log_prompts="none")
    allowed = replace(subject, tools=(request(ORDERS, "RefundOrder"),))
    assert evaluate(EXAMPLE, allowed).allowed
    assert not evaluate(EXAMPLE, replace(subject, tools=(request(ORDERS, "DeleteOrder"),))).allowed


@pytest.mark.parametrize("operation", ["Del*", "*", "?eleteOrder", "", "Delete Order", "DeleteOrder\n"])
def test_patterns_cannot_be_asked_for(operation: str) -> None:
    """`Del*` is matched by no deny of `Delete*`, and would be granted as a pattern."""
    found = violations(tools=(request(ORDERS, "GetOrder", operation),))
    assert [(violation.rule, violation.field) for violation in found] == [("tiers.high.tools", "spec.tools.allowed[0]")]
    assert "by a pattern" in found[0].message


@pytest.mark.parametrize("model", ["gpt-5 ", "gpt-5*", "gpt\u20115", ""])
def test_models_with_a_second_spelling(model: str) -> None:
    found = violations(model=model)
    assert [violation.field for violation in found] == ["spec.model.name"]


def test_nothing_left_of_a_tool_is_a_denied_tool() -> None:
    policy = parse(
        "{version: policy.ameide.io/v1, models: [{allow: ['*/*']}], providers: {echo: {}},"
        " tools: [{allow: ['domain/a/b:Get*']}], tiers: {low: {availableTo: [{}], tools: [{deny: ['**:G*']}]}}}"
    )
    subject = Subject("a", "x", "", "low", "echo", "m", tools=(request(ToolKey("domain", "a", "b")),))
    assert [violation.rule for violation in evaluate(policy, subject).violations] == ["tiers.low.tools[0].deny[0]"]


def test_a_role_follows_from_the_definition_whatever_it_says() -> None:
    subject = replace(CODER, risk_tier="medium", model="gpt-5")
    found = evaluate(EXAMPLE, subject).violations
    assert [(violation.rule, violation.field) for violation in found] == [("roles.coder.minTier", "spec.riskTier")]
    assert found[0].remedy.startswith("set spec.riskTier: high")
    assert evaluate(EXAMPLE, replace(subject, definition_id="support-bot", roles=("clerk",))).allowed
    assert not evaluate(EXAMPLE, replace(subject, definition_id="support-bot", roles=("coder",))).allowed


def test_the_remedy_never_names_a_tier_that_would_not_help() -> None:
    tools = (request(ORDERS, "PayOrder", "RefundOrder", "DeleteOrder"),)
    remedies = {
        violation.message.split(" ")[0].partition(":")[2]: violation.remedy
        for violation in violations(risk_tier="low", definition_id="", tools=tools, log_prompts="none")
        if "not allowed" in violation.message
    }
    assert "set spec.riskTier: medium," in remedies["PayOrder"]
    assert "set spec.riskTier: critical," in remedies["RefundOrder"]
    assert "riskTier" not in remedies["DeleteOrder"]


def test_who_may_claim_a_tier() -> None:
    found = violations(sku="starter", model="gpt-5", provider="openai")
    assert found[0] == Violation(
        "tiers.high.availableTo",
        "spec.riskTier",
        "tier high is not available to tenant acme, SKU starter, namespace shop",
        "use low or medium",
    )
    assert violations(risk_tier="huge")[0].rule == "tiers"


@pytest.mark.parametrize(
    ("scope", "granted"),
    [
        ("{namespaces: [shop]}", True),
        ("{namespaces: [sh*, other]}", True),
        ("{namespaces: [other]}", False),
        ("{tenants: [acme], skus: [gold], namespaces: [shop]}", True),
        ("{tenants: [globex], namespaces: [shop]}", False),
        ("{skus: [silver], namespaces: [shop]}", False),
        ("{tenants: ['?*'], skus: ['?*']}", True),
    ],
)
def test_scopes_name_tenant_sku_and_namespace(scope: str, granted: bool) -> None:
    rule = scope[:-1] + ", allow: ['**']}"
    policy = parse(
        "{version: policy.ameide.io/v1, models: [{allow: ['*/*']}], providers: {echo: {}},"
        f" tools: [{rule}], tiers: {{low: {{availableTo: [{{}}]}}}}}}"
    )
    subject = Subject("shop", "x", "acme", "low", "echo", "m", sku="gold", tools=(request(ORDERS),))
    assert evaluate(policy, subject).allowed is granted


def test_secrets_of_variables() -> None:
    use = SecretUse("shop-flags", "spec.env[0].valueFrom.secretKeyRef.name")
    assert violations(secrets=(use,)) == []
    assert [violation.rule for violation in violations(secrets=(replace(use, name="tls"),))] == ["secrets"]
    assert [violation.rule for violation in violations(secrets=(replace(use, name="a-db-flags"),))] == [
        "secrets[0].deny[0]"
    ]


def test_credentials_of_ameide_tools_and_given_secrets() -> None:
    billing = ToolKey("domain", "shop", "billing")
    verdict = evaluate(EXAMPLE, replace(CODER, tools=(request(billing, "GetInvoice"),)))
    assert verdict.tools[0].credentials == ("billing",)
    assert [(one.name, one.secret_name, one.remote_key) for one in verdict.credentials] == [
        ("billing", "billing-client", None),
        ("openai", None, "ameide/acme/openai"),
    ]


def test_a_variable_cannot_carry_two_things() -> None:
    tools = (request(ToolKey("primitive", "", "code-runner")),)
    found = violations(tools=tools, env=("A", "CODE_RUNNER_TOKEN"))
    assert [(violation.rule, violation.field) for violation in found] == [
        ("credentials.code-runner.keys[0].env", "spec.env[1].name")
    ]
    assert violations(tools=tools, env=("A",)) == []


def test_a_credential_kept_by_tenant_needs_one() -> None:
    policy = parse(
        "{version: policy.ameide.io/v1, models: [{allow: ['*/*']}], tiers: {low: {availableTo: [{}]}},"
        " providers: {echo: {credentials: [key]}}, credentials: {key: {remoteKey: 'a/{tenant}', keys: [{key: k}]}}}"
    )
    subject = Subject("a", "x", "", "low", "echo", "m")
    verdict = evaluate(policy, subject)
    assert [(one.rule, one.field) for one in verdict.violations] == [
        ("credentials.key.remoteKey", "metadata.namespace")
    ]
    assert verdict.credentials == ()
    assert evaluate(policy, replace(subject, tenant_id="t1")).credentials[0].remote_key == "a/t1"


def test_tightening_by_tier() -> None:
    text = (
        "{version: policy.ameide.io/v1, models: [], providers: {}, onTightening: Quarantine,"
        " tiers: {low: {availableTo: [{}], onTightening: KeepLast}, high: {availableTo: [{}]}}}"
    )
    tightening = {
        tier: evaluate(parse(text), Subject("a", "x", "", tier, "p", "m")).on_tightening
        for tier in ("low", "high", "none")
    }
    assert tightening == {"low": "KeepLast", "high": "Quarantine", "none": "Quarantine"}


def test_the_policy_that_allows_nothing() -> None:
    empty = parse("{version: policy.ameide.io/v1, tiers: {}, models: [], providers: {}}")
    found = evaluate(empty, replace(CODER, tools=(request(ORDERS),), roles=("coder",))).violations
    assert [(one.field, one.rule) for one in found] == [
        ("spec.riskTier", "tiers"),
        ("definition.roles[0]", "."),
        ("spec.model.provider", "providers"),
        ("spec.model", "models"),
        ("spec.tools.allowed[0]", "tiers"),
    ]


def test_messages_of_a_verdict() -> None:
    verdict = evaluate(EXAMPLE, replace(CODER, tools=(request(ORDERS, "DeleteOrder", "DeleteAll"),)))
    assert verdict.message == (
        "spec.tools.allowed[0].operations[0]: domain/shop/orders:DeleteOrder is denied to tier high "
        "(policy: tools[0].deny[0]); "
        "spec.tools.allowed[0].operations[1]: domain/shop/orders:DeleteAll is denied to tier high "
        "(policy: tools[0].deny[0])"
    )
    assert verdict.remedy == "remove it from the Agent, or have the policy drop the rule"


def test_messages_of_several_violations_say_which_remedy_is_for_which_field() -> None:
    verdict = evaluate(EXAMPLE, replace(CODER, provider="acme", tools=(request(ORDERS, "DeleteOrder"),)))
    assert "spec.model.provider: use " in verdict.remedy
    assert "spec.tools.allowed[0].operations[0]: remove it from the Agent" in verdict.remedy


def test_messages_end_with_a_whole_violation_and_say_how_many_there_are_more() -> None:
    operations = tuple(f"DeleteOrder{number}" for number in range(40))
    verdict = evaluate(EXAMPLE, replace(CODER, tools=(request(ORDERS, *operations),)))
    *shown, more = verdict.message.split("; ")
    assert len(verdict.message) < 700
    assert all(one.endswith("(policy: tools[0].deny[0])") for one in shown)
    assert more == f"and {40 - len(shown)} more"
