"""All that is watched over one connection: when each target is looked at, and what happens while the server is away.

States of the connection: *up*, *suspect* (a request was not answered; one probe decides) and *down* (one probe per
step of a backoff, and no other request). Back up, all targets are looked at, spread over a second.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from typing import Final

from ameide_shared.kube.resources import ObjectKey
from process_operator.temporal.agenda import Agenda
from process_operator.temporal.errors import TemporalDenied, TemporalError, TemporalUnreachable
from process_operator.temporal.gateway import TemporalGateway
from process_operator.temporal.model import (
    Detail,
    NamespaceState,
    Observation,
    OpenWorkflows,
    Problem,
    Target,
    TaskQueue,
    alive,
)
from process_operator.temporal.namespaces import FAST_SECONDS, MISSING_SECONDS, Namespaces
from process_operator.temporal.trouble import problem_of, until_it_works

log = logging.getLogger(__name__)

_AT_ONCE: Final = 8  # targets that are looked at in the same moment
_PROBE_SECONDS: Final = 2.0  # for an answer to a probe
_SPREAD_SECONDS: Final = 1.0  # over which targets are looked at when the server is back
_SPREAD_EACH: Final = 0.01

Changed = Callable[[frozenset[ObjectKey]], None]


@dataclass(slots=True, eq=False)
class Entry:
    """A target with who wants to know of it."""

    observation: Observation
    users: dict[ObjectKey, frozenset[Detail]] = field(default_factory=dict)
    tried: float = float("-inf")  # when it was last looked at, with whatever success
    fast_until: float = float("-inf")
    checking: bool = False
    failures: int = 0
    looked: asyncio.Event = field(default_factory=asyncio.Event)  # set once anything is known
    answered: set[ObjectKey] = field(default_factory=set)  # users who wait for that, and need not be told
    again: bool = False  # wanted at once while it was being looked at


class Link:
    """The watched targets of one connection. Its task runs as long as there are any; `close` ends it."""

    def __init__(
        self,
        connection: str,
        gateway: TemporalGateway,
        changed: Changed,
        *,
        clock: Callable[[], float],
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._connection = connection
        self._gateway = gateway
        self._changed = changed
        self._clock = clock
        self._uniform = uniform
        self._interval = gateway.settings.check_seconds
        self._entries: dict[Target, Entry] = {}
        self._agenda: Agenda[Target] = Agenda()
        self._namespaces = Namespaces(connection, gateway, clock)
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._checks: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._runner: asyncio.Task[None] | None = None
        self._suspect: TemporalError | None = None
        self._down: Problem | None = None

    @property
    def down(self) -> Problem | None:
        """Why the connection is known not to work, if it is."""
        return self._down

    @property
    def targets(self) -> Iterable[Target]:
        return self._entries.keys()

    def watch(self, target: Target, user: ObjectKey, details: frozenset[Detail]) -> Entry:
        """Have a target looked at for a user, from now on."""
        entry = self._entries.get(target)
        if entry is None:
            entry = Entry(Observation(target))
            self._entries[target] = entry
            if self._down is not None:
                self._show(entry, replace(entry.observation, reachable=False, problem=self._down))
            self._schedule(target, 0.0)
        missing = details - entry.users.get(user, frozenset())
        entry.users[user] = details
        if missing and entry.observation.checked_at is not None:
            self._hurry(target, entry)
        if self._runner is None or self._runner.done():
            self._runner = asyncio.create_task(self._run(), name=f"Temporal connection {self._connection}")
            self._runner.add_done_callback(_ended)
        return entry

    def drop(self, target: Target, user: ObjectKey) -> None:
        """A user no longer wants to know; a target without users is not looked at any more."""
        entry = self._entries.get(target)
        if entry is not None and entry.users.pop(user, None) is not None and not entry.users:
            del self._entries[target]
            self._agenda.drop(target)
            if not any(other.namespace == target.namespace for other in self._entries):
                self._namespaces.forget(target.namespace)

    def expedite(self, target: Target, seconds: float) -> None:
        """Look at a target now, and each second for the next `seconds`."""
        entry = self._entries.get(target)
        if entry is not None:
            entry.fast_until = max(entry.fast_until, self._clock() + seconds)
            self._hurry(target, entry)

    async def close(self) -> None:
        """End all work."""
        tasks = [*self._checks, *([self._runner] if self._runner else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._namespaces.close()
        self._runner = None

    # --- when ---------------------------------------------------------------------------------------------------

    def _hurry(self, target: Target, entry: Entry) -> None:
        """Look soon, but not more often than each second."""
        if entry.checking:
            entry.again = True
            return
        self._schedule(target, max(0.0, entry.tried + FAST_SECONDS - self._clock()), sooner=True)

    def _schedule(self, target: Target, seconds: float, *, sooner: bool = False) -> None:
        """Look in so many seconds; with `sooner`, only if that is earlier than was said before."""
        due = self._clock() + seconds
        planned = self._agenda.due(target)
        if not (sooner and planned is not None and planned <= due):
            self._agenda.put(target, due)
            self._wake.set()

    async def _run(self) -> None:
        """The connection's whole life."""
        while True:
            if self._troubled:
                await self._recover()
                continue
            due = self._agenda.first()
            if due is None or due > self._clock():
                await self._sleep(None if due is None else due - self._clock())
                continue
            await self._slots.acquire()
            # Much may have happened meanwhile.
            target = None if self._troubled else self._agenda.take(self._clock())
            if target is None:
                self._slots.release()
                continue
            entry = self._entries[target]
            entry.checking = True
            task = asyncio.create_task(self._check(target, entry))
            self._checks.add(task)
            task.add_done_callback(self._checked)

    def _checked(self, task: asyncio.Task[None]) -> None:
        self._checks.discard(task)
        self._slots.release()

    async def _sleep(self, seconds: float | None) -> None:
        """Until something is scheduled, or so many seconds."""
        self._wake.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return

    # --- the connection -----------------------------------------------------------------------------------------

    @property
    def _troubled(self) -> bool:
        return self._suspect is not None or self._down is not None

    async def _recover(self) -> None:
        """Probe until the server answers; the first probe comes at once, and may find that nothing is wrong."""
        while not self._entries:
            await self._sleep(None)  # nobody wants to know
        await until_it_works(
            lambda: self._gateway.ping(self._connection, _PROBE_SECONDS), self._went_down, self._uniform
        )
        self._suspect = None
        if self._down is not None:
            log.info("Temporal connection %s works again", self._connection)
            self._down = None
            self._namespaces.clear()
            self._revive()

    def _revive(self) -> None:
        """The server is back: have all targets looked at, and say so to their users, not all in the same moment.

        A server that has just started takes its time for the looks, so they are not waited for.
        """
        spread = min(_SPREAD_SECONDS, _SPREAD_EACH * len(self._entries))
        for target, entry in self._entries.items():
            entry.failures = 0
            after = self._uniform(0.0, spread)
            asyncio.get_running_loop().call_later(after, self._back, entry)
            if not entry.checking:
                self._schedule(target, after)

    def _back(self, entry: Entry) -> None:
        if self._down is None and self._entries.get(entry.observation.target) is entry and entry.observation.problem:
            self._show(entry, replace(entry.observation, reachable=True, problem=None))

    def _went_down(self, error: TemporalError) -> None:
        before = self._down
        self._down = problem_of(error, before, self._gateway.now())
        if before is not None and before.kind is self._down.kind:
            return
        log.warning("%s", error)
        users: set[ObjectKey] = set()
        for entry in self._entries.values():
            shown = replace(entry.observation, reachable=False, problem=self._down)
            users.update(self._show(entry, shown, tell=False))
        self._tell(users)

    # --- a target -----------------------------------------------------------------------------------------------

    async def _check(self, target: Target, entry: Entry) -> None:
        """Look at a target, and say what is new."""
        entry.again = False
        entry.tried = began = self._clock()
        first = entry.observation.checked_at is None
        try:
            shown = await self._look(target, entry)
            entry.failures = 0
            wait = self._next_look(entry, shown, first)
        except TemporalError as error:
            entry.failures += 1
            wait = self._retry(entry)
            if isinstance(error, TemporalUnreachable) and (self._down or entry.failures == 1):
                self._suspect = error
                self._wake.set()
                shown = entry.observation  # whether it is the server or this target, the probe will tell
            else:
                # Refused credentials may be files of ours that cannot be read: that tells nothing of the server.
                reachable = entry.observation.reachable if isinstance(error, TemporalDenied) else True
                if isinstance(error, TemporalUnreachable):
                    reachable = False
                problem = problem_of(error, entry.observation.problem, self._gateway.now())
                shown = replace(entry.observation, reachable=reachable, problem=problem)
        except Exception:
            log.exception("looking at a Temporal task queue failed", extra={"queue": target.queue})
            shown, wait = entry.observation, self._interval
        finally:
            entry.checking = False
        if self._entries.get(target) is not entry:
            return
        if entry.again:
            wait = min(wait, FAST_SECONDS)
        self._schedule(target, max(0.0, wait - (self._clock() - began)))
        if shown is not entry.observation:
            self._show(entry, shown)

    async def _look(self, target: Target, entry: Entry) -> Observation:
        """One round of requests. Raises TemporalError."""
        wanted = frozenset().union(*entry.users.values())
        fast = self._clock() < entry.fast_until
        namespace, changed = await self._namespaces.get(target.namespace, fast=fast)
        if changed:
            self._pass_on(target.namespace)
        if namespace.state is NamespaceState.Missing:
            return Observation(target, True, self._gateway.now(), namespace, TaskQueue())
        queue = await self._gateway.task_queue(target)
        now = self._gateway.now()
        queue = replace(queue, pollers=alive(queue.pollers, now, self._gateway.settings.poller_seconds))
        opened = await self._open(target, entry.observation.open) if Detail.Open in wanted else None
        usage = await self._gateway.definitions_in_use(target) if Detail.Usage in wanted else None
        return Observation(target, True, now, namespace, queue, opened, usage)

    async def _open(self, target: Target, before: OpenWorkflows | None) -> OpenWorkflows:
        found = await self._gateway.count_open(target)
        since = before.zero_since if before is not None else None
        return replace(found, zero_since=since or found.checked_at) if found.count == 0 else found

    def _pass_on(self, namespace: str) -> None:
        """What one target learns of its namespace, all of it shall know."""
        for target, entry in self._entries.items():
            if target.namespace == namespace and not entry.checking:
                self._schedule(target, self._uniform(0.0, _SPREAD_SECONDS), sooner=True)

    def _next_look(self, entry: Entry, shown: Observation, first: bool) -> float:
        if self._clock() < entry.fast_until:
            return FAST_SECONDS
        if shown.namespace is not None and shown.namespace.state is NamespaceState.Missing:
            return min(self._interval, MISSING_SECONDS)
        # Targets that came together shall not be looked at together for ever.
        return self._interval * self._uniform(0.5, 1.0) if first else self._interval

    def _retry(self, entry: Entry) -> float:
        """Seconds until a target that could not be looked at is tried again, alone."""
        if self._clock() < entry.fast_until:
            return FAST_SECONDS
        return min(self._interval, FAST_SECONDS * 2.0 ** min(entry.failures - 1, 10))

    def _show(self, entry: Entry, shown: Observation, *, tell: bool = True) -> Collection[ObjectKey]:
        """Replace what is known; the users who have reason to look."""
        news = shown.significant != entry.observation.significant
        entry.observation = shown
        users = entry.users.keys() - (frozenset() if entry.looked.is_set() else entry.answered)
        entry.looked.set()
        if news and tell:
            self._tell(users)
        return users if news else frozenset()

    def _tell(self, users: Iterable[ObjectKey]) -> None:
        keys = frozenset(users)
        if keys:
            try:
                self._changed(keys)
            except Exception:
                log.exception("users of Temporal connection %s were not told", self._connection)


def _ended(runner: asyncio.Task[None]) -> None:
    if not runner.cancelled() and (error := runner.exception()):
        log.error("%s is no longer watched until the next reconcile", runner.get_name(), exc_info=error)
