"""What holds for every policy: tightening never allows more, denies win, order does not matter, paths exist."""

from __future__ import annotations

import copy
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import yaml
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from agent_operator.policy import (
    Policy,
    SecretUse,
    Subject,
    ToolKey,
    ToolRequest,
    Verdict,
    evaluate,
    parse,
)
from ameide_shared.spec.problems import path_of

Data = dict[str, Any]

# The same examples in every run; HYPOTHESIS_EXAMPLES=5000 searches for new ones.
_WANTED = int(os.environ.get("HYPOTHESIS_EXAMPLES", "0"))
examples = settings(max_examples=_WANTED or 150, derandomize=not _WANTED, deadline=None, database=None)

TIERS = ["low", "medium", "high", "critical"]
OPERATIONS = ["Get", "GetAll", "Delete", "Pay"]
TOOLS = [
    ToolKey("domain", "shop", "orders"),
    ToolKey("domain", "other", "orders"),
    ToolKey("process", "shop", "l2o"),
    ToolKey("primitive", "", "shell"),
]
MODELS = [("echo", "x"), ("echo", "y-preview"), ("openai", "gpt-5"), ("nobody", "x")]
LOGS = ["none", "redacted", "full"]

targets = st.sampled_from(
    ["**", "*/*/*", "domain/*/*", "domain/{namespace}/*", "domain/shop/orders", "process/shop/l2?", "primitive/*",
     "primitive/shell", "domain/other/*"]
)  # fmt: skip
tool_patterns = st.builds(
    lambda target, operation: target + operation, targets, st.sampled_from(["", "", ":*", ":Get*", ":Delete", ":?a?"])
)
model_patterns = st.sampled_from(["*/*", "echo/*", "echo/x", "*/*-preview", "openai/gpt*"])
secret_globs = st.sampled_from(["*", "a*", "ab", "b"])
tenant_globs = st.lists(st.sampled_from(["*", "acme", "?*", "globex"]), min_size=1, max_size=2)


def rules(patterns: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    """Rules that allow more than they deny."""
    return st.lists(
        st.fixed_dictionaries(
            {"allow": st.lists(patterns, max_size=3)},
            optional={"deny": st.lists(patterns, max_size=1), "tenants": tenant_globs,
                      "skus": st.sampled_from([["*"], ["gold"]]), "namespaces": st.sampled_from([["sh*"], ["other"]])},
        ),
        max_size=2,
    )  # fmt: skip


limits = st.fixed_dictionaries(
    {},
    optional={
        "maxParallelSessions": st.integers(1, 4),
        "logPrompts": st.lists(st.sampled_from(LOGS), min_size=1, max_size=3, unique=True),
    },
)
scopes = st.one_of(
    st.just({}),
    st.fixed_dictionaries({}, optional={"tenants": tenant_globs, "skus": st.sampled_from([["*"], ["gold"]])}),
)
tiers = st.fixed_dictionaries(
    {"availableTo": st.lists(scopes, min_size=1, max_size=2)},
    optional={"tools": rules(tool_patterns), "limits": limits},
)
policies = st.fixed_dictionaries(
    {
        "version": st.just("policy.ameide.io/v1"),
        "tools": rules(tool_patterns),
        "tiers": st.fixed_dictionaries({"medium": tiers, "high": tiers}, optional={"low": tiers, "critical": tiers}),
        "models": st.one_of(st.just([{"allow": ["*/*"]}]), rules(model_patterns)),
        "providers": st.just({"echo": {"credentials": ["key"]}, "openai": {}}),
        "credentials": st.just({"key": {"keys": [{"key": "token"}]}}),
        "primitives": st.just({"shell": {"address": "http://shell.tools.svc:80"}}),
        "secrets": rules(secret_globs),
        "roles": st.dictionaries(
            st.sampled_from(["clerk", "coder"]),
            st.fixed_dictionaries(
                {"minTier": st.sampled_from(TIERS)}, optional={"definitions": st.lists(st.just("cod*"), max_size=1)}
            ),
        ),
    },
    optional={"limits": limits},
)
requests = st.builds(
    ToolRequest,
    st.sampled_from(TOOLS),
    st.lists(st.sampled_from(OPERATIONS), max_size=2, unique=True).map(tuple),
    st.just("spec.tools.allowed[0]"),
)
subjects = st.builds(
    lambda model, **fields: Subject(provider=model[0], model=model[1], name="a", **fields),
    model=st.sampled_from([MODELS[0], *MODELS]),
    namespace=st.sampled_from(["shop", "shop", "other"]),
    tenant_id=st.sampled_from(["acme", "acme", "globex", ""]),
    sku=st.sampled_from(["gold", ""]),
    risk_tier=st.sampled_from([*TIERS, "medium", "high", "none"]),
    definition_id=st.sampled_from(["coder", "bot", "bot"]),
    tools=st.lists(requests, max_size=2).map(tuple),
    definition_tools=st.lists(requests, max_size=1).map(tuple),
    roles=st.sampled_from([(), (), ("clerk",)]),
    max_parallel_sessions=st.sampled_from([1, 1, 3, None]),
    log_prompts=st.sampled_from([*LOGS, "none", "none"]),
    secrets=st.sampled_from([(), (SecretUse("ab", "spec.env[0]"),)]),
)


def policy_of(data: Data) -> Policy:
    return parse(yaml.safe_dump(data))


def narrowed(subject: Subject) -> Iterator[Subject]:
    """A subject, and those that ask for one operation of one tool only: most whole subjects break some rule."""
    yield subject
    bare = replace(subject, tools=(), definition_tools=(), roles=(), secrets=())
    for tool in TOOLS:
        yield replace(bare, tools=(ToolRequest(tool, (), "t"),))
        for operation in OPERATIONS:
            yield replace(bare, tools=(ToolRequest(tool, (operation,), "t"),))


def permitted(verdict: Verdict) -> set[str]:
    """Everything that a verdict lets the Agent do."""
    if not verdict.allowed:
        return set()
    calls = {f"{grant.tool}:{name}" for grant in verdict.tools for name in OPERATIONS if grant.permits(name)}
    assert verdict.model is not None
    return calls | {"run", f"{verdict.model.provider}/{verdict.model.name}"} | {one.name for one in verdict.credentials}


# --- tightenings: each changes a policy into one that must not allow more ------------------------------------------


def rule_lists(data: Data) -> list[Data]:
    lists = [*data["tools"], *data["models"], *data["secrets"]]
    for tier in data["tiers"].values():
        lists += tier.get("tools", [])
    return lists


def add_deny(data: Data, chance: random.Random) -> None:
    which = chance.choice(["tools", "models", "secrets", *data["tiers"]])
    section = data["tiers"][which].setdefault("tools", []) if which in data["tiers"] else data[which]
    pattern = {
        "models": ["*/*", "echo/*", "*/*-preview"],
        "secrets": ["*", "a*"],
    }.get(which, ["**", "**:Get*", "domain/shop/*", "primitive/*:Pay", "domain/{namespace}/*:?e?"])
    deny = chance.choice(pattern)
    if section and chance.random() < 0.5:
        chance.choice(section).setdefault("deny", []).append(deny)
    else:
        section.append({"deny": [deny]})


def remove_allow(data: Data, chance: random.Random) -> None:
    found = [one for one in rule_lists(data) if one.get("allow")]
    if found:
        allow = chance.choice(found)["allow"]
        allow.pop(chance.randrange(len(allow)))


def narrow_allow(data: Data, chance: random.Random) -> None:
    found = [one for one in rule_lists(data) if not one.get("deny")]
    if found:
        chance.choice(found)[chance.choice(["tenants", "skus", "namespaces"])] = ["elsewhere"]


def lower_limit(data: Data, chance: random.Random) -> None:
    holder = chance.choice([data, *data["tiers"].values()])
    old = holder.get("limits", {})
    lowest = max(1, old.get("maxParallelSessions", 3) - 1)
    logs = old.get("logPrompts", LOGS)
    holder["limits"] = {"maxParallelSessions": lowest, "logPrompts": logs[:-1] or logs}


def withdraw_tier(data: Data, chance: random.Random) -> None:
    if data["tiers"]:
        name = chance.choice(list(data["tiers"]))
        data["tiers"][name]["availableTo"] = [{"tenants": ["elsewhere"]}]


def raise_role(data: Data, chance: random.Random) -> None:
    role = data["roles"].get("clerk")
    if role is None:
        data["roles"]["everybody"] = {"minTier": chance.choice(TIERS), "definitions": ["*"]}
    else:
        role["minTier"] = "critical"


def remove_provider(data: Data, chance: random.Random) -> None:
    for one in data["models"]:
        for which in ("allow", "deny"):
            one[which] = [text for text in one.get(which, []) if not text.startswith("openai/")]
    data["providers"].pop("openai", None)


TIGHTENINGS: list[Callable[[Data, random.Random], None]] = [
    add_deny, remove_allow, narrow_allow, lower_limit, withdraw_tier, raise_role, remove_provider,
]  # fmt: skip


def conceded(policy: Policy, subject: Subject) -> set[str]:
    """What breaks no rule of its own, whatever else is wrong with the Agent: most whole Agents break some rule."""
    bare = replace(subject, tools=(), definition_tools=(), roles=(), secrets=())
    found = set()
    for tool in TOOLS:
        for operations in [(), *((name,) for name in OPERATIONS)]:
            asked = ToolRequest(tool, operations, "tool")
            verdict = evaluate(policy, replace(bare, tools=(asked,)))
            if not any(violation.field.startswith("tool") for violation in verdict.violations):
                found.add(f"{tool}:{operations}")
    for provider, name in MODELS:
        verdict = evaluate(policy, replace(bare, provider=provider, model=name))
        if not any(violation.field.startswith("spec.model") for violation in verdict.violations):
            found.add(f"{provider}/{name}")
    for change in (
        *({"risk_tier": tier} for tier in TIERS),
        *({"max_parallel_sessions": count} for count in (1, 2, 3, 5, None)),
        *({"log_prompts": value} for value in LOGS),
        *({"roles": (role,)} for role in ("clerk", "coder", "other")),
        *({"secrets": (SecretUse(name, "secret"),)} for name in ("a", "ab", "b", "c")),
    ):
        (field,) = change
        prefix = {"risk_tier": "spec.riskTier", "max_parallel_sessions": "spec.concurrency", "secrets": "secret",
                  "log_prompts": "spec.observability"}.get(field, "definition.roles")  # fmt: skip
        verdict = evaluate(policy, replace(bare, **change))  # type: ignore[arg-type]
        if not any(violation.field.startswith(prefix) for violation in verdict.violations):
            found.add(str(change))
    return found


@examples
@given(policies, subjects, st.lists(st.sampled_from(TIGHTENINGS), min_size=1, max_size=3), st.integers(0, 10_000))
def test_tightening_never_allows_more(data: Data, subject: Subject, steps: list[Any], seed: int) -> None:
    before, tighter = policy_of(data), copy.deepcopy(data)
    chance = random.Random(seed)  # noqa: S311 - picks which rule is tightened
    for step in steps:
        step(tighter, chance)
    after = policy_of(tighter)
    was, now = conceded(before, subject), conceded(after, subject)
    assert now <= was
    event("something was taken" if now < was else "nothing was taken")
    granted = False
    for one in narrowed(subject):
        whole, left = permitted(evaluate(before, one)), permitted(evaluate(after, one))
        granted = granted or bool(whole)
        assert left <= whole, one
    event("something was granted" if granted else "nothing was granted")


@examples
@given(policies, subjects, st.sampled_from([*TIERS, "everywhere"]), st.sampled_from(["", ":Get", ":*"]))
def test_deny_wins(data: Data, subject: Subject, where: str, operation: str) -> None:
    """Whatever allows there are, a deny of everything at the subject's tier or above leaves nothing of it."""
    tool = TOOLS[0]
    assume(
        where == "everywhere"
        or TIERS.index(where) >= (TIERS.index(subject.risk_tier) if subject.risk_tier in TIERS else -1)
    )
    denied, allowing = copy.deepcopy(data), {"allow": ["**"]}
    section = denied if where == "everywhere" else denied["tiers"].setdefault(where, {"availableTo": [{}]})
    section.setdefault("tools", []).append({"deny": [f"domain/shop/orders{operation}"]})
    denied["tools"].append(allowing)
    subject = replace(subject, tools=(ToolRequest(tool, ("Get",), "spec.tools.allowed[0]"),), definition_tools=())
    verdict = evaluate(policy_of(denied), subject)
    fields = {violation.field for violation in verdict.violations}
    assert "spec.tools.allowed[0].operations[0]" in fields
    whole = evaluate(policy_of(denied), replace(subject, tools=(ToolRequest(tool, (), "spec.tools.allowed[0]"),)))
    assert not any(grant.permits("Get") for grant in whole.tools)


def shuffled(value: Any, chance: random.Random) -> Any:
    if isinstance(value, dict):
        keys = list(value)
        chance.shuffle(keys)
        return {key: shuffled(value[key], chance) for key in keys}
    if isinstance(value, list):
        return [shuffled(item, chance) for item in chance.sample(value, len(value))]
    return value


@examples
@given(policies, subjects, st.integers(0, 10_000))
def test_order_does_not_matter(data: Data, subject: Subject, seed: int) -> None:
    other = policy_of(shuffled(data, random.Random(seed)))  # noqa: S311 - an order, no secret
    policy = policy_of(data)
    for one in narrowed(subject):
        first, second = evaluate(policy, one), evaluate(other, one)
        assert {(v.field, v.message) for v in first.violations} == {(v.field, v.message) for v in second.violations}
        assert (first.tools, first.model, first.credentials) == (second.tools, second.model, second.credentials)


def paths(value: Any, loc: tuple[str | int, ...] = ()) -> Iterator[str]:
    """Every path of a document, as violations write them."""
    yield path_of(loc) or "."
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from paths(item, (*loc, key))


@examples
@given(policies, subjects)
def test_every_violation_names_a_path_of_the_document(data: Data, subject: Subject) -> None:
    policy = policy_of(data)
    known = set(paths(data))
    for one in narrowed(subject):
        verdict = evaluate(policy, one)
        assert {violation.rule for violation in verdict.violations} <= known
        assert all(violation.message and violation.remedy and violation.field for violation in verdict.violations)
        assert verdict == evaluate(policy, one)


@examples
@given(policies, subjects, requests)
def test_more_is_asked_for_never_less_violated(data: Data, subject: Subject, request: ToolRequest) -> None:
    """Asking for one more tool keeps every violation that there was."""
    policy = policy_of(data)
    more = replace(subject, tools=(*subject.tools, request))
    assert (
        set(evaluate(policy, subject).violations) <= set(evaluate(policy, more).violations)
        or evaluate(policy, subject).allowed
    )


@examples
@given(policies, subjects)
def test_a_higher_tier_never_has_fewer_tools(data: Data, subject: Subject) -> None:
    policy = policy_of(data)
    bare = replace(subject, roles=(), secrets=(), definition_tools=())
    for tool in TOOLS:
        request = ToolRequest(tool, ("Get",), "t")
        refused = [
            bool(
                [
                    v
                    for v in evaluate(policy, replace(bare, risk_tier=tier, tools=(request,))).violations
                    if v.field[:1] == "t"
                ]
            )
            for tier in TIERS
        ]
        assert refused == sorted(refused, reverse=True)
