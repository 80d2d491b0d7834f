"""Serves /healthz, /readyz and /metrics in a thread of its own, so that a busy event loop does not look dead."""

from __future__ import annotations

import json
import logging
import threading
import urllib.request
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import generate_latest

from process_worker.metrics import REGISTRY

log = logging.getLogger(__name__)

_TEXT = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(slots=True)
class Health:
    """What the probes are told. Ready once the worker has been seen polling, until it stops."""

    seen_polling: bool = False
    stopping: bool = False
    waits_for: str = "the first poll of the task queue"
    definitions: list[str] = field(default_factory=list)

    def ready(self) -> tuple[bool, dict[str, Any]]:
        """The verdict of /readyz and its body. A Temporal outage later on does not make the pod unready: nobody could
        do better, and the SDK goes on by itself."""
        if self.stopping:
            return False, {"status": "stopping"}
        if not self.seen_polling:
            return False, {"status": "starting", "waitsFor": self.waits_for}
        return True, {"status": "ready", "definitions": self.definitions}


class HealthServer:
    """The HTTP server; `sdk_metrics` is where the Temporal SDK's own metrics are, to be shown on the same page."""

    def __init__(self, health: Health, host: str, port: int, sdk_metrics: str = "") -> None:
        self._server = ThreadingHTTPServer((host, port), _handler(health, sdk_metrics))
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, name="health", daemon=True)

    def start(self) -> None:
        """Serve from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Stop serving and free the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(health: Health, sdk_metrics: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            """Probes are not worth a line."""

        def do_GET(self) -> None:
            match self.path.partition("?")[0]:
                case "/healthz":
                    self._answer(HTTPStatus.OK, {"status": "ok"})
                case "/readyz":
                    ready, body = health.ready()
                    self._answer(HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE, body)
                case "/metrics":
                    self._send(HTTPStatus.OK, _TEXT, generate_latest(REGISTRY) + _fetch(sdk_metrics))
                case _:
                    self._answer(HTTPStatus.NOT_FOUND, {"error": "there are /healthz, /readyz and /metrics"})

        def _answer(self, status: HTTPStatus, body: dict[str, Any]) -> None:
            self._send(status, "application/json", json.dumps(body).encode() + b"\n")

        def _send(self, status: HTTPStatus, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler


def _fetch(url: str) -> bytes:
    if not url:
        return b""
    try:
        with urllib.request.urlopen(url, timeout=2) as response:  # noqa: S310 (our own address on loopback)
            return bytes(response.read())
    except OSError as error:
        log.warning("the SDK's metrics cannot be read: %s", error)
        return b""
