"""The real Temporal server: answers within seconds, keeps its data and address, can be slow, leaves nothing behind."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from temporalio.service import RPCError, RPCStatusCode

from ameide_dev.temporal import TemporalError, TemporalServer


@pytest.fixture(scope="module")
def server() -> Iterator[TemporalServer]:
    with TemporalServer("own") as running:
        yield running


def gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


async def test_a_namespace_can_be_used_as_soon_as_it_is_made(server: TemporalServer) -> None:
    client = await server.client(server.create_namespace("fresh"))
    handle = await client.start_workflow("Nobody", id="one", task_queue="q")
    assert (await handle.describe()).task_queue == "q"
    assert server.create_namespace("fresh") == "fresh"  # there already: no error


@pytest.mark.parametrize("end", [TemporalServer.stop, TemporalServer.kill])
async def test_data_and_address_outlive_a_restart(server: TemporalServer, end: object) -> None:
    assert callable(end)
    namespace = server.create_namespace(f"kept-{getattr(end, '__name__', '')}")
    client = await server.client(namespace)
    await client.start_workflow("Nobody", id="kept", task_queue="q")
    address, pid = server.address, server.pid
    end(server)
    assert not server.running
    assert gone(pid)
    server.start()
    assert server.address == address
    assert (await (await server.client(namespace)).get_workflow_handle("kept").describe()).id == "kept"


async def test_a_paused_server_is_connected_to_and_does_not_answer(server: TemporalServer) -> None:
    client = await server.client()
    server.pause()
    try:
        with pytest.raises(RPCError) as caught:
            await client.count_workflows("", rpc_timeout=timedelta(seconds=0.5))
        assert caught.value.status in (RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.CANCELLED)
    finally:
        server.resume()
    assert (await client.count_workflows("")).count == 0


async def test_requests_are_counted_by_the_server(server: TemporalServer) -> None:
    namespace = server.create_namespace("counted-ones")
    client = await server.client(namespace)
    await asyncio.sleep(1.2)
    before = server.requests(namespace).get("CountWorkflowExecutions", 0)
    for _ in range(7):
        await client.count_workflows("")
    await asyncio.sleep(1.2)  # the server adds up once a second
    assert server.requests(namespace)["CountWorkflowExecutions"] - before == 7


def test_dynamic_configuration_reaches_the_server() -> None:
    with TemporalServer("strict", {"limit.maxIDLength": "20"}) as strict, httpx.Client(trust_env=False) as http:
        url = f"http://127.0.0.1:{strict._http_port}/api/v1/namespaces"
        answer = http.post(url, json={"namespace": "n" * 21, "workflowExecutionRetentionPeriod": "86400s"})
        assert "length exceeds limit" in answer.text


def test_a_server_that_cannot_start_says_why() -> None:
    broken = TemporalServer("broken", {"no such key": "{"})
    try:
        with pytest.raises(TemporalError, match=r"Temporal broken ended with exit code 1; log: .*temporal\.log"):
            broken.start()
    finally:
        broken.remove()


def test_questions_before_the_start_are_refused() -> None:
    idle = TemporalServer("idle")
    try:
        with pytest.raises(TemporalError, match="has not been started"):
            _ = idle.log_path
        with pytest.raises(TemporalError, match="does not run"):
            idle.pause()
    finally:
        idle.remove()


def test_nothing_outlives_a_killed_owner() -> None:
    script = (
        "from ameide_dev.temporal import TemporalServer; import os, signal\n"
        "s = TemporalServer('orphan'); s.start(); print(s.pid, s.log_path.parent, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    pid, folder = done.stdout.split()
    deadline = time.monotonic() + 10
    while not gone(int(pid)) or Path(folder).exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
