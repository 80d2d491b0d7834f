"""How a Deployment stands, from the Deployment and its Pods, and the counts and images that status reports.

`diagnosis` says why one does not come up; this module says whether it has.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ameide_shared import vocabulary as names
from ameide_shared.diagnosis import Cause, diagnose
from ameide_shared.jobs import JobPhase, JobState, job_state
from ameide_shared.kube.resources import Manifest

__all__ = ["Cause", "JobPhase", "JobState", "WorkloadState", "diagnose", "image_digest", "job_state", "workload_state"]

_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class WorkloadState:
    """A Deployment in numbers. `rolled_out` is what `kubectl rollout status` means by it.

    `revision` is the digest of the pod template that the Deployment asks for; `image_digest` is what its pods really
    run, empty while unknown.
    """

    name: str
    image: str = ""
    image_digest: str = ""
    desired: int = 0
    ready: int = 0
    updated: int = 0
    available: int = 0
    total: int = 0
    rolled_out: bool = False
    deadline_exceeded: bool = False
    revision: str = ""
    exists: bool = False

    @property
    def progress(self) -> str:
        """The rollout in words: what it still waits for."""
        if self.rolled_out:
            return f"{self.available} of {self.desired} replicas are available"
        if self.updated < self.desired:
            return f"{self.updated} of {self.desired} replicas run the new revision"
        if self.total > self.updated:
            return f"{self.total - self.updated} of the old replicas still run"
        return f"{self.available} of {self.updated} updated replicas are available"

    def as_status(self) -> dict[str, Any]:
        """`status.workload`; empty fields are left out, counts are not."""
        status: dict[str, Any] = {
            "name": self.name,
            "image": self.image,
            "imageDigest": self.image_digest,
            "desiredReplicas": self.desired,
            "readyReplicas": self.ready,
            "updatedReplicas": self.updated,
        }
        return {key: value for key, value in status.items() if value != ""}


def workload_state(deployment: Manifest | None, pods: Iterable[Manifest] = (), *, name: str = "") -> WorkloadState:
    """The state of a Deployment; None, with its name, for one that does not exist (yet).

    `pods` may hold other pods too: those of the Deployment's selector and current revision are picked.
    """
    if deployment is None:
        return WorkloadState(name)
    spec, status = deployment["spec"], deployment.get("status") or {}
    template = spec["template"]
    desired = int(spec.get("replicas", 1))
    updated = int(status.get("updatedReplicas", 0))
    available = int(status.get("availableReplicas", 0))
    total = int(status.get("replicas", 0))
    observed = int(status.get("observedGeneration", 0)) >= int(deployment["metadata"].get("generation", 0))
    container = template["spec"]["containers"][0]
    return WorkloadState(
        name=deployment["metadata"]["name"],
        image=container["image"],
        image_digest=image_digest(container["name"], pods_of(deployment, pods)),
        desired=desired,
        ready=int(status.get("readyReplicas", 0)),
        updated=updated if observed else 0,
        available=available,
        total=total,
        rolled_out=observed and updated >= desired and total <= updated and available >= updated,
        deadline_exceeded=observed and _deadline_exceeded(status),
        revision=_stamps(template)[0],
        exists=True,
    )


def pods_of(deployment: Manifest, pods: Iterable[Manifest]) -> list[Manifest]:
    """The pods of a Deployment's selector that are of the revision and configuration its template asks for."""
    selector: Mapping[str, str] = deployment["spec"]["selector"].get("matchLabels") or {}
    wanted = _stamps(deployment["spec"]["template"])
    return [
        pod
        for pod in pods
        if selector.items() <= (pod["metadata"].get("labels") or {}).items()
        and all(want in ("", found) for want, found in zip(wanted, _stamps(pod), strict=True))
    ]


def image_digest(container: str, pods: Sequence[Manifest]) -> str:
    """The digest that most of the pods run in a container of that name; empty while none says."""
    found: Counter[str] = Counter()
    for pod in pods:
        for status in (pod.get("status") or {}).get("containerStatuses") or ():
            image_id = str(status.get("imageID", ""))
            digests = _DIGEST.findall(image_id)
            if status.get("name") == container and digests:
                found[digests[-1]] += 1
    return min(found, key=lambda digest: (-found[digest], digest), default="")


def _deadline_exceeded(status: Mapping[str, Any]) -> bool:
    return any(
        condition.get("type") == "Progressing" and condition.get("reason") == "ProgressDeadlineExceeded"
        for condition in status.get("conditions") or ()
    )


def _stamps(manifest: Mapping[str, Any]) -> tuple[str, str]:
    """The digests of the revision and of the consumed configuration that a pod (template) is stamped with."""
    annotations = (manifest.get("metadata") or {}).get("annotations") or {}
    return annotations.get(names.ANNOTATION_REVISION, ""), annotations.get(names.ANNOTATION_CONFIG_DIGEST, "")
