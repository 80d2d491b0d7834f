"""A real Temporal server on the loopback interface, made for tests and the demo: quick to start, thrown away after.

It is the development server of Temporal's own command-line program, with its data in a file, so that a restart (or a
kill) keeps namespaces, workflows and schedules as a production server would.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import httpx
import temporalio.client

from ameide_dev.ports import Ports
from ameide_dev.processes import ProcessError, Server, own_guard, wait_until
from ameide_dev.tools import find

_HOST = "127.0.0.1"
_PREFIX = "ameide-temporal-"
_START_TIMEOUT_SECONDS = 60.0
_STOP_SECONDS = 5.0
_NAMESPACE_TIMEOUT_SECONDS = 30.0
_REQUEST_SERIES = re.compile(r"^service_requests\{([^}]*)\} (\S+)", re.MULTILINE)


class TemporalError(RuntimeError):
    """Temporal refused what was asked of it, or could not be started; the message says what and where its log is."""


class TemporalServer:
    """One Temporal server with data of its own. `start` and `stop` may be called again; the data, and all ports, are
    kept between them until `remove` (or leaving the `with` block)."""

    def __init__(self, name: str = "temporal", dynamic_config: Mapping[str, str] | None = None) -> None:
        """`dynamic_config` holds the server's own settings by key, with JSON values, such as `{"limit.x": "5"}`."""
        self.name = name
        self._ports = Ports()
        self.port, self._http_port, self._metrics_port = (self._ports.reserve() for _ in range(3))
        self._dynamic_config = dict(dynamic_config or {})
        self._folder: Path | None = None
        self._server: Server | None = None

    def __enter__(self) -> TemporalServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    @property
    def address(self) -> str:
        """`host:port` of the gRPC frontend, the same over restarts."""
        return f"{_HOST}:{self.port}"

    @property
    def log_path(self) -> Path:
        """The server's log file. Raises TemporalError before the first start."""
        if self._folder is None:
            raise TemporalError(f"Temporal {self.name} has not been started: call start() first")
        return self._folder / "temporal.log"

    @property
    def running(self) -> bool:
        """Whether the process is there (a paused one is)."""
        return self._server is not None and self._server.alive

    @property
    def pid(self) -> int:
        """Id of the server's process. Raises TemporalError while there is none."""
        return self._running().pid

    def start(self) -> None:
        """Start the server; returns once it answers, a second later. Raises TemporalError, or ToolError."""
        if self.running:
            return
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{self.name}-"))
            own_guard().remove_at_end(self._folder)
        self._server = Server(
            f"Temporal {self.name}", self._command(), log=self.log_path, guard=own_guard(), cwd=self._folder
        )
        try:
            self._server.start()
            wait_until(f"Temporal {self.name}", self._answers, [self._server], _START_TIMEOUT_SECONDS)
        except ProcessError as error:
            self._server.stop(0)
            raise TemporalError(str(error)) from error

    def stop(self) -> None:
        """Stop the server as an operator of it would; its data stays. No error if it does not run."""
        self._end(_STOP_SECONDS)

    def kill(self) -> None:
        """Have the server die without notice; its data stays."""
        self._end(0)

    def restart(self, down_for: float = 0.0) -> None:
        """Kill it, stay down for `down_for` seconds, start again at the same address."""
        self.kill()
        time.sleep(down_for)
        self.start()

    def pause(self) -> None:
        """From now on it accepts connections and answers nothing, until `resume`: as slow as a server can be."""
        pid = self._running().pid
        os.kill(pid, signal.SIGSTOP)
        # A stop reaches each thread in its own time, and one may just be answering.
        deadline = time.monotonic() + _STOP_SECONDS
        while time.monotonic() < deadline and not _stopped(pid):
            time.sleep(0.005)

    def resume(self) -> None:
        """Go on after `pause`; no error if it was not paused."""
        os.kill(self._running().pid, signal.SIGCONT)

    def remove(self) -> None:
        """Stop the server and delete its data; its ports are free again."""
        self.kill()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            own_guard().keep(self._folder)
            self._folder = None
        self._ports.release()

    def create_namespace(self, name: str, retention_days: int = 1) -> str:
        """Register a namespace, and return its name once all parts of the server know it. Raises TemporalError."""
        body = {"namespace": name, "workflowExecutionRetentionPeriod": f"{retention_days * 86400}s"}
        with self._http() as http:
            answer = http.post("/api/v1/namespaces", json=body)
        if answer.is_error and "already" not in answer.text.lower():
            raise TemporalError(f"namespace {name} was not registered: HTTP {answer.status_code}: {answer.text}")
        # Registered is in the database; the caches of the server's parts learn of it some time later.
        self._until_known(name)
        return name

    async def client(self, namespace: str = "default") -> temporalio.client.Client:
        """A connected client of a namespace."""
        return await temporalio.client.Client.connect(self.address, namespace=namespace)

    def requests(self, namespace: str | None = None) -> dict[str, int]:
        """Requests since its last start, of one namespace or all, by operation, as the server's frontend counts them.

        What was asked in the last second may be missing; the server's own workers in `temporal-system` count too.
        """
        answer = httpx.get(f"http://{_HOST}:{self._metrics_port}/metrics", timeout=10, trust_env=False)
        found: dict[str, int] = {}
        for labels, count in _REQUEST_SERIES.findall(answer.text):
            values = dict(re.findall(r'(\w+)="([^"]*)"', labels))
            # The server writes the namespace as a name in Prometheus' sense.
            wanted = namespace is None or re.sub(r"[^A-Za-z0-9_]", "_", namespace) == values.get("namespace")
            if values.get("service_name") == "frontend" and wanted:
                operation = values.get("operation", "")
                found[operation] = found.get(operation, 0) + int(float(count))
        return found

    def _command(self) -> list[str]:
        assert self._folder is not None, "start has made it"
        extra = [f"--dynamic-config-value={key}={value}" for key, value in sorted(self._dynamic_config.items())]
        return [
            str(find("temporal")),
            "server",
            "start-dev",
            "--headless",
            f"--ip={_HOST}",
            f"--port={self.port}",
            f"--http-port={self._http_port}",
            f"--metrics-port={self._metrics_port}",
            f"--db-filename={self._folder / 'temporal.db'}",
            "--sqlite-pragma=synchronous=OFF",  # nothing here has to outlive the machine
            "--log-level=warn",
            *extra,
        ]

    def _running(self) -> Server:
        if self._server is None or not self._server.alive:
            raise TemporalError(f"Temporal {self.name} does not run: call start() first")
        return self._server

    def _end(self, grace: float) -> None:
        if self._server is None:
            return
        if self._server.alive:
            with contextlib.suppress(ProcessLookupError):
                self.resume()  # a paused process hears no SIGTERM
        self._server.stop(grace)
        self._server = None

    def _http(self) -> httpx.Client:
        return httpx.Client(base_url=f"http://{_HOST}:{self._http_port}", timeout=10, trust_env=False)

    def _answers(self) -> bool:
        try:
            return self._knows("default")
        except httpx.HTTPError:
            return False

    def _until_known(self, namespace: str) -> None:
        deadline = time.monotonic() + _NAMESPACE_TIMEOUT_SECONDS
        while not self._knows(namespace):
            if time.monotonic() > deadline:
                raise TemporalError(f"namespace {namespace} was registered, but is not served; log: {self.log_path}")
            time.sleep(0.1)

    def _knows(self, namespace: str) -> bool:
        """Whether frontend, matching and visibility serve a namespace."""
        with self._http() as http:
            for path in ("task-queues/none", "workflow-count"):
                if not http.get(f"/api/v1/namespaces/{namespace}/{path}").is_success:
                    return False
        return True


def _stopped(pid: int) -> bool:
    """Whether every thread of a process is stopped; where /proc does not tell (not Linux), yes."""
    try:
        states = [path.read_text().rpartition(")")[2].split()[0] for path in Path(f"/proc/{pid}/task").glob("*/stat")]
    except OSError:
        return False  # a thread ended meanwhile
    return all(state == "T" for state in states)
