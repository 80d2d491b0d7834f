"""The status of a UISurface, folded from the stages of its plan. Pure: nothing here reads, writes or waits."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ameide_shared.builders.inputs import FRONTEND
from ameide_shared.compile.status import common_fields, endpoints
from ameide_shared.kube.resources import Manifest
from ameide_shared.plan import Call, Outcome, Plan
from ameide_shared.status import compose, failure_stage, paused_condition
from uisurface_operator.observed import Observed
from uisurface_operator.plan.auth import DELETE_CLIENT


def status(manifest: Manifest, observed: Observed, plan: Plan, outcome: Outcome, now: datetime) -> dict[str, Any]:
    """The whole status; what the plan could not see anew is carried over from the previous one."""
    stages = (*(failure_stage(failure, now) for failure in outcome.failures), *plan.stages)
    facts = plan.facts
    own: dict[str, Any] = {"claim": None, "auth": None}
    if "revision" in facts:
        host = f"{facts['child']}.{manifest['metadata']['namespace']}.svc"
        before = ((manifest.get("status") or {}).get("endpoints") or {}).get("url")
        known = before if facts["auth"] is None else facts["url"]  # a refused spec leaves the route alone
        url = {"url": known} if known else {}
        own = {
            "endpoints": {**endpoints(host, FRONTEND), **url},
            "claim": facts["claim"] or _held(manifest, facts),
            "auth": _auth(manifest, plan, outcome),
        }
    fields = common_fields(manifest, observed, plan, outcome, FRONTEND, own)
    return compose(manifest, stages, now, more_conditions=paused_condition(manifest), fields=fields)


def _held(manifest: Manifest, facts: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a surface whose spec is refused held before: its route is left alone, and so is its claim."""
    refused = facts["auth"] is None
    return ((manifest.get("status") or {}).get("claim") or None) if refused else None


def _auth(manifest: Manifest, plan: Plan, outcome: Outcome) -> dict[str, Any] | None:
    """How users log in. That a client is to be removed is remembered until it is gone."""
    previous: Mapping[str, Any] = (manifest.get("status") or {}).get("auth") or {}
    told: Mapping[str, Any] | None = plan.facts["auth"]
    if told is None:
        return dict(previous) or None
    removals = [each for each in plan.actions if isinstance(each, Call) and each.operation == DELETE_CLIENT]
    failed = [failure.action for failure in outcome.failures]
    if "clientId" in told or (removals and not any(each in failed for each in removals)):
        return dict(told)
    left = {key: previous[key] for key in ("connection", "clientId") if key in previous}
    return {**told, **left}
