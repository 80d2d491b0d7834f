"""The watcher on a clock that tests wind: who is asked when, exactly, and who is told what.

The client is the real one, and so is the stand-in's application; only the wire between them is short.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import httpx
import pytest

from ameide_dev.transformation_app import Fault, TransformationApp
from ameide_dev.transformation_store import DefinitionStore
from ameide_shared.kube.resources import ObjectKey
from ameide_shared.transformation.client import TransformationClient
from ameide_shared.transformation.model import DefinitionKind, Failure, Observation, Reference
from ameide_shared.transformation.settings import TransformationSettings
from ameide_shared.transformation.watcher import DefinitionWatcher

POLL = 60.0
START = datetime(2026, 1, 1, tzinfo=UTC)


class WoundClock:
    """Time that passes only when it is told to, with the sleepers that wait for it."""

    def __init__(self) -> None:
        self.time = 1000.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        return START + timedelta(seconds=self.time)

    async def sleep(self, seconds: float) -> None:
        waker = asyncio.get_running_loop().create_future()
        sleeper = (self.time + seconds, waker)
        self._sleepers.append(sleeper)
        try:
            await waker
        finally:
            self._sleepers.remove(sleeper)

    def next(self) -> float:
        return min((at for at, waker in self._sleepers if not waker.done()), default=float("inf"))

    def wind(self, until: float) -> None:
        self.time = until
        for at, waker in self._sleepers:
            if at <= until and not waker.done():
                waker.set_result(None)


class Wire(httpx.ASGITransport):
    """To the application without a network; `down` refuses connections. Counts when which path was asked for."""

    def __init__(self, app: TransformationApp, clock: WoundClock) -> None:
        super().__init__(app)
        self._clock = clock
        self.down = False
        self.under_way = 0
        self.most_under_way = 0
        self.asked: list[tuple[float, str]] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append((self._clock.time, request.url.raw_path.decode()))
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await asyncio.sleep(0)  # others get their turn, as on a network
            if self.down:
                raise httpx.ConnectError("Connection refused")
            return await super().handle_async_request(request)
        finally:
            self.under_way -= 1


class World:
    """A watcher that runs, with all that it depends on."""

    def __init__(self, folder: Path) -> None:
        self.clock = WoundClock()
        self.store = DefinitionStore(folder / "definitions")
        self.app = TransformationApp(self.store, "token-one")
        self.wire = Wire(self.app, self.clock)
        self.token_file = folder / "token"
        self.token_file.write_text("token-one")
        self.told: list[frozenset[ObjectKey]] = []
        self.tell: Callable[[frozenset[ObjectKey]], None] = self.told.append
        settings = TransformationSettings(url="http://api", token_file=self.token_file, attempts=1, timeout=5)
        self.client = TransformationClient(settings, transport=self.wire, now=self.clock.now)
        self.watcher = DefinitionWatcher(
            self.client,
            lambda users: self.tell(users),
            poll_seconds=POLL,
            clock=lambda: self.clock.time,
            now=self.clock.now,
            sleep=self.clock.sleep,
            chance=Random(7),  # noqa: S311 - the same spread in each run
        )

    async def settle(self) -> None:
        """Let everything happen that can happen without time passing."""
        calm = 0
        while calm < 40:
            await asyncio.sleep(0)
            calm = 0 if self.wire.under_way else calm + 1

    async def wait(self, seconds: float) -> None:
        """Let time pass, from one event to the next."""
        end = self.clock.time + seconds
        await self.settle()
        while (following := self.clock.next()) <= end:
            self.clock.wind(following)
            await self.settle()
        self.clock.wind(end)
        await self.settle()

    async def first_use(self, references: Iterable[Reference], users: int = 1) -> None:
        for reference in references:
            for number in range(users):
                seen = await self.watcher.observe(reference, user(reference, number))
                assert seen.error is None

    def counts(self) -> Counter[str]:
        return Counter(path for _, path in self.wire.asked)

    def ask(self, reference: Reference) -> Observation:
        return self.watcher.known(reference)


def process(name: str, version: int | None = None) -> Reference:
    return Reference(DefinitionKind.PROCESS, "t123", name, version)


def user(reference: Reference, number: int = 0) -> ObjectKey:
    return ObjectKey("tenant", f"{reference.id}-{number}")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path)
    running = asyncio.create_task(world.watcher.run())
    await world.settle()
    yield world
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await world.client.close()


def publish(world: World, count: int) -> list[Reference]:
    references = [process(f"p{number}") for number in range(count)]
    for reference in references:
        world.store.put("process", reference.tenant_id, reference.id, {"number": reference.id})
    return references


# --- at rest --------------------------------------------------------------------------------------------------------


async def test_one_request_per_reference_and_interval_however_many_users(world: World) -> None:
    references = publish(world, 5)
    await world.first_use(references, users=40)
    assert world.counts() == {reference.path: 1 for reference in references}
    for interval in range(1, 11):
        await world.wait(POLL)
        assert world.counts() == {reference.path: 1 + interval for reference in references}
    assert [request.status for request in world.app.requests()] == [200] * 5 + [304] * 50
    assert world.told == []


async def test_those_who_come_at_once_share_one_request(world: World) -> None:
    (reference,) = publish(world, 1)
    seen = await asyncio.gather(*(world.watcher.observe(reference, user(reference, n)) for n in range(50)))
    assert len(world.wire.asked) == 1
    assert all(each.definition == seen[0].definition and each.definition is not None for each in seen)
    assert world.told == []


async def test_looks_are_spread_over_the_interval(world: World) -> None:
    references = publish(world, 200)
    await asyncio.gather(*(world.watcher.observe(reference, user(reference)) for reference in references))
    begun = world.clock.time
    await world.wait(3 * POLL)
    looks = [at - begun for at, _ in world.wire.asked[200:]]
    assert len(looks) == 600
    per_second = Counter(int(at) for at in looks)
    assert max(per_second.values()) <= 15
    assert sum(count for second, count in per_second.items() if second < POLL / 2) > 60


async def test_a_cancelled_user_does_not_take_the_answer_from_others(world: World) -> None:
    (reference,) = publish(world, 1)
    impatient = asyncio.create_task(world.watcher.observe(reference, user(reference, 1)))
    patient = asyncio.create_task(world.watcher.observe(reference, user(reference, 2)))
    await asyncio.sleep(0)
    impatient.cancel()
    assert (await patient).definition is not None
    assert len(world.wire.asked) == 1


# --- changes --------------------------------------------------------------------------------------------------------


async def test_a_new_version_is_told_once_to_all_its_users_and_to_nobody_else(world: World) -> None:
    changing, other = publish(world, 2)
    await world.first_use([changing, other], users=3)
    world.store.put("process", "t123", changing.id, {"number": "new"})
    await world.wait(POLL)
    assert world.told == [frozenset(user(changing, number) for number in range(3))]
    seen = world.ask(changing)
    assert seen.definition is not None
    assert (seen.definition.version, seen.definition.definition) == (2, {"number": "new"})
    await world.wait(5 * POLL)
    assert len(world.told) == 1


async def test_another_etag_for_the_same_content_is_no_change(world: World) -> None:
    (reference,) = publish(world, 1)
    await world.first_use([reference])
    before = world.ask(reference).definition
    (file,) = world.store.folder.rglob("*.json")
    file.write_text(json.dumps(json.loads(file.read_text()) | {"publishedBy": "somebody"}))
    await world.wait(2 * POLL)
    assert [request.status for request in world.app.requests()] == [200, 200, 304]
    assert world.told == []
    after = world.ask(reference).definition
    assert before is not None
    assert after is not None
    assert after.definition is before.definition
    assert after.fetched_at == before.fetched_at


async def test_a_content_that_changes_under_its_version_is_told(world: World) -> None:
    (reference,) = publish(world, 1)
    await world.first_use([reference])
    world.store.put("process", "t123", reference.id, {"number": "other"}, version=1)
    await world.wait(POLL)
    assert len(world.told) == 1


async def test_pinned_and_newest_are_different_references(world: World) -> None:
    (newest,) = publish(world, 1)
    pinned = process(newest.id, 1)
    key = ObjectKey("tenant", "both")
    world.store.put("process", "t123", newest.id, {"number": "two"})
    first, second = await world.watcher.observe_all((pinned, newest), key)
    assert first.definition is not None
    assert second.definition is not None
    assert (first.definition.version, second.definition.version) == (1, 2)
    await world.wait(POLL)
    assert world.counts() == {pinned.path: 2, newest.path: 2}


# --- who still needs it ---------------------------------------------------------------------------------------------


async def test_what_nobody_uses_is_not_asked_for(world: World) -> None:
    kept, dropped = publish(world, 2)
    await world.first_use([kept, dropped], users=2)
    world.watcher.forget(user(dropped, 0))
    world.watcher.forget(user(kept, 0))
    await world.wait(POLL)
    assert world.counts()[dropped.path] == 2  # there is another user yet
    world.watcher.forget(user(dropped, 1))
    world.watcher.forget(ObjectKey("tenant", "never-seen"))
    await world.wait(3 * POLL)
    assert world.counts() == {kept.path: 5, dropped.path: 2}
    assert world.watcher.references() == {kept}
    assert world.ask(dropped) == Observation()


async def test_a_user_that_turns_to_another_reference_lets_go_of_the_first(world: World) -> None:
    first, second = publish(world, 2)
    key = ObjectKey("tenant", "turning")
    await world.watcher.observe(first, key)
    await world.watcher.observe(second, key)
    assert world.watcher.references() == {second}
    await world.wait(POLL)
    assert world.counts() == {first.path: 1, second.path: 2}


async def test_forgetting_one_that_waits_ends_its_waiting(world: World) -> None:
    (reference,) = publish(world, 1)
    waiting = asyncio.create_task(world.watcher.observe(reference, user(reference)))
    await asyncio.sleep(0)
    world.watcher.forget(user(reference))
    assert await waiting == Observation()
    await world.wait(3 * POLL)
    assert len(world.wire.asked) <= 1


# --- trouble with one definition ------------------------------------------------------------------------------------


async def test_a_definition_that_comes_later_is_found(world: World) -> None:
    missing = process("later")
    seen = await world.watcher.observe(missing, user(missing))
    assert seen.definition is None
    assert seen.error is not None
    assert seen.error.reason is Failure.NOT_FOUND
    assert seen.error.since == world.clock.now()
    assert seen.next_attempt is not None
    assert timedelta(0) < seen.next_attempt - world.clock.now() <= timedelta(seconds=1)
    await world.wait(10 * POLL)
    assert 10 <= len(world.wire.asked) <= 30  # in the end once per interval, give or take
    assert world.told == []
    world.store.put("process", "t123", "later", {"here": True})
    await world.wait(POLL)
    assert world.told == [frozenset({user(missing)})]
    seen = world.ask(missing)
    assert seen.error is None
    assert seen.definition is not None


async def test_a_definition_that_goes_stays_known_with_its_error(world: World) -> None:
    (reference,) = publish(world, 1)
    await world.first_use([reference])
    world.store.remove("process", "t123", reference.id)
    await world.wait(POLL)
    seen = world.ask(reference)
    assert seen.definition is not None
    assert seen.error is not None
    assert seen.error.reason is Failure.NOT_FOUND
    since = seen.error.since
    await world.wait(5 * POLL)
    assert world.told == [frozenset({user(reference)})]
    last = world.ask(reference)
    assert last.error is not None
    assert last.error.since == since


async def test_trouble_with_one_leaves_the_others_alone(world: World) -> None:
    bad, *others = publish(world, 20)
    await world.first_use([bad, *others])
    world.app.fault = Fault("error", only=bad.path)
    await world.wait(5 * POLL)
    assert {frozenset({user(bad)})} == set(world.told)
    assert len(world.told) == 1
    counts = world.counts()
    assert all(counts[reference.path] == 6 for reference in others)
    assert all(world.ask(reference).error is None for reference in others)


async def test_one_definition_that_asks_for_time_gets_it(world: World) -> None:
    busy, other = publish(world, 2)
    await world.first_use([busy, other])
    world.app.fault = Fault("error", seconds=200, only=busy.path, times=1)
    await world.wait(POLL)
    asked = world.counts()[busy.path]
    await world.wait(2 * POLL)
    assert world.counts() == {busy.path: asked, other.path: 4}
    await world.wait(200 - 2 * POLL)
    assert world.ask(busy).error is None


async def test_another_kind_of_error_is_told(world: World) -> None:
    (reference,) = publish(world, 1)
    await world.first_use([reference])
    world.app.fault = Fault("wrong-body")
    await world.wait(POLL)
    world.app.fault = Fault("forbidden")
    await world.wait(2 * POLL)
    world.app.fault = None
    await world.wait(2 * POLL)
    assert len(world.told) == 3
    assert world.ask(reference).error is None


async def test_a_fault_of_ours_does_not_end_the_looks(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (reference,) = publish(world, 1)
    await world.first_use([reference])
    fetch = TransformationClient.fetch
    monkeypatch.setattr(TransformationClient, "fetch", lambda *_, **__: 1 / 0)
    await world.wait(2 * POLL)
    seen = world.ask(reference)
    assert seen.error is not None
    assert "ZeroDivisionError" in seen.error.message
    assert any(record.levelno == logging.ERROR for record in caplog.records)
    monkeypatch.setattr(TransformationClient, "fetch", fetch)
    await world.wait(2 * POLL)
    assert world.ask(reference).error is None


# --- the token ------------------------------------------------------------------------------------------------------


async def test_a_changed_token_is_used_within_a_second(world: World) -> None:
    references = publish(world, 10)
    await world.first_use(references)
    world.app.token = "token-two"
    await world.wait(2 * POLL)
    refused = [world.ask(reference).error for reference in references]
    assert all(error is not None and error.reason is Failure.REFUSED for error in refused)
    world.told.clear()
    world.token_file.write_text("token-two")
    await world.wait(2.0)
    assert all(world.ask(reference).error is None for reference in references)
    assert sorted(key for keys in world.told for key in keys) == sorted(user(reference) for reference in references)


async def test_a_token_file_without_a_token_causes_no_storm(world: World) -> None:
    references = publish(world, 10)
    await world.first_use(references)
    world.app.token = "token-two"
    world.token_file.write_text("")
    await world.wait(POLL)
    asked = len(world.wire.asked)
    await world.wait(10 * POLL)
    assert len(world.wire.asked) - asked <= 10 * 10 * 2


# --- the API is down ------------------------------------------------------------------------------------------------


async def test_while_it_is_down_one_question_at_a_time_tries_it(world: World) -> None:
    references = publish(world, 200)
    await world.first_use(references)
    world.wire.down = True
    world.wire.asked.clear()
    world.wire.most_under_way = 0
    await world.wait(10 * POLL)
    # 1, 2, 4, 8, 16 and then every 30 seconds, each shortened by up to a half.
    assert 20 <= len(world.wire.asked) <= 50
    assert world.wire.most_under_way == 1
    assert len({path for _, path in world.wire.asked}) > 15  # they take turns
    for reference in references:
        seen = world.ask(reference)
        assert seen.definition is not None
        assert seen.error is not None
        assert seen.error.reason is Failure.UNAVAILABLE
        assert seen.next_attempt is not None
        assert seen.next_attempt - world.clock.now() <= timedelta(seconds=30)
    assert Counter(key for keys in world.told for key in keys) == {user(reference): 1 for reference in references}


async def test_when_it_is_back_all_follow_and_not_at_once(world: World) -> None:
    references = publish(world, 200)
    await world.first_use(references)
    world.wire.down = True
    await world.wait(5 * POLL)
    world.told.clear()
    world.wire.asked.clear()
    world.wire.down = False
    await world.wait(30 + 200 * 0.04 + 1)
    assert all(world.ask(reference).error is None for reference in references)
    assert Counter(key for keys in world.told for key in keys) == {user(reference): 1 for reference in references}
    assert max(Counter(int(at) for at, _ in world.wire.asked).values()) <= 40
    world.wire.asked.clear()
    await world.wait(2 * POLL)
    world.wire.asked.clear()
    await world.wait(POLL)
    assert world.counts() == {reference.path: 1 for reference in references}


async def test_a_first_use_meanwhile_is_answered_at_once_and_without_a_request(world: World) -> None:
    known, late = publish(world, 2)
    await world.first_use([known])
    world.wire.down = True
    await world.wait(2 * POLL)
    asked = len(world.wire.asked)
    seen = await world.watcher.observe(late, user(late))
    assert seen.definition is None
    assert seen.error is not None
    assert seen.error.reason is Failure.UNAVAILABLE
    assert len(world.wire.asked) == asked
    world.wire.down = False
    world.told.clear()
    await world.wait(31)
    assert world.ask(late).definition is not None
    assert frozenset({user(late)}) in world.told


async def test_many_first_uses_of_an_api_that_is_down_count_as_one_failure(world: World) -> None:
    references = publish(world, 50)
    world.wire.down = True
    seen = await asyncio.gather(*(world.watcher.observe(reference, user(reference)) for reference in references))
    assert all(each.error is not None and each.error.reason is Failure.UNAVAILABLE for each in seen)
    world.wire.down = False
    await world.wait(1 + 50 * 0.04)
    assert all(world.ask(reference).definition is not None for reference in references)


async def test_a_moments_trouble_is_not_told(world: World) -> None:
    references = publish(world, 20)
    await world.first_use(references)
    world.app.fault = Fault("unavailable", times=1)
    await world.wait(2 * POLL)
    assert 503 in {request.status for request in world.app.requests()}
    assert world.told == []
    assert all(world.ask(reference).error is None for reference in references)


async def test_an_api_that_asks_for_time_gets_it_from_all(world: World) -> None:
    references = publish(world, 50)
    await world.first_use(references)
    world.app.fault = Fault("rate-limited", seconds=150, times=1)
    world.app.clear_requests()
    world.wire.asked.clear()
    while not world.wire.asked or {request.status for request in world.app.requests()} != {429}:
        await world.wait(0.5)
        assert len(world.wire.asked) <= 1
    await world.wait(149)
    assert len(world.wire.asked) == 1
    await world.wait(10)
    assert {path for _, path in world.wire.asked} == {reference.path for reference in references}
    assert world.told == []


async def test_ended_watchers_leave_nothing_behind(tmp_path: Path) -> None:
    world = World(tmp_path)
    (reference,) = publish(world, 1)
    running = asyncio.create_task(world.watcher.run())
    await world.first_use([reference])
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await world.client.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_probe_that_is_given_up_before_it_began_is_no_probe(world: World) -> None:
    known, asking = publish(world, 2)
    await world.first_use([known])
    world.wire.down = True
    await world.wait(2 * POLL)
    world.wire.down = False
    world.clock.time += 31  # a probe is due, and the watcher has not woken yet
    asked = len(world.wire.asked)
    waiting = asyncio.create_task(world.watcher.observe(asking, user(asking)))
    await asyncio.sleep(0)
    world.watcher.forget(user(asking))
    assert await waiting == Observation()
    assert len(world.wire.asked) == asked
    await world.wait(1)
    assert world.ask(known).error is None


async def test_those_who_were_held_back_are_told_when_the_outage_is_certain(world: World) -> None:
    references = publish(world, 200)
    await world.first_use(references)
    await world.wait(POLL)
    looks = {path: at + POLL for at, path in world.wire.asked[200:]}
    times = sorted(looks.values())
    begin = max(times, key=lambda at: sum(at <= other < at + 0.5 for other in times))
    early = {reference for reference in references if begin <= looks[reference.path] < begin + 0.5}
    assert len(early) > 2
    await world.wait(begin - world.clock.time - 0.001)
    world.wire.down = True
    await world.wait(0.5)
    assert world.told == []
    await world.wait(0.6)
    assert {user(reference) for reference in early} <= {key for keys in world.told for key in keys}


async def test_an_outage_that_nobody_followed_is_not_believed_for_ever(world: World) -> None:
    first, later = publish(world, 2)
    world.wire.down = True
    await world.watcher.observe(first, user(first))
    world.watcher.forget(user(first))
    await world.wait(3600)
    world.wire.down = False
    seen = await world.watcher.observe(later, user(later))
    assert seen.error is None
    assert seen.definition is not None


async def test_one_who_cannot_be_told_is_logged_and_the_others_are_told(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = publish(world, 2)
    await world.first_use([first, second])
    told = []

    def tell(users: frozenset[ObjectKey]) -> None:
        if user(first) in users:
            raise LookupError("no such queue")
        told.append(users)

    world.tell = tell
    for reference in (first, second):
        world.store.put("process", "t123", reference.id, {"new": True})
    await world.wait(2 * POLL)
    assert told == [frozenset({user(second)})]
    assert "LookupError" in caplog.text
    assert world.counts() == {first.path: 3, second.path: 3}
