"""The HorizontalPodAutoscaler of a resource."""

from __future__ import annotations

from typing import Any

from ameide_shared.builders.identity import Primitive, child_metadata
from ameide_shared.kube.resources import DEPLOYMENT, HORIZONTAL_POD_AUTOSCALER
from ameide_shared.spec.common import CommonSpec


def hpa(primitive: Primitive, spec: CommonSpec) -> dict[str, Any]:
    """A HorizontalPodAutoscaler of the stable Deployment, by CPU use in percent of the request.

    Raises ValueError where `spec.autoscaling` is not set.
    """
    autoscaling = spec.autoscaling
    if autoscaling is None:
        raise ValueError(f"{primitive}: spec.autoscaling is not set, so there is no autoscaler to build")
    return {
        "apiVersion": HORIZONTAL_POD_AUTOSCALER.api_version,
        "kind": HORIZONTAL_POD_AUTOSCALER.kind,
        "metadata": child_metadata(primitive),
        "spec": {
            "scaleTargetRef": {
                "apiVersion": DEPLOYMENT.api_version,
                "kind": DEPLOYMENT.kind,
                "name": primitive.child_name,
            },
            "minReplicas": max(1, autoscaling.min_replicas),  # by CPU use nothing could be started from 0
            "maxReplicas": autoscaling.max_replicas,
            "metrics": [
                {
                    "type": "Resource",
                    "resource": {
                        "name": "cpu",
                        "target": {
                            "type": "Utilization",
                            "averageUtilization": autoscaling.target_cpu_utilization_percentage,
                        },
                    },
                }
            ],
        },
    }
