"""A Temporal server that dies, hangs and comes back under two hundred Processes."""

import asyncio
import time
from collections import Counter

from ameide_dev.temporal import TemporalServer
from ameide_shared.kube.resources import ObjectKey
from process_operator.temporal.model import ProblemKind, Target
from process_operator.temporal.watcher import TemporalWatcher

from .conftest import Calls, gateway_for, until

MANY = 200


def users() -> dict[ObjectKey, Target]:
    return {ObjectKey("sales", f"p{n}"): Target("default", "default", f"q{n}") for n in range(MANY)}


def failed(calls: Calls) -> Counter[str]:
    return Counter({method: count for (method, outcome), count in calls.items() if outcome != "OK"})


async def test_two_hundred_targets_and_a_server_that_is_killed_and_restarted(
    own_server: TemporalServer, calls: Calls
) -> None:
    told: Counter[ObjectKey] = Counter()
    watcher = TemporalWatcher(gateway_for(own_server.address, calls), told.update)
    processes = users()

    async def reachable(expected: bool) -> bool:
        found = [await watcher.observe(target, user) for user, target in processes.items()]
        return all(observation.reachable is expected for observation in found)

    try:
        await asyncio.gather(*(watcher.observe(target, user) for user, target in processes.items()))
        await until(lambda: reachable(True))
        assert calls == {("DescribeNamespace", "OK"): 1, ("DescribeTaskQueue", "OK"): 2 * MANY}
        # At rest the looks are spread over the interval, so that the first failure is noticed soon.
        own_server.kill()
        calls.clear()
        told.clear()
        watcher.expedite(processes[ObjectKey("sales", "p0")])
        await until(lambda: reachable(False))
        assert told == Counter(processes.keys())  # each once
        observation = await watcher.observe(processes[ObjectKey("sales", "p7")], ObjectKey("sales", "p7"))
        assert observation.problem is not None
        assert observation.problem.kind is ProblemKind.Unreachable
        assert "is not reachable" in observation.problem.message
        assert observation.queue is not None, "what was seen last stays"
        assert sum(failed(calls).values()) <= 12
        # While it is down: a probe per step of the backoff, however often it is observed.
        calls.clear()
        began = time.monotonic()
        for _ in range(30):
            assert await reachable(False)
            await asyncio.sleep(0.1)
        assert time.monotonic() - began < 6, "observing does not wait for a server that is down"
        assert set(failed(calls)) == {"GetSystemInfo"}
        assert 2 <= failed(calls)["GetSystemInfo"] <= 6
        assert told == Counter(processes.keys())  # still each once
        await asyncio.to_thread(own_server.start)
        began = time.monotonic()
        await until(lambda: reachable(True))
        assert time.monotonic() - began < 5
        assert told == Counter(dict.fromkeys(processes, 2))
        await asyncio.sleep(1.5)
        served = own_server.requests("default")
        # Of these, some are the server's own start and the check that it is up.
        assert served["DescribeTaskQueue"] <= 2 * MANY + 4
        assert calls["DescribeNamespace", "OK"] == 1
    finally:
        await watcher.close()


async def test_a_server_that_is_down_at_the_start_holds_nobody_up(own_server: TemporalServer, calls: Calls) -> None:
    own_server.kill()
    told: Counter[ObjectKey] = Counter()
    watcher = TemporalWatcher(gateway_for(own_server.address, calls), told.update)
    processes = users()
    try:
        began = time.monotonic()
        found = await asyncio.gather(*(watcher.observe(target, user) for user, target in processes.items()))
        assert time.monotonic() - began < 2
        assert {observation.reachable for observation in found} == {False}
        assert sum(failed(calls).values()) <= 12
        await asyncio.to_thread(own_server.start)

        async def all_reachable() -> bool:
            seen = [await watcher.observe(target, user) for user, target in processes.items()]
            return all(observation.reachable for observation in seen)

        await until(all_reachable)
    finally:
        await watcher.close()


async def test_a_server_that_hangs_holds_nobody_up_for_long(own_server: TemporalServer, calls: Calls) -> None:
    watcher = TemporalWatcher(gateway_for(own_server.address, calls, timeout=1.0), lambda _: None)
    target, user = Target("default", "default", "q"), ObjectKey("sales", "p")
    try:
        assert (await watcher.observe(target, user)).reachable
        own_server.pause()
        watcher.expedite(target)

        async def unreachable() -> bool:
            began = time.monotonic()
            found = await watcher.observe(target, user)
            assert time.monotonic() - began < 0.5, "what is known is told at once"
            return found.reachable is False

        await until(unreachable)
        began = time.monotonic()
        fresh = await watcher.observe(Target("default", "default", "never seen"), ObjectKey("sales", "new"))
        assert time.monotonic() - began < 0.5
        assert fresh.problem is not None
        assert "no answer within" in fresh.problem.message
        own_server.resume()

        async def reachable() -> bool:
            return (await watcher.observe(target, user)).reachable is True

        await until(reachable)
    finally:
        own_server.resume()
        await watcher.close()


async def test_a_server_that_hangs_from_the_start_is_reported_after_the_timeout(
    own_server: TemporalServer, calls: Calls
) -> None:
    own_server.pause()
    told: Counter[ObjectKey] = Counter()
    watcher = TemporalWatcher(gateway_for(own_server.address, calls, timeout=1.0), told.update)
    processes = users()
    try:
        began = time.monotonic()
        first = await asyncio.gather(*(watcher.observe(target, user) for user, target in processes.items()))
        assert time.monotonic() - began < 3
        assert {observation.reachable for observation in first} == {None}
        await until(lambda: told == Counter(processes.keys()))
        assert sum(failed(calls).values()) <= 20
    finally:
        own_server.resume()
        await watcher.close()
