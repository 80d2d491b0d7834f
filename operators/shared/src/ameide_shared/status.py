"""Status as a fold over stages: conditions, the blocker, and what kstatus, Argo CD and people read from them.

Pure: the clock is passed in, and times of the previous status are carried over where nothing moved.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ameide_shared import vocabulary as v
from ameide_shared.kube.resources import Manifest
from ameide_shared.plan import Failure
from ameide_shared.reasons import Reason
from ameide_shared.stages import Stage, State, first_blocker

_CONDITION_STATUS = {State.DONE: "True", State.BLOCKED: "Unknown"}
_READY_TYPES: Mapping[str, tuple[str, ...]] = {
    "Deployment": ("Available",),
    "HorizontalPodAutoscaler": ("AbleToScale",),
    "ExternalSecret": ("Ready",),
    "ScaledObject": ("Ready",),
    "WorkerDeployment": ("Ready",),
}
"""Condition types that must be True, where present, for a child to count as ready."""
MESSAGE_LIMIT = 1024
"""Characters kept of a condition's message; the API allows 32,768, people read one line."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition before it has times: what the stages say now."""

    type: str
    status: str  # True, False or Unknown
    reason: Reason
    message: str = ""


def stamp(moment: datetime) -> str:
    """RFC 3339 in UTC with whole seconds, as metav1.Time."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_time(text: str) -> datetime:
    """The moment that `stamp`, or the API server, wrote."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def shorten(text: str, limit: int = MESSAGE_LIMIT) -> str:
    """At most `limit` characters, the cut marked by an ellipsis."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def joined(texts: Iterable[str], limit: int = MESSAGE_LIMIT) -> str:
    """Texts as one of at most `limit` characters: where they are longer, each is heard for its share of them."""
    wanted = list(dict.fromkeys(text for text in texts if text))
    room, cut = limit - 2 * max(len(wanted) - 1, 0), {}
    for left, text in zip(range(len(wanted), 0, -1), sorted(wanted, key=len), strict=True):
        cut[text] = shorten(text, max(room // left, 1))  # what the short ones do not need, the long ones have
        room -= len(cut[text])
    return "; ".join(cut[text] for text in wanted)


def failure_stage(failure: Failure, now: datetime) -> Stage:
    """What an action that could not be carried out means to the resource."""
    manifest = getattr(failure.action, "manifest", None)
    what = "" if manifest is None else f"{manifest['kind']} {manifest['metadata']['name']}"
    try:
        reason = Reason(failure.reason)
    except ValueError:
        reason = Reason.ApplyFailed
    state = State.STALLED if failure.terminal else State.FAILED
    retry_at = None
    if failure.retry_after is not None and not failure.terminal:  # else nothing is expected of it
        retry_at = datetime.fromtimestamp(now.timestamp() + failure.retry_after, UTC)
    return Stage("", state, reason, failure.message, object=what, remedy=failure.remedy, retry_at=retry_at)


def conditions_of(stages: Sequence[Stage]) -> list[Condition]:
    """The conditions that a sequence of stages amounts to, in the order in which they are shown."""
    blocker = first_blocker(tuple(stages))
    stalled = next((stage for stage in stages if stage.state is State.STALLED), None)
    broken = next((stage for stage in stages if stage.state in (State.FAILED, State.STALLED) or stage.degraded), None)
    moving = next((stage for stage in stages if stage.state in (State.PROGRESSING, State.WAITING)), None)
    found: list[Condition] = []
    if blocker is None:
        found.append(Condition(v.READY, "True", Reason.AllResourcesHealthy))
    else:
        found.append(Condition(v.READY, "False", blocker.reason, with_remedy(blocker)))
    if moving is not None:
        found.append(Condition(v.PROGRESSING, "True", moving.reason, moving.message))
    else:
        found.append(Condition(v.PROGRESSING, "False", broken.reason if broken else Reason.AsExpected))
    if broken is not None:
        found.append(Condition(v.DEGRADED, "True", broken.reason, with_remedy(broken)))
    else:
        found.append(Condition(v.DEGRADED, "False", Reason.AsExpected))
    found.extend(
        Condition(stage.condition, _CONDITION_STATUS.get(stage.state, "False"), stage.reason, with_remedy(stage))
        for stage in stages
        if stage.condition
    )
    if stalled is not None:
        found.append(Condition(v.STALLED, "True", stalled.reason, with_remedy(stalled)))
    elif blocker is not None:
        found.append(Condition(v.RECONCILING, "True", blocker.reason, blocker.message))
    return found


def paused_condition(resource: Manifest) -> list[Condition]:
    """The Paused condition: there while the annotation `ameide.io/paused` is, unless it says false."""
    value = (resource["metadata"].get("annotations") or {}).get(v.ANNOTATION_PAUSED)
    if value is None or value == "false":
        return []
    if value == "true":
        message = f"nothing but status is written while the annotation {v.ANNOTATION_PAUSED} is true"
        return [Condition(v.PAUSED, "True", Reason.Paused, message)]
    message = f'the annotation {v.ANNOTATION_PAUSED} is {value!r} and has no effect; set it to "true" or "false"'
    return [Condition(v.PAUSED, "False", Reason.InvalidAnnotation, message)]


def child_entry(wanted: Manifest, live: Manifest | None) -> dict[str, Any]:
    """An entry of `status.children`: what is wanted, and whether the cluster has it and says it is well."""
    metadata = wanted["metadata"]
    entry: dict[str, Any] = {
        "apiVersion": wanted["apiVersion"],
        "kind": wanted["kind"],
        "namespace": metadata["namespace"],
        "name": metadata["name"],
        "ready": False,
    }
    if live is None:
        return entry | {"reason": "NotFound"}
    if live["metadata"].get("deletionTimestamp"):
        return entry | {"reason": "Terminating"}
    status: Mapping[str, Any] = live.get("status") or {}
    for condition in status.get("conditions") or ():
        if condition.get("type") in _READY_TYPES.get(wanted["kind"], ()) and condition.get("status") != "True":
            return entry | {"reason": condition.get("reason") or f"{condition['type']}{condition['status']}"}
    if wanted["kind"] == "Job" and not any(
        c.get("type") == "Complete" and c.get("status") == "True" for c in status.get("conditions") or ()
    ):
        return entry | {"reason": "Running"}
    if status.get("applied") is False:
        return entry | {"reason": "NotApplied"}
    return entry | {"ready": True}


def with_remedy(stage: Stage) -> str:
    """The message and, behind a semicolon, what can be done."""
    return f"{stage.message}; {stage.remedy}" if stage.remedy else stage.message


def dated(
    conditions: Iterable[Condition], previous: Iterable[Mapping[str, Any]], generation: int, now: datetime
) -> list[dict[str, Any]]:
    """Conditions as the API has them. `lastTransitionTime` moves only where the status does."""
    before = {condition["type"]: condition for condition in previous}
    result = []
    for condition in conditions:
        old = before.get(condition.type)
        same = old is not None and old.get("status") == condition.status
        result.append(
            {
                "type": condition.type,
                "status": condition.status,
                "reason": condition.reason.value,
                "message": shorten(condition.message),
                "observedGeneration": generation,
                "lastTransitionTime": old["lastTransitionTime"] if same and old else stamp(now),
            }
        )
    return result


def blocker_of(stages: Sequence[Stage], previous: Mapping[str, Any] | None, now: datetime) -> dict[str, Any] | None:
    """`status.blocker`: the first stage in the way. `since` is kept while reason and object stay the same."""
    stage = first_blocker(tuple(stages))
    if stage is None:
        return None
    before = previous or {}
    same = before.get("reason") == stage.reason.value and before.get("object", "") == stage.object
    entry = {
        "reason": stage.reason.value,
        "object": stage.object,
        "message": shorten(stage.message),
        "remedy": shorten(stage.remedy),
        "since": before["since"] if same and before.get("since") else stamp(now),
        "retryAt": stamp(stage.retry_at) if stage.retry_at else "",
    }
    return {key: value for key, value in entry.items() if value}


def compose(
    resource: Manifest,
    stages: Sequence[Stage],
    now: datetime,
    *,
    more_conditions: Iterable[Condition] = (),
    fields: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The whole status of a resource. `fields` are further top-level fields; None and empty ones are left out."""
    previous: Mapping[str, Any] = resource.get("status") or {}
    generation = int(resource["metadata"].get("generation", 0))
    conditions = [*conditions_of(stages), *more_conditions]
    status: dict[str, Any] = {
        "observedGeneration": generation,
        "conditions": dated(conditions, previous.get("conditions") or (), generation, now),
        "blocker": blocker_of(stages, previous.get("blocker"), now),
        **(fields or {}),
    }
    return {key: value for key, value in status.items() if value is not None and value not in ({}, [])}


def significant(status: Mapping[str, Any]) -> Any:
    """What of a status must be written at once; counters, messages and times may wait a few seconds and be combined.

    One write per phase that a person could see, however many pods come up in between.
    """
    blocker = status.get("blocker") or {}
    return (
        status.get("observedGeneration"),
        sorted(
            (c["type"], c["status"], c["reason"], c.get("observedGeneration")) for c in status.get("conditions", ())
        ),
        blocker.get("reason"),
        bool(blocker.get("remedy")),  # from "it is under way" to "somebody has to act", and back
        status.get("revision"),
        status.get("db"),
        status.get("definition"),
        status.get("grants"),  # what was acknowledged is asked for again until it stands here
        status.get("deletion"),
        status.get("canary"),
        status.get("endpoints"),
    )


def status_patch(previous: Mapping[str, Any], status: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON merge patch from one status to the next: changed top-level fields whole, vanished ones null."""
    patch: dict[str, Any] = {key: value for key, value in status.items() if previous.get(key) != value}
    patch.update({key: None for key in previous if key not in status})
    # A merge patch merges objects deeply: keys that vanished inside a changed object have to be nulled by name.
    for key, value in patch.items():
        old = previous.get(key)
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            patch[key] = _nulled(old, value)
    return patch


def _nulled(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {key: None for key in old if key not in new}
    for key, value in new.items():
        before = old.get(key)
        result[key] = _nulled(before, value) if isinstance(before, Mapping) and isinstance(value, Mapping) else value
    return result
