"""Leader election on the real API server: one leads, the next takes over, an outage is survived, a lost lead ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from ameide_shared.controller.leader import LeaderElector, own_identity
from ameide_shared.kube.client import ApiClient
from ameide_shared.kube.errors import ServerUnavailable
from ameide_shared.kube.resources import LEASE, ObjectKey
from ameide_shared.settings import LeaderElectionSettings

MakeClient = Callable[[], ApiClient]
QUICK = LeaderElectionSettings(lease_duration=3.0, renew_deadline=2.0, retry_period=0.2)


class Flaky(ApiClient):
    """A client whose connection can be taken away."""

    away = False
    requests = 0

    async def _send(self, *args: Any, **options: Any) -> bytes:
        self.requests += 1
        if self.away:
            raise ServerUnavailable("the API server is away")
        return await super()._send(*args, **options)


def elector(client: ApiClient, namespace: str, name: str, changes: list[str]) -> LeaderElector:
    return LeaderElector(
        client,
        ObjectKey(namespace, "t-operator"),
        QUICK,
        identity=name,
        on_change=lambda leads: changes.append(f"{name} {'leads' if leads else 'ceases'}"),
    )


async def until(condition: Callable[[], bool], seconds: float = 8.0) -> float:
    loop = asyncio.get_running_loop()
    started = loop.time()
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - polls what the electors do
            await asyncio.sleep(0.01)
    return loop.time() - started


async def test_one_leads_and_a_released_lease_is_taken_at_once(make_client: MakeClient, namespace: str) -> None:
    changes: list[str] = []
    a, b = elector(make_client(), namespace, "a", changes), elector(make_client(), namespace, "b", changes)
    await a.acquire()
    holding = asyncio.create_task(a.hold())
    waiting = asyncio.create_task(b.acquire())
    await asyncio.sleep(QUICK.lease_duration + 1)  # renewed all the while
    assert (a.leads(), b.leads()) == (True, False)
    assert b.holder == "a"
    holding.cancel()
    await a.release()
    assert not a.leads()
    await until(lambda: waiting.done(), 1.5)
    assert b.leads()
    assert changes == ["a leads", "a ceases", "b leads"]


async def test_a_killed_leader_is_replaced_after_the_lease_duration_and_not_before(
    make_client: MakeClient, namespace: str
) -> None:
    a, b = elector(make_client(), namespace, "a", []), elector(make_client(), namespace, "b", [])
    await a.acquire()
    holding = asyncio.create_task(a.hold())
    waiting = asyncio.create_task(b.acquire())
    await until(lambda: b.holder == "a")
    holding.cancel()  # without release: a crash
    taken = await until(lambda: waiting.done())
    assert QUICK.lease_duration - QUICK.retry_period * 1.2 - 0.3 <= taken <= QUICK.lease_duration + 1.5
    lease = await make_client().get(LEASE, a.key)
    assert lease["spec"]["holderIdentity"] == "b"
    assert lease["spec"]["leaseTransitions"] == 1


async def test_a_short_outage_is_survived_and_a_long_one_ends_the_lead_before_others_begin(
    make_client: MakeClient, namespace: str
) -> None:
    flaky = Flaky(make_client().connection, field_manager="t")
    changes: list[str] = []
    a, b = elector(flaky, namespace, "a", changes), elector(make_client(), namespace, "b", changes)
    await a.acquire()
    holding = asyncio.create_task(a.hold())
    flaky.away = True
    await asyncio.sleep(1.0)
    assert a.leads()
    flaky.away = False
    await asyncio.sleep(1.0)
    assert a.leads()
    assert not holding.done()

    waiting = asyncio.create_task(b.acquire())
    await until(lambda: b.holder == "a")
    flaky.away = True
    await until(lambda: holding.done())
    assert not a.leads()
    assert not waiting.done(), "two leaders"
    await until(lambda: waiting.done())
    assert changes == ["a leads", "a ceases", "b leads"]


async def test_a_lease_that_another_holder_wrote_into_is_lost_at_once(
    client: ApiClient, make_client: MakeClient, namespace: str
) -> None:
    a = elector(client, namespace, "a", [])
    await a.acquire()
    holding = asyncio.create_task(a.hold())
    other = make_client()
    await other.merge_patch(LEASE, a.key, {"spec": {"holderIdentity": "thief"}})
    await until(lambda: holding.done(), 2.0)
    assert not a.leads()


async def test_foreign_labels_and_a_deleted_lease_do_not_end_the_lead(
    client: ApiClient, make_client: MakeClient, namespace: str
) -> None:
    a = elector(client, namespace, "a", [])
    await a.acquire()
    holding = asyncio.create_task(a.hold())
    other = make_client()
    await other.merge_patch(LEASE, a.key, {"metadata": {"labels": {"x": "y"}}})
    await asyncio.sleep(1.0)
    assert a.leads()
    await other.delete(LEASE, a.key)
    await asyncio.sleep(1.0)
    assert a.leads()
    assert (await other.get(LEASE, a.key))["spec"]["holderIdentity"] == "a"
    holding.cancel()


async def test_renewing_costs_one_request(make_client: MakeClient, namespace: str) -> None:
    counted = Flaky(make_client().connection, field_manager="t")
    a = elector(counted, namespace, "a", [])
    await a.acquire()
    before = counted.requests
    holding = asyncio.create_task(a.hold())
    await asyncio.sleep(QUICK.retry_period * 5.5)
    holding.cancel()
    assert 3 <= counted.requests - before <= 5


def test_a_restarted_process_has_another_identity() -> None:
    assert own_identity() != own_identity()
