"""The PodDisruptionBudget of a resource: how many of its pods may be missing while nodes are drained."""

from __future__ import annotations

from typing import Any

from ameide_shared import vocabulary as names
from ameide_shared.builders.identity import Primitive, child_metadata, selector_labels
from ameide_shared.kube.resources import POD_DISRUPTION_BUDGET
from ameide_shared.spec.common import CommonSpec


def wants_pdb(spec: CommonSpec) -> bool:
    """Whether there can be more than one pod, so that draining a node can leave some running."""
    if spec.autoscaling is not None:
        return spec.autoscaling.max_replicas > 1
    return (spec.replicas or 1) > 1


def pdb(primitive: Primitive) -> dict[str, Any]:
    """A PodDisruptionBudget that lets one stable pod go at a time.

    `maxUnavailable` rather than `minAvailable`: it never blocks a drain for good, also when an autoscaler is down to
    one pod. Canary pods are not counted: a failing canary must not block the drain of healthy pods; nor are pods that
    are not ready anyway.
    """
    return {
        "apiVersion": POD_DISRUPTION_BUDGET.api_version,
        "kind": POD_DISRUPTION_BUDGET.kind,
        "metadata": child_metadata(primitive),
        "spec": {
            "maxUnavailable": 1,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": selector_labels(primitive, names.TRACK_STABLE)},
        },
    }
