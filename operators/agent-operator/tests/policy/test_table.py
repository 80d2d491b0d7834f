"""Every combination of tier, tool, tenant and model, against tables that were written by hand."""

from __future__ import annotations

from itertools import product

import pytest

from agent_operator.policy import Policy, Subject, ToolKey, ToolRequest, evaluate, parse

POLICY = """\
version: policy.ameide.io/v1
tools:
  - allow: [domain/shared/catalog]
    deny: ["**:Drop*"]
limits: {logPrompts: [none, redacted]}
tiers:
  low:
    availableTo: [{tenants: ["*"]}]
  medium:
    availableTo: [{tenants: [acme, globex]}]
    tools:
      - allow: ["domain/{namespace}/*"]
      - tenants: [globex]
        deny: [domain/*/payroll]
    limits: {maxParallelSessions: 20}
  high:
    availableTo: [{tenants: [acme], skus: [enterprise]}, {tenants: [globex]}]
    tools:
      - allow: ["process/*/*", "agent/{namespace}/coach", primitive/shell]
        deny: [domain/shared/secrets-register]
    limits: {maxParallelSessions: 10, logPrompts: [none]}
  critical:
    availableTo: [{tenants: [acme], skus: [enterprise]}]
    tools:
      - allow: ["domain/*/*:Refund"]
      - deny: ["process/legacy/*"]
models:
  - allow: [echo/*]
  - tenants: [acme]
    skus: [enterprise]
    allow: ["openai/gpt-5*"]
  - tenants: [globex]
    allow: ["*/*"]
    deny: ["*/*-preview", "openai/*"]
providers: {echo: {}, openai: {}, local: {}}
primitives: {shell: {address: "http://shell.tools.svc:80"}, vault: {address: "http://vault.tools.svc:80"}}
"""

TIERS = ("none", "low", "medium", "high", "critical")
STANDINGS = {"acme/enterprise": ("acme", "enterprise"), "acme/free": ("acme", "free"),
             "globex": ("globex", ""), "initech": ("initech", ""), "nobody": ("", "")}  # fmt: skip

# Which tiers each may claim.
CLAIMS = {
    "acme/enterprise": {"low", "medium", "high", "critical"},
    "acme/free": {"low", "medium"},
    "globex": {"low", "medium", "high"},
    "initech": {"low"},
    "nobody": {"low"},
}

# Which tools each tier may have; those of own/ depend on nothing but the namespace, payroll on the tenant (see below).
ANYBODY = {"domain/shared/catalog", "domain/shared/catalog:Get"}
OWN = {"domain/own/orders", "domain/own/orders:Refund", "domain/own/payroll"}
GRANTS = {
    "none": ANYBODY,
    "low": ANYBODY,
    "medium": ANYBODY | OWN,
    "high": ANYBODY | OWN | {"process/sales/l2o", "process/legacy/x", "agent/own/coach", "primitive/shell"},
    "critical": ANYBODY | OWN | {"process/sales/l2o", "process/legacy/x", "agent/own/coach", "primitive/shell",
                                 "domain/shared/secrets-register", "domain/other/orders:Refund", "domain/other/orders"},
}  # fmt: skip
for tier in TIERS:
    GRANTS[tier] = GRANTS[tier] - {"process/legacy/x"}  # denied to critical, hence to every tier
TOOLS = sorted(
    set().union(*GRANTS.values())
    | {"process/legacy/x", "domain/other/orders:Get", "agent/other/coach", "primitive/vault", "primitive/unknown",
       "domain/shared/catalog:DropAll", "domain/own/orders:DropAll"}
)  # fmt: skip

MODELS = {
    "echo/x": {"acme/enterprise", "acme/free", "globex", "initech", "nobody"},
    "openai/gpt-5.1": {"acme/enterprise"},
    "openai/gpt-4": set(),
    "local/llama": {"globex"},
    "local/llama-preview": set(),
    "unknown/x": set(),
}


@pytest.fixture(scope="module")
def policy() -> Policy:
    return parse(POLICY)


def request_of(text: str) -> ToolRequest:
    target, _, operation = text.partition(":")
    kind, *rest = target.split("/")
    namespace = rest[0] if len(rest) == 2 else ""
    return ToolRequest(ToolKey(kind, namespace, rest[-1]), (operation,) if operation else (), "tool")  # type: ignore[arg-type]


def wanted_faults(tier: str, tool: str, standing: str, model: str) -> set[str]:
    """The fields with violations, by the tables."""
    faults = set()
    if tier not in CLAIMS[standing]:
        faults.add("spec.riskTier")
    granted = tool in GRANTS[tier]
    if tool == "domain/own/payroll" and standing == "globex" and tier in ("none", "low", "medium"):
        granted = False
    if not granted:
        faults.add("tool")
    if standing not in MODELS[model]:
        faults.add("model")
    return faults


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("standing", STANDINGS)
def test_tier_tool_tenant_model(policy: Policy, tier: str, standing: str) -> None:
    tenant, sku = STANDINGS[standing]
    for tool, model in product(TOOLS, MODELS):
        provider, _, name = model.partition("/")
        subject = Subject("own", "a", tenant, tier, provider, name, sku=sku, tools=(request_of(tool),),
                          max_parallel_sessions=10)  # fmt: skip
        verdict = evaluate(policy, subject)
        fields = {violation.field for violation in verdict.violations}
        found = {"tool" if f.startswith("tool") else "model" if f.startswith("spec.model") else f for f in fields}
        assert found == wanted_faults(tier, tool, standing, model), (tool, model, verdict.violations)
        assert verdict.allowed == (not found)
        assert len(verdict.tools) == (1 if verdict.allowed else 0)
        assert (verdict.model is not None) == verdict.allowed


@pytest.mark.parametrize(
    ("tier", "sessions", "logs", "fields"),
    [
        ("low", 10_000, "redacted", set()),
        ("low", None, "none", set()),
        ("low", 1, "full", {"spec.observability.logPrompts"}),
        ("medium", 20, "redacted", set()),
        ("medium", 21, "redacted", {"spec.concurrency.maxParallelSessions"}),
        ("medium", None, "none", {"spec.concurrency.maxParallelSessions"}),
        ("high", 10, "none", set()),
        ("high", 20, "none", {"spec.concurrency.maxParallelSessions"}),
        ("high", 10, "redacted", {"spec.observability.logPrompts"}),
        ("critical", 11, "redacted", {"spec.concurrency.maxParallelSessions", "spec.observability.logPrompts"}),
    ],
)
def test_limits_hold_for_the_tier_and_those_above(
    policy: Policy, tier: str, sessions: int | None, logs: str, fields: set[str]
) -> None:
    subject = Subject("own", "a", "acme", tier, "echo", "x", sku="enterprise", max_parallel_sessions=sessions,
                      log_prompts=logs)  # fmt: skip
    assert {violation.field for violation in evaluate(policy, subject).violations} == fields
