"""From an Agent's manifest to the subject that policies judge."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agent_operator.policy import SecretUse, Subject, ToolKey, ToolRequest, subject_of, tool_requests, undeclared_tools
from agent_operator.policy.subject import as_data, from_data

MANIFEST: dict[str, Any] = {
    "apiVersion": "ameide.io/v1",
    "kind": "Agent",
    "metadata": {"name": "coder", "namespace": "shop"},
    "spec": {
        "image": "ghcr.io/ameide/agent-langgraph:2.1.0",
        "definitionRef": {"id": "core-platform-coder-v4", "tenantId": "t123"},
        "model": {"provider": "openai", "name": "gpt-5.1-pro"},
        "tools": {
            "allowed": [
                {"domain": "transformation"},
                {"process": "sales/l2o", "operations": ["Start"]},
                {"primitive": "primitive-cli"},
            ]
        },
        "riskTier": "high",
        "concurrency": {"maxParallelSessions": 20},
        "observability": {"logPrompts": "redacted", "emitTokens": True},
        "env": [
            {"name": "PLAIN", "value": "x"},
            {"name": "SECRET", "valueFrom": {"secretKeyRef": {"name": "flags", "key": "k"}}},
            {"name": "MAP", "valueFrom": {"configMapKeyRef": {"name": "flags", "key": "k"}}},
        ],
    },
}

SUBJECT = Subject(
    namespace="shop",
    name="coder",
    tenant_id="t123",
    risk_tier="high",
    provider="openai",
    model="gpt-5.1-pro",
    sku="gold",
    definition_id="core-platform-coder-v4",
    tools=(
        ToolRequest(ToolKey("domain", "shop", "transformation"), (), "spec.tools.allowed[0]"),
        ToolRequest(ToolKey("process", "sales", "l2o"), ("Start",), "spec.tools.allowed[1]"),
        ToolRequest(ToolKey("primitive", "", "primitive-cli"), (), "spec.tools.allowed[2]"),
    ),
    max_parallel_sessions=20,
    log_prompts="redacted",
    secrets=(SecretUse("flags", "spec.env[1].valueFrom.secretKeyRef.name"),),
    env=("PLAIN", "SECRET", "MAP"),
)


def test_a_manifest_as_subject() -> None:
    assert subject_of(MANIFEST, tenant_id="t123", sku="gold") == SUBJECT


def test_the_tenant_is_never_the_authors_word() -> None:
    """The namespace's label decides; what the spec says is compared with it elsewhere."""
    assert subject_of(MANIFEST, tenant_id="other").tenant_id == "other"


def test_a_bare_manifest() -> None:
    bare = subject_of({"metadata": {"name": "a"}, "spec": {}}, tenant_id="")
    assert bare == Subject("default", "a", "", "", "", "")


def test_a_subject_travels_as_json() -> None:
    assert from_data(json.loads(json.dumps(as_data(SUBJECT)))) == SUBJECT
    with pytest.raises((KeyError, TypeError)):
        from_data({"namespace": "shop"})


@pytest.mark.parametrize(
    ("declared", "needed", "missing"),
    [
        ([{"domain": "a"}], [{"domain": "a"}], []),
        ([{"domain": "a"}], [{"domain": "a", "operations": ["X"]}], []),
        ([{"domain": "a"}], [{"domain": "shop/a"}], []),
        ([{"domain": "a"}], [{"domain": "other/a"}], ["domain/other/a"]),
        ([{"domain": "a"}], [{"process": "a"}], ["process/shop/a"]),
        ([{"domain": "a", "operations": ["X"]}], [{"domain": "a"}], ["domain/shop/a"]),
        ([{"domain": "a", "operations": ["X"]}], [{"domain": "a", "operations": ["X", "Y"]}], ["domain/shop/a:Y"]),
        (
            [{"domain": "a", "operations": ["X"]}, {"domain": "a", "operations": ["Y"]}],
            [{"domain": "a", "operations": ["X", "Y"]}],
            [],
        ),
        ([{"domain": "a", "operations": ["X"]}, {"domain": "a"}], [{"domain": "a", "operations": ["Z"]}], []),
        ([], [{"primitive": "cli", "operations": ["X"]}], ["primitive/cli:X"]),
        ([{"domain": "a"}], [], []),
    ],
)
def test_tools_that_a_definition_needs(
    declared: list[dict[str, Any]], needed: list[dict[str, Any]], missing: list[str]
) -> None:
    subject = subject_of(
        {"metadata": {"name": "x", "namespace": "shop"}, "spec": {"tools": {"allowed": declared}}},
        tenant_id="t",
        definition_tools=tool_requests(needed, "shop", "definition.tools"),
    )
    found = [
        f"{request.tool}{''.join(f':{name}' for name in request.operations)}" for request in undeclared_tools(subject)
    ]
    assert found == missing
