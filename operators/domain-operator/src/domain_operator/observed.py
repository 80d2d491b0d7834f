"""What a Domain's plan may know of the cluster, as plain data; `observe` fills it, `render` reads it from files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ameide_shared.imagepolicy import ImageInfo
from ameide_shared.kube.resources import POD, Manifest, ResourceType
from ameide_shared.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Observed:
    """The cluster as one Domain's plan may know it.

    `objects` holds the Domain's namespace and children, its pods, the Cluster it refers to, the DatabaseRoles,
    Databases and Domains that lay claim to the same names, and, where the spec names them, a ServiceAccount and a
    Secret of somebody else. `apis` are the optional APIs that are installed. `logs` has the end of the log of a
    migration Job's pod, by Job name, scrubbed of passwords. `image_info` is the registry's answer when it is asked,
    `image_error` what went wrong: a reason and a message.
    """

    objects: Snapshot = field(default_factory=Snapshot)
    apis: frozenset[ResourceType] = frozenset()
    logs: Mapping[str, str] = field(default_factory=dict)
    image_info: ImageInfo | None = None
    image_error: tuple[str, str] | None = None

    def children(self, resource: ResourceType) -> list[Manifest]:
        """The observed objects of a type, in order."""
        return self.objects.list(resource)

    def pods(self) -> list[Manifest]:
        """The Domain's pods, those of its Jobs too."""
        return self.objects.list(POD)

    def pods_of_job(self, name: str) -> list[Manifest]:
        """The pods of a Job, by the label that the Job controller gives them."""
        return [
            pod
            for pod in self.pods()
            if (pod["metadata"].get("labels") or {}).get("batch.kubernetes.io/job-name") == name
        ]
