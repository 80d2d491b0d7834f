"""A small HTTP server that answers what a test tells it to: for refusals and failures that a real one gives rarely."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class FakeServer:
    """Answers in order; the last one is repeated. `seen` has method, path with query, headers and body."""

    url: str = ""
    answers: list[Answer] = field(default_factory=list)
    seen: list[tuple[str, str, dict[str, str], Any]] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        text = await request.text()
        body = json.loads(text) if text else None
        self.seen.append((request.method, request.raw_path, dict(request.headers), body))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return await answer(request)


@asynccontextmanager
async def fake_server(*answers: Answer) -> AsyncIterator[FakeServer]:
    """The server on a free port of the loopback."""
    fake = FakeServer(answers=list(answers))
    app = web.Application(client_max_size=2**24)
    app.router.add_route("*", "/{path:.*}", fake.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        fake.url = f"http://{host}:{port}"
        yield fake
    finally:
        await runner.cleanup()


def says(body: Any, status: int = 200, **headers: str) -> Answer:
    """JSON, or text as it is."""

    async def answer(_: web.Request) -> web.StreamResponse:
        text = body if isinstance(body, str) else json.dumps(body)
        return web.Response(status=status, text=text, headers=headers, content_type="application/json")

    return answer


def refuses(
    status: int, reason: str, message: str = "no", headers: dict[str, str] | None = None, **details: Any
) -> Answer:
    """A Status object, as the API server refuses."""
    body = {"kind": "Status", "status": "Failure", "code": status, "reason": reason, "message": message}
    return says({**body, "details": details}, status, **(headers or {}))
