"""The ServiceMonitor by which Prometheus scrapes a resource's pods."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ameide_shared import vocabulary as names
from ameide_shared.builders.identity import Primitive, child_metadata, selector_labels
from ameide_shared.builders.pod import BACKEND, PodProfile
from ameide_shared.kube.resources import SERVICE_MONITOR


def service_monitor(
    primitive: Primitive,
    profile: PodProfile = BACKEND,
    *,
    path: str = "/metrics",
    labels: Mapping[str, str] | None = None,
    interval_seconds: int = 30,
) -> dict[str, Any]:
    """A ServiceMonitor of the Service, by its first port. `labels` are those by which a Prometheus selects monitors.

    The track becomes a label of the metrics, so that a canary can be compared with what is stable.
    """
    return {
        "apiVersion": SERVICE_MONITOR.api_version,
        "kind": SERVICE_MONITOR.kind,
        "metadata": child_metadata(primitive, labels=labels),
        "spec": {
            "selector": {"matchLabels": selector_labels(primitive)},
            "podTargetLabels": [names.LABEL_TRACK, *profile.metric_labels],
            "endpoints": [{"port": profile.ports[0].name, "path": path, "interval": f"{interval_seconds}s"}],
        },
    }
