"""What is known beside the cluster, as documents beside the manifests that `render --observed` and tests read.

A `KeycloakClient` stands for what Keycloak has of a surface's client:

    apiVersion: keycloak.ameide.io/v1
    kind: KeycloakClient
    metadata: {namespace: sales, name: shop}       # of the UISurface that it is for
    status: {exists: true, drift: [], secret: …}
    error: {reason: KeycloakUnavailable, message: …, remedy: …}     # beside it, where something is wrong
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ameide_shared.kube.resources import KEYCLOAK_CLIENT, Manifest, ResourceType, resource_of
from ameide_shared.snapshot import Snapshot
from ameide_shared.transformation.documents import LONG_AGO
from uisurface_operator.keycloak.errors import Failure
from uisurface_operator.keycloak.observation import Fault, Observation
from uisurface_operator.observed import Observed


def observed(objects: Iterable[Manifest], apis: frozenset[ResourceType]) -> Observed:
    """What a plan is given, from manifests and documents."""
    objects = list(objects)
    document = next((each for each in objects if resource_of(each) is KEYCLOAK_CLIENT), None)
    rest = [each for each in objects if resource_of(each) is not KEYCLOAK_CLIENT]
    return Observed(Snapshot(rest), apis, client=Observation() if document is None else client_of(document))


def client_of(document: Manifest) -> Observation:
    """The observation that a document describes."""
    told: dict[str, Any] = dict(document.get("status") or {})
    error = document.get("error")
    fault = None
    if error is not None:
        reason = Failure(error["reason"])
        terminal = reason is not Failure.UNAVAILABLE
        fault = Fault(reason, error["message"], error.get("remedy", ""), LONG_AGO, terminal)
    return Observation(
        exists=told.get("exists"),
        drift=tuple(told.get("drift") or ()),
        id="client" if told.get("exists") else "",
        secret=told.get("secret"),
        fault=fault,
        checked_at=LONG_AGO if "exists" in told else None,
    )
