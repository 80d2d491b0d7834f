"""What a plan may know of the cluster, as plain data; each kind adds what it asks of others. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from ameide_shared.imagepolicy import ImageInfo
from ameide_shared.jobs import job_of
from ameide_shared.kube.resources import POD, Manifest, ResourceType
from ameide_shared.reasons import Reason
from ameide_shared.snapshot import Snapshot
from ameide_shared.vocabulary import LABEL_TRACK, TRACK_STABLE


@dataclass(frozen=True, slots=True)
class ImageCheck:
    """The registry's answer about `spec.image` where settings have it asked: what it knows, or why it is not known.

    Neither means that nobody asked.
    """

    info: ImageInfo | None = None
    problem: tuple[Reason, str] | None = None


@dataclass(frozen=True, slots=True)
class Observed:
    """The cluster as the plan of one resource may know it.

    `objects` holds its namespace, its children and pods, and what of others its spec names. `apis` are the optional
    APIs that are installed.
    """

    objects: Snapshot = field(default_factory=Snapshot)
    apis: frozenset[ResourceType] = frozenset()
    image: ImageCheck = ImageCheck()

    def children(self, resource: ResourceType) -> list[Manifest]:
        """The observed objects of a type, in order."""
        return self.objects.list(resource)

    def pods(self) -> list[Manifest]:
        """The resource's pods, those of its Jobs too."""
        return self.objects.list(POD)

    def ready_pods(self) -> list[Manifest]:
        """Stable pods that are ready and not being deleted: those that do the work."""
        return [
            pod
            for pod in self.pods()
            if (pod["metadata"].get("labels") or {}).get(LABEL_TRACK) == TRACK_STABLE
            and not pod["metadata"].get("deletionTimestamp")
            and any(
                c.get("type") == "Ready" and c.get("status") == "True"
                for c in (pod.get("status") or {}).get("conditions") or ()
            )
        ]

    def pods_of_job(self, name: str) -> list[Manifest]:
        """The pods of a Job, by the label that the Job controller gives them."""
        return [pod for pod in self.pods() if job_of(pod) == name]
