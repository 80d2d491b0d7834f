"""The Deployment of a track."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from ameide_shared import vocabulary as names
from ameide_shared.builders.identity import Primitive, child_metadata, image_version, selector_labels
from ameide_shared.builders.pod import for_track
from ameide_shared.kube.resources import DEPLOYMENT

REPLICA_SETS_KEPT = 2
"""Old ReplicaSets of a Deployment. Revisions are kept as ControllerRevisions; these are for `kubectl rollout undo`."""


class Rollout(Protocol):
    """A kind's rollout; of its strategies only Recreate differs for a Deployment."""

    @property
    def strategy(self) -> str: ...

    @property
    def max_surge(self) -> int | str | None: ...

    @property
    def max_unavailable(self) -> int | str | None: ...

    @property
    def min_ready_seconds(self) -> int: ...

    @property
    def progress_deadline_seconds(self) -> int: ...


class HasRollout(Protocol):
    """A spec that says how it is rolled out."""

    @property
    def rollout(self) -> Rollout: ...


def deployment(
    primitive: Primitive,
    template: Mapping[str, Any],
    *,
    replicas: int | None,
    spec: HasRollout,
    track: str = names.TRACK_STABLE,
    min_ready_seconds: int | None = None,
) -> dict[str, Any]:
    """A Deployment of a stamped pod template (see `revisions.stamp`).

    `replicas` None: not ours, an autoscaler owns the count. `min_ready_seconds`: by default the spec's; one that is
    given may be any, the progress deadline counts from its end.
    """
    rollout = spec.rollout
    name = primitive.canary_name if track == names.TRACK_CANARY else primitive.child_name
    image = template["spec"]["containers"][0]["image"]
    body: dict[str, Any] = {
        "selector": {"matchLabels": selector_labels(primitive, track)},
        "template": for_track(template, track),
        "strategy": _strategy(rollout),
        "revisionHistoryLimit": REPLICA_SETS_KEPT,
        # Waiting for the given time to pass is no lack of progress.
        "progressDeadlineSeconds": rollout.progress_deadline_seconds + (min_ready_seconds or 0),
    }
    ready_seconds = rollout.min_ready_seconds if min_ready_seconds is None else min_ready_seconds
    if ready_seconds:
        body["minReadySeconds"] = ready_seconds
    if replicas is not None:
        body["replicas"] = replicas
    return {
        "apiVersion": DEPLOYMENT.api_version,
        "kind": DEPLOYMENT.kind,
        "metadata": child_metadata(primitive, name, track=track, version=image_version(image)),
        "spec": body,
    }


def _strategy(rollout: Rollout) -> dict[str, Any]:
    if rollout.strategy == "Recreate":
        return {"type": "Recreate"}
    surge, unavailable = rollout.max_surge, rollout.max_unavailable
    return {
        "type": "RollingUpdate",
        "rollingUpdate": {
            "maxSurge": "25%" if surge is None else surge,
            "maxUnavailable": 0 if unavailable is None else unavailable,
        },
    }
