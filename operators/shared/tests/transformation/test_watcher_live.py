"""The watcher over real connections and in real time: a server that stops, hangs, and comes back."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest

from ameide_dev.transformation import TransformationServer
from ameide_shared.kube.resources import ObjectKey
from ameide_shared.transformation.client import TransformationClient
from ameide_shared.transformation.model import DefinitionKind, Failure, Reference
from ameide_shared.transformation.settings import TransformationSettings
from ameide_shared.transformation.watcher import DefinitionWatcher


@pytest.fixture
def server() -> Iterator[TransformationServer]:
    with TransformationServer() as server:
        yield server


@asynccontextmanager
async def watching(
    url: str, poll_seconds: float, seconds: float = 2.0
) -> AsyncIterator[tuple[DefinitionWatcher, list[frozenset[ObjectKey]]]]:
    told: list[frozenset[ObjectKey]] = []
    client = TransformationClient(TransformationSettings(url=url, timeout=seconds))
    watcher = DefinitionWatcher(client, told.append, poll_seconds=poll_seconds)
    running = asyncio.create_task(watcher.run())
    try:
        yield watcher, told
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await client.close()


def publish(server: TransformationServer, count: int) -> list[Reference]:
    for number in range(count):
        server.put("agent", "t123", f"a{number}", {"number": number})
    return [Reference(DefinitionKind.AGENT, "t123", f"a{number}") for number in range(count)]


def key(reference: Reference, number: int = 0) -> ObjectKey:
    return ObjectKey("tenant", f"{reference.id}-{number}")


async def until(what: Callable[[], bool], seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not come about in time"
        await asyncio.sleep(0.02)


async def test_requests_are_counted_by_the_server(server: TransformationServer) -> None:
    references = publish(server, 4)
    async with watching(server.url, 0.5) as (watcher, told):
        started = time.monotonic()
        for number in range(25):
            for reference in references:
                await watcher.observe(reference, key(reference, number))
        await until(lambda: len(server.requests()) >= 4 * 5)
        requests = server.requests()
        intervals = (time.monotonic() - started) / 0.5
        assert Counter(request.status for request in requests) == {200: 4, 304: len(requests) - 4}
        # One for the first use and then one per interval; which part of an interval they fall into is left to chance.
        counts = Counter(request.path for request in requests)
        assert all(intervals - 2 <= counts[reference.path] - 1 <= intervals + 1 for reference in references)
        assert told == []


async def test_a_server_that_stops_and_comes_back(server: TransformationServer) -> None:
    references = publish(server, 20)
    async with watching(server.url, 0.5) as (watcher, told):
        for reference in references:
            await watcher.observe(reference, key(reference))
        server.stop()
        await until(lambda: all(watcher.known(reference).error is not None for reference in references))
        for reference in references:
            seen = watcher.known(reference)
            assert seen.definition is not None
            assert seen.error is not None
            assert seen.error.reason is Failure.UNAVAILABLE
        server.put("agent", "t123", "a7", {"number": "seven"})
        told.clear()
        server.start()
        await until(lambda: all(watcher.known(reference).error is None for reference in references))
        found = watcher.known(references[7]).definition
        assert found is not None
        assert (found.version, found.definition) == (2, {"number": "seven"})
        assert {each for keys in told for each in keys} == {key(reference) for reference in references}


async def test_a_server_that_hangs_does_not_stop_the_operator(server: TransformationServer) -> None:
    references = publish(server, 100)
    server.fault("slow", seconds=30)
    queue = list(references)
    async with watching(server.url, 60, seconds=0.5) as (watcher, _):

        async def work() -> None:
            while queue:
                reference = queue.pop()
                seen = await watcher.observe(reference, key(reference))
                assert seen.error is not None
                assert seen.error.reason is Failure.UNAVAILABLE

        started = time.monotonic()
        await asyncio.gather(*(work() for _ in range(8)))
        assert time.monotonic() - started < 4.0  # one by one it would be 100 * 0.5 / 8
        server.fault(None)
        await until(lambda: all(watcher.known(reference).definition is not None for reference in references))


async def test_definitions_that_hang_leave_the_others_alone(server: TransformationServer) -> None:
    references = publish(server, 12)
    hanging = [reference for reference in references if reference.path.endswith(("/a1", "/a10", "/a11"))]
    good = [reference for reference in references if reference not in hanging]
    async with watching(server.url, 1.0, seconds=1.5) as (watcher, told):
        for reference in references:
            await watcher.observe(reference, key(reference))
        server.fault("slow", seconds=5, only="/a1")
        await until(lambda: {each for keys in told for each in keys} == {key(reference) for reference in hanging})
        for _ in range(40):
            await asyncio.sleep(0.1)
            assert all(watcher.known(reference).error is None for reference in good)
        server.clear_requests()
        wanted = {reference.path for reference in good}
        await until(lambda: wanted <= {request.path for request in server.requests()})
        assert not {each for keys in told for each in keys} & {key(reference) for reference in good}
