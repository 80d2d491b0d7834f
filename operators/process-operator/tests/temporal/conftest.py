"""A gateway to the real server, a namespace per test, and real workers."""

import asyncio
import re
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.common import SearchAttributeKey
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from ameide_dev.temporal import TemporalServer
from process_operator.temporal.gateway import TemporalGateway
from process_operator.temporal.model import Target
from process_operator.temporal.settings import TemporalConnection, TemporalSettings

CHECKSUM = "sha256:" + "a" * 64
ATTRIBUTE = SearchAttributeKey.for_keyword("AmeideDefinitionChecksum")


@workflow.defn(name="Waiting")
class Waiting:
    """Stays open until told to go on; says which definition it runs, as real workers do."""

    def __init__(self) -> None:
        self._released = False

    @workflow.run
    async def run(self, checksum: str = "", how: str = "memo") -> str:
        if checksum and how == "memo":
            workflow.upsert_memo({"ameide-definition-checksum": checksum})
        elif checksum:
            workflow.upsert_search_attributes([ATTRIBUTE.value_set(checksum)])
        await workflow.wait_condition(lambda: self._released)
        return "released"

    @workflow.signal
    def release(self) -> None:
        self._released = True


@activity.defn(name="nothing")
async def nothing() -> None:
    """So that the worker polls for activities."""


Calls = Counter[tuple[str, str]]
StartWorker = Callable[..., AbstractAsyncContextManager[Worker]]


@pytest.fixture
def calls() -> Calls:
    """Requests of the gateway by method and outcome."""
    return Counter()


def settings_for(address: str, **more: Any) -> TemporalSettings:
    connection = {key: more.pop(key) for key in list(more) if key in TemporalConnection.model_fields}
    return TemporalSettings(connections={"default": TemporalConnection(address=address, **connection)}, **more)


def gateway_for(address: str, calls: Calls | None = None, **more: Any) -> TemporalGateway:
    counter = Counter() if calls is None else calls

    def count(_connection: str, method: str, outcome: str, _seconds: float) -> None:
        counter[method, outcome] += 1

    return TemporalGateway(settings_for(address, **more), on_call=count)


@pytest.fixture
def gateway(temporal: TemporalServer, calls: Calls) -> TemporalGateway:
    return gateway_for(temporal.address, calls)


@pytest.fixture
def namespace(temporal: TemporalServer, request: pytest.FixtureRequest) -> str:
    """A Temporal namespace of the test's own."""
    slug = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower().removeprefix("test_"))[:40].strip("-")
    return temporal.create_namespace(f"{slug}-{secrets.token_hex(3)}")


@pytest.fixture
def target(namespace: str) -> Target:
    return Target("default", namespace, "l2o-tq")


@pytest.fixture
async def client(temporal: TemporalServer, namespace: str) -> Client:
    return await temporal.client(namespace)


@asynccontextmanager
async def worker(client: Client, queue: str = "l2o-tq", **more: Any) -> AsyncIterator[Worker]:
    """A worker that really runs, in this process."""
    async with Worker(
        client,
        task_queue=queue,
        workflows=[Waiting],
        activities=[nothing],
        workflow_runner=UnsandboxedWorkflowRunner(),
        **more,
    ) as running:
        yield running


async def until(what: Callable[[], Awaitable[bool]] | Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(seconds):
        while True:
            held = what()
            if (await held) if not isinstance(held, bool) else held:
                return
            await asyncio.sleep(0.03)


@pytest.fixture
def own_server() -> Iterator[TemporalServer]:
    """A server of the test's own, that it may kill."""
    with TemporalServer("killed") as running:
        yield running
