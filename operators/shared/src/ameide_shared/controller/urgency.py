"""Which changes of a child are worth a pass at once, and which may wait for company.

A rollout tells of itself in a dozen events per resource: counters that move, pods that are scheduled, started, ended.
Each would cost a pass that plans everything anew to find nothing to do. What ends a phase, breaks something or was
done by somebody else is looked at once; what only moves a counter is looked at within `PATIENCE` seconds, or together
with the next thing that matters. Caches have everything at once in either case: only the waking waits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from ameide_shared.jobs import job_of
from ameide_shared.kube.resources import (
    DEPLOYMENT,
    HORIZONTAL_POD_AUTOSCALER,
    POD,
    POD_DISRUPTION_BUDGET,
    Manifest,
    ResourceType,
)
from ameide_shared.workload import workload_state

PATIENCE: Final = 5.0
"""Seconds that a change which may wait waits at most. Status lets counters lag by more than that."""

CanWait = Callable[[Manifest | None, Manifest | None], bool]
"""Whether a change may wait, by the object before and after it; None where there is none."""

_OF_EVERY_WRITE: Final = frozenset(("resourceVersion", "generation", "managedFields", "annotations"))
_OF_ROLLOUTS: Final = "deployment.kubernetes.io/"
_ON_ITS_WAY: Final = frozenset(("", "ContainerCreating", "PodInitializing"))
_NOT_SCHEDULED: Final = frozenset(("Unschedulable", "SchedulingGated"))


def can_wait(resource: ResourceType) -> CanWait | None:
    """The rule for a type; None: every change of it is looked at once."""
    return _RULES.get(resource)


def _reporting(old: Manifest | None, new: Manifest | None) -> bool:
    """Of what a controller reports on: that nothing but numbers in its status has changed."""
    return old is not None and new is not None and _asked(old) == _asked(new) and _said(old) == _said(new)


def _deployment(old: Manifest | None, new: Manifest | None) -> bool:
    """That a rollout goes on: neither through nor stuck, nor are the last pods gone or the first ones there."""
    return old is not None and new is not None and _asked(old) == _asked(new) and _stands(old) == _stands(new)


def _pod(old: Manifest | None, new: Manifest | None) -> bool:
    """Of a serving pod, that it is well: what comes of it, its Deployment tells. All that pods of Jobs do counts.

    A pod that is gone counts too: deletions wait for it, and nothing else tells.
    """
    if new is None or job_of(new):
        return False
    return _troubles(new) == (_troubles(old) if old is not None else [])


def _asked(manifest: Manifest) -> dict[str, Any]:
    """All that writers decide, the marks of controllers left out."""
    metadata = manifest["metadata"]
    annotations: Mapping[str, str] = metadata.get("annotations") or {}
    return {
        **{name: value for name, value in manifest.items() if name not in ("metadata", "status")},
        "metadata": {name: value for name, value in metadata.items() if name not in _OF_EVERY_WRITE},
        "annotations": {name: value for name, value in annotations.items() if not name.startswith(_OF_ROLLOUTS)},
    }


def _said(manifest: Manifest) -> list[tuple[object, ...]]:
    conditions = (manifest.get("status") or {}).get("conditions") or ()
    return [(c.get("type"), c.get("status"), c.get("reason")) for c in conditions]


def _stands(deployment: Manifest) -> tuple[object, ...]:
    state = workload_state(deployment)
    conditions: Mapping[Any, Any] = {c.get("type"): c for c in deployment.get("status", {}).get("conditions") or ()}
    refused = conditions.get("ReplicaFailure") or {}
    available = (conditions.get("Available") or {}).get("status")
    return state.rolled_out, state.deadline_exceeded, state.ready > 0, available, refused.get("message")


def _troubles(pod: Manifest) -> list[tuple[object, ...]]:
    """What is wrong with a pod: unschedulable, ended by itself, containers that wait, end or start over."""
    status = pod.get("status") or {}
    return [
        *((c.get("message"),) for c in status.get("conditions") or () if c.get("reason") in _NOT_SCHEDULED),
        *(((status["phase"], status.get("reason")),) if status.get("phase") in ("Failed", "Succeeded") else ()),
        *(
            trouble
            for group in ("initContainerStatuses", "containerStatuses")
            for container in status.get(group) or ()
            if (trouble := _trouble(container)) is not None
        ),
    ]


def _trouble(container: Mapping[str, Any]) -> tuple[object, ...] | None:
    state = container.get("state") or {}
    waiting = (state.get("waiting") or {}).get("reason", "")
    ended = state.get("terminated") or {}
    restarts = container.get("restartCount", 0)
    if waiting in _ON_ITS_WAY and not restarts and ended.get("exitCode", 0) == 0:
        return None
    return container.get("name"), waiting, restarts, ended.get("reason")


_RULES: Final[Mapping[ResourceType, CanWait]] = {
    DEPLOYMENT: _deployment,
    HORIZONTAL_POD_AUTOSCALER: _reporting,
    POD_DISRUPTION_BUDGET: _reporting,
    POD: _pod,
}
