"""An ASGI application served on loopback from a thread of this process."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import uvicorn

from ameide_dev.ports import Ports

_START_SECONDS = 10.0


class WebServerError(Exception):
    """The server did not start."""


class WebServer:
    """The server. `stop` and `start` keep its port, so that clients see it go down and come back."""

    def __init__(
        self, app: Any, name: str, *, port: int | None = None, certificate: tuple[Path, Path] | None = None
    ) -> None:
        """`app`: an ASGI application. `name`: what messages call it. `port`: any free one unless given.
        `certificate`: files of a certificate and its key, for TLS."""
        self._asgi = app
        self._name = name
        self._ports = Ports()
        self.port = port or self._ports.reserve()
        self._certificate = certificate
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """The base URL, without a slash at its end."""
        return f"http{'s' if self._certificate else ''}://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Serve. Raises WebServerError when that does not come about."""
        if self._thread is not None:
            raise WebServerError(f"{self._name} at {self.url} is served already; stop it first")
        listening = socket.socket()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(("127.0.0.1", self.port))
        except OSError as error:
            listening.close()
            message = f"{self._name}: port {self.port} cannot be listened on ({error.strerror}); choose another"
            raise WebServerError(message) from error
        certificate, key = self._certificate or (None, None)
        self._server = uvicorn.Server(configuration(self._asgi, ssl_certfile=certificate, ssl_keyfile=key))
        self._thread = threading.Thread(target=_serve, args=(self._server, listening), name=self._name, daemon=True)
        self._thread.start()
        deadline = time.monotonic() + _START_SECONDS
        while not self._server.started:
            if time.monotonic() > deadline or not self._thread.is_alive():
                self.stop()
                raise WebServerError(f"{self._name} at {self.url} did not start within {_START_SECONDS:.0f} s")
            time.sleep(0.005)

    def stop(self) -> None:
        """Serve no more: connections are refused, open ones closed, answers under way broken off."""
        thread, self._thread = self._thread, None
        if thread is None or self._server is None:
            return
        self._server.should_exit = self._server.force_exit = True
        thread.join(timeout=_START_SECONDS)
        self._server = None

    def close(self) -> None:
        """Stop, and give back the port."""
        self.stop()
        self._ports.release()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        self.close()


def configuration(app: Any, **more: Any) -> uvicorn.Config:
    """How an ASGI application is served here: plain HTTP/1.1, without a line of log."""
    # An answer broken off on purpose is no error worth a line.
    quiet: dict[str, Any] = {"log_config": None, "log_level": "critical", "access_log": False}
    return uvicorn.Config(app, http="h11", ws="none", lifespan="off", **quiet, **more)


def _serve(server: uvicorn.Server, listening: socket.socket) -> None:
    """A thread's whole life. Requests still under way when the server ends are cancelled with its loop."""
    with listening:
        asyncio.run(server.serve(sockets=[listening]))
