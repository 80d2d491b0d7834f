"""A worker over its life: definitions that change under open workflows, draining, tenants, and what it records."""

import asyncio
import hashlib
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from bpmn_json import definitions, end, process, script, service, start, user
from process_worker_support import NAMESPACE, World, replace, working
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest

from process_operator.temporal.queries import CHECKSUM_ATTRIBUTE, CHECKSUM_MEMO
from process_worker.tables import TABLES, TableError, Tables
from process_worker.workflow import ATTRIBUTE


def versioned(number: int, steps: int = 0) -> Mapping[str, Any]:
    """A process that waits for a person, and says afterwards which version it was; it grows with each version."""
    extra = [script(f"step{step}", f"step{step}", "true") for step in range(steps)]
    ids = ["start", *(each["id"] for each in extra), "task", "say", "end"]
    nodes = [start(), *extra, user("task"), script("say", "version", str(number)), end()]
    flows = "\n".join(f"{a} -> {b}" for a, b in pairwise(ids))
    return definitions(process("growing", nodes, flows))


async def test_an_open_workflow_keeps_its_definition_when_a_new_one_is_deployed(world: World) -> None:
    world.queue += "-upgraded"
    config = replace(world.config, task_queue=world.queue)
    first = world.deploy(versioned(1))
    async with working(world.client, config):
        old = await world.start()
        assert (await world.at(old, "task"))["definition"] == first.checksum
    second = world.deploy(versioned(2, steps=2))
    # This worker starts afresh and has nothing cached: it replays the old history, on the old definition.
    async with working(world.client, config):
        new = await world.start()
        assert (await world.at(new, "task"))["definition"] == second.checksum
        for handle in (old, new):
            await handle.signal("completeTask", {"task": "task"})
        assert (await world.outcome(old)).variables == {"version": 1}
        assert (await world.outcome(new)).variables == {"version": 2, "step0": True, "step1": True}


async def test_a_workflow_waits_while_its_definition_is_missing_and_goes_on_when_it_is_back(world: World) -> None:
    compiled = world.deploy(versioned(1))
    handle = await world.start()
    await world.at(handle, "task")
    world.deploy(versioned(2))
    history = await handle.fetch_history()
    held = TABLES._tables.pop(compiled.checksum)
    try:
        with pytest.raises(TableError, match=f"{compiled.checksum} is not mounted"):
            TABLES.get(compiled.checksum)
        with pytest.raises(RuntimeError, match="is not mounted"):
            await world.replay(handle)
    finally:
        TABLES._tables[compiled.checksum] = held
    assert history.events
    await handle.signal("completeTask", {"task": "task"})
    assert (await world.outcome(handle)).variables == {"version": 1}


async def test_the_definition_is_in_the_memo_as_the_operator_reads_it(world: World) -> None:
    compiled = world.deploy(versioned(1))
    handle = await world.start()
    await world.at(handle, "task")
    memo = await (await handle.describe()).memo()
    assert memo == {CHECKSUM_MEMO: compiled.checksum}


async def test_the_definition_is_searchable_where_the_namespace_has_the_attribute(world: World) -> None:
    assert ATTRIBUTE.name == CHECKSUM_ATTRIBUTE
    kind = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
    service = world.client.operator_service
    await service.add_search_attributes(
        AddSearchAttributesRequest(namespace=NAMESPACE, search_attributes={ATTRIBUTE.name: kind})
    )
    for _ in range(100):
        known = await service.list_search_attributes(ListSearchAttributesRequest(namespace=NAMESPACE))
        if ATTRIBUTE.name in known.custom_attributes:
            break
        await asyncio.sleep(0.05)
    compiled = world.deploy(versioned(1))
    world.queue += "-searchable"
    async with working(world.client, replace(world.config, task_queue=world.queue), searchable=True):
        handle = await world.start()
        await world.at(handle, "task")
        query = f"{CHECKSUM_ATTRIBUTE} = '{compiled.checksum}' AND ExecutionStatus = 'Running'"
        for _ in range(100):
            if handle.id in [each.id async for each in world.client.list_workflows(query)]:
                break
            await asyncio.sleep(0.05)
        else:
            raise AssertionError("the workflow is not found by its definition")


async def test_draining_refuses_new_workflows_and_lets_open_ones_end(world: World) -> None:
    world.deploy(versioned(1))
    opened = await world.start()
    await world.at(opened, "task")
    world.config.drain_file.write_text("true\n")
    refused = await world.start()
    outcome = await world.outcome(refused)
    assert outcome.failed == "Draining"
    await opened.signal("completeTask", {"task": "task"})
    assert (await world.outcome(opened)).variables == {"version": 1}
    world.config.drain_file.unlink()
    await world.at(await world.start(), "task")


@pytest.mark.parametrize(
    ("kind", "arguments", "failed"),
    [
        ("unheard-of", [{}], "UnknownProcess"),
        (None, [{}, {"tenant": "t999"}], "TenantMismatch"),
        (None, [{}, {"startEvent": "elsewhere"}], "UnknownStartEvent"),
        (None, [["no", "object"]], "InvalidInput"),
    ],
)
async def test_a_start_that_makes_no_sense_fails_with_the_reason(
    world: World, kind: str | None, arguments: list[Any], failed: str
) -> None:
    world.deploy(versioned(1))
    handle = await world.start(*arguments, process=kind)
    outcome = await world.outcome(handle)
    assert outcome.failed == failed


async def test_no_more_calls_at_once_than_the_tenant_may_have(world: World) -> None:
    running, most = 0, 0
    loop = asyncio.get_running_loop()

    def answer(_: object) -> tuple[int, Any]:
        nonlocal running, most
        running += 1
        most = max(most, running)
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0.15), loop).result()
        running -= 1
        return 200, {}

    world.dependency.answers["work"] = answer
    world.deploy(definitions(process("busy", [start(), service("work"), end()], "start -> work\nwork -> end")))
    world.queue += "-limited"
    for tenant in ("t123", ""):
        config = replace(world.config, task_queue=world.queue, concurrency=2, tenant=tenant)
        async with working(world.client, config):
            handles = [await world.start({}, {"tenant": "t123"}) for _ in range(6)]
            for handle in handles:
                assert (await world.outcome(handle)).failed is None
    assert most == 2


def test_tables_are_known_by_the_digest_of_their_bytes(tmp_path: Path) -> None:
    content = b'{"formatVersion":1,"process":"p"}'
    checksum = f"sha256:{hashlib.sha256(content).hexdigest()}"
    tables = Tables()
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "table.json").write_bytes(content)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "table.json").write_bytes(b"{")
    tables.load(tmp_path, checksum)
    assert (tables.checksums(), tables.current) == ([checksum], checksum)
    # A definition that is mounted later is found when it is asked for.
    later = b'{"formatVersion":1,"process":"q"}'
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "table.json").write_bytes(later)
    assert tables.get(f"sha256:{hashlib.sha256(later).hexdigest()}")["process"] == "q"
    with pytest.raises(TableError, match="formatVersion 2, this worker executes 1"):
        tables.add(b'{"formatVersion":2}')
    with pytest.raises(TableError, match="not mounted below"):
        tables.get("sha256:00")
