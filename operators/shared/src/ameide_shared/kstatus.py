"""How tools that wait for a resource read it: the kstatus rules for custom resources.

`kubectl wait`, Helm and Flux judge an object that they know nothing of by these rules, in this order: being deleted;
status of another generation; Reconciling; Stalled; Ready. Our own status is written to be judged rightly by them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from ameide_shared import vocabulary as v
from ameide_shared.kube.resources import Manifest


class Verdict(Enum):
    """What a tool takes a resource to be. It waits on IN_PROGRESS, and gives up on FAILED."""

    TERMINATING = "Terminating"
    IN_PROGRESS = "InProgress"
    FAILED = "Failed"
    CURRENT = "Current"


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict, and the message of what it was read from."""

    verdict: Verdict
    message: str = ""


def judge(resource: Manifest) -> Judgement:
    """The verdict on a custom resource. One without any status is Current: nothing says otherwise."""
    metadata = resource["metadata"]
    if metadata.get("deletionTimestamp"):
        return Judgement(Verdict.TERMINATING, "is being deleted")
    status: Mapping[str, Any] = resource.get("status") or {}
    generation, observed = metadata.get("generation"), status.get("observedGeneration")
    if observed is not None and observed != generation:
        return Judgement(Verdict.IN_PROGRESS, f"status is of generation {observed}, spec of {generation}")
    conditions = {condition["type"]: condition for condition in status.get("conditions") or ()}
    for kind, verdict in ((v.RECONCILING, Verdict.IN_PROGRESS), (v.STALLED, Verdict.FAILED)):
        condition = conditions.get(kind)
        if condition is not None and condition["status"] == "True":
            return Judgement(verdict, condition.get("message", ""))
    ready = conditions.get(v.READY)
    if ready is not None and ready["status"] != "True":
        return Judgement(Verdict.IN_PROGRESS, ready.get("message", ""))
    return Judgement(Verdict.CURRENT)
