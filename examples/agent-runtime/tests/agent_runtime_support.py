"""The runtime as a process of its own, with servers for its model and tool, and files as an operator makes them."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from ameide_dev.modelserver import ModelServer
from ameide_dev.ports import Ports
from ameide_dev.processes import spawn, terminate

SOURCE = Path(__file__).parents[1] / "src"
MODEL_KEY = "sk-model-5d41402abc4b2a76"
TOOL_TOKEN = "tool-token-b9719d911017c592"
Object = dict[str, Any]

ORDERS_HTTP: Object = {
    "ListOrders": {"method": "GET", "path": "/orders", "description": "lists orders"},
    "GetOrder": {"method": "GET", "path": "/orders/{id}"},
    "CreateOrder": {"method": "POST", "path": "/orders"},
    "DeleteOrder": {"method": "DELETE", "path": "/orders/{id}"},
}
DEFINITION: Object = {
    "roles": ["clerk"],
    "instructions": "You are a clerk.",
    "tools": [{"domain": "orders", "operations": ["ListOrders"], "http": ORDERS_HTTP}],
}


@dataclass(frozen=True, slots=True)
class Seen:
    """A request that the tool got."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True)
class ToolServer:
    """A tool: it answers with what `answers` has for a method and path, else with an echo of method and path."""

    port: int
    seen: list[Seen] = field(default_factory=list)
    answers: dict[str, tuple[int, str]] = field(default_factory=dict)
    delay: float = 0.0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def _handler(server: ToolServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            """Not worth a line."""

        def do_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            server.seen.append(Seen(self.command, self.path, headers, body))
            time.sleep(server.delay)
            what = f"{self.command} {self.path}"
            status, content = server.answers.get(what, (200, json.dumps({"done": what})))
            self.send_response(status)
            self.send_header("Content-Length", str(len(content.encode())))
            self.end_headers()
            self.wfile.write(content.encode())

        do_GET = do_POST = do_DELETE = do_PUT = do_PATCH = do_any  # noqa: N815 (names that http.server asks for)

    return Handler


@pytest.fixture
def tool() -> Iterator[ToolServer]:
    """A tool on a free port."""
    made = ToolServer(0)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(made))
    server.daemon_threads = True
    made.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield made
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def model() -> Iterator[ModelServer]:
    """The echo model, which wants its key."""
    with ModelServer(MODEL_KEY) as server:
        yield server


def grants(tool: ToolServer, server: ModelServer, **changes: Any) -> Object:
    """Grants of the clerk: orders without deleting, all of a primitive with a credential, invoices that are to come."""
    return {
        "version": "grants.ameide.io/v1",
        "agent": {"namespace": "shop", "name": "clerk", "tenantId": "acme"},
        "riskTier": "low",
        "model": {"provider": "echo", "name": "echo-1", "address": server.url, "credentials": ["echo"]},
        "tools": [
            {
                "kind": "domain", "namespace": "shop", "name": "orders", "address": {"http": tool.url},
                "operations": {"allow": ["*"], "deny": ["Delete*"]}, "credentials": [],
            },
            {
                "kind": "primitive", "name": "runner", "address": {"http": f"{tool.url}/runner"},
                "operations": {"allow": ["*"], "deny": []}, "credentials": ["runner"],
            },
            {
                "kind": "process", "namespace": "shop", "name": "l2o", "address": {"temporal": "t:7233"},
                "operations": {"allow": ["*"], "deny": []}, "credentials": [],
            },
        ],
        "pending": [{"kind": "domain", "namespace": "shop", "name": "invoices"}],
        "credentials": {
            "echo": {"values": [{"key": "api-key", "file": "/etc/ameide/credentials/echo/api-key"}]},
            "runner": {"values": [{"key": "token", "file": "/etc/ameide/credentials/runner/token"}]},
        },
        **changes,
    }  # fmt: skip


def checksum(definition: Object) -> str:
    text = json.dumps(definition, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


class Program:
    """`python -m agent_runtime` with an environment and files as an operator gives them."""

    def __init__(self, folder: Path, tool: ToolServer, model: ModelServer, **env: str) -> None:
        self.folder = folder
        self.tool = tool
        self.model = model
        self.log = folder / "log"
        self.ports = Ports()
        self.port = self.ports.reserve()
        self.env = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(SOURCE),
            "AMEIDE_HOST_ROOT": str(folder),
            "AGENT_DEFINITION_ID": "clerk",
            "AGENT_DEFINITION_VERSION": "3",
            "AGENT_DEFINITION_CHECKSUM": checksum(DEFINITION),
            "TENANT_ID": "acme",
            "MODEL_PROVIDER": "echo",
            "MODEL_NAME": "echo-1",
            "RISK_TIER": "low",
            "MAX_PARALLEL_SESSIONS": "2",
            "LOG_PROMPTS": "none",
            "EMIT_TOKENS": "false",
            "POD_IP": "127.0.0.1",
            "PORT_HTTP": str(self.port),
            "AMEIDE_SHUTDOWN_SECONDS": "5",
            **env,
        }
        self.write("agent/definition.json", json.dumps(DEFINITION, sort_keys=True, separators=(",", ":")) + "\n")
        self.grant()
        self.write("credentials/echo/api-key", MODEL_KEY)
        self.write("credentials/runner/token", TOOL_TOKEN + "\n")
        self.process: subprocess.Popen[bytes] | None = None
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", trust_env=False, timeout=20)

    def write(self, path: str, text: str) -> None:
        """Replace a file as a kubelet does: never half of it."""
        place = self.folder / "etc/ameide" / path
        place.parent.mkdir(parents=True, exist_ok=True)
        draft = place.with_name("draft")
        draft.write_text(text, "utf-8")
        draft.replace(place)

    def grant(self, **changes: Any) -> None:
        self.write("agent/grants.json", json.dumps(grants(self.tool, self.model, **changes)))

    def remove(self, path: str) -> None:
        (self.folder / "etc/ameide" / path).unlink()

    def start(self) -> None:
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "agent_runtime"]
            self.process = spawn(command, env=self.env, stdout=log, stderr=subprocess.STDOUT)

    def stop(self) -> int:
        if self.process is None:
            return 0
        code = terminate(self.process, grace_seconds=10)
        self.process = None
        return code

    def close(self) -> None:
        self.stop()
        self.http.close()
        self.ports.release()

    def until(self, path: str, holds: Callable[[httpx.Response], bool], seconds: float = 15) -> httpx.Response:
        deadline = time.monotonic() + seconds
        answer: httpx.Response | str = "nothing"
        while time.monotonic() < deadline:
            try:
                answer = self.http.get(path)
                if holds(answer):
                    return answer
            except httpx.TransportError:
                pass
            time.sleep(0.05)
        raise AssertionError(f"{path} still answers {answer}; the log:\n{self.log.read_text()[-3000:]}")

    def ready(self) -> None:
        self.until("/readyz", lambda answer: answer.is_success)

    def ask(self, text: str, **more: Any) -> httpx.Response:
        return self.http.post("/v1/sessions", json={"input": text, **more})

    def told(self, text: str, **more: Any) -> Object:
        answer = self.ask(text, **more)
        assert answer.status_code == 200, answer.text
        found: Object = answer.json()
        return found

    def logged(self) -> list[Object]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def metric(self, name: str, **labels: str) -> float:
        text = "{" + ",".join(f'{key}="{value}"' for key, value in labels.items()) + "}" if labels else ""
        for line in self.http.get("/metrics").text.splitlines():
            if line.startswith(f"{name}{text} "):
                return float(line.rpartition(" ")[2])
        return 0.0


Starter = Callable[..., Program]


@pytest.fixture
def start_program(tmp_path: Path, tool: ToolServer, model: ModelServer) -> Iterator[Starter]:
    """Starts a runtime with variables besides the usual ones; `wait=False` does not wait until it is ready."""
    made: list[Program] = []

    def start(*, wait: bool = True, **env: str) -> Program:
        program = Program(tmp_path / str(len(made)), tool, model, **env)
        made.append(program)
        if wait:
            program.start()
            program.ready()
        return program

    yield start
    for each in made:
        each.close()


@pytest.fixture
def program(start_program: Starter) -> Program:
    """A runtime that is ready."""
    return start_program()
