"""`grants.json`: what it holds, what is pending, and when its digest changes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from agent_operator.grants import build, grants_schema, read
from agent_operator.policy import Subject, ToolKey, ToolRequest, evaluate, parse

POLICY = parse((Path(__file__).parents[4] / "examples" / "20-agent-policy.yaml").read_text())
ORDERS, BILLING = ToolKey("domain", "shop", "orders"), ToolKey("domain", "shop", "billing")
RUNNER = ToolKey("primitive", "", "code-runner")
ADDRESSES = {
    ORDERS: {"http": "http://orders-domain.shop.svc:8080", "grpc": "orders-domain.shop.svc:50051"},
    BILLING: {"http": "http://billing-domain.shop.svc:8080"},
}


def asked(*tools: ToolKey) -> Subject:
    return Subject(
        "shop", "clerk", "acme", "high", "openai", "gpt-5", sku="business", max_parallel_sessions=5,
        tools=tuple(ToolRequest(tool, (), f"spec.tools.allowed[{index}]") for index, tool in enumerate(tools)),
    )  # fmt: skip


def test_the_whole_document() -> None:
    subject = asked(RUNNER, ORDERS, BILLING)
    grants = build(subject, evaluate(POLICY, subject), {ORDERS: ADDRESSES[ORDERS]})
    assert json.loads(grants.text) == {
        "version": "grants.ameide.io/v1",
        "agent": {"namespace": "shop", "name": "clerk", "tenantId": "acme"},
        "riskTier": "high",
        "model": {
            "provider": "openai", "name": "gpt-5", "address": "https://api.openai.com/v1", "credentials": ["openai"],
        },
        "tools": [
            {
                "kind": "domain", "namespace": "shop", "name": "orders", "address": ADDRESSES[ORDERS],
                "operations": {"allow": ["*"], "deny": ["Delete*", "Refund*"]}, "credentials": [],
            },
            {
                "kind": "primitive", "name": "code-runner", "address": {"https": "https://code-runner.tools.svc:8443"},
                "operations": {"allow": ["*"], "deny": ["Delete*"]}, "credentials": ["code-runner"],
            },
        ],
        "pending": [{"kind": "domain", "namespace": "shop", "name": "billing"}],
        "credentials": {
            "billing": {"values": [
                {"key": "client-id", "file": "/etc/ameide/credentials/billing/client-id"},
                {"key": "client-secret", "file": "/etc/ameide/credentials/billing/client-secret"},
            ]},
            "code-runner": {"values": [{"key": "token", "env": "CODE_RUNNER_TOKEN"}]},
            "openai": {"values": [{"key": "api-key", "file": "/etc/ameide/credentials/openai/api-key"}]},
        },
    }  # fmt: skip
    assert (grants.count, grants.pending) == (2, (BILLING,))
    assert Draft202012Validator(json.loads(grants_schema())).is_valid(json.loads(grants.text))
    assert read(grants.text) == grants.document


def test_the_digest_changes_with_what_is_granted_only() -> None:
    subject = asked(ORDERS, BILLING)
    verdict = evaluate(POLICY, subject)
    first = build(subject, verdict, ADDRESSES)
    assert (
        first.digest
        == build(replace(subject, tools=subject.tools[::-1]), verdict, dict(reversed(ADDRESSES.items()))).digest
    )
    assert (
        first.digest == build(subject, evaluate(POLICY, replace(subject, tools=subject.tools[::-1])), ADDRESSES).digest
    )
    assert first.digest == build(replace(subject, max_parallel_sessions=7), verdict, ADDRESSES).digest
    assert first.digest != build(subject, verdict, {ORDERS: ADDRESSES[ORDERS]}).digest
    assert first.digest != build(replace(subject, tenant_id="globex"), verdict, ADDRESSES).digest


def test_what_is_never_asked_for_is_never_granted() -> None:
    subject = asked(ORDERS)
    grants = build(subject, evaluate(POLICY, subject), ADDRESSES)
    assert [tool.name for tool in grants.document.tools] == ["orders"]


def test_violations_empty_the_grants() -> None:
    subject = replace(asked(ORDERS, RUNNER), risk_tier="low")
    verdict = evaluate(POLICY, subject)
    assert not verdict.allowed
    grants = build(subject, verdict, ADDRESSES)
    assert (grants.count, grants.pending) == (0, ())
    document = json.loads(grants.text)
    assert (document["tools"], document["credentials"], "model" in document) == ([], {}, False)
    assert Draft202012Validator(json.loads(grants_schema())).is_valid(document)


def test_another_version_is_refused() -> None:
    subject = asked(ORDERS)
    text = build(subject, evaluate(POLICY, subject), ADDRESSES).text
    with pytest.raises(ValidationError):
        read(text.replace("grants.ameide.io/v1", "grants.ameide.io/v2"))
