"""Keeps what is known of definitions current: one look per reference and interval, however many resources refer to it.

The first use of a reference fetches it; after that, answers come from memory, and a background task looks for changes.
While the API is down, one question at a time tries it; the others are held back, and follow one by one when it is back.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from random import Random
from typing import Final

from ameide_shared.kube.resources import ObjectKey
from ameide_shared.transformation.client import TransformationClient, utc_now
from ameide_shared.transformation.errors import (
    TransformationError,
    TransformationRefused,
    TransformationUnavailable,
)
from ameide_shared.transformation.model import Definition, FetchProblem, Observation, Reference
from ameide_shared.transformation.outage import Outage, backoff
from ameide_shared.transformation.schedule import UNKNOWN, Entry, Schedule

_RELEASE_SECONDS: Final = 0.04  # between two that were held back, once the API is up again
_TOKEN_SECONDS: Final = 1.0  # between two looks at the token file while a token is refused
_IDLE_SECONDS: Final = 3600.0


log = logging.getLogger(__name__)

OnChange = Callable[[frozenset[ObjectKey]], None]
"""Told whose definition, or its error, is another one now."""


class DefinitionWatcher:
    """Answers for all resources of an operator. Used within one event loop, where `run` runs.

    `clock` is monotonic, in seconds; it, `now`, `sleep` and `chance` are arguments for the sake of tests.
    """

    def __init__(
        self,
        client: TransformationClient,
        on_change: OnChange,
        *,
        poll_seconds: float,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = utc_now,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Random | None = None,
    ) -> None:
        self._client = client
        self._on_change = on_change
        self._poll = poll_seconds
        self._clock = clock
        self._now = now
        self._sleep = sleep
        self._chance = chance or Random()  # noqa: S311 - spreads requests over time, guards nothing
        self._entries: dict[Reference, Entry] = {}
        self._used: dict[ObjectKey, tuple[Reference, ...]] = {}
        self._schedule = Schedule()
        self._held: deque[Entry] = deque()
        self._outage = Outage(self._chance)
        self._probe: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()

    # --- for resources ----------------------------------------------------------------------------------------------

    async def observe(self, reference: Reference, user: ObjectKey) -> Observation:
        """What is known of a definition, which from now on is the only one that `user` refers to.

        Takes time on the first use of a reference only: as long as the client may take to answer, and none at all while
        the API is known to be down. Never raises TransformationError: the observation tells.
        """
        return (await self.observe_all((reference,), user))[0]

    async def observe_all(self, references: Sequence[Reference], user: ObjectKey) -> tuple[Observation, ...]:
        """As `observe`, for a user of several references; those it used before and does not name now are let go."""
        wanted = tuple(dict.fromkeys(references))
        for reference in self._used.get(user, ()):
            if reference not in wanted:
                self._release(reference, user)
        self._used[user] = wanted
        tasks = []
        for reference in wanted:
            entry = self._entries.get(reference)
            if entry is None:
                entry = self._entries[reference] = Entry(reference)
            entry.users.add(user)
            if not entry.known and entry.task is None:
                if self._outage.error is None:
                    self._ask(entry)
                elif self._probe is None and self._outage.next_probe <= self._clock():
                    self._probe = self._ask(entry, probe=True)
                else:
                    self._hold(entry)
            if not entry.known and entry.task is not None:
                tasks.append(entry.task)
        if tasks:
            # Not cancelled with whoever waits: others may wait for the same answer.
            await asyncio.wait(tasks)
        return tuple(self.known(reference) for reference in references)

    def known(self, reference: Reference) -> Observation:
        """What is known of a reference, without asking; nothing for one that nobody uses."""
        entry = self._entries.get(reference)
        if entry is None:
            return Observation()
        held = entry.due is None and entry.task is None
        due = self._outage.next_probe if held else entry.due
        soon = max(0.0, due - self._clock()) if due is not None else 0.0
        return Observation(entry.definition, entry.error, self._now() + timedelta(seconds=soon))

    def forget(self, user: ObjectKey) -> None:
        """A resource is gone; what only it referred to is not asked for any more."""
        for reference in self._used.pop(user, ()):
            self._release(reference, user)

    def references(self) -> frozenset[Reference]:
        """All references that somebody uses."""
        return frozenset(self._entries)

    # --- in the background ------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Look for changes until cancelled."""
        try:
            while True:
                self._wake.clear()
                await self._pause(self._work())
        finally:
            await self.close()

    async def close(self) -> None:
        """Give up questions that are open. The client is not closed."""
        tasks = [entry.task for entry in self._entries.values() if entry.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _pause(self, seconds: float) -> None:
        """Sleep, unless something new is to be done before."""
        sleeping = asyncio.ensure_future(self._sleep(seconds))
        waking = asyncio.ensure_future(self._wake.wait())
        try:
            await asyncio.wait((sleeping, waking), return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()
            waking.cancel()
            await asyncio.gather(sleeping, waking, return_exceptions=True)

    def _work(self) -> float:
        """Start what is due; seconds until there is something to do again."""
        now = self._clock()
        refused = [entry for entry in self._entries.values() if entry.refused]
        if refused and self._client.token_changed():
            for entry in refused:
                entry.refused = False  # until it is refused again
            self._spread([entry for entry in refused if entry.due is not None])
        for entry in self._schedule.take(now):
            if self._outage.error is not None:
                self._hold(entry)
            else:
                self._ask(entry)
        waits = [_IDLE_SECONDS]
        if (following := self._schedule.next()) is not None:
            waits.append(following - now)
        if refused:
            waits.append(_TOKEN_SECONDS)
        if self._outage.error is not None and self._held and self._probe is None:
            if self._outage.next_probe <= now:
                self._probe = self._ask(self._prober(), probe=True)
            else:
                waits.append(self._outage.next_probe - now)
        return max(0.0, min(waits))

    def _prober(self) -> Entry:
        """Who tries whether the API is back: one that did not meet silence itself, if there is any."""
        candidates = itertools.chain(self._held, self._schedule)
        silent = self._outage.silent
        fresh = next((entry for entry in candidates if entry.reference not in silent), self._held[0])
        with suppress(ValueError):
            self._held.remove(fresh)
        return fresh

    def _ask(self, entry: Entry, *, probe: bool = False) -> asyncio.Task[None]:
        entry.due = None
        task = entry.task = asyncio.create_task(self._look(entry, probe=probe), name=f"look for {entry.reference}")
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        """A question is over, or was given up, perhaps before it began."""
        if task is self._probe:
            self._probe = None
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("what followed from a look at a definition failed", exc_info=error)
        self._wake.set()

    async def _look(self, entry: Entry, *, probe: bool) -> None:
        """One question about one reference, and what follows from the answer."""
        before = entry.significant
        try:
            etag = entry.definition.etag if entry.definition else ""
            found = await self._client.fetch(entry.reference, etag, attempts=1 if probe else None)
        except TransformationError as error:
            self._failed(entry, error, probe=probe)
        except Exception as error:
            # A fault of ours must not end the looks at this definition, nor keep those who wait for it for ever.
            log.exception("looking for %s failed", entry.reference)
            words = f"the operator failed to read {entry.reference} ({type(error).__name__})"
            failure = TransformationUnavailable(words, "see the operator's log; it is asked again")
            self._failed(entry, failure, probe=probe)
        else:
            self._succeeded(entry, found)
        finally:
            entry.task = None
        self._tell_if_changed(entry, before)

    def _succeeded(self, entry: Entry, found: Definition | None) -> None:
        if found is not None:
            previous = entry.definition
            same = previous is not None and (previous.version, previous.digest) == (found.version, found.digest)
            # The one in memory stays, with its time: only its ETag is new.
            entry.definition = replace(previous, etag=found.etag) if previous is not None and same else found
        entry.error, entry.refused, entry.failures = None, False, 0
        now = self._clock()
        if entry.phase is None:
            # The first look comes anywhere within an interval, and all others keep that distance.
            entry.phase = now - self._chance.uniform(0.0, 0.9) * self._poll
        # The intervals that an outage took are not made up for.
        entry.phase += self._poll * (1 + max(0, (now - entry.phase) // self._poll))
        self._put(entry, entry.phase)
        self._answered()

    def _failed(self, entry: Entry, error: TransformationError, *, probe: bool) -> None:
        now = self._clock()
        entry.refused = isinstance(error, TransformationRefused)
        entry.phase = None
        lasting = self._outage.error is not None
        if self._outage.failed(entry.reference, error, now, probe=probe):
            if not lasting:
                log.warning("%s; until it is back, one question at a time tries it", error.message)
            self._hold(entry)
            if probe and self._outage.confirmed:
                for other in self._held:
                    self._suffer(other)
            return
        if entry.error is None or entry.error.reason != error.reason:
            log.warning("%s", error.message)
        self._note(entry, error)
        entry.failures += 1
        # A try costs no more than a regular look, so that it need not be rarer.
        wait = backoff(entry.failures, self._poll, self._chance)
        if isinstance(error, TransformationUnavailable):
            wait = max(wait, error.retry_after or 0.0)
        self._put(entry, now + wait)
        if not isinstance(error, TransformationUnavailable):
            self._answered()

    def _answered(self) -> None:
        """The API is there: whoever was held back follows, one by one."""
        silent, error = frozenset(self._outage.silent), self._outage.error
        self._outage.answered()
        if error is None:
            return
        log.info("the Transformation API answers again")
        held, self._held = list(self._held), deque()
        self._spread([entry for entry in held if entry.reference not in silent])
        for entry in held:
            if entry.reference in silent:  # it may be the only one that is not answered for
                before = entry.significant
                self._note(entry, error)
                entry.failures += 1
                self._put(entry, self._clock() + backoff(entry.failures, self._poll, self._chance))
                self._tell_if_changed(entry, before)

    def _spread(self, entries: Sequence[Entry]) -> None:
        now = self._clock()
        for index, entry in enumerate(entries):
            self._put(entry, now + index * _RELEASE_SECONDS)

    def _hold(self, entry: Entry) -> None:
        """Hold a look back until the API is up."""
        entry.due = None
        self._held.append(entry)
        self._wake.set()
        if self._outage.confirmed or entry.definition is None:
            self._suffer(entry)

    def _suffer(self, entry: Entry) -> None:
        """Whoever refers to a definition that is held back is told why."""
        assert self._outage.error is not None, "nothing is held back without an outage"
        before = entry.significant
        self._note(entry, self._outage.error)
        if entry.task is None:  # else it is told when the question ends
            self._tell_if_changed(entry, before)

    def _note(self, entry: Entry, error: TransformationError) -> None:
        lasting = entry.error is not None and entry.error.reason == error.reason
        since = entry.error.since if entry.error is not None and lasting else self._now()
        entry.error = FetchProblem(error.reason, error.message, error.remedy, since)

    def _put(self, entry: Entry, due: float) -> None:
        self._schedule.put(entry, due)
        self._wake.set()

    def _release(self, reference: Reference, user: ObjectKey) -> None:
        entry = self._entries.get(reference)
        if entry is None:
            return
        entry.users.discard(user)
        if entry.users:
            return
        del self._entries[reference]
        entry.due = None
        with suppress(ValueError):
            self._held.remove(entry)
        if entry.task is not None:
            entry.task.cancel()

    def _tell_if_changed(self, entry: Entry, before: tuple[object, ...]) -> None:
        """Whoever asked for the first time waits for the answer, and needs no telling."""
        if before != UNKNOWN and entry.significant != before and entry.users:
            self._on_change(frozenset(entry.users))
