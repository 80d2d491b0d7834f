"""The example Domain's program: orders of many tenants in PostgreSQL, over HTTP.

GET /orders lists and POST /orders adds the orders of the tenant that the request's tenant header names; PostgreSQL's
row-level security keeps tenants apart. /healthz, /readyz and /metrics are for the platform. Configuration comes from
the standard environment: PG*, DB_SCHEMA, PORT_HTTP, AMEIDE_TENANT_HEADER. An image tag that ends in `-bad` is a broken
build, which never becomes ready, and one that ends in `-crash` exits at once: something for rollouts to catch.
"""

import json
import logging
import os
import signal
import sys
import threading
from collections import Counter
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import psycopg
from psycopg.rows import dict_row

VERSION = os.environ.get("ORDERS_VERSION", "dev")
TENANT_HEADER = os.environ.get("AMEIDE_TENANT_HEADER", "x-tenant-id")

log = logging.getLogger("orders")
requests: Counter[tuple[str, str, int]] = Counter()


class BadRequestError(Exception):
    """The request cannot be served as it is; the message says what to change."""


def connect() -> psycopg.Connection[dict[str, Any]]:
    """Connect as the PG* variables say, with the schema as search path."""
    schema = os.environ.get("DB_SCHEMA", "public")
    return psycopg.connect(
        options=f"-c search_path={schema}", sslmode="require", connect_timeout=3, row_factory=dict_row
    )


def act_for(connection: psycopg.Connection[dict[str, Any]], tenant: str) -> None:
    """Let the transaction see and write the rows of `tenant` only."""
    connection.execute("SELECT set_config('ameide.tenant_id', %s, true)", [tenant])


def list_orders(tenant: str) -> list[dict[str, Any]]:
    """All orders of a tenant, oldest first."""
    with connect() as connection:
        act_for(connection, tenant)
        return connection.execute("SELECT id, item, quantity FROM orders ORDER BY id").fetchall()


def add_order(tenant: str, order: Any) -> dict[str, Any]:
    """Store an order {item, quantity} and return it with its id. Raises BadRequestError."""
    item, quantity = (order.get("item"), order.get("quantity", 1)) if isinstance(order, dict) else (None, None)
    if not isinstance(item, str) or not item or not isinstance(quantity, int) or quantity < 1:
        raise BadRequestError('an order is {"item": text, "quantity": a positive integer}')
    with connect() as connection:
        act_for(connection, tenant)
        row = connection.execute(
            "INSERT INTO orders (tenant_id, item, quantity) VALUES (%s, %s, %s) RETURNING id, item, quantity",
            [tenant, item, quantity],
        ).fetchone()
    assert row is not None
    return row


class Handler(BaseHTTPRequestHandler):
    """One request."""

    def log_message(self, format: str, *args: Any) -> None:
        """Written by `_answer`, as JSON."""

    def do_GET(self) -> None:
        """Reads."""
        match urlsplit(self.path).path:
            case "/healthz":
                self._answer(HTTPStatus.OK, {"status": "ok", "version": VERSION})
            case "/readyz":
                self._ready()
            case "/metrics":
                self._metrics()
            case "/orders":
                self._guarded(lambda: (HTTPStatus.OK, {"orders": list_orders(self._tenant())}))
            case _:
                self._answer(HTTPStatus.NOT_FOUND, {"error": "there are /orders, /healthz, /readyz and /metrics"})

    def do_POST(self) -> None:
        """Writes."""
        if urlsplit(self.path).path != "/orders":
            self._answer(HTTPStatus.NOT_FOUND, {"error": "orders are posted to /orders"})
            return
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._guarded(lambda: (HTTPStatus.CREATED, add_order(self._tenant(), self._json(body))))

    def _tenant(self) -> str:
        tenant = self.headers.get(TENANT_HEADER, "")
        if not tenant:
            raise BadRequestError(f"the header {TENANT_HEADER} must name the tenant")
        return tenant

    @staticmethod
    def _json(body: bytes) -> Any:
        try:
            return json.loads(body)
        except ValueError as error:
            raise BadRequestError(f"the body is no JSON: {error}") from error

    def _guarded(self, act: Any) -> None:
        try:
            status, answer = act()
        except BadRequestError as error:
            status, answer = HTTPStatus.BAD_REQUEST, {"error": str(error)}
        except psycopg.Error as error:
            log.error("database: %s", error)
            status, answer = HTTPStatus.SERVICE_UNAVAILABLE, {"error": "the database does not answer as it should"}
        self._answer(status, answer)

    def _ready(self) -> None:
        if VERSION.endswith("-bad"):
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, {"error": f"build {VERSION} is broken on purpose"})
            return
        try:
            with connect() as connection:
                connection.execute("SELECT 1 FROM orders LIMIT 1")
        except psycopg.Error as error:
            log.warning("not ready: %s", error)
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, {"error": "no access to the orders table"})
        else:
            self._answer(HTTPStatus.OK, {"status": "ready"})

    def _metrics(self) -> None:
        lines = ["# HELP orders_http_requests_total Requests answered.", "# TYPE orders_http_requests_total counter"]
        lines += [
            f'orders_http_requests_total{{method="{method}",path="{path}",code="{code}"}} {count}'
            for (method, path, code), count in sorted(requests.items())
        ]
        self._send(HTTPStatus.OK, "text/plain; version=0.0.4", "\n".join(lines) + "\n")

    def _answer(self, status: HTTPStatus, content: Any) -> None:
        path = urlsplit(self.path).path
        requests[self.command, path if path in ("/orders", "/healthz", "/readyz") else "other", status] += 1
        if path == "/orders":
            log.info("%s %s %d", self.command, path, status)
        self._send(status, "application/json", json.dumps(content) + "\n")

    def _send(self, status: HTTPStatus, kind: str, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> int:
    """Serve until SIGTERM."""
    logging.basicConfig(
        level=os.environ.get("LOG_LEVEL", "info").upper(), stream=sys.stdout, format="%(levelname)s %(message)s"
    )
    if VERSION.endswith("-crash"):
        log.critical("build %s is broken on purpose", VERSION)
        return 3
    port = int(os.environ.get("PORT_HTTP", "8080"))
    server = ThreadingHTTPServer((os.environ.get("POD_IP", ""), port), Handler)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    log.info("orders %s listens on port %d", VERSION, port)
    server.serve_forever()
    server.server_close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
