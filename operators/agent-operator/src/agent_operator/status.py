"""The status of an Agent, folded from the stages of its plan. Pure: nothing here reads, writes or waits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from agent_operator.observed import Observed
from agent_operator.plan.grants import GRANTS_READY, Held
from agent_operator.plan.pods import AGENT
from ameide_shared.compile.context import annotation
from ameide_shared.compile.status import common_fields
from ameide_shared.kube.resources import Manifest
from ameide_shared.plan import Call, Failure, Outcome, Plan
from ameide_shared.reasons import Reason
from ameide_shared.stages import Stage
from ameide_shared.status import Condition, compose, failure_stage, paused_condition
from ameide_shared.transformation.children import ANNOTATION_CHECKSUM, ANNOTATION_ID, ANNOTATION_VERSION
from ameide_shared.vocabulary import ANNOTATION_PAUSED

POLICY_VIOLATION: Final = "PolicyViolation"


def status(manifest: Manifest, observed: Observed, plan: Plan, outcome: Outcome, now: datetime) -> dict[str, Any]:
    """The whole status; what the plan could not see anew is carried over from the previous one."""
    calls = _calls(manifest, plan)
    unpublished = next((failure for failure in outcome.failures if failure.action in calls), None)
    failures = [failure_stage(failure, now) for failure in outcome.failures if failure.action not in calls]
    stages = (*failures, *(_unpublished(stage, unpublished, now) for stage in plan.stages))
    previous: Mapping[str, Any] = manifest.get("status") or {}
    compiled = "policy" in plan.facts
    paused = annotation(manifest, ANNOTATION_PAUSED) == "true"
    own = {
        "definition": _definition(observed, plan, previous.get("definition") or {}) if compiled else None,
        "grants": _grants(plan, previous.get("grants") or {}, _published(calls, plan, outcome), paused)
        if compiled
        else None,
        "policy": dict(plan.facts["policy"]) if compiled else None,
    }
    fields = common_fields(manifest, observed, plan, outcome, AGENT, own)
    more = [*paused_condition(manifest)]
    if compiled:
        more.append(_violation(plan.facts))
    else:
        more += _as_before(previous)
    return compose(manifest, stages, now, more_conditions=more, fields=fields)


def _calls(manifest: Manifest, plan: Plan) -> list[Call]:
    """What the grants service was to be told of an Agent that is there."""
    if manifest["metadata"].get("deletionTimestamp"):
        return []
    return [action for action in plan.actions if isinstance(action, Call)]


def _published(calls: Sequence[Call], plan: Plan, outcome: Outcome) -> str | None:
    """The tenant under which the grants service has just taken note of the grants; None if it has not.

    A failure of something before may have kept it from being told.
    """
    if not calls:
        return None
    until_then = plan.actions[: plan.actions.index(calls[-1]) + 1]
    if any(failure.action in until_then for failure in outcome.failures):
        return None
    return str(calls[-1].arguments["tenant"])


def _unpublished(stage: Stage, failure: Failure | None, now: datetime) -> Stage:
    """The stage of the grants where the grants service could not be told of them; any other as it is."""
    if failure is None or stage.condition != GRANTS_READY:
        return stage
    return replace(failure_stage(failure, now), condition=GRANTS_READY, object="grants service")


def _violation(facts: Mapping[str, Any]) -> Condition:
    """What the policy has against the Agent: the one condition that is bad news while True.

    That the policy's file is broken is said here to every Agent, whatever the one in force says of it.
    """
    stage: Stage | None = facts["violation"]
    fault: str = facts["fault"]
    if not facts["judged"]:
        return Condition(POLICY_VIOLATION, "Unknown", Reason.PolicyNotLoaded, "there is no policy to judge it by")
    if stage is None:
        reason = Reason.PolicyInvalid if fault else Reason.PolicyCompliant
        return Condition(POLICY_VIOLATION, "False", reason, fault)
    told = f"{stage.message}. Remedy: {stage.remedy}"
    return Condition(POLICY_VIOLATION, "True", stage.reason, f"{told}. And {fault}" if fault else told)


def _as_before(previous: Mapping[str, Any]) -> list[Condition]:
    """The condition of a spec that cannot be compiled, or of an Agent that is going: what was told last."""
    return [
        Condition(POLICY_VIOLATION, told["status"], Reason(told["reason"]), told.get("message", ""))
        for told in previous.get("conditions") or ()
        if told["type"] == POLICY_VIOLATION
    ]


def _definition(observed: Observed, plan: Plan, previous: Mapping[str, Any]) -> dict[str, Any] | None:
    """What all ready pods run; while they differ, what they ran before. And the newest that was fetched."""
    names = (ANNOTATION_ID, ANNOTATION_VERSION, ANNOTATION_CHECKSUM)
    running = {tuple(annotation(pod, name) for name in names) for pod in observed.ready_pods()}
    told = {key: value for key, value in previous.items() if key != "available"}
    if len(running) == 1:
        id_, version, checksum = next(iter(running))
        if checksum and version.isdigit():
            told = {"id": id_, "version": int(version), "checksum": checksum}
    available = plan.facts["available"] or previous.get("available")
    return (told | ({"available": available} if available else {})) or None


def _grants(plan: Plan, previous: Mapping[str, Any], published: str | None, paused: bool) -> dict[str, Any] | None:
    """The grants that pods hold. Those that cannot be told any more, or are not written, stay as they were told.

    `published`: the tenant under which the grants service has just acknowledged them.
    """
    held: Held | None = plan.facts["grants"]
    if held is None:
        return None
    if held.built is None or paused:
        return dict(previous) or None
    told: dict[str, Any] = {"digest": held.digest, "count": held.built.count}
    if held.built.pending:
        told["pending"] = [str(tool) for tool in held.built.pending]
    if published is not None:
        return told | {"published": held.digest, "tenant": published}
    return told | {key: previous[key] for key in ("published", "tenant") if previous.get(key) is not None}
