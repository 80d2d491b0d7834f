"""The kubelet's HTTPS endpoint as far as the API server asks for it: container logs and health."""

import ssl
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from ameide_dev.hostnode_container import Container

FindContainer = Callable[[str, str, str], Container | None]
"""(namespace, pod, container) → the container, None if it does not run here."""

_FOLLOW_SECONDS = 0.2


class LogServer:
    """Serves /containerLogs/NAMESPACE/POD/CONTAINER with tailLines, limitBytes, previous and follow."""

    def __init__(
        self, find: FindContainer, *, certificate: Path, key: Path, client_ca: Path, port: int, host: str = "127.0.0.1"
    ) -> None:
        """Only clients with a certificate of `client_ca` are served, as logs may hold anything."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_REQUIRED

        class Handler(_Handler):
            find_container = staticmethod(find)

        self._server = _Server((host, port), Handler, context)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)
        self._thread.name = "hostnode-logs"

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Start serving."""
        self._thread.start()

    def stop(self) -> None:
        """Stop serving."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join(timeout=5)
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler], tls: ssl.SSLContext) -> None:
        super().__init__(address, handler)
        self._tls = tls

    def finish_request(self, request: Any, client_address: Any) -> None:
        # In the connection's own thread: a client that never completes the handshake blocks nobody else.
        request.settimeout(10)
        try:
            wrapped = self._tls.wrap_socket(request, server_side=True)
        except OSError:
            return
        wrapped.settimeout(None)
        with wrapped:
            super().finish_request(wrapped, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no error worth a line."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    find_container: FindContainer

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not logged."""

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        parts = [unquote(part) for part in url.path.strip("/").split("/")]
        query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        if parts == ["healthz"]:
            self._text(HTTPStatus.OK, "ok")
        elif len(parts) == 4 and parts[0] == "containerLogs":
            self._logs(type(self).find_container(parts[1], parts[2], parts[3]), query)
        else:
            self._text(HTTPStatus.NOT_FOUND, "the host node serves container logs only")

    def _logs(self, container: Container | None, query: dict[str, str]) -> None:
        previous = query.get("previous") == "true"
        if container is None or (previous and container.restarts == 0):
            self._text(HTTPStatus.NOT_FOUND, "no such container on this node, or it has not run before")
            return
        path = container.log_path(previous=previous)
        if not path.exists() and container.restarts and not previous:
            path = container.log_path(previous=True)  # between two runs the last one is shown
        if not path.exists():
            self._text(HTTPStatus.BAD_REQUEST, f'container "{container.name}" is waiting to start')
            return
        content = path.read_bytes()
        position = len(content)
        if "tailLines" in query:
            count = int(query["tailLines"])
            content = b"".join(content.splitlines(keepends=True)[-count:]) if count else b""
        if "limitBytes" in query:
            content = content[: int(query["limitBytes"])]
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Connection", "close")
        if query.get("follow") != "true":
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        self.close_connection = True
        if query.get("follow") == "true" and not previous:
            self._follow(container, path, position)

    def _follow(self, container: Container, path: Path, position: int) -> None:
        while True:
            over = not container.running
            try:
                with path.open("rb") as file:
                    file.seek(position)
                    news = file.read()
            except FileNotFoundError:
                return
            self.wfile.write(news)
            self.wfile.flush()
            position += len(news)
            if over:
                return
            time.sleep(_FOLLOW_SECONDS)

    def _text(self, status: HTTPStatus, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
