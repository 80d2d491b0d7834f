"""What is known of Temporal, as plain data: for plans and status, which may not ask for themselves."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """A task queue: the connection's name in the settings, the namespace, the queue."""

    connection: str
    namespace: str
    queue: str


class NamespaceState(StrEnum):
    """State of a namespace; `Missing` is ours, the others are Temporal's. Only in `Registered` do workers work."""

    Registered = "Registered"
    Deprecated = "Deprecated"
    Deleted = "Deleted"
    Missing = "Missing"
    Unknown = "Unknown"


@dataclass(frozen=True, slots=True)
class Namespace:
    """A namespace's state, and for how long it keeps closed workflows (None where it does not say)."""

    name: str
    state: NamespaceState
    retention: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Poller:
    """A worker that asked the queue for work lately. `identity` is what the worker calls itself, by default
    `<process id>@<host name>`; `deployment` and `build_id` are empty for unversioned workers."""

    identity: str
    last_access: datetime
    workflows: bool
    activities: bool
    deployment: str = ""
    build_id: str = ""

    def of_pod(self, name: str) -> bool:
        """Whether the identity is a pod's name, or ends with `@` and it, as that of every SDK does in a pod."""
        return self.identity == name or self.identity.endswith(f"@{name}")


@dataclass(frozen=True, slots=True)
class TaskQueue:
    """Who polls a queue and what waits in it. Backlogs are Temporal's own approximate counts of tasks that no worker
    has taken; `backlog_age` is how long the oldest has waited, in seconds. `current_version` is that of Worker
    Versioning (`<deployment>.<build id>`), empty where it is not used."""

    pollers: tuple[Poller, ...] = ()
    workflow_backlog: int = 0
    activity_backlog: int = 0
    backlog_age: float = 0.0
    current_version: str = ""

    @property
    def backlog(self) -> int:
        """Tasks of both types that wait."""
        return self.workflow_backlog + self.activity_backlog

    @property
    def workflow_pollers(self) -> int:
        """How many workers poll for workflow tasks, without which no workflow moves."""
        return sum(poller.workflows for poller in self.pollers)


@dataclass(frozen=True, slots=True)
class OpenWorkflows:
    """How many workflows of the queue are open, at a time. `zero_since`: since when every look has found none.

    Visibility lags behind by seconds: trust a zero only when it has been seen again some time later.
    """

    count: int
    checked_at: datetime
    zero_since: datetime | None = None

    def none_for(self, seconds: float) -> bool:
        """Whether looks at least `seconds` apart found none."""
        return self.zero_since is not None and (self.checked_at - self.zero_since).total_seconds() >= seconds


@dataclass(frozen=True, slots=True)
class Usage:
    """The definitions that open workflows run on, by checksum (as the workflows wrote it, such as `sha256:…`).

    `complete` is False when there may be others: some workflows have not said (`silent` of those seen), or there were
    more than are looked at. Only a complete usage tells that a definition is not in use.
    """

    checksums: frozenset[str]
    complete: bool
    silent: int = 0
    checked_at: datetime | None = None


class BatchOperation(StrEnum):
    """What is done to each open workflow."""

    Cancel = "Cancel"
    Terminate = "Terminate"


class BatchState(StrEnum):
    """State of a batch operation."""

    Running = "Running"
    Completed = "Completed"
    Failed = "Failed"
    Unknown = "Unknown"


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch operation: how many workflows it is about, how many are done, how many could not be."""

    job_id: str
    state: BatchState
    total: int = 0
    done: int = 0
    failed: int = 0
    closed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class SchedulesPaused:
    """Temporal Schedules that start workflows on a queue: those paused just now, those that were paused before, and
    those that could not be paused (with why). Empty `failed` and `complete` mean that none goes on starting."""

    paused: tuple[str, ...] = ()
    already: tuple[str, ...] = ()
    failed: tuple[tuple[str, str], ...] = ()
    complete: bool = True


@dataclass(frozen=True, slots=True)
class WorkerDeployment:
    """A Worker Deployment of Temporal's Worker Versioning; build ids are empty where there is none."""

    name: str
    current_build_id: str = ""
    ramping_build_id: str = ""
    ramping_percentage: float = 0.0
    build_ids: tuple[str, ...] = ()


class Detail(StrEnum):
    """What a watcher looks up besides namespace, pollers and backlog, for whoever asks for it: how many workflows are
    open, and the definitions that they run on."""

    Open = "Open"
    Usage = "Usage"


class ProblemKind(StrEnum):
    """Why a target cannot be looked at, or not be used."""

    Unreachable = "Unreachable"
    Busy = "Busy"
    Denied = "Denied"
    NamespaceMissing = "NamespaceMissing"
    Rejected = "Rejected"
    ConnectionUnknown = "ConnectionUnknown"


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a target could not be looked at, what to do about it, and since when. The watcher goes on trying, and tells
    of the end."""

    kind: ProblemKind
    message: str
    remedy: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Observation:
    """What was last seen of a target. With a problem, the facts are those of `checked_at`, the last good look.

    `reachable` is None as long as nothing has been heard of the server at all. `pollers` in `queue` are only those
    that are alive; Temporal itself lists them for five minutes after their last word.
    """

    target: Target
    reachable: bool | None = None
    checked_at: datetime | None = None
    namespace: Namespace | None = None
    queue: TaskQueue | None = None
    open: OpenWorkflows | None = None
    usage: Usage | None = None
    problem: Problem | None = None

    @property
    def significant(self) -> tuple[object, ...]:
        """What users are told of when it changes; times, and counts within a bucket, are not in it."""
        queue = self.queue
        return (
            self.reachable,
            self.problem and self.problem.kind,
            self.namespace and (self.namespace.state, self.namespace.retention),
            queue and frozenset((p.identity, p.build_id, p.workflows, p.activities) for p in queue.pollers),
            queue and (bucket(queue.workflow_backlog), bucket(queue.activity_backlog), queue.current_version),
            self.open and self.open.count,
            self.usage and (self.usage.checksums, self.usage.complete),
        )


def bucket(count: int) -> int:
    """The order of magnitude of a count: 0 for none, 1 below ten, 2 below a hundred, and so on."""
    return len(str(count)) if count > 0 else 0


def alive(pollers: Iterable[Poller], now: datetime, seconds: float) -> tuple[Poller, ...]:
    """The pollers that were heard of within the last `seconds`."""
    return tuple(poller for poller in pollers if (now - poller.last_access).total_seconds() <= seconds)
