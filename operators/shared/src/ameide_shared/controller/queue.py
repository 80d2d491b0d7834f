"""A work queue of keys: never two workers on one key, bursts run once, failures wait longer each time.

Semantics are those of client-go. A key is *dirty* when it shall be looked at, *processing* while a worker has it;
an add during processing makes it dirty again, and it is handed out anew after `done`. *Delayed* keys become dirty
when their time comes. Since a run looks at the whole state of its object, a run that begins also answers every delay
that was pending for its key.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable, Hashable
from typing import Generic, Protocol, TypeVar

K = TypeVar("K", bound=Hashable)

DEBOUNCE = 0.05
"""Seconds between the end of a run and the next one that events cause. The first event of a key waits for nothing."""

BACKOFF_BASE = 0.25
BACKOFF_CAP = 300.0
_BACKOFF_DOUBLINGS = 12


class QueueClosed(Exception):  # noqa: N818 - tells of a state, like asyncio.QueueEmpty
    """The queue was closed: there is nothing more to take."""


class Timer(Protocol):
    """What `call_at` returns."""

    def cancel(self) -> None: ...


class QueueObserver(Protocol):
    """Told what happens, for metrics; durations in seconds."""

    def added(self, depth: int) -> None: ...

    def taken(self, depth: int, waited: float) -> None: ...

    def finished(self, worked: float) -> None: ...

    def retried(self) -> None: ...


class WorkQueue(Generic[K]):
    """The queue. Use it within one event loop; only `get` waits.

    `clock` and `call_at` are the loop's unless given; `uniform(a, b)` draws the jitter.
    """

    def __init__(
        self,
        *,
        observer: QueueObserver | None = None,
        debounce: float = DEBOUNCE,
        clock: Callable[[], float] | None = None,
        call_at: Callable[[float, Callable[[], None]], Timer] | None = None,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._observer = observer
        self._debounce = debounce
        self._clock = clock or (lambda: asyncio.get_running_loop().time())
        self._call_at = call_at or (lambda when, call: asyncio.get_running_loop().call_at(when, call))
        self._uniform = uniform
        self._ready: deque[K] = deque()
        self._getters: deque[asyncio.Future[None]] = deque()
        self._dirty: dict[K, float] = {}  # since when; those that are processing are not in _ready
        self._processing: dict[K, float] = {}  # since when
        self._meanwhile: set[K] = set()  # had debounced adds while they were processing
        self._delayed: dict[K, float] = {}  # until when
        self._heap: list[tuple[float, int, K]] = []  # may hold times that _delayed no longer does
        self._sequence = itertools.count()
        self._timer: Timer | None = None
        self._timer_at = 0.0
        self._ended: dict[K, float] = {}  # when the last run ended, in that order; only within the debounce window
        self._failures: dict[K, int] = {}
        self._closed = False

    def __len__(self) -> int:
        """How many keys could be handed out now."""
        return len(self._ready)

    @property
    def busy(self) -> int:
        """How many keys are in the hands of workers."""
        return len(self._processing)

    @property
    def closed(self) -> bool:
        return self._closed

    def add(self, key: K, *, debounce: bool = False) -> None:
        """Have a key looked at: at once, or with `debounce` (for events) not right after its previous run."""
        if self._closed:
            return
        if debounce:
            if key in self._processing:
                self._meanwhile.add(key)  # only `done` knows when that run ended
                return
            ended = self._ended.get(key)
            if ended is not None and (when := ended + self._debounce) > self._clock():
                self._delay(key, when)
                return
        self._make_dirty(key)

    def add_after(self, key: K, seconds: float) -> None:
        """Have a key looked at in so many seconds, or earlier if that was asked for before."""
        if self._closed:
            return
        if seconds <= 0:
            self._make_dirty(key)
        else:
            self._delay(key, self._clock() + seconds)

    def retry_after_failure(self, key: K, at_least: float = 0.0) -> float:
        """Have a key looked at again after a failure; the seconds until then.

        The wait is drawn between nothing and a bound that doubles with each failure in a row, up to 300 s, so that
        keys that failed together do not come back together. `at_least` is what a server asked for.
        """
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        bound = min(BACKOFF_CAP, BACKOFF_BASE * 2 ** min(failures, _BACKOFF_DOUBLINGS))
        seconds = max(at_least, self._uniform(0.0, bound))
        self.add_after(key, seconds)
        if self._observer:
            self._observer.retried()
        return seconds

    def forget(self, key: K) -> None:
        """A key succeeded: its next failure is the first one."""
        self._failures.pop(key, None)

    def failures(self, key: K) -> int:
        """How often in a row a key has failed."""
        return self._failures.get(key, 0)

    async def get(self) -> K:
        """The next key, when there is one. It is the caller's until `done`. QueueClosed when there will be none."""
        while True:
            if self._closed:
                raise QueueClosed
            key = self.get_nowait()
            if key is not None:
                return key
            getter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._getters.append(getter)
            try:
                await getter
            except asyncio.CancelledError:
                if getter.done() and not getter.cancelled():
                    self._wake()  # it was our turn: pass it on
                elif getter in self._getters:
                    self._getters.remove(getter)
                raise

    def get_nowait(self) -> K | None:
        """The next key, or None if there is none now."""
        if self._closed or not self._ready:
            return None
        key = self._ready.popleft()
        now = self._clock()
        since = self._dirty.pop(key)
        self._delayed.pop(key, None)  # this run answers it
        self._processing[key] = now
        if self._observer:
            self._observer.taken(len(self._ready), now - since)
        return key

    def done(self, key: K) -> None:
        """The worker is through with a key, however that ended."""
        now = self._clock()
        worked = now - self._processing.pop(key)
        if self._observer:
            self._observer.finished(worked)
        if self._closed:
            return
        self._ended.pop(key, None)
        self._ended[key] = now
        self._drop_old_ends(now)
        had_events = key in self._meanwhile
        self._meanwhile.discard(key)
        if key in self._dirty:
            self._hand_out(key)
        elif had_events:
            self._delay(key, now + self._debounce)

    def close(self) -> None:
        """Hand out nothing more. Keys in the hands of workers may still be finished."""
        self._closed = True
        while self._getters:
            self._wake()
        self._ready.clear()
        self._dirty.clear()
        self._meanwhile.clear()
        self._delayed.clear()
        self._heap.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # --- inside -----------------------------------------------------------------------------------------------------

    def _make_dirty(self, key: K) -> None:
        if key in self._dirty:
            return
        self._dirty[key] = self._clock()
        if key not in self._processing:
            self._hand_out(key)

    def _hand_out(self, key: K) -> None:
        self._ready.append(key)
        if self._observer:
            self._observer.added(len(self._ready))
        self._wake()

    def _wake(self) -> None:
        while self._getters:
            getter = self._getters.popleft()
            if not getter.done():
                getter.set_result(None)
                return

    def _delay(self, key: K, when: float) -> None:
        if self._delayed.get(key, float("inf")) <= when:
            return
        self._delayed[key] = when
        if len(self._heap) > 2 * len(self._delayed) + 64:  # mostly superseded: long delays are answered by events
            self._heap = [(at, next(self._sequence), waiting) for waiting, at in self._delayed.items()]
            heapq.heapify(self._heap)
        else:
            heapq.heappush(self._heap, (when, next(self._sequence), key))
        self._set_timer()

    def _set_timer(self) -> None:
        while self._heap and self._delayed.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)  # superseded
        if not self._heap:
            return
        when = self._heap[0][0]
        if self._timer is not None:
            if self._timer_at <= when:
                return
            self._timer.cancel()
        self._timer, self._timer_at = self._call_at(when, self._release), when

    def _release(self) -> None:
        """Make dirty whatever is due."""
        self._timer = None
        if self._closed:
            return
        now = max(self._clock(), self._timer_at)  # timers may fire a tick early
        while self._heap and self._heap[0][0] <= now:
            when, _, key = heapq.heappop(self._heap)
            if self._delayed.get(key) == when:
                del self._delayed[key]
                self._make_dirty(key)
        self._set_timer()

    def _drop_old_ends(self, now: float) -> None:
        while self._ended:
            key, ended = next(iter(self._ended.items()))
            if ended + self._debounce > now:
                return
            del self._ended[key]
