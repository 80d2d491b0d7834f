"""What a benchmark sees from outside: resources turning Ready, requests in the audit log, use of the machine."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ameide_dev.client import ApiError, KubeClient, UnavailableError, condition_of
from ameide_dev.controlplane import ControlPlane

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
WRITES = ("create", "update", "patch", "delete", "deletecollection")
# Requests that are not about bringing resources about; counted apart.
ASIDE = frozenset({"events", "leases", "selfsubjectaccessreviews", "selfsubjectrulesreviews", "tokenreviews"})


@dataclass(frozen=True, slots=True)
class Usage:
    """Of the operator's processes: processor time used so far in seconds, resident memory now in bytes."""

    cpu: float
    rss: int


def usage(group: int) -> Usage:
    """Sum over the processes of a process group; zeros when none is left."""
    cpu, rss = 0, 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(") ")[2].split()
        except OSError:
            continue  # it ended meanwhile
        if int(fields[2]) == group:
            # utime, stime and those of children that ended and were waited for
            cpu += sum(int(value) for value in fields[11:15])
            rss += int(fields[21])
    return Usage(cpu / TICKS_PER_SECOND, rss * PAGE_BYTES)


@dataclass(frozen=True, slots=True)
class Load:
    """Processor seconds since boot: what the machine could have used, what it used, and what we and ours used of it."""

    total: float
    busy: float
    own: float


def load() -> Load:
    """The machine's load so far; `own`: this process and its descendants, so control plane and operator too."""
    times = [int(value) for value in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    idle = times[3] + times[4]
    parents, used = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(") ")[2].split()
        except OSError:
            continue
        process = int(stat.parent.name)
        parents[process], used[process] = int(fields[1]), sum(int(value) for value in fields[11:15])
    family = {os.getpid()}
    while fresh := {process for process, parent in parents.items() if parent in family} - family:
        family |= fresh
    own = sum(used.get(process, 0) for process in family)
    return Load(sum(times) / TICKS_PER_SECOND, (sum(times) - idle) / TICKS_PER_SECOND, own / TICKS_PER_SECOND)


class Meter:
    """Follows a process group five times a second for its peak memory, and remembers its last processor time."""

    def __init__(self, group: int) -> None:
        self._group = group
        self._stop = threading.Event()
        self.last = Usage(0.0, 0)
        self.peak_rss = 0
        self.read()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def read(self) -> Usage:
        now = usage(self._group)
        if now.rss:  # what an ended process has used is no longer told: keep the most that was seen
            self.last = Usage(max(now.cpu, self.last.cpu), now.rss)
            self.peak_rss = max(self.peak_rss, now.rss)
        return self.last

    def reset_peak(self) -> None:
        self.peak_rss = self.read().rss

    def close(self) -> None:
        self._stop.set()
        self._thread.join()

    def _follow(self) -> None:
        while not self._stop.wait(0.2):
            self.read()


@dataclass(frozen=True, slots=True)
class Requests:
    """One user's requests, from the audit log: (verb, resource) to count; events, leases and the like in `aside`."""

    counted: Mapping[tuple[str, str], int] = field(default_factory=dict)
    aside: int = 0
    refused: int = 0  # answered 4xx or 5xx
    watches: int = 0  # opened

    def total(self, *verbs: str) -> int:
        return sum(count for (verb, _), count in self.counted.items() if verb in verbs)

    @property
    def writes(self) -> int:
        return self.total(*WRITES)

    @property
    def reads(self) -> int:
        """GETs and LISTs."""
        return self.total("get", "list")


def count(events: Iterable[Mapping[str, Any]]) -> Requests:
    """Count audit events of all stages. Discovery (paths without an object) is left out."""
    counted: Counter[tuple[str, str]] = Counter()
    aside = refused = watches = 0
    for event in events:
        reference = event.get("objectRef") or {}
        resource = reference.get("resource", "")
        if event["verb"] == "watch":
            watches += event["stage"] == "ResponseStarted"
            continue
        if event["stage"] != "ResponseComplete" or not resource:
            continue
        if reference.get("subresource"):
            resource = f"{resource}/{reference['subresource']}"
        if resource in ASIDE:
            aside += 1
            continue
        if event.get("responseStatus", {}).get("code", 200) >= 400:
            refused += 1
        counted[event["verb"], resource] += 1
    return Requests(dict(counted), aside, refused, watches)


class Ledger:
    """Requests of one user since a mark."""

    def __init__(self, control_plane: ControlPlane, user: str) -> None:
        self._control_plane, self._user = control_plane, user
        self._mark = control_plane.audit_position()

    def mark(self) -> None:
        self._mark = self._control_plane.audit_position()

    def read(self) -> Requests:
        return count(self._control_plane.audit_events(user=self._user, after=self._mark, stage=None))

    def settle(self, quiet: float = 3.0, timeout: float = 120.0) -> None:
        """Wait until the user has asked for nothing (but leases and the like) for `quiet` seconds.

        Raises TimeoutError: an operator that never rests cannot be measured at rest.
        """
        began = since = time.monotonic()
        position, seen = self._control_plane.audit_position(), 0
        while time.monotonic() - since < quiet:
            if time.monotonic() - began > timeout:
                raise TimeoutError(f"{self._user} still sends requests after {timeout:.0f} s")
            time.sleep(0.25)
            fresh = count(self._control_plane.audit_events(user=self._user, after=position, stage=None))
            total = sum(fresh.counted.values()) + fresh.watches
            if total != seen:
                seen, since = total, time.monotonic()


@dataclass(slots=True)
class Seen:
    """The last state of one Domain, and when each of its generations was first Ready (monotonic seconds)."""

    generation: int = 0
    ready: bool = False
    since: dict[int, float] = field(default_factory=dict)


def ready_generation(domain: Mapping[str, Any]) -> int | None:
    """The generation for which Ready is True, None while it is not, or speaks of an older generation."""
    condition = condition_of(dict(domain), "Ready")
    if condition is None or condition["status"] != "True":
        return None
    status = domain.get("status") or {}
    observed: int | None = condition.get("observedGeneration", status.get("observedGeneration"))
    return observed if observed == domain["metadata"]["generation"] else None


class Watcher:
    """Watches the Domains of a namespace in a thread of its own."""

    def __init__(self, client: KubeClient, namespace: str) -> None:
        self._client, self._namespace = client, namespace
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self.domains: dict[str, Seen] = {}
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()

    def wait_ready(self, generations: Mapping[str, int], timeout: float) -> dict[str, float]:
        """Wait until each named Domain is Ready in its generation; names to that moment; who was late is left out."""
        deadline = time.monotonic() + timeout

        def found() -> dict[str, float]:
            seen = ((name, self.domains[name]) for name in generations if name in self.domains)
            return {name: one.since[generations[name]] for name, one in seen if generations[name] in one.since}

        with self._changed:
            while len(moments := found()) < len(generations) and time.monotonic() < deadline:
                self._changed.wait(0.5)
        return moments

    def wait_gone(self, names: Iterable[str], timeout: float) -> bool:
        """Wait until none of the named Domains exists."""
        wanted, deadline = set(names), time.monotonic() + timeout
        with self._changed:
            while wanted & set(self.domains) and time.monotonic() < deadline:
                self._changed.wait(0.5)
            return not wanted & set(self.domains)

    def unready(self) -> list[str]:
        """Domains that are not Ready for their present generation."""
        return sorted(name for name, seen in self.domains.items() if not seen.ready)

    def _run(self) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(ApiError, UnavailableError):
                for event, domain in self._client.watch("ameide.io/v1", "Domain", self._namespace, timeout=3600):
                    self._note(event, domain)
                    if self._stop.is_set():
                        return
            time.sleep(0.1)

    def _note(self, event: str, domain: Mapping[str, Any]) -> None:
        now, name = time.monotonic(), domain["metadata"].get("name", "")
        with self._changed:
            if event == "DELETED":
                self.domains.pop(name, None)
            elif event != "BOOKMARK":
                seen = self.domains.setdefault(name, Seen())
                ready = ready_generation(domain)
                seen.generation, seen.ready = domain["metadata"]["generation"], ready is not None
                if ready is not None:
                    seen.since.setdefault(ready, now)
            self._changed.notify_all()
