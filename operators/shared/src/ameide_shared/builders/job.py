"""One-shot Jobs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ameide_shared import vocabulary as names
from ameide_shared.builders.identity import Primitive, child_metadata, foreign_child_metadata, image_version
from ameide_shared.kube.resources import JOB


def job(
    primitive: Primitive,
    name: str,
    template: Mapping[str, Any],
    *,
    backoff_limit: int,
    deadline_seconds: int,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    namespace: str | None = None,
) -> dict[str, Any]:
    """A Job that runs one pod at a time to its end, with `backoff_limit` retries within `deadline_seconds`.

    It is never deleted by time: the operator still reads its result later. A pod is replaced only when it has really
    ended, so no two run at once; evictions and preemptions do not count as failures. In another `namespace` than the
    resource's it has the metadata of a foreign child.
    """
    if namespace is None or namespace == primitive.namespace:
        version = image_version(template["spec"]["containers"][0]["image"])
        metadata = child_metadata(
            primitive, name, track=names.TRACK_JOB, version=version, labels=labels, annotations=annotations
        )
    else:
        track = {names.LABEL_TRACK: names.TRACK_JOB}
        metadata = foreign_child_metadata(
            primitive, namespace, name, labels=dict(labels or {}) | track, annotations=annotations
        )
    return {
        "apiVersion": JOB.api_version,
        "kind": JOB.kind,
        "metadata": metadata,
        "spec": {
            "backoffLimit": backoff_limit,
            "activeDeadlineSeconds": deadline_seconds,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {
                "rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]
            },
            "template": {"metadata": dict(template["metadata"]), "spec": dict(template["spec"])},
        },
    }
