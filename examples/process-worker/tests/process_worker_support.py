"""What the worker's tests stand on: a real Temporal namespace, a worker of its own, and a dependency over HTTP."""

import asyncio
import json
import secrets
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import temporalio.client
from temporalio.client import Client, WorkflowHandle
from temporalio.worker import Replayer

from ameide_dev.temporal import TemporalServer
from process_operator.bpmn import Compiled, Dependencies, compile
from process_worker.activities import Activities
from process_worker.config import Config, TemporalFiles
from process_worker.tables import TABLES
from process_worker.worker import build
from process_worker.workflow import Process

NAMESPACE = "process-worker"
TENANT = "t123"


@dataclass(frozen=True, slots=True)
class Request:
    """A request that the dependency was sent."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any


Answer = tuple[int, Any] | Callable[[Request], tuple[int, Any]]


@dataclass(slots=True)
class Dependency:
    """A small HTTP service: it answers as told by operation (the last part of the path), else with what it was sent."""

    answers: dict[str, Answer] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    url: str = ""

    def calls(self, operation: str | None = None) -> list[Request]:
        return [each for each in self.requests if operation in (None, _operation(each.path))]

    def operations(self) -> list[str]:
        return [_operation(each.path) for each in self.requests]


def _operation(path: str) -> str:
    return path.partition("?")[0].rpartition("/")[2]


def _serve(dependency: Dependency) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:
            """Tests look at `requests`."""

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(self.command, self.path, headers, body)
            dependency.requests.append(request)
            answer = dependency.answers.get(_operation(self.path), (200, {"sent": body}))
            status, content = answer(request) if callable(answer) else answer
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            with suppress(OSError):
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

    for method in ("GET", "PUT", "PATCH", "DELETE"):
        setattr(Handler, f"do_{method}", Handler.do_POST)

    return ThreadingHTTPServer(("127.0.0.1", 0), Handler)


@dataclass(slots=True)
class World:
    """One test's surroundings."""

    client: Client
    queue: str
    config: Config
    dependency: Dependency
    handles: list[WorkflowHandle[Any, Any]] = field(default_factory=list)

    def deploy(self, definition: Mapping[str, Any]) -> Compiled:
        """Compile a definition and make it the one of new workflows."""
        compiled = compile(definition, Dependencies(domains=frozenset({"shop"}), agents=frozenset()))
        TABLES.current = TABLES.add(compiled.bytes)
        assert TABLES.current == compiled.checksum
        return compiled

    async def start(self, variables: Any = None, *options: Any, process: str | None = None) -> WorkflowHandle[Any, Any]:
        name = process or TABLES.get(TABLES.current)["process"]
        handle = await self.client.start_workflow(
            name,
            args=[{} if variables is None else variables, *options],
            id=secrets.token_hex(6),
            task_queue=self.queue,
        )
        self.handles.append(handle)
        return handle

    async def run(self, definition: Mapping[str, Any], variables: Any = None) -> "Outcome":
        """Run a definition to its end; where it fails, the failure's type is `failed`. Its history is replayed."""
        self.deploy(definition)
        return await self.outcome(await self.start(variables))

    async def outcome(self, handle: WorkflowHandle[Any, Any]) -> "Outcome":
        result, failed, told = None, None, ""
        try:
            result = await asyncio.wait_for(handle.result(), 15)
        except temporalio.client.WorkflowFailureError as error:
            failed, told = getattr(error.cause, "type", None) or type(error.cause).__name__, str(error.cause)
        state = await handle.query("state")
        await self.replay(handle)
        return Outcome(result, failed, told, state["path"], state)

    async def replay(self, handle: WorkflowHandle[Any, Any]) -> None:
        """Prove that the workflow is deterministic: its history, run again, gives the same commands."""
        await Replayer(workflows=[Process]).replay_workflow(await handle.fetch_history())

    async def state(self, handle: WorkflowHandle[Any, Any], holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The state of a workflow once `holds` of it."""
        for _ in range(100):
            state = await handle.query("state")
            if holds(state):
                return state
            await asyncio.sleep(0.05)
        raise AssertionError(f"waited 5 s, the state is {state}")

    async def at(self, handle: WorkflowHandle[Any, Any], *elements: str) -> dict[str, Any]:
        """The state once exactly these elements are active."""
        return await self.state(
            handle, lambda state: sorted(each["id"] for each in state["active"]) == sorted(elements)
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a workflow ended: its result, or the type and text of its failure, and the elements it passed."""

    variables: dict[str, Any] | None
    failed: str | None
    told: str
    path: list[str]
    state: dict[str, Any]


@asynccontextmanager
async def working(client: Client, config: Config, searchable: bool = False) -> AsyncIterator[None]:
    async with (
        httpx.AsyncClient(trust_env=False) as http,
        build(client, config, Activities(config, lambda: searchable, http)),
    ):
        yield


def config_for(address: str, queue: str, url: str, drain: Path) -> Config:
    return Config(
        address=address,
        namespace=NAMESPACE,
        task_queue=queue,
        definition_id="test",
        definition_version="1",
        checksum="",
        definitions=Path("/nowhere"),
        drain_file=drain,
        tenant=TENANT,
        tenant_header="x-tenant-id",
        concurrency=20,
        dependencies={"domain/shop": {"http": url}},
        credentials=TemporalFiles(),
        identity="test-worker",
        host="127.0.0.1",
        port=0,
        log_level="INFO",
        shutdown_seconds=1,
    )


@pytest.fixture
async def world(temporal: TemporalServer, tmp_path: Path) -> AsyncIterator[World]:
    """A worker on a queue of the test's own, with a dependency `domain/shop`."""
    temporal.create_namespace(NAMESPACE)
    dependency = Dependency()
    server = _serve(dependency)
    dependency.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    queue = f"q-{secrets.token_hex(4)}"
    client = await temporal.client(NAMESPACE)
    config = config_for(temporal.address, queue, dependency.url, tmp_path / "drain")
    made = World(client, queue, config, dependency)
    try:
        async with working(client, config):
            yield made
            for handle in made.handles:
                with suppress(temporalio.service.RPCError):
                    await handle.terminate("the test is over")
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        TABLES.current = ""


__all__ = ["Config", "Dependency", "Outcome", "World", "replace", "working", "world"]
