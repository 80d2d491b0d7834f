"""How a Job stands, from the Job and its Pods: running, succeeded or failed, and what its container said last."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from ameide_shared.diagnosis import Cause, pod_cause
from ameide_shared.kube.resources import Manifest
from ameide_shared.redact import scrub


class JobPhase(Enum):
    """Where a Job is. RUNNING lasts until its last pod has ended, also when the outcome is already clear."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class JobState:
    """A Job in words.

    `reason` and `message` say why it failed: `BackoffLimitExceeded`, `DeadlineExceeded`, and the last words of the last
    container that failed, init containers included (scrubbed, with its lines), else the Job's own message.
    `termination` is the termination message of the container that succeeded. `cause` is why a pod of a running Job
    does not come up. Times are RFC 3339 as the API has them, empty while unknown.
    """

    phase: JobPhase
    exit_code: int | None = None
    container: str = ""
    reason: str = ""
    message: str = ""
    termination: str = ""
    cause: Cause | None = None
    failures: int = 0
    started_at: str = ""
    finished_at: str = ""


@dataclass(frozen=True, slots=True)
class _End:
    """The end of one container."""

    finished_at: str
    pod: str
    container: str
    exit_code: int
    reason: str
    message: str


def job_state(job: Manifest, pods: Iterable[Manifest] = ()) -> JobState:
    """The state of a Job. `pods` may hold other pods too: those that the Job owns are picked."""
    status: Mapping[str, Any] = job.get("status") or {}
    conditions = {condition["type"]: condition for condition in status.get("conditions") or ()}
    own = [pod for pod in pods if _owned(job, pod)]
    started, failures = str(status.get("startTime") or ""), int(status.get("failed", 0))
    if _true(conditions.get("Complete")):
        ends = sorted((end for pod in own for end in _ends(pod) if end.exit_code == 0), key=_by_time)
        said = [end.message for end in ends if end.message]
        return JobState(
            JobPhase.SUCCEEDED,
            exit_code=0,
            termination=said[-1] if said else "",
            failures=failures,
            started_at=started,
            finished_at=str(status.get("completionTime") or ""),
        )
    if _true(conditions.get("Failed")):
        return _failed(job, conditions["Failed"], own, started, failures)
    cause = next((cause for cause in (pod_cause(pod) for pod in own) if cause is not None), None)
    return JobState(JobPhase.RUNNING, cause=cause, failures=failures, started_at=started)


def _failed(job: Manifest, condition: Mapping[str, Any], pods: list[Manifest], started: str, failures: int) -> JobState:
    reason = str(condition.get("reason") or "Failed")
    ends = sorted((end for pod in pods for end in _ends(pod) if end.exit_code != 0), key=_by_time)
    last = ends[-1] if ends else None
    words = last.message if last else ""
    if reason == "DeadlineExceeded":
        seconds = (job.get("spec") or {}).get("activeDeadlineSeconds")
        late = f"did not finish within {seconds} s" if seconds else "did not finish in time"
        message = f"{late}: {words}" if words else late
    elif last is not None and last.reason == "OOMKilled":
        message = f"container {last.container} was killed because it used more memory than its limit"
    elif last is not None:
        message = words or f"container {last.container} ended with exit code {last.exit_code} and said nothing"
    else:
        message = scrub(str(condition.get("message") or reason))
    return JobState(
        JobPhase.FAILED,
        exit_code=last.exit_code if last else None,
        container=last.container if last else "",
        reason=reason,
        message=message,
        failures=failures,
        started_at=started,
        finished_at=str(condition.get("lastTransitionTime") or ""),
    )


def _ends(pod: Manifest) -> Iterator[_End]:
    """The ended containers of a pod, in their current state and, after a restart, the last one."""
    status: Mapping[str, Any] = pod.get("status") or {}
    for group in ("initContainerStatuses", "containerStatuses"):
        for container in status.get(group) or ():
            for state in (container.get("lastState") or {}, container.get("state") or {}):
                ended = state.get("terminated")
                if ended is not None:
                    yield _End(
                        finished_at=str(ended.get("finishedAt") or ""),
                        pod=pod["metadata"]["name"],
                        container=container["name"],
                        exit_code=int(ended.get("exitCode", 0)),
                        reason=str(ended.get("reason") or ""),
                        message=scrub(str(ended.get("message") or "")).strip(),
                    )


def _by_time(end: _End) -> tuple[str, str]:
    return end.finished_at, end.pod


def _owned(job: Manifest, pod: Manifest) -> bool:
    uid = job["metadata"].get("uid")
    references = pod["metadata"].get("ownerReferences") or ()
    if references:
        return any(reference.get("uid") == uid for reference in references)
    return bool(job_of(pod) == job["metadata"]["name"])


def job_of(pod: Manifest) -> str:
    """The Job of a pod, by the label that the Job controller gives it; empty for any other pod."""
    return str((pod["metadata"].get("labels") or {}).get("batch.kubernetes.io/job-name", ""))


def _true(condition: Mapping[str, Any] | None) -> bool:
    return condition is not None and condition.get("status") == "True"
