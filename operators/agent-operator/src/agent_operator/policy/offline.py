"""The policy's word on manifests, without a cluster: for pull requests."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from agent_operator.policy.evaluate import evaluate
from agent_operator.policy.loading import Policy
from agent_operator.policy.subject import LABEL_SKU, subject_of
from agent_operator.policy.verdict import Violation
from ameide_shared.spec.problems import Location, Problem
from ameide_shared.vocabulary import API_VERSION, LABEL_TENANT

_STEP: Final = re.compile(r"\[([0-9]+)\]|([^.\[\]]+)")


@dataclass(frozen=True, slots=True)
class CheckedProblem:
    """A violation of one manifest: its place among those given, its title (`Agent shop/coder`), and the rule's path.

    `problem` has the form that all offline checks share.
    """

    manifest: int
    object: str
    rule: str
    problem: Problem


def check(policy: Policy, manifests: Iterable[Mapping[str, Any]], *, sku: str = "") -> list[CheckedProblem]:
    """Every rule that Agents among the manifests break. The Agents must have met their schema.

    Tenant and SKU are those of the Namespaces among the manifests. Where a Namespace is not among them, the tenant is
    that of `spec.definitionRef.tenantId` and the SKU the one given here.
    """
    given = list(manifests)
    labels = {
        one["metadata"]["name"]: one["metadata"].get("labels") or {}
        for one in (item for manifest in given for item in _items(manifest))
        if one.get("kind") == "Namespace" and one.get("apiVersion") == "v1"
    }
    found = []
    for index, manifest in enumerate(given):
        for item in _items(manifest):
            if item.get("kind") == "Agent" and item.get("apiVersion") == API_VERSION:
                found += [_problem(index, item, one) for one in _violations(policy, item, labels, sku)]
    return found


def _violations(
    policy: Policy, agent: Mapping[str, Any], labels: Mapping[str, Mapping[str, str]], sku: str
) -> tuple[Violation, ...]:
    namespace = agent["metadata"].get("namespace") or "default"
    known = labels.get(namespace)
    if known is None:
        tenant = (agent["spec"].get("definitionRef") or {}).get("tenantId") or ""
    else:
        tenant, sku = known.get(LABEL_TENANT, ""), known.get(LABEL_SKU, "")
    return evaluate(policy, subject_of(agent, tenant_id=tenant, sku=sku)).violations


def _problem(index: int, agent: Mapping[str, Any], violation: Violation) -> CheckedProblem:
    metadata = agent["metadata"]
    title = f"Agent {metadata.get('namespace') or 'default'}/{metadata.get('name') or metadata.get('generateName')}"
    return CheckedProblem(index, title, violation.rule, problem_of(violation))


def problem_of(violation: Violation) -> Problem:
    """A violation in the form that all checks share."""
    message = f"{violation.message} (policy: {violation.rule})"
    return Problem(violation.field, message, violation.remedy, location_of(violation.field))


def location_of(field: str) -> Location:
    """The keys and indices of a path such as `spec.tools.allowed[1].operations[0]`."""
    return tuple(int(index) if index else key for index, key in _STEP.findall(field))


def _items(manifest: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """A manifest, or what a List holds."""
    if manifest.get("kind") == "List" and isinstance(manifest.get("items"), list):
        yield from manifest["items"]
    else:
        yield manifest
