"""The work queue's promises: no key in two hands, nothing lost, bursts run once, delays and failures wait."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ameide_shared.controller.queue import BACKOFF_CAP, QueueClosed, WorkQueue

DEBOUNCE = 0.05


@dataclass
class FakeTime:
    """A clock that is moved by hand, with timers."""

    now: float = 100.0
    timers: list[tuple[float, Callable[[], None], list[bool]]] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now

    def call_at(self, when: float, call: Callable[[], None]) -> Any:
        cancelled: list[bool] = []
        self.timers.append((when, call, cancelled))

        class Handle:
            def cancel(self) -> None:
                cancelled.append(True)

        return Handle()

    def advance(self, seconds: float) -> None:
        until = self.now + seconds
        while True:
            due = [t for t in self.timers if t[0] <= until and not t[2]]
            if not due:
                break
            timer = min(due, key=lambda t: t[0])
            self.timers.remove(timer)
            self.now = max(self.now, timer[0])
            timer[1]()
        self.now = until


def make_queue(time: FakeTime, **options: Any) -> WorkQueue[str]:
    return WorkQueue(clock=time, call_at=time.call_at, debounce=DEBOUNCE, **options)


KEYS = st.sampled_from(["a", "b", "c"])


class QueueMachine(RuleBasedStateMachine):
    """Drives a queue with any mix of adds, delays, failures and workers, and checks it against what was asked of it."""

    def __init__(self) -> None:
        super().__init__()
        self.time = FakeTime()
        self.queue = make_queue(self.time, uniform=lambda low, high: high)
        self.held: set[str] = set()
        self.owed: dict[str, float] = {}  # until when a run of the key must have begun, while workers are free

    def owe(self, key: str, within: float) -> None:
        self.owed[key] = min(self.owed.get(key, float("inf")), self.time.now + within)

    @rule(key=KEYS)
    def add(self, key: str) -> None:
        self.queue.add(key)
        self.owe(key, 0.0)

    @rule(key=KEYS)
    def event(self, key: str) -> None:
        self.queue.add(key, debounce=True)
        self.owe(key, DEBOUNCE)

    @rule(key=KEYS, seconds=st.floats(min_value=0.001, max_value=700))
    def later(self, key: str, seconds: float) -> None:
        self.queue.add_after(key, seconds)
        self.owe(key, seconds)

    @rule(key=KEYS, at_least=st.sampled_from([0.0, 7.0]))
    def fail(self, key: str, at_least: float) -> None:
        seconds = self.queue.retry_after_failure(key, at_least)
        assert at_least <= seconds <= max(at_least, BACKOFF_CAP)
        self.owe(key, seconds)

    @rule(key=KEYS)
    def forget(self, key: str) -> None:
        self.queue.forget(key)
        assert self.queue.failures(key) == 0

    @rule()
    def take(self) -> None:
        taken = self.queue.get_nowait()
        if taken is not None:
            assert taken not in self.held, "two workers on one key"
            self.held.add(taken)
            self.owed.pop(taken, None)  # this run answers everything that was asked for before

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def done(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.held)))
        self.held.discard(key)
        self.queue.done(key)
        if key in self.owed:  # asked for during the run: the debounce counts from its end
            self.owed[key] = max(self.owed[key], self.time.now + DEBOUNCE)

    @rule(seconds=st.floats(min_value=0.0, max_value=400))
    def wait(self, seconds: float) -> None:
        self.time.advance(seconds)

    @invariant()
    def counts_agree(self) -> None:
        assert self.queue.busy == len(self.held)

    def teardown(self) -> None:
        """Whatever is owed must come, on time, if workers are free and time passes."""
        for key in sorted(self.held):
            self.held.discard(key)
            self.queue.done(key)
            if key in self.owed:
                self.owed[key] = max(self.owed[key], self.time.now + DEBOUNCE)
        while self.owed:
            self.time.advance(max(0.0, min(self.owed.values()) - self.time.now) + 1e-6)
            taken = set()
            while (ready := self.queue.get_nowait()) is not None:
                taken.add(ready)
                self.queue.done(ready)
            late = {key for key, by in self.owed.items() if by <= self.time.now} - taken
            assert not late, f"lost: {late}"
            self.owed = {key: by for key, by in self.owed.items() if key not in taken}


TestQueueMachine = QueueMachine.TestCase
TestQueueMachine.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)


def test_first_event_waits_for_nothing_and_a_burst_runs_once() -> None:
    time = FakeTime()
    queue = make_queue(time)
    queue.add("a", debounce=True)
    assert queue.get_nowait() == "a"
    for _ in range(10):  # the echoes of what this run writes
        queue.add("a", debounce=True)
    queue.done("a")
    for _ in range(10):
        queue.add("a", debounce=True)
    assert queue.get_nowait() is None
    time.advance(DEBOUNCE)
    assert queue.get_nowait() == "a"
    queue.done("a")
    time.advance(10)
    assert queue.get_nowait() is None


def test_an_add_during_a_run_is_handed_out_at_its_end() -> None:
    queue = make_queue(FakeTime())
    queue.add("a")
    assert queue.get_nowait() == "a"
    queue.add("a")
    queue.add("a")
    assert queue.get_nowait() is None
    queue.done("a")
    assert queue.get_nowait() == "a"
    queue.done("a")
    assert queue.get_nowait() is None


def test_an_event_during_a_run_does_not_wait_for_a_long_delay_of_the_same_key() -> None:
    time = FakeTime()
    queue = make_queue(time)
    queue.add("a")
    assert queue.get_nowait() == "a"
    queue.add_after("a", 600)
    queue.add("a", debounce=True)
    queue.done("a")
    time.advance(DEBOUNCE)
    assert queue.get_nowait() == "a"


def test_backoff_doubles_up_to_its_cap_and_is_forgotten() -> None:
    bounds: list[float] = []

    def highest(low: float, high: float) -> float:
        assert low == 0.0, "full jitter"
        bounds.append(high)
        return high

    time = FakeTime()
    queue = make_queue(time, uniform=highest)
    for _ in range(20):
        queue.retry_after_failure("a")
        time.advance(BACKOFF_CAP)
        assert queue.get_nowait() == "a"
        queue.done("a")
    assert bounds[:4] == [0.25, 0.5, 1.0, 2.0]
    assert bounds[-1] == BACKOFF_CAP
    queue.forget("a")
    assert queue.retry_after_failure("a") == 0.25
    assert queue.retry_after_failure("a", at_least=30) == 30


def test_superseded_delays_do_not_pile_up() -> None:
    time = FakeTime()
    queue = make_queue(time)
    for _ in range(1000):
        queue.add("a")
        assert queue.get_nowait() == "a"
        queue.add_after("a", 600)
        queue.done("a")
    assert len(queue._heap) < 100


async def test_many_workers_share_keys_without_overlap_and_lose_nothing() -> None:
    queue: WorkQueue[int] = WorkQueue(debounce=0.001)
    running: set[int] = set()
    version = dict.fromkeys(range(20), 0)
    seen = dict.fromkeys(range(20), -1)

    async def work() -> None:
        while True:
            key = await queue.get()
            assert key not in running
            running.add(key)
            seen[key] = version[key]
            try:
                await asyncio.sleep(0.0005 * (key % 3))
            finally:
                running.discard(key)
                queue.done(key)

    workers = [asyncio.create_task(work()) for _ in range(8)]
    for step in range(2000):
        key = step % 20
        version[key] += 1
        queue.add(key, debounce=step % 3 == 0)
        if step % 50 == 0:
            await asyncio.sleep(0.001)
        if step % 500 == 0:  # a worker that dies loses nobody's wake-up
            workers.pop().cancel()
            workers.append(asyncio.create_task(work()))
    async with asyncio.timeout(5):
        while seen != version:  # noqa: ASYNC110 - polls what the workers do
            await asyncio.sleep(0.005)
    queue.close()
    results = await asyncio.gather(*workers, return_exceptions=True)
    assert all(isinstance(result, QueueClosed) for result in results)


async def test_a_cancelled_getter_passes_its_turn_on() -> None:
    queue: WorkQueue[str] = WorkQueue()
    first = asyncio.create_task(queue.get())
    second = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add("a")
    first.cancel()
    assert await asyncio.wait_for(second, 1) == "a"
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_close_ends_the_wait_and_takes_nothing_more() -> None:
    queue: WorkQueue[str] = WorkQueue()
    getter = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.close()
    queue.add("a")
    queue.add_after("a", 0.01)
    with pytest.raises(QueueClosed):
        await getter
    assert queue.get_nowait() is None
