"""The status of a UISurface, folded from the stages of its plan. Pure: nothing here reads, writes or waits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from ameide_shared.builders.inputs import FRONTEND
from ameide_shared.compile.status import common_fields, endpoints
from ameide_shared.kube.resources import SECURITY_POLICY, Manifest
from ameide_shared.plan import Action, Call, Ensure, EnsureSecret, Failure, Outcome, Plan
from ameide_shared.reasons import Reason
from ameide_shared.stages import Stage, State, blocked
from ameide_shared.status import compose, failure_stage, paused_condition
from uisurface_operator.observed import Observed
from uisurface_operator.plan.auth import AUTH_CONFIGURED, DELETE_CLIENT
from uisurface_operator.plan.claims import ROUTING_READY

_UNTIL_THEN: Final = "until then nobody can log in"


def status(manifest: Manifest, observed: Observed, plan: Plan, outcome: Outcome, now: datetime) -> dict[str, Any]:
    """The whole status; what the plan could not see anew is carried over from the previous one."""
    stages = _told(plan.stages, outcome.failures, now)
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


def _told(stages: Sequence[Stage], failures: Sequence[Failure], now: datetime) -> tuple[Stage, ...]:
    """The stages of the plan behind what could not be written. What is of the login stands in its stage's place."""
    login = next((stage for stage in stages if stage.condition == AUTH_CONFIGURED), None)
    failed = next((each for each in failures if _is_of_login(each.action)), None)
    if failed is None or login is None or login.state in (State.DONE, State.BLOCKED):
        return (*(failure_stage(failure, now) for failure in failures), *stages)
    told = replace(failure_stage(failed, now), condition=AUTH_CONFIGURED)
    if failed.reason == Reason.ChildConflict:
        told = replace(told, remedy=f"delete or rename it, and the operator makes its own; {_UNTIL_THEN}")
    others = (failure_stage(failure, now) for failure in failures if failure is not failed)
    return (*others, *(_behind(stage, told) for stage in stages))


def _is_of_login(action: Action) -> bool:
    return isinstance(action, EnsureSecret) or (isinstance(action, Ensure) and action.resource is SECURITY_POLICY)


def _behind(stage: Stage, login: Stage) -> Stage:
    """A stage as it is with this one of the login."""
    if stage.condition == AUTH_CONFIGURED:
        return login
    waits = stage.condition == ROUTING_READY and stage.state is State.BLOCKED
    return blocked(ROUTING_READY, login) if waits else stage


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
