"""The program itself, as a process of its own: probes, waiting for Temporal, stopping, and the scheduled commands."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from bpmn_json import definitions, end, event, event_sub, message, node, process, script, start, user
from process_worker_support import NAMESPACE, World, replace

from ameide_dev.ports import Ports
from ameide_dev.processes import spawn, terminate
from ameide_dev.temporal import TemporalServer
from process_worker import jobs, worker
from process_worker.config import TemporalFiles

SOURCE = Path(__file__).parents[1] / "src"


class Program:
    """`python -m process_worker` with an environment as an operator gives it."""

    def __init__(self, world: World, folder: Path, checksum: str, table: bytes, address: str = "") -> None:
        place = folder / "etc/ameide/process" / checksum.removeprefix("sha256:")
        place.mkdir(parents=True, exist_ok=True)
        (place / "table.json").write_bytes(table)
        self.log = folder / "log"
        self.ports = Ports()
        self.port = self.ports.reserve()
        self.env = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(SOURCE),
            "AMEIDE_HOST_ROOT": str(folder),
            "AMEIDE_PROCESS_DEFINITION_ID": "test",
            "AMEIDE_PROCESS_DEFINITION_VERSION": "1",
            "AMEIDE_PROCESS_DEFINITION_CHECKSUM": checksum,
            "AMEIDE_TENANT_ID": "t123",
            "AMEIDE_METRICS_TAGS": '{"processType": "L2O"}',
            "AMEIDE_SHUTDOWN_SECONDS": "2",
            "TEMPORAL_ADDRESS": address or world.config.address,
            "TEMPORAL_NAMESPACE": NAMESPACE,
            "TASK_QUEUE": world.queue,
            "POD_NAME": "worker-0",
            "POD_IP": "127.0.0.1",
            "PORT_HTTP": str(self.port),
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "process_worker"]
            self.process = spawn(command, env=self.env, stdout=log, stderr=subprocess.STDOUT)

    def stop(self) -> int:
        if self.process is None:
            return 0
        code = terminate(self.process, grace_seconds=10)
        self.process = None
        return code

    async def get(self, path: str) -> httpx.Response:
        async with httpx.AsyncClient(trust_env=False) as http:
            return await http.get(f"http://127.0.0.1:{self.port}{path}")

    async def until(self, path: str, holds: Callable[[httpx.Response], bool], seconds: float = 15) -> httpx.Response:
        deadline = time.monotonic() + seconds
        answer: httpx.Response | str = "nothing"
        while time.monotonic() < deadline:
            try:
                answer = await self.get(path)
                if holds(answer):
                    return answer
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.1)
        raise AssertionError(f"{path} still answers {answer}; the log:\n{self.log.read_text()[-3000:]}")

    async def job(self, *arguments: str) -> tuple[int, list[dict[str, Any]], str]:
        command = [sys.executable, "-m", "process_worker", "job", *arguments]
        pipe = asyncio.subprocess.PIPE
        run = await asyncio.create_subprocess_exec(*command, env=self.env, stdout=pipe, stderr=pipe)
        out, errors = await run.communicate()
        assert run.returncode is not None
        return run.returncode, [json.loads(line) for line in out.decode().splitlines()], errors.decode()


def waiting() -> dict[str, Any]:
    """Waits for a person; the message Late makes a note of it beside."""
    begin = {
        **start("on", eventDefinitions=[event("Message", messageRef="message_Late")]),
        "isInterrupting": False,
    }
    late = event_sub("late", [begin, script("note", "late", "true"), end("off")], "on -> note\nnote -> off")
    nodes = [start(), user("task"), end(), late, node("ExclusiveGateway", "merge")]
    return definitions(process("waiting", nodes, "start -> merge\nmerge -> task\ntask -> end"), message("Late"))


@pytest.fixture
def program(world: World, tmp_path: Path) -> Iterator[Program]:
    compiled = world.deploy(waiting())
    world.queue += "-program"
    made = Program(world, tmp_path, compiled.checksum, compiled.bytes)
    yield made
    made.stop()
    made.ports.release()


async def test_the_worker_becomes_ready_works_shows_metrics_and_stops_in_good_order(
    world: World, program: Program
) -> None:
    program.start()
    ready = await program.until("/readyz", lambda answer: answer.is_success)
    assert ready.json()["definitions"] == [program.env["AMEIDE_PROCESS_DEFINITION_CHECKSUM"]]
    handle = await world.start()
    await world.at(handle, "task")
    metrics = (await program.get("/metrics")).text
    assert 'process_worker_workflow_starts_total{outcome="accepted",process="waiting"} 1.0' in metrics
    assert "process_worker_polling 1.0" in metrics
    assert 'tag_processType="L2O"' in metrics
    assert "temporal_workflow_task_execution_latency" in metrics
    assert (await program.get("/healthz")).is_success
    assert (await program.get("/nothing")).status_code == 404
    assert program.stop() == 0
    assert "polls task queue" in program.log.read_text()


async def test_the_worker_waits_for_temporal_and_for_its_namespace(world: World, program: Program) -> None:
    with TemporalServer("worker-waits") as server:
        server.stop()
        program.env |= {"TEMPORAL_ADDRESS": server.address, "TEMPORAL_NAMESPACE": "later"}
        program.start()
        down = await program.until("/readyz", lambda answer: "UNAVAILABLE" in answer.text or "DEADLINE" in answer.text)
        assert down.status_code == 503
        server.start()
        await program.until("/readyz", lambda answer: "NOT_FOUND" in answer.text)
        server.create_namespace("later")
        await program.until("/readyz", lambda answer: answer.is_success, seconds=25)


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("TEMPORAL_ADDRESS", "", "TEMPORAL_ADDRESS must be set"),
        ("AMEIDE_PROCESS_DEFINITION_CHECKSUM", "sha256:00", "sha256:00 is not mounted"),
        ("AMEIDE_MAX_CONCURRENCY_PER_TENANT", "many", "AMEIDE_MAX_CONCURRENCY_PER_TENANT='many'"),
        ("AMEIDE_DEPENDENCIES", "[]", "AMEIDE_DEPENDENCIES must be JSON"),
        ("TEMPORAL_TLS_CERT_FILE", "/x", "go together"),
    ],
)
async def test_a_wrong_environment_ends_the_program_with_the_reason(
    program: Program, variable: str, value: str, told: str
) -> None:
    program.env[variable] = value
    program.start()
    assert program.process is not None
    assert await asyncio.to_thread(program.process.wait, 20) == 2
    assert told in program.log.read_text()


Jobs = Callable[..., Awaitable[tuple[int, list[dict[str, Any]]]]]


@pytest.fixture
def job(world: World, capsys: pytest.CaptureFixture[str]) -> Jobs:
    """Runs a job in this process; with `found`, again and again until visibility, which lags, lists something."""

    async def run(*arguments: str, found: bool = True) -> tuple[int, list[dict[str, Any]]]:
        for _ in range(50):
            code = await jobs.run(world.client, world.config, jobs.arguments(arguments))
            lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
            if lines[-1]["found"] or not found:
                return code, lines
            await asyncio.sleep(0.1)
        raise AssertionError("nothing is listed")

    return run


async def test_jobs_report_tell_and_end_old_workflows(world: World, job: Jobs, temporal: TemporalServer) -> None:
    world.deploy(waiting())
    handle = await world.start()
    await world.at(handle, "task")
    code, lines = await job("SLACheck", "--max-age", "PT0S")
    assert (code, [line["workflowId"] for line in lines[:-1]]) == (0, [handle.id])
    code, lines = await job("SLACheck", "--max-age", "P1D", "--fail", found=False)
    assert (code, lines[-1]["found"]) == (0, 0)
    code, lines = await job("SLACheck", "--max-age", "PT0S", "--message", "Late", "--fail")
    assert (code, lines[0]["action"]) == (4, "message")
    assert (await world.state(handle, lambda state: "off" in state["path"]))["variables"] == {"late": True}
    code, lines = await job("TimeoutSweep", "--max-age", "PT0S", "--action", "report")
    assert (code, lines[-1]["acted"]) == (0, 0)
    code, lines = await job("TimeoutSweep", "--max-age", "PT0S")
    assert (code, lines[0]["action"]) == (0, "cancel")
    assert (await world.outcome(handle)).failed == "CancelledError"
    code, lines = await job("Cleanup", "--closed-for", "PT0S", "--delete")
    assert (code, lines[0]["action"]) == (0, "delete")
    # The server deletes in its own time, half a minute later; that it was asked is known at once.
    for _ in range(60):
        if temporal.requests(NAMESPACE).get("DeleteWorkflowExecution"):
            break
        await asyncio.sleep(0.05)
    else:
        raise AssertionError("the server was not asked to delete anything")


@pytest.mark.parametrize("queue", ["it's", "a AND b", "per%cent"])
async def test_jobs_see_the_workflows_of_their_own_queue_only(world: World, job: Jobs, queue: str) -> None:
    world.deploy(waiting())
    handle = await world.start()
    await world.at(handle, "task")
    await job("SLACheck", "--max-age", "PT0S")
    world.config = replace(world.config, task_queue=queue)
    assert (await job("TimeoutSweep", "--max-age", "PT0S", found=False))[1][-1]["found"] == 0


async def test_a_job_says_what_is_wrong_with_its_arguments_or_with_temporal(program: Program) -> None:
    code, _, told = await program.job("SLACheck", "--max-age", "soon")
    assert code == 2
    assert "'soon' is no ISO 8601 duration" in told
    program.env["TEMPORAL_NAMESPACE"] = "nowhere"
    code, _, told = await program.job("SLACheck", "--max-age", "PT1H")
    assert code == 3
    assert "NOT_FOUND" in told


async def test_a_replaced_api_key_is_used_without_a_restart(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(worker, "_LOOK_SECONDS", 0.1)
    compiled = world.deploy(waiting())
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "table.json").write_bytes(compiled.bytes)
    key = tmp_path / "key"
    key.write_text("first-key\n")
    world.queue += "-keys"
    config = replace(
        world.config,
        task_queue=world.queue,
        definitions=tmp_path,
        checksum=compiled.checksum,
        credentials=TemporalFiles(api_key=key),
    )
    stop = asyncio.Event()
    with caplog.at_level("INFO"):
        serving = asyncio.create_task(worker.serve(config, stop))
        first = await world.start()
        await world.at(first, "task")
        key.write_text("second-key-is-longer\n")
        for _ in range(100):
            if "connects anew" in caplog.text:
                break
            await asyncio.sleep(0.05)
        assert "connects anew with the replaced credentials" in caplog.text
        await world.at(await world.start(), "task")
        stop.set()
        await serving
    assert "first-key" not in caplog.text
    assert "second-key" not in caplog.text
