"""The grants service's reference as an ASGI application: it keeps to docs/grants-api.md, until told to break it."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import unquote

from jsonschema import Draft202012Validator
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

FaultName = Literal["unavailable", "error", "rate-limited", "slow", "unauthorized", "forbidden"]
AgentKey = tuple[str, str]
"""Tenant (`-` for none) and id (`<namespace>.<name>`) of an Agent."""

VERSION: Final = "grants.ameide.io/v1"
NO_TENANT: Final = "-"
MAX_BYTES: Final = 1 << 20
_STATUS: Final[Mapping[str, tuple[int, str]]] = {
    "unavailable": (503, "The service is not available."),
    "error": (500, "The service failed."),
    "rate-limited": (429, "Too many requests."),
    "unauthorized": (401, "The token is not accepted."),
    "forbidden": (403, "The token does not permit this."),
}
_TITLES: Final[Mapping[int, str]] = {
    400: "Bad request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not found",
    405: "Method not allowed",
    413: "Content too large",
    415: "Unsupported media type",
    422: "Unprocessable content",
    429: "Too many requests",
    500: "Internal error",
    503: "Unavailable",
}
_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_AGENT: Final = re.compile(rf"({_LABEL})\.({_LABEL})")
_SEGMENT: Final = re.compile(r"[^\x00-\x1f\x7f]{1,256}")


class _RefusedError(Exception):
    """A request is answered with a problem instead."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong on purpose.

    `unavailable` (503), `error` (500), `rate-limited` (429), `unauthorized` (401), `forbidden` (403); `slow`: each
    answer takes `seconds` longer. `seconds` is also the Retry-After of a 429, 500 or 503, where above 0. With `only`
    set, only requests of that method are concerned; with `times` above 0, only so many of them.
    """

    name: FaultName
    seconds: float = 0.0
    only: str = ""
    times: int = 0


@dataclass(frozen=True, slots=True)
class LoggedRequest:
    """A request as it was answered: the path as it came, undecoded. `at` is of the monotonic clock, in seconds."""

    method: str
    path: str
    status: int
    at: float


class GrantsApp:
    """The application. `fault` and `token` may be set at any time; None for neither fault nor access control."""

    def __init__(self, token: str | None, schema: Mapping[str, Any] | None) -> None:
        """`schema`: the JSON Schema that documents are held against besides what the path says."""
        self.token = token
        self._validator = None if schema is None else Draft202012Validator(schema)
        self._fault: Fault | None = None
        self._faulted = 0
        self._stored: dict[AgentKey, bytes] = {}
        self._requests: list[LoggedRequest] = []
        self._lock = threading.Lock()

    @property
    def fault(self) -> Fault | None:
        """What goes wrong; None for nothing."""
        return self._fault

    @fault.setter
    def fault(self, value: Fault | None) -> None:
        self._fault, self._faulted = value, 0

    def grants(self) -> dict[AgentKey, bytes]:
        """All documents that are stored, byte for byte."""
        with self._lock:
            return dict(self._stored)

    def forget(self) -> None:
        """Lose all documents, as a service that was restored from nothing."""
        with self._lock:
            self._stored.clear()

    def requests(self) -> list[LoggedRequest]:
        """All requests since the start, or since they were cleared, in the order of their answers."""
        with self._lock:
            return list(self._requests)

    def clear_requests(self) -> None:
        """Begin the log anew."""
        with self._lock:
            self._requests.clear()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        path = scope["raw_path"].decode("latin-1")
        fault = self._fault_of(request.method)
        try:
            if fault is not None:
                await _go_wrong(fault)
            response = await self._answer(request)
        except _RefusedError as refused:
            response = _problem(refused)
        with self._lock:
            self._requests.append(LoggedRequest(request.method, path, response.status_code, time.monotonic()))
        await response(scope, receive, send)

    def _fault_of(self, method: str) -> Fault | None:
        fault = self._fault
        if fault is None or fault.only not in ("", method) or (fault.times and self._faulted >= fault.times):
            return None
        self._faulted += 1
        return fault

    async def _answer(self, request: Request) -> Response:
        if self.token is not None:
            scheme, _, sent = request.headers.get("authorization", "").partition(" ")
            if scheme.lower() != "bearer" or not hmac.compare_digest(sent.encode(), self.token.encode()):
                raise _RefusedError(401, "The token is not accepted.", {"WWW-Authenticate": "Bearer"})
        key = _key_of(request.scope["raw_path"])
        if request.method == "PUT":
            return self._put(key, await _body(request), request.headers.get("digest"))
        if request.method == "DELETE":
            with self._lock:
                self._stored.pop(key, None)
            return Response(status_code=204)
        if request.method not in ("GET", "HEAD"):
            raise _RefusedError(405, "Grants are read, put and deleted here.", {"Allow": "GET, HEAD, PUT, DELETE"})
        with self._lock:
            found = self._stored.get(key)
        if found is None:
            raise _RefusedError(404, f"Tenant {key[0]!r} has no grants for {key[1]!r}.")
        return Response(found, media_type="application/json", headers={"ETag": _etag(found)})

    def _put(self, key: AgentKey, body: bytes, digest: str | None) -> Response:
        if digest is not None and digest != f"sha256:{hashlib.sha256(body).hexdigest()}":
            raise _RefusedError(400, "The body is not the one that Digest names.")
        self._check(key, body)
        with self._lock:
            known = key in self._stored
            self._stored[key] = body
        return Response(status_code=204 if known else 201, headers={"ETag": _etag(body)})

    def _check(self, key: AgentKey, body: bytes) -> None:
        """Raises _RefusedError unless the body is the grants of the Agent that the path names."""
        try:
            document = json.loads(body)
        except ValueError as error:
            raise _RefusedError(400, f"The body is no JSON: {error}.") from None
        agent = document.get("agent") if isinstance(document, dict) else None
        if not isinstance(agent, dict) or document.get("version") != VERSION:
            raise _RefusedError(422, f"Expected an object with version {VERSION!r} and an agent.")
        tenant, name = key
        if f"{agent.get('namespace')}.{agent.get('name')}" != name or (agent.get("tenantId") or NO_TENANT) != tenant:
            raise _RefusedError(422, "The document is that of another agent than the path says.")
        if self._validator is not None and (broken := next(self._validator.iter_errors(document), None)):
            where = "/".join(str(part) for part in broken.absolute_path)
            raise _RefusedError(422, f"The document breaks its schema at /{where} ({broken.validator}).")


async def _go_wrong(fault: Fault) -> None:
    """Raises _RefusedError, or takes its time."""
    if fault.name == "slow":
        await asyncio.sleep(fault.seconds)
        return
    status, detail = _STATUS[fault.name]
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    if fault.seconds > 0 and status in (429, 500, 503):
        headers["Retry-After"] = f"{fault.seconds:.0f}"
    raise _RefusedError(status, detail, headers)


async def _body(request: Request) -> bytes:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise _RefusedError(415, "Grants are sent as application/json.")
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MAX_BYTES:
            raise _RefusedError(413, f"Grants have {MAX_BYTES} bytes at most.")
    return body


def _key_of(raw_path: bytes) -> AgentKey:
    """Whose grants a path means. It is split before it is decoded: an encoded slash belongs to an id."""
    parts = raw_path.decode("latin-1").split("/")
    if len(parts) == 7 and parts[:3] == ["", "v1", "tenants"] and parts[4] == "agents" and parts[6] == "grants":
        try:
            tenant, agent = unquote(parts[3], errors="strict"), unquote(parts[5], errors="strict")
        except UnicodeDecodeError:
            tenant = agent = ""
        if _SEGMENT.fullmatch(tenant) and tenant not in (".", "..") and _AGENT.fullmatch(agent):
            return tenant, agent
    raise _RefusedError(404, "There is nothing at this path.")


def _etag(body: bytes) -> str:
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def _problem(refused: _RefusedError) -> Response:
    body = {
        "type": "about:blank",
        "title": _TITLES[refused.status],
        "status": refused.status,
        "detail": refused.detail,
    }
    return Response(json.dumps(body), refused.status, refused.headers, media_type="application/problem+json")
