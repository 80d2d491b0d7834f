"""What the cache keeps of an object: less than the API server sends, and equal parts only once.

Nothing that is returned here may be changed by anybody: parts are shared between objects.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from sys import intern
from typing import Any

from ameide_shared.kube.resources import (
    CUSTOM_RESOURCE_DEFINITION,
    NAMESPACE,
    POD,
    Manifest,
    ResourceType,
)

_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_METADATA_DROPPED = frozenset(("managedFields", "selfLink"))
_METADATA_SHARED = frozenset(("namespace", "labels", "finalizers", "ownerReferences"))
_POOL_SIZE = 4_000
_SHORT = 64  # characters: longer strings are hardly ever equal
_LIST = object()


class Slimmer:
    """Copies objects without what nobody reads; equal subtrees and strings become one object in memory.

    Thousands of Deployments made from one template differ in a few strings, so that sharing saves most of the memory:
    a Deployment of 9 KB as JSON, which is 35 KB when parsed, takes 10 KB.
    """

    def __init__(self) -> None:
        # Keys hold the identity of children that are in the pool themselves. They cannot go stale, since a parent keeps
        # its children alive and the pool is only ever emptied as a whole.
        self._pool: dict[Any, Any] = {}

    def __call__(self, resource: ResourceType, manifest: Manifest, previous: Manifest | None = None) -> dict[str, Any]:
        """The slim copy. Parts that are equal in `previous`, the object's last slim copy, are taken from there."""
        if len(self._pool) > _POOL_SIZE:
            self._pool.clear()
        select = _SELECT.get(resource)
        source = select(manifest) if select else manifest
        before = previous or {}
        slim: dict[str, Any] = {"apiVersion": resource.api_version, "kind": resource.kind}
        for key, value in source.items():
            if key == "metadata":
                slim[key] = self._metadata(value, before.get(key) or {})
            elif key not in slim:
                # Most events change nothing but the status: comparing is ten times cheaper than copying.
                slim[intern(key)] = before[key] if before.get(key) == value else self._share(value)
        return slim

    def _metadata(self, metadata: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
        kept: dict[str, Any] = {}
        for key, value in metadata.items():
            if key in _METADATA_DROPPED:
                continue
            if key in before and before[key] == value:
                kept[intern(key)] = before[key]
            elif key == "annotations":
                kept[key] = self._share({k: v for k, v in value.items() if k != _LAST_APPLIED})
            elif key in _METADATA_SHARED:
                kept[key] = self._share(value)
            else:
                kept[intern(key)] = value  # names, uids, versions and times: hardly ever equal
        return kept

    def _share(self, value: Any) -> Any:
        """The value, or an equal one that is in the pool."""
        kind = type(value)
        if kind is str:
            return intern(value) if len(value) <= _SHORT else value
        copy: Any
        parts: list[Any]
        if kind is dict:
            copy, parts = {}, []
            for name, item in value.items():
                name = intern(name)
                copy[name] = item = self._part(item, parts, name)
        elif kind is list:
            copy, parts = [], [_LIST]
            for item in value:
                copy.append(self._part(item, parts))
        else:
            return value
        return self._pool.setdefault(tuple(parts), copy)

    def _part(self, item: Any, parts: list[Any], *name: str) -> Any:
        """Share an item and add what stands for it to the key: 1, true and 1.0 must not be taken for each other."""
        parts.extend(name)
        kind = type(item)
        if kind is str:
            if len(item) <= _SHORT:
                item = intern(item)
            parts.append(item)
        elif kind is dict or kind is list:
            item = self._share(item)
            parts.append((id(item),))
        elif kind is int or item is None:
            parts.append(item)
        else:
            parts.append((kind, item))
        return item


def _pod(pod: Manifest) -> dict[str, Any]:
    """Of a Pod: who it is, where it runs, how it fares, and the images it was asked to run."""
    metadata, spec, status = pod.get("metadata") or {}, pod.get("spec") or {}, pod.get("status") or {}
    kept = (
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "generation",
        "labels",
        "ownerReferences",
        "creationTimestamp",
        "deletionTimestamp",
        "annotations",
    )
    containers = {
        group: [{k: c[k] for k in ("name", "image") if k in c} for c in spec[group]]
        for group in ("initContainers", "containers")
        if spec.get(group)
    }
    return {
        "metadata": {k: metadata[k] for k in kept if k in metadata},
        "spec": {k: spec[k] for k in ("nodeName", "restartPolicy") if k in spec} | containers,
        "status": {
            k: status[k]
            for k in (
                "phase",
                "reason",
                "message",
                "podIP",
                "startTime",
                "conditions",
                "initContainerStatuses",
                "containerStatuses",
            )
            if k in status
        },
    }


def _crd(crd: Manifest) -> dict[str, Any]:
    """Of a CustomResourceDefinition: which API it serves. Its schemas may be megabytes."""
    spec, status = crd.get("spec") or {}, crd.get("status") or {}
    return {
        "metadata": crd.get("metadata") or {},
        "spec": {
            "group": spec.get("group"),
            "names": spec.get("names"),
            "scope": spec.get("scope"),
            "versions": [{k: v[k] for k in ("name", "served", "storage")} for v in spec.get("versions") or ()],
        },
        "status": {"conditions": status.get("conditions") or []},
    }


def _namespace(namespace: Manifest) -> dict[str, Any]:
    return {"metadata": namespace.get("metadata") or {}, "status": namespace.get("status") or {}}


_SELECT: dict[ResourceType, Callable[[Manifest], Mapping[str, Any]]] = {
    POD: _pod,
    CUSTOM_RESOURCE_DEFINITION: _crd,
    NAMESPACE: _namespace,
}
