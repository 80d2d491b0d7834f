"""The judgement itself: a policy and a subject in, every violation or all grants out. Pure and deterministic."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from agent_operator.policy.credentials import credential_violations, needed_credentials
from agent_operator.policy.document import TIERS, Limits, tier_rank
from agent_operator.policy.loading import Policy
from agent_operator.policy.patterns import is_plain, matches, model_matches
from agent_operator.policy.subject import Subject
from agent_operator.policy.tools import HeldRules, applies, granted_tools, held_rules, tool_violations
from agent_operator.policy.verdict import GrantedModel, Verdict, Violation
from ameide_shared.spec.problems import Location

_UNPRINTABLE: Final = re.compile(r"[^\x20-\x7e]")


def evaluate(policy: Policy, subject: Subject) -> Verdict:
    """What a policy says of an Agent.

    Violations come in the order of the Agent's fields, and those of one field in the order of the document. Whoever
    breaks one rule is granted nothing.
    """
    held = held_rules(policy, subject)
    violations = tuple(dict.fromkeys(_violations(policy, subject, held)))
    tier = policy.document.tiers.named(subject.risk_tier)
    tightening = (tier.on_tightening if tier is not None else None) or policy.document.on_tightening
    if violations:
        return Verdict(violations, on_tightening=tightening)
    provider = policy.document.providers[subject.provider]
    model = GrantedModel(
        subject.provider, subject.model, provider.address, tuple(sorted(set(provider.credentials))), provider.egress
    )
    tools = granted_tools(policy, subject, held)
    credentials = needed_credentials(policy, subject, model, tools)
    violations = tuple(credential_violations(policy, subject, credentials))
    if violations:
        return Verdict(violations, on_tightening=tightening)
    return Verdict((), tools, model, credentials, tightening)


def _violations(policy: Policy, subject: Subject, held: HeldRules) -> Iterator[Violation]:
    yield from _tier(policy, subject)
    yield from _roles(policy, subject)
    yield from _model(policy, subject)
    for request in subject.tools:
        yield from tool_violations(policy, subject, held, request)
    yield from _limits(policy, subject)
    yield from _secrets(policy, subject)
    for request in subject.definition_tools:
        yield from tool_violations(policy, subject, held, request)


def _who(subject: Subject) -> str:
    """An Agent's standing, for messages."""
    tenant = f"tenant {_shown(subject.tenant_id)}" if subject.tenant_id else "no tenant"
    sku = f", SKU {_shown(subject.sku)}" if subject.sku else ", no SKU"
    return f"{tenant}{sku}, namespace {subject.namespace}"


def _shown(text: str) -> str:
    """Text that somebody else wrote, safe and short enough for a message."""
    text = _UNPRINTABLE.sub("?", text)
    return text if len(text) <= 80 else f"{text[:79]}…"


def _tier(policy: Policy, subject: Subject) -> Iterator[Violation]:
    tiers = policy.document.tiers
    tier = tiers.named(subject.risk_tier)
    usable = [
        name
        for name in TIERS
        if (one := tiers.named(name)) is not None and any(applies(scope, subject) for scope in one.available_to)
    ]
    remedy = f"use {' or '.join(usable)}" if usable else "have the policy make a tier available to it"
    if tier is None:
        message = f"{_shown(subject.risk_tier) or 'no tier'} is not a tier that the policy describes"
        yield Violation(policy.path(("tiers", subject.risk_tier)), "spec.riskTier", message, remedy)
    elif subject.risk_tier not in usable:
        message = f"tier {subject.risk_tier} is not available to {_who(subject)}"
        rule = policy.path(("tiers", subject.risk_tier, "availableTo"))
        yield Violation(rule, "spec.riskTier", message, remedy)


def _roles(policy: Policy, subject: Subject) -> Iterator[Violation]:
    for index, name in enumerate(subject.roles):
        if name not in policy.document.roles:
            yield Violation(
                policy.path(("roles",)),
                f"definition.roles[{index}]",
                f"{_shown(name)} is not a role that the policy describes",
                "have the definition drop the role, or the policy describe it under roles",
            )
    for name, role in policy.document.roles.items():
        given = any(matches(glob, subject.definition_id) for glob in role.definitions)
        if (name not in subject.roles and not given) or tier_rank(subject.risk_tier) >= tier_rank(role.min_tier):
            continue
        why = f"which definition {_shown(subject.definition_id)} has" if subject.definition_id else "which it has"
        yield Violation(
            policy.path(("roles", name, "minTier")),
            "spec.riskTier",
            f"role {name}, {why}, needs tier {role.min_tier} or higher, not {_shown(subject.risk_tier) or 'none'}",
            f"set spec.riskTier: {role.min_tier}, or use a definition without this role",
        )


def _model(policy: Policy, subject: Subject) -> Iterator[Violation]:
    providers = policy.document.providers
    what = f"{_shown(subject.provider)}/{_shown(subject.model)}"
    if subject.provider not in providers:
        yield Violation(
            policy.path(("providers",)),
            "spec.model.provider",
            f"{_shown(subject.provider) or 'none'} is not a provider that the policy describes",
            f"use {', '.join(sorted(providers)) or 'no model'}, or have the policy describe it under providers",
        )
    if not is_plain(subject.model):
        message = f"model {_shown(subject.model)!r} has characters that names of models do not have"
        yield Violation(policy.path(("models",)), "spec.model.name", message, "use letters, digits and _.:/@+-")
        return
    allowed = False
    for index, rules in enumerate(policy.document.models):
        if not applies(rules, subject):
            continue
        allowed = allowed or any(model_matches(text, subject.provider, subject.model) for text in rules.allow)
        for position, text in enumerate(rules.deny):
            if model_matches(text, subject.provider, subject.model):
                yield Violation(
                    policy.path(("models", index, "deny", position)),
                    "spec.model",
                    f"{what} is denied to {_who(subject)}",
                    "use another model, or have the policy drop the rule",
                )
    if not allowed:
        yield Violation(
            policy.path(("models",)),
            "spec.model",
            f"{what} is not allowed to {_who(subject)} by any rule",
            f"use one of {_allowed_models(policy, subject)}, or have the policy allow it",
        )


def _allowed_models(policy: Policy, subject: Subject) -> str:
    found = sorted({text for rules in policy.document.models if applies(rules, subject) for text in rules.allow})
    return ", ".join(found[:8]) + (", …" if len(found) > 8 else "") if found else "none, as there are none"


def _limits(policy: Policy, subject: Subject) -> Iterator[Violation]:
    """The document's limits, and those of the Agent's tier and of each lower one: all of them hold."""
    for loc, limits in _limits_of(policy, subject):
        most = limits.max_parallel_sessions
        asked = subject.max_parallel_sessions
        if most is not None and (asked is None or asked > most):
            yield Violation(
                policy.path((*loc, "maxParallelSessions")),
                "spec.concurrency.maxParallelSessions",
                f"is {'not set' if asked is None else asked}, though tier {subject.risk_tier} may have {most} at most",
                f"set it to {most} or less",
            )
        if limits.log_prompts is not None and subject.log_prompts not in limits.log_prompts:
            yield Violation(
                policy.path((*loc, "logPrompts")),
                "spec.observability.logPrompts",
                f"{_shown(subject.log_prompts)} is not permitted to tier {subject.risk_tier}",
                f"use {' or '.join(limits.log_prompts)}",
            )


def _limits_of(policy: Policy, subject: Subject) -> Iterable[tuple[Location, Limits]]:
    yield ("limits",), policy.document.limits
    for name in TIERS[: tier_rank(subject.risk_tier) + 1]:
        tier = policy.document.tiers.named(name)
        if tier is not None:
            yield ("tiers", name, "limits"), tier.limits


def _secrets(policy: Policy, subject: Subject) -> Iterator[Violation]:
    for use in subject.secrets:
        granted = False
        for index, rules in enumerate(policy.document.secrets):
            if not applies(rules, subject):
                continue
            granted = granted or any(matches(glob, use.name) for glob in rules.allow)
            for position, glob in enumerate(rules.deny):
                if matches(glob, use.name):
                    yield Violation(
                        policy.path(("secrets", index, "deny", position)),
                        use.field,
                        f"Secret {use.name} is denied to {_who(subject)}",
                        "remove the variable, or have the policy drop the rule",
                    )
        if not granted:
            yield Violation(
                policy.path(("secrets",)),
                use.field,
                f"Secret {use.name} is not granted to {_who(subject)} by any rule",
                "remove the variable, or have the policy grant the Secret under secrets",
            )
