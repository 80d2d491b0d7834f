"""The HTTP interface: POST /v1/sessions, the probes, and metrics."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Any, Final

from prometheus_client import generate_latest
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from agent_runtime.config import Config
from agent_runtime.metrics import ACTIVE, LIMIT, REGISTRY, SESSION_SECONDS, SESSIONS
from agent_runtime.model import ModelError
from agent_runtime.sessions import Asked, InvalidRequestError, OnEvent, Sessions, asked
from agent_runtime.standing import Watch

log = logging.getLogger(__name__)

_MOST_BYTES: Final = 1_000_000
_TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
_EVENTS: Final = "text/event-stream"
_TITLES: Final = {
    "Draining": "The runtime is stopping",
    "InvalidRequest": "The request is none for a session",
    "NotReady": "The runtime is not ready",
    "RequestTooLarge": "The request is too large",
    "SessionTimeout": "The session took too long",
    "TenantMismatch": "The agent belongs to another tenant",
    "TooManySessions": "Too many sessions at once",
}
_MODEL_STATUS: Final = {"ModelBusy": 503, "ModelUnavailable": 503, "ModelNotGranted": 503}


class RejectedError(Exception):
    """A request that no session is held for, or a session that has failed: an HTTP status, a code and what to do."""

    def __init__(self, status: int, code: str, detail: str, retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail, self.retry_after = status, code, detail, retry_after

    def document(self) -> dict[str, Any]:
        """As a problem document (RFC 9457) with the code for programs."""
        title = _TITLES.get(self.code, "The model gives no answer")
        return {"type": "about:blank", "title": title, "status": self.status, "detail": self.detail, "code": self.code}

    def response(self) -> Response:
        """The same as an answer."""
        headers = {} if self.retry_after is None else {"retry-after": f"{max(self.retry_after, 1):.0f}"}
        return JSONResponse(self.document(), self.status, headers, media_type="application/problem+json")


class Gate:
    """Counts sessions, refuses those that are too many, and lets them end when the runtime stops."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._running = 0
        self._limits: set[asyncio.Timeout] = set()
        self.draining = False
        self.over = False
        self._empty = asyncio.Event()
        self._empty.set()
        LIMIT.set(most)

    def enter(self) -> None:
        """Begin a session. Raises RejectedError."""
        if self.draining:
            raise RejectedError(503, "Draining", "this pod takes no new sessions; send the request again", 1.0)
        if self._running >= self._most:
            message = f"{self._most} sessions are running, and that is the limit of this pod; try again later"
            raise RejectedError(429, "TooManySessions", message, 1.0)
        self._running += 1
        self._empty.clear()
        ACTIVE.set(self._running)

    def limit(self, limit: asyncio.Timeout) -> None:
        """Name the time limit of a session that has entered, by which it can be broken off."""
        self._limits.add(limit)

    def leave(self, limit: asyncio.Timeout) -> None:
        """End a session."""
        self._limits.discard(limit)
        self._running -= 1
        ACTIVE.set(self._running)
        if not self._running:
            self._empty.set()

    async def drain(self, seconds: float) -> int:
        """Take no more sessions and wait for those that run; how many had to be broken off after that time."""
        self.draining = True
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._empty.wait()
        left, self.over = self._running, True
        for limit in self._limits:
            limit.reschedule(asyncio.get_running_loop().time())
        return left


class App:
    """The application's handlers. One instance per runtime."""

    def __init__(self, config: Config, watch: Watch, sessions: Sessions, gate: Gate) -> None:
        self._config = config
        self._watch = watch
        self._sessions = sessions
        self._gate = gate

    def routes(self) -> Starlette:
        """The application itself."""
        return Starlette(
            routes=[
                Route("/healthz", self.healthz, methods=["GET"]),
                Route("/readyz", self.readyz, methods=["GET"]),
                Route("/metrics", self.metrics, methods=["GET"]),
                Route("/v1/sessions", self.session, methods=["POST"]),
            ]
        )

    async def healthz(self, _: Request) -> Response:
        """That the process answers."""
        return JSONResponse({"status": "ok"})

    async def readyz(self, _: Request) -> Response:
        """Whether sessions can be held; if not, what is wrong. An outage of the model changes nothing here: another
        pod would fare no better."""
        if self._gate.draining:
            return JSONResponse({"status": "stopping"}, 503)
        problems = self._watch.now().problems
        if problems:
            return JSONResponse({"status": "not ready", "problems": list(problems)}, 503)
        return JSONResponse({"status": "ready"})

    async def metrics(self, _: Request) -> Response:
        """Metrics in Prometheus' text format."""
        self._watch.now()
        return Response(generate_latest(REGISTRY), media_type=_TEXT)

    async def session(self, request: Request) -> Response:
        """Hold a session; answers JSON, or events as they happen where `accept` asks for text/event-stream."""
        try:
            said = await self._admit(request)
        except RejectedError as error:
            SESSIONS.labels(_outcome(error)).inc()
            return error.response()
        except ClientDisconnect:
            SESSIONS.labels("cancelled").inc()
            return Response(status_code=400)
        if _EVENTS in request.headers.get("accept", ""):
            headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
            return StreamingResponse(self._events(said), media_type=_EVENTS, headers=headers)
        try:
            return JSONResponse(await self._hold(said, _nowhere, tokens=False))
        except RejectedError as error:
            return error.response()

    async def _admit(self, request: Request) -> Asked:
        """Read a request and let it in. Raises RejectedError; otherwise the gate has to be left."""
        tenant = request.headers.get(self._config.tenant_header)
        if self._config.tenant and tenant is not None and tenant.encode("latin-1") != self._config.tenant.encode():
            raise RejectedError(403, "TenantMismatch", f"the header {self._config.tenant_header} names another tenant")
        said = await _body(request)
        standing = self._watch.now()
        if standing.problems and not self._gate.draining:
            raise RejectedError(503, "NotReady", "; ".join(standing.problems), 5.0)
        self._gate.enter()
        return said

    async def _hold(self, said: Asked, on_event: OnEvent, *, tokens: bool) -> dict[str, Any]:
        """A session with all its ways to end. Raises RejectedError. Leaves the gate."""
        started, outcome = time.monotonic(), "cancelled"
        limit = asyncio.timeout(self._config.session_seconds)
        try:
            async with limit:
                self._gate.limit(limit)
                result = await self._sessions.hold(said, on_event, tokens=tokens and self._config.emit_tokens)
            outcome = "ok"
            return result.document()
        except TimeoutError:
            if self._gate.over:
                message = "this pod stops, and the session did not end in time; send the request again"
                raise RejectedError(503, "Draining", message, 1.0) from None
            outcome = "timeout"
            message = f"the session was ended after {self._config.session_seconds:.0f} seconds; ask for less"
            raise RejectedError(504, "SessionTimeout", message) from None
        except ModelError as error:
            outcome = error.code
            log.warning("%s: %s", error.code, error)
            detail = f"{error}: {error.said}" if error.said else str(error)
            raise RejectedError(_MODEL_STATUS.get(error.code, 502), error.code, detail, error.retry_after) from None
        finally:
            self._gate.leave(limit)
            SESSIONS.labels(outcome).inc()
            SESSION_SECONDS.observe(time.monotonic() - started)

    def _events(self, said: Asked) -> AsyncIterator[str]:
        """A session as server-sent events: token and tool as they come, then done or error.

        It begins at once: were it left to the first look at the events, somebody who leaves before that would hold a
        place for ever.
        """
        events: asyncio.Queue[str | None] = asyncio.Queue()

        async def on_event(name: str, data: Mapping[str, Any]) -> None:
            events.put_nowait(_event(name, data))

        async def run() -> None:
            try:
                events.put_nowait(_event("done", await self._hold(said, on_event, tokens=True)))
            except RejectedError as error:
                events.put_nowait(_event("error", error.document()))
            finally:
                events.put_nowait(None)

        return _until_gone(events, asyncio.create_task(run()))


async def _until_gone(events: asyncio.Queue[str | None], running: asyncio.Task[None]) -> AsyncIterator[str]:
    try:
        while (event := await events.get()) is not None:
            yield event
        await running
    finally:
        # Whoever listened has gone: nobody wants what is still to come.
        running.cancel()


async def _nowhere(_: str, __: Mapping[str, Any]) -> None:
    """For those who want no events."""


def _event(name: str, data: Mapping[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"


def _outcome(error: RejectedError) -> str:
    known = {"TooManySessions": "rejected", "Draining": "draining", "NotReady": "not_ready"}
    return known.get(error.code, "invalid")


async def _body(request: Request) -> Asked:
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > _MOST_BYTES:
            raise RejectedError(413, "RequestTooLarge", f"a request may have {_MOST_BYTES} bytes")
    try:
        return asked(json.loads(bytes(content)))
    except InvalidRequestError as error:
        raise RejectedError(400, "InvalidRequest", str(error)) from None
    except (ValueError, RecursionError):
        raise RejectedError(400, "InvalidRequest", "the body must be JSON in UTF-8") from None
