"""What the watcher knows of a real server without being asked again, whom it tells, and how little it asks."""

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from temporalio.client import Client

from ameide_dev.temporal import TemporalServer
from ameide_shared.kube.resources import ObjectKey
from process_operator.temporal.gateway import TemporalGateway
from process_operator.temporal.model import Detail, NamespaceState, Observation, ProblemKind, Target
from process_operator.temporal.watcher import TemporalWatcher

from .conftest import CHECKSUM, Calls, Waiting, gateway_for, until, worker

USER = ObjectKey("sales", "l2o")


@pytest.fixture(scope="module")
def brisk() -> Iterator[TemporalServer]:
    """A server whose idle workers poll anew each second, rather than each minute, and which counts backlog at once."""
    brief = {"matching.longPollExpirationInterval": '"1s"', "matching.TaskQueueInfoByBuildIdTTL": '"100ms"'}
    with TemporalServer("brisk", brief) as running:
        yield running


class Seen:
    """A watcher with a record of whom it told."""

    def __init__(self, gateway: TemporalGateway) -> None:
        self.told: Counter[ObjectKey] = Counter()
        self.batches: list[frozenset[ObjectKey]] = []
        self.watcher = TemporalWatcher(gateway, self._tell)

    def _tell(self, users: frozenset[ObjectKey]) -> None:
        self.told.update(users)
        self.batches.append(users)

    async def look(self, target: Target, user: ObjectKey = USER, *details: Detail) -> Observation:
        return await self.watcher.observe(target, user, details)


@pytest.fixture
async def made() -> AsyncIterator[list[Seen]]:
    """Watchers that end with the test."""
    watchers: list[Seen] = []
    yield watchers
    for seen in watchers:
        await seen.watcher.close()


def rounds(calls: Calls) -> int:
    """Looks at task queues: each is two requests."""
    return calls["DescribeTaskQueue", "OK"] // 2


async def test_the_first_observation_waits_for_the_first_look(
    made: list[Seen], temporal: TemporalServer, target: Target
) -> None:
    made.append(seen := Seen(gateway_for(temporal.address)))
    found = await seen.look(target)
    assert found.reachable is True
    assert found.problem is None
    assert found.checked_at is not None
    assert found.namespace is not None
    assert found.namespace.state is NamespaceState.Registered
    assert found.queue is not None
    assert found.queue.pollers == ()


async def test_one_round_per_interval_whatever_the_number_of_users(
    made: list[Seen], temporal: TemporalServer, target: Target, calls: Calls
) -> None:
    made.append(seen := Seen(gateway_for(temporal.address, calls, check_seconds=0.5)))
    users = [ObjectKey("sales", f"p{n}") for n in range(20)]
    await seen.look(target)
    await asyncio.sleep(0.6)  # past the first interval, which is shorter by chance
    calls.clear()
    began = time.monotonic()
    while time.monotonic() - began < 3.0:
        for user in users:
            await seen.look(target, user)
        await asyncio.sleep(0.05)
    assert 3 <= rounds(calls) <= 7
    # The namespace is asked for again when the interval is over, by the look that finds it so.
    assert 2 <= calls["DescribeNamespace", "OK"] <= 7
    assert set(calls) == {("DescribeTaskQueue", "OK"), ("DescribeNamespace", "OK")}
    assert not seen.told, "nothing changed after the first observation, which its user was given"


async def test_a_namespace_is_asked_for_once_for_all_its_queues(
    made: list[Seen], temporal: TemporalServer, namespace: str, calls: Calls
) -> None:
    made.append(seen := Seen(gateway_for(temporal.address, calls)))
    keys = [ObjectKey("sales", f"p{n}") for n in range(30)]
    await asyncio.gather(*(seen.look(Target("default", namespace, key.name), key) for key in keys))
    await until(lambda: rounds(calls) == 30)
    assert calls == {("DescribeNamespace", "OK"): 1, ("DescribeTaskQueue", "OK"): 60}


async def test_a_namespace_that_appears_is_noticed(made: list[Seen], temporal: TemporalServer, calls: Calls) -> None:
    made.append(seen := Seen(gateway_for(temporal.address, calls)))
    target = Target("default", f"later-{secrets.token_hex(3)}", "q")
    found = await seen.look(target)
    assert found.namespace is not None
    assert found.namespace.state is NamespaceState.Missing
    assert (found.reachable, found.problem) == (True, None)
    assert calls == {("DescribeNamespace", "NOT_FOUND"): 1}  # its queue is not asked for
    await seen.watcher._gateway.register_namespace("default", target.namespace)
    seen.watcher.expedite(target)

    async def registered() -> bool:
        state = await seen.look(target)
        return state.namespace is not None and state.namespace.state is NamespaceState.Registered

    await until(registered)
    assert seen.told[USER] >= 1


async def test_the_search_attribute_is_registered_once_where_that_is_allowed(
    made: list[Seen], temporal: TemporalServer, target: Target, calls: Calls
) -> None:
    gateway = gateway_for(temporal.address, calls, register_search_attribute=True, check_seconds=0.2)
    made.append(seen := Seen(gateway))
    await seen.look(target)
    await asyncio.sleep(0.7)
    assert calls["AddSearchAttributes", "OK"] == 1
    assert await gateway._has_attribute(target)


async def test_pollers_are_seen_within_a_second_or_two_while_somebody_waits_for_them(
    made: list[Seen], temporal: TemporalServer, target: Target, client: Client
) -> None:
    made.append(seen := Seen(gateway_for(temporal.address)))
    await seen.look(target)
    seen.told.clear()
    async with worker(client, identity="1@l2o-process-x"):
        seen.watcher.expedite(target, 30)
        await until(lambda: seen.told[USER] > 0)
        found = await seen.look(target)
        assert found.queue is not None
        assert [poller.of_pod("l2o-process-x") for poller in found.queue.pollers] == [True]


async def test_pollers_of_a_worker_that_stopped_are_no_longer_alive(made: list[Seen], brisk: TemporalServer) -> None:
    client = await brisk.client(brisk.create_namespace("pollers"))
    made.append(seen := Seen(gateway_for(brisk.address, check_seconds=0.5, poller_seconds=2.5)))
    target = Target("default", "pollers", "l2o-tq")

    async def polled(expected: bool) -> bool:
        found = await seen.look(target)
        return found.queue is not None and bool(found.queue.workflow_pollers) is expected

    async with worker(client):
        await until(lambda: polled(True))
        await asyncio.sleep(3)
        assert await polled(True), "an idle worker goes on polling"
    await until(lambda: polled(False))
    assert (await seen.watcher._gateway.task_queue(target)).pollers, "Temporal itself still lists it"


async def test_backlog_is_told_by_order_of_magnitude(made: list[Seen], brisk: TemporalServer) -> None:
    client = await brisk.client(brisk.create_namespace("backlog"))
    target = Target("default", "backlog", "l2o-tq")
    made.append(seen := Seen(gateway_for(brisk.address, check_seconds=0.3)))
    await seen.look(target)

    async def backlog(number: int) -> bool:
        found = await seen.look(target)
        return found.queue is not None and found.queue.workflow_backlog == number

    for number in range(12):
        await client.start_workflow("Waiting", id=f"w{number}", task_queue=target.queue)
        if number in (0, 8):
            await until(lambda number=number: backlog(number + 1))  # type: ignore[misc]
    await until(lambda: backlog(12))
    await asyncio.sleep(0.7)
    # None → some → ten and more, and not once for each workflow.
    assert seen.told[USER] == 2


async def test_open_workflows_and_definitions_are_looked_up_for_who_asks(
    made: list[Seen], temporal: TemporalServer, target: Target, client: Client, calls: Calls
) -> None:
    made.append(seen := Seen(gateway_for(temporal.address, calls)))
    assert (await seen.look(target)).open is None
    assert not calls["CountWorkflowExecutions", "OK"]
    async with worker(client):
        handle = await client.start_workflow(Waiting.run, args=[CHECKSUM], id="w", task_queue=target.queue)
        seen.watcher.expedite(target)

        async def used() -> bool:
            found = await seen.look(target, USER, Detail.Open, Detail.Usage)
            return bool(found.open and found.open.count == 1 and found.usage and found.usage.complete)

        await until(used)
        found = await seen.look(target, USER, Detail.Open, Detail.Usage)
        assert found.usage is not None
        assert found.usage.checksums == {CHECKSUM}
        await handle.signal(Waiting.release)

        async def none_for_a_while() -> bool:
            found = await seen.look(target, USER, Detail.Open, Detail.Usage)
            return found.open is not None and found.open.none_for(2.0)

        await until(none_for_a_while)
    await seen.look(target)  # nobody asks any more
    await asyncio.sleep(1.2)
    calls.clear()
    await asyncio.sleep(2.2)
    assert not calls["CountWorkflowExecutions", "OK"]
    assert rounds(calls) >= 1


async def test_forgotten_targets_are_not_looked_at(
    made: list[Seen], temporal: TemporalServer, target: Target, calls: Calls
) -> None:
    made.append(seen := Seen(gateway_for(temporal.address, calls, check_seconds=0.2)))
    await seen.look(target)
    await seen.look(target, ObjectKey("sales", "other"))
    seen.watcher.forget(USER)
    await asyncio.sleep(0.5)
    calls.clear()
    await asyncio.sleep(0.5)
    assert rounds(calls) >= 1  # for the other one
    seen.watcher.forget(ObjectKey("sales", "other"))
    await asyncio.sleep(0.1)
    calls.clear()
    await asyncio.sleep(0.6)
    assert not calls


async def test_a_user_that_moves_to_another_queue_leaves_the_old_one(
    made: list[Seen], temporal: TemporalServer, target: Target, calls: Calls
) -> None:
    made.append(seen := Seen(gateway_for(temporal.address, calls)))
    await seen.look(target)
    await seen.look(Target("default", target.namespace, "second"))
    [link] = seen.watcher._links.values()
    assert [watched.queue for watched in link.targets] == ["second"]


async def test_a_connection_that_does_not_exist_is_a_problem(
    made: list[Seen], temporal: TemporalServer, calls: Calls
) -> None:
    made.append(seen := Seen(gateway_for(temporal.address, calls)))
    found = await seen.look(Target("elsewhere", "n", "q"))
    assert found.problem is not None
    assert found.problem.kind is ProblemKind.ConnectionUnknown
    assert found.reachable is None
    assert "temporal.connections.elsewhere" in found.problem.remedy
    assert not calls


async def test_credentials_that_cannot_be_read_are_a_problem_until_they_can(
    made: list[Seen], temporal: TemporalServer, tmp_path: Path, calls: Calls
) -> None:
    files = {"ca_file": tmp_path / "ca.crt"}
    made.append(seen := Seen(gateway_for(temporal.address, calls, tls=files, check_seconds=1.0)))
    found = await seen.look(Target("default", "default", "q"))
    assert found.problem is not None
    assert (found.problem.kind, found.reachable) == (ProblemKind.Denied, None)
    assert str(tmp_path / "ca.crt") in found.problem.message
    assert "temporal.connections.default" in found.problem.remedy
    assert set(calls) == {("DescribeNamespace", "CREDENTIALS")}  # nothing was sent anywhere


async def test_a_queue_that_cannot_be_looked_at_does_not_hurt_its_neighbours(
    made: list[Seen], temporal: TemporalServer, target: Target
) -> None:
    made.append(seen := Seen(gateway_for(temporal.address, check_seconds=0.3)))
    odd = await seen.look(Target("default", target.namespace, "a\\b"), ObjectKey("sales", "odd"), Detail.Open)
    assert odd.problem is not None
    assert odd.problem.kind is ProblemKind.Rejected
    assert odd.reachable is True
    assert (await seen.look(target)).problem is None
