"""Which tools a policy grants: allows of the Agent's tier and lower ones, less denies of its tier and higher ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from agent_operator.policy.document import TIERS, Scope, ToolRules, tier_rank
from agent_operator.policy.loading import Policy
from agent_operator.policy.patterns import ANY, ToolPattern, covers, is_plain, matches, minimal, tool_pattern
from agent_operator.policy.subject import Subject, ToolKey, ToolRequest
from agent_operator.policy.verdict import GrantedTool, Violation
from ameide_shared.spec.problems import Location


@dataclass(frozen=True, slots=True)
class Rule:
    """A pattern that is about a tool, cut to its operations, and where it stands."""

    operation: str
    loc: Location


Placed = tuple[ToolPattern, Location]
"""A pattern, and where it stands."""


@dataclass(frozen=True, slots=True)
class HeldRules:
    """The rules over tools that hold for one Agent, whatever the tools."""

    allows: tuple[Placed, ...]
    denies: tuple[Placed, ...]


def applies(scope: Scope, subject: Subject) -> bool:
    """Whether something is for an Agent."""
    return (
        any(matches(glob, subject.tenant_id) for glob in scope.tenants)
        and any(matches(glob, subject.sku) for glob in scope.skus)
        and any(matches(glob, subject.namespace) for glob in scope.namespaces)
    )


def tool_violations(policy: Policy, subject: Subject, held: HeldRules, request: ToolRequest) -> Iterator[Violation]:
    """Every reason why a tool, or one of the operations asked for, may not be had."""
    tool, field = request.tool, request.field
    if not all(is_plain(text) for text in (tool.name, *request.operations)):
        remedy = "name the tool, and its operations one by one; without operations it is all that the policy allows"
        yield Violation(policy.path(_place(subject)), field, f"{tool!s:.80} is asked for by a pattern", remedy)
        return
    if tool.kind == "primitive" and tool.name not in policy.document.primitives:
        yield Violation(
            policy.path(("primitives",)),
            field,
            f"{tool} is not a primitive that the policy describes",
            f"use {', '.join(sorted(policy.document.primitives)) or 'no primitive'}, or have the policy describe it as "
            f"primitives.{tool.name}",
        )
    allows, denies = (_about(rules, tool, subject.namespace) for rules in (held.allows, held.denies))
    if not request.operations:
        yield from _whole(policy, subject, request, allows, denies)
    for index, operation in enumerate(request.operations):
        here = f"{field}.operations[{index}]"
        for rule in _matching(denies, operation):
            yield _denied(policy, rule, here, f"{tool}:{operation}", subject)
        if not _matching(allows, operation):
            yield _not_allowed(policy, subject, tool, operation, here)


def _whole(
    policy: Policy, subject: Subject, request: ToolRequest, allows: Sequence[Rule], denies: Sequence[Rule]
) -> Iterator[Violation]:
    """A tool without operations asks for what there is: it is refused only where nothing is left of it."""
    total = [rule for rule in denies if covers(rule.operation, ANY)]
    for rule in total:
        yield _denied(policy, rule, request.field, str(request.tool), subject)
    if not allows:
        yield _not_allowed(policy, subject, request.tool, None, request.field)
    elif not total and not _left(allows, denies):
        for rule in denies:
            if any(covers(rule.operation, allow.operation) for allow in allows):
                yield _denied(policy, rule, request.field, f"{request.tool}:{rule.operation}", subject)


def granted_tools(policy: Policy, subject: Subject, held: HeldRules) -> tuple[GrantedTool, ...]:
    """The tools of a subject without violations, each once, in order; with their credentials by name."""
    operations: dict[ToolKey, frozenset[str] | None] = {}
    for request in subject.tools:
        known = operations.get(request.tool, frozenset())
        whole = known is None or not request.operations
        operations[request.tool] = None if whole or known is None else known | frozenset(request.operations)
    return tuple(_granted(policy, subject, held, tool, operations[tool]) for tool in sorted(operations))


def _granted(
    policy: Policy, subject: Subject, held: HeldRules, tool: ToolKey, operations: frozenset[str] | None
) -> GrantedTool:
    allows, denies = (_about(rules, tool, subject.namespace) for rules in (held.allows, held.denies))
    if operations is None:
        allow = minimal(frozenset(rule.operation for rule in _left(allows, denies)))
        deny = minimal(frozenset(rule.operation for rule in denies))
    else:
        allow, deny = tuple(sorted(operations)), ()
    credentials = set(_tool_credentials(policy, subject, tool))
    if tool.kind != "primitive":
        return GrantedTool(tool, allow, deny, tuple(sorted(credentials)))
    primitive = policy.document.primitives[tool.name]
    credentials |= set(primitive.credentials)
    return GrantedTool(tool, allow, deny, tuple(sorted(credentials)), primitive.address, primitive.egress)


def _tool_credentials(policy: Policy, subject: Subject, tool: ToolKey) -> Iterator[str]:
    for entry in policy.document.tool_credentials:
        if applies(entry, subject) and any(
            _is_about(tool_pattern(text), tool, subject.namespace) for text in entry.tools
        ):
            yield from entry.credentials


def held_rules(policy: Policy, subject: Subject) -> HeldRules:
    """The rules over tools that hold for a subject, by its tier and by whom they are for."""
    document, rank = policy.document, tier_rank(subject.risk_tier)
    allows = list(_patterns(document.tools, ("tools",), "allow", subject))
    denies = list(_patterns(document.tools, ("tools",), "deny", subject))
    for index, name in enumerate(TIERS):
        tier = document.tiers.named(name)
        if tier is None:
            continue
        loc: Location = ("tiers", name, "tools")
        if index <= rank:
            allows += _patterns(tier.tools, loc, "allow", subject)
        if index >= rank:
            denies += _patterns(tier.tools, loc, "deny", subject)
    return HeldRules(tuple(allows), tuple(denies))


def _patterns(section: Iterable[ToolRules], loc: Location, which: str, subject: Subject) -> Iterator[Placed]:
    for index, rules in enumerate(section):
        if applies(rules, subject):
            for position, text in enumerate(rules.allow if which == "allow" else rules.deny):
                yield tool_pattern(text), (*loc, index, which, position)


def _about(placed: Iterable[Placed], tool: ToolKey, own_namespace: str) -> list[Rule]:
    return [Rule(pattern.operation, loc) for pattern, loc in placed if _is_about(pattern, tool, own_namespace)]


def _is_about(pattern: ToolPattern, tool: ToolKey, own_namespace: str) -> bool:
    return pattern.is_for(tool.kind, tool.namespace, tool.name, own_namespace)


def _left(allows: Iterable[Rule], denies: Sequence[Rule]) -> list[Rule]:
    """The allows of which a single deny does not take everything.

    Several denies together may still leave nothing; then the grant permits no operation, which is safe as well.
    """
    return [one for one in allows if not any(covers(rule.operation, one.operation) for rule in denies)]


def _denied(policy: Policy, rule: Rule, field: str, what: str, subject: Subject) -> Violation:
    ways = "remove it from the Agent, or have the policy drop the rule"
    return Violation(policy.path(rule.loc), field, f"{what} is denied to tier {subject.risk_tier or '(none)'}", ways)


def _not_allowed(policy: Policy, subject: Subject, tool: ToolKey, operation: str | None, field: str) -> Violation:
    what = str(tool) if operation is None else f"{tool}:{operation}"
    higher = _tier_that_allows(policy, subject, tool, operation)
    remedy = "remove it from the Agent, or have the policy allow it"
    if higher:
        remedy = f"remove it from the Agent, set spec.riskTier: {higher}, or have the policy allow it to this tier"
    message = f"{what} is not allowed to tier {subject.risk_tier or '(none)'} by any rule"
    return Violation(policy.path(_place(subject)), field, message, remedy)


def _place(subject: Subject) -> Location:
    """Where a rule for the Agent's tier would stand."""
    return ("tiers", subject.risk_tier, "tools") if tier_rank(subject.risk_tier) >= 0 else ("tiers",)


def _tier_that_allows(policy: Policy, subject: Subject, tool: ToolKey, operation: str | None) -> str | None:
    """The lowest tier above the subject's that it could have and that allows the tool; None if there is none."""
    for name in TIERS[tier_rank(subject.risk_tier) + 1 :]:
        tier = policy.document.tiers.named(name)
        if tier is None or not any(applies(scope, subject) for scope in tier.available_to):
            continue
        held = held_rules(policy, replace(subject, risk_tier=name))
        allows, denies = (_about(rules, tool, subject.namespace) for rules in (held.allows, held.denies))
        if operation is None:
            if _left(allows, denies):
                return name
        elif _matching(allows, operation) and not _matching(denies, operation):
            return name
    return None


def _matching(rules: Iterable[Rule], operation: str) -> list[Rule]:
    return [rule for rule in rules if matches(rule.operation, operation)]
