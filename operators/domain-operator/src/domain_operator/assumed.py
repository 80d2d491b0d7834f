"""What a Domain expects of others, as it would be if all were well, for looking at a Domain without a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ameide_shared.kube.resources import CNPG_CLUSTER, EXTERNAL_SECRET, Manifest
from ameide_shared.spec import InvalidSpec
from ameide_shared.vocabulary import ANNOTATION_ALLOWED_NAMESPACES
from domain_operator.plan.binding import KEY_OF_VARIABLE
from domain_operator.spec import Domain


def assumed(manifest: Manifest) -> Iterator[dict[str, Any]]:
    """The Cluster that `spec.db` refers to, Ready and open to the Domain; and the connection Secret that it names."""
    try:
        domain = Domain.parse(manifest)
    except InvalidSpec:
        return
    db = domain.spec.db
    if db is None:
        return
    namespace, name = domain.cluster
    yield {
        "apiVersion": CNPG_CLUSTER.api_version,
        "kind": CNPG_CLUSTER.kind,
        "metadata": {
            "namespace": namespace,
            "name": name,
            "annotations": {ANNOTATION_ALLOWED_NAMESPACES: domain.namespace},
        },
        "spec": {"enableSuperuserAccess": True},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    }
    reference = db.connection_secret_ref
    if reference is None:
        return
    metadata = {"namespace": domain.namespace, "name": reference.name}
    if reference.kind == EXTERNAL_SECRET.kind:
        yield {"apiVersion": EXTERNAL_SECRET.api_version, "kind": EXTERNAL_SECRET.kind, "metadata": metadata}
    # Placeholders stand for values: a plan looks at which keys there are, and at digests.
    values = {key: f"<{key}>" for key in sorted(KEY_OF_VARIABLE.values())}
    yield {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": values}
