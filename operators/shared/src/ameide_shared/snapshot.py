"""A frozen view of cluster objects: what `observe` read, and all that `plan` may know of the cluster.

Secrets never enter with their values. `redacted_secret` replaces `data` by a digest per key under `digests`.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ameide_shared.kube.resources import SECRET, Manifest, ObjectKey, ResourceType, key_of, resource_of


class Snapshot:
    """Objects by type, namespace and name. Immutable by convention: nothing here changes after construction."""

    __slots__ = ("_by_type",)

    def __init__(self, objects: Iterable[Manifest] = ()) -> None:
        by_type: dict[ResourceType, dict[ObjectKey, Manifest]] = {}
        for manifest in objects:
            resource = resource_of(manifest)
            by_type.setdefault(resource, {})[key_of(manifest)] = (
                redacted_secret(manifest) if resource is SECRET else manifest
            )
        self._by_type = by_type

    def get(self, resource: ResourceType, namespace: str, name: str) -> Manifest | None:
        """One object, or None."""
        return self._by_type.get(resource, {}).get(ObjectKey(namespace if resource.namespaced else "", name))

    def list(self, resource: ResourceType, namespace: str | None = None) -> list[Manifest]:
        """The objects of a type, in order of namespace and name; of one namespace if given."""
        found = self._by_type.get(resource, {})
        return [found[key] for key in sorted(found) if namespace is None or key.namespace == namespace]

    def __iter__(self) -> Iterator[Manifest]:
        for objects in self._by_type.values():
            yield from objects.values()


def redacted_secret(secret: Manifest) -> dict[str, Any]:
    """A Secret without its values: `digests` maps each key to the SHA-256 (hex) of its decoded value."""
    if "digests" in secret:
        return dict(secret)
    values: Mapping[str, str] = secret.get("data") or {}
    digests = {key: hashlib.sha256(base64.b64decode(value)).hexdigest() for key, value in sorted(values.items())}
    for key, value in (secret.get("stringData") or {}).items():
        digests[key] = hashlib.sha256(value.encode()).hexdigest()
    return {key: value for key, value in secret.items() if key not in ("data", "stringData")} | {"digests": digests}
