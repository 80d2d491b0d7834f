"""Which resources an object concerns: the questions that the watches of every operator ask alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ameide_shared.builders.identity import primitive_of
from ameide_shared.controller.runtime import Watch
from ameide_shared.kube.cache import owner_of
from ameide_shared.kube.index import Index
from ameide_shared.kube.resources import NAMESPACE, POD, Manifest, ObjectKey, ResourceType
from ameide_shared.vocabulary import LABEL_MANAGED_BY


class Wiring:
    """For one kind: `primitive` as labels spell it (`domain`), `operator` as its children name their manager.

    `by_namespace` indexes the resources by namespace; it exists only once the runtime's cache does.
    """

    by_namespace: Index

    def __init__(self, primitive: str, operator: str) -> None:
        self._primitive = primitive
        self._selector = f"{LABEL_MANAGED_BY}={operator}"

    def watches(self, children: Iterable[ResourceType], optional: Iterable[ResourceType] = ()) -> list[Watch]:
        """Watches of children, of pods and of Namespaces. Selectors are the server's, so others' never reach us."""
        return [
            *(Watch(resource, self.of_child, self._selector) for resource in children),
            *(Watch(resource, self.of_child, self._selector, optional=True) for resource in optional),
            Watch(POD, self.of_pod, self._selector),
            Watch(NAMESPACE, self.of_namespace),
        ]

    def of_child(self, manifest: Manifest) -> Iterable[ObjectKey]:
        """The resource that a child says it belongs to, wherever the child lives."""
        owner = owner_of(manifest)
        if owner is not None and owner.primitive == self._primitive:
            yield ObjectKey(owner.namespace, owner.name)

    def of_pod(self, manifest: Manifest) -> Iterable[ObjectKey]:
        """The resource of a serving pod or of a Job's pod, by its labels: its controller is a ReplicaSet or a Job."""
        labels: Mapping[str, str] = manifest["metadata"].get("labels") or {}
        if primitive_of(labels) == self._primitive:
            owner = owner_of({"metadata": {**manifest["metadata"], "ownerReferences": []}})
            if owner is not None:
                yield ObjectKey(owner.namespace, owner.name)

    def of_namespace(self, manifest: Manifest) -> Iterable[ObjectKey]:
        """Every resource of a namespace: its labels name the tenant."""
        return self.by_namespace.keys(manifest["metadata"]["name"])


def namespace_of(manifest: Manifest) -> list[str]:
    """The value by which `by_namespace` finds a resource."""
    return [manifest["metadata"]["namespace"]]
