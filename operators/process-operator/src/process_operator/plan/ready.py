"""Which pods do the work: those of the main workload that are ready and not going."""

from __future__ import annotations

from ameide_shared.kube.resources import Manifest
from ameide_shared.observed import Observed
from ameide_shared.vocabulary import LABEL_TRACK, TRACK_STABLE


def ready_pods(observed: Observed) -> list[Manifest]:
    """Stable pods that are ready and not being deleted, in order of name."""
    return [
        pod
        for pod in observed.pods()
        if (pod["metadata"].get("labels") or {}).get(LABEL_TRACK) == TRACK_STABLE
        and not pod["metadata"].get("deletionTimestamp")
        and any(
            c.get("type") == "Ready" and c.get("status") == "True"
            for c in (pod.get("status") or {}).get("conditions") or ()
        )
    ]
