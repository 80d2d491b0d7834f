"""What a UISurface expects of others, as it would be if all were well, for looking at one without a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ameide_shared.kube.resources import KEYCLOAK_CLIENT, Manifest
from ameide_shared.spec import InvalidSpec
from ameide_shared.vocabulary import ANNOTATION_ALLOWED_NAMESPACES
from uisurface_operator.plan.context import references
from uisurface_operator.spec import UISurface

ASSUMED_SECRET = "assumed"  # noqa: S105 - stands for a secret that only Keycloak knows


def assumed(manifest: Manifest) -> Iterator[dict[str, Any]]:
    """Its dependencies, Ready and open to it, and its client in Keycloak."""
    try:
        surface = UISurface.parse(manifest)
    except InvalidSpec:
        return
    for reference in references(surface.spec, surface.namespace):
        yield {
            "apiVersion": reference.resource.api_version,
            "kind": reference.resource.kind,
            "metadata": {
                "namespace": reference.key.namespace,
                "name": reference.key.name,
                "generation": 1,
                "annotations": {ANNOTATION_ALLOWED_NAMESPACES: surface.namespace},
            },
            "status": {"conditions": [{"type": "Ready", "status": "True", "observedGeneration": 1}]},
        }
    if not surface.spec.auth.public:
        yield {
            "apiVersion": KEYCLOAK_CLIENT.api_version,
            "kind": KEYCLOAK_CLIENT.kind,
            "metadata": {"namespace": surface.namespace, "name": surface.name},
            "status": {"exists": True, "secret": ASSUMED_SECRET},
        }
