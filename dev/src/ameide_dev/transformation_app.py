"""The Transformation API's stand-in as an ASGI application: it keeps to the contract, until told to break it.

Faults are switched on by name (see `Fault`), so that tests can see what clients make of them.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import re
import threading
import time
from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qs, unquote

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from ameide_dev.transformation_store import COLLECTIONS, DefinitionStore, Key, Stored, StoreError

FaultName = Literal[
    "unavailable", "error", "rate-limited", "slow", "wrong-body", "truncated", "unauthorized", "forbidden", "redirect"
]
_STATUS: dict[str, tuple[int, str]] = {
    "unavailable": (503, "The service is not available."),
    "error": (500, "The service failed."),
    "rate-limited": (429, "Too many requests."),
    "unauthorized": (401, "The token is not accepted."),
    "forbidden": (403, "The token does not permit this."),
}
_VERSION = re.compile(r"[1-9][0-9]{0,15}")
_SEGMENT = re.compile(r"[^\x00-\x1f\x7f]{1,256}")


class _BrokenOffError(Exception):
    """Ends an answer in the middle: the server then closes the connection."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong on purpose.

    `unavailable` (503), `error` (500), `rate-limited` (429), `unauthorized` (401), `forbidden` (403), `redirect` (307);
    `slow`: each answer takes `seconds` longer; `wrong-body`: `body` is sent as `content_type`; `truncated`: the
    connection ends in the middle of the body. `seconds` is also the Retry-After of a 429, 500 or 503, where above 0.
    With `only` set, only requests whose path contains it are concerned; with `times` above 0, only so many of them.
    """

    name: FaultName
    seconds: float = 0.0
    body: bytes = b'{"unexpected": true}'
    content_type: str = "application/json"
    only: str = ""
    times: int = 0


@dataclass(frozen=True, slots=True)
class LoggedRequest:
    """A request as it was answered: path and query as they came, undecoded. `status` is 0 for a broken-off answer."""

    method: str
    path: str
    if_none_match: str
    status: int
    at: float


class TransformationApp:
    """The application. `fault` and `token` may be set at any time; None for neither fault nor access control."""

    def __init__(self, store: DefinitionStore, token: str | None) -> None:
        self.store = store
        self.token = token
        self._fault: Fault | None = None
        self._faulted = 0
        self._requests: list[LoggedRequest] = []
        self._lock = threading.Lock()

    @property
    def fault(self) -> Fault | None:
        """What goes wrong; None for nothing."""
        return self._fault

    @fault.setter
    def fault(self, value: Fault | None) -> None:
        self._fault, self._faulted = value, 0

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
        if scope["query_string"]:
            path += "?" + scope["query_string"].decode("latin-1")
        fault = self._fault_of(path)
        if fault is not None and fault.name == "slow":
            await asyncio.sleep(fault.seconds)
        try:
            response = (fault and self._faulty(fault)) or self._answer(request)
        except StoreError as error:
            response = _problem(500, str(error))
        broken = fault is not None and fault.name == "truncated" and response.status_code == 200
        tag = request.headers.get("if-none-match", "")
        logged = LoggedRequest(request.method, path, tag, 0 if broken else response.status_code, time.monotonic())
        with self._lock:
            self._requests.append(logged)
        await response(scope, receive, _breaking_off(send) if broken else send)

    def _fault_of(self, path: str) -> Fault | None:
        fault = self._fault
        if fault is None or fault.only not in path or (fault.times and self._faulted >= fault.times):
            return None
        self._faulted += 1
        return fault

    def _faulty(self, fault: Fault) -> Response | None:
        """The answer that a fault stands for; None where it only changes the right one."""
        if fault.name == "wrong-body":
            return Response(fault.body, media_type=fault.content_type, headers={"ETag": '"wrong"'})
        if fault.name == "redirect":
            return Response(status_code=307, headers={"Location": "/elsewhere"})
        if fault.name not in _STATUS:
            return None
        status, detail = _STATUS[fault.name]
        headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
        if fault.seconds > 0 and status in (429, 500, 503):
            headers["Retry-After"] = f"{fault.seconds:.0f}"
        return _problem(status, detail, headers)

    def _answer(self, request: Request) -> Response:
        if self.token is not None:
            scheme, _, sent = request.headers.get("authorization", "").partition(" ")
            if scheme.lower() != "bearer" or not hmac.compare_digest(sent.encode(), self.token.encode()):
                return _problem(401, "The token is not accepted.", {"WWW-Authenticate": "Bearer"})
        if request.method not in ("GET", "HEAD"):
            return _problem(405, "Definitions can only be read here.", {"Allow": "GET, HEAD"})
        key = _key_of(request.scope["raw_path"])
        if key is None:
            return _problem(404, "There is nothing at this path.")
        asked = parse_qs(request.scope["query_string"].decode("latin-1"), keep_blank_values=True).get("version")
        if asked is not None and (len(asked) != 1 or not _VERSION.fullmatch(asked[0])):
            return _problem(400, "version must be one whole number from 1.")
        found = self.store.get(key, int(asked[0]) if asked else None)
        if found is None:
            return _problem(404, f"Tenant {key[1]!r} has no such {key[0]} definition, or not in that version.")
        if _matches(request.headers.get("if-none-match", ""), found):
            return Response(status_code=304, headers={"ETag": found.etag})
        return Response(found.body, media_type="application/json", headers={"ETag": found.etag})


def _key_of(raw_path: bytes) -> Key | None:
    """What a path asks for. It is split before it is decoded: an encoded slash belongs to an id."""
    parts = raw_path.decode("latin-1").split("/")
    if len(parts) != 6 or parts[:3] != ["", "v1", "tenants"] or parts[4] not in COLLECTIONS:
        return None
    try:
        tenant, name = unquote(parts[3], errors="strict"), unquote(parts[5], errors="strict")
    except UnicodeDecodeError:
        return None
    if not all(_SEGMENT.fullmatch(part) and part not in (".", "..") for part in (tenant, name)):
        return None
    return COLLECTIONS[parts[4]], tenant, name


def _matches(if_none_match: str, found: Stored) -> bool:
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return found.etag in tags or "*" in tags


def _problem(status: int, detail: str, headers: dict[str, str] | None = None) -> Response:
    titles = {400: "Bad request", 401: "Unauthorized", 403: "Forbidden", 404: "Not found", 405: "Method not allowed"}
    titles |= {429: "Too many requests", 500: "Internal error", 503: "Unavailable"}
    body = {"type": "about:blank", "title": titles[status], "status": status, "detail": detail}
    return Response(json.dumps(body), status, headers, media_type="application/problem+json")


def _breaking_off(send: Send) -> Send:
    """Sends the head of an answer, half of its body, and then no more."""

    async def half(message: Message) -> None:
        if message["type"] != "http.response.body":
            await send(message)
            return
        body = message.get("body", b"")
        await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
        raise _BrokenOffError

    return half
