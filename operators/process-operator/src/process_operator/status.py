"""The status of a Process, folded from the stages of its plan. Pure: nothing here reads, writes or waits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from ameide_shared.builders.inputs import BACKEND
from ameide_shared.compile.context import annotation
from ameide_shared.compile.status import common_fields
from ameide_shared.kube.resources import Manifest
from ameide_shared.plan import Call, Failure, Outcome, Plan
from ameide_shared.reasons import Reason
from ameide_shared.stages import Stage
from ameide_shared.status import compose, failure_stage, paused_condition, stamp
from ameide_shared.transformation.children import ANNOTATION_CHECKSUM, ANNOTATION_ID, ANNOTATION_VERSION
from process_operator.observed import Observed
from process_operator.temporal.model import bucket


def status(manifest: Manifest, observed: Observed, plan: Plan, outcome: Outcome, now: datetime) -> dict[str, Any]:
    """The whole status; what the plan could not see anew is carried over from the previous one."""
    stages = _told(plan, outcome.failures, now)
    previous: Mapping[str, Any] = manifest.get("status") or {}
    compiled = "available" in plan.facts
    own = {
        "definition": _definition(observed, plan, previous.get("definition") or {}) if compiled else None,
        "temporal": _temporal(observed, previous.get("temporal") or {}),
    }
    fields = common_fields(manifest, observed, plan, outcome, BACKEND, own)
    if "deletion" in plan.facts:
        fields |= {"temporal": own["temporal"], "deletion": dict(plan.facts["deletion"])}
    return compose(manifest, stages, now, more_conditions=paused_condition(manifest), fields=fields)


def _told(plan: Plan, failures: Sequence[Failure], now: datetime) -> tuple[Stage, ...]:
    """The stages of the plan behind what could not be done. What Temporal would not do blocks a deletion, which has a
    deadline: that is told instead.
    """
    refused = [failure for failure in failures if isinstance(failure.action, Call)]
    blocked: Stage | None = plan.facts.get("blocked")
    if blocked is None or not refused:
        return (*(failure_stage(failure, now) for failure in failures), *plan.stages)
    others = (failure_stage(failure, now) for failure in failures if failure not in refused)
    known = any(stage.reason is Reason.DeletionBlocked for stage in plan.stages)
    failed = failure_stage(refused[0], now)
    stages = plan.stages if known else (replace(blocked, message=failed.message, retry_at=failed.retry_at),)
    return (*others, *stages)


def _definition(observed: Observed, plan: Plan, previous: Mapping[str, Any]) -> dict[str, Any] | None:
    """What all ready pods run; while they differ, what they ran before. And the newest that was fetched."""
    names = (ANNOTATION_ID, ANNOTATION_VERSION, ANNOTATION_CHECKSUM)
    running = {tuple(annotation(pod, name) for name in names) for pod in observed.ready_pods()}
    told = {key: value for key, value in previous.items() if key != "available"}
    if len(running) == 1:
        id_, version, checksum = next(iter(running))
        if checksum and version.isdigit():
            digest = checksum.removeprefix("sha256:")[:16]
            told = {
                "id": id_,
                "version": int(version),
                "checksum": checksum,
                "configMap": f"{plan.facts['child']}-definition-{digest}",
            }
    available = dict(plan.facts["available"]) or previous.get("available")
    return (told | ({"available": available} if available else {})) or None


def _temporal(observed: Observed, previous: Mapping[str, Any]) -> dict[str, Any] | None:
    """What was last seen of the queue. `lastChecked` moves only when something else does: a look that finds nothing
    new is no reason to write."""
    seen = observed.temporal
    if seen is None:
        return dict(previous) or None
    told: dict[str, Any] = {"reachable": seen.reachable}
    if seen.namespace is not None:
        told["namespaceState"] = seen.namespace.state.value
    if seen.queue is not None:
        told["pollers"] = seen.queue.workflow_pollers
        before = previous.get("backlog")
        same = before is not None and bucket(before) == bucket(seen.queue.backlog)
        told["backlog"] = before if same else seen.queue.backlog
    told = {key: value for key, value in told.items() if value is not None}
    if seen.checked_at is not None:
        unchanged = {key: value for key, value in previous.items() if key != "lastChecked"} == told
        before = previous.get("lastChecked")
        told["lastChecked"] = before if unchanged and before else stamp(seen.checked_at)
    return told or None
