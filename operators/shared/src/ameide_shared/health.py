"""The port of `/healthz`, `/readyz` and `/metrics`.

Liveness answers "would a restart help?": it does not fail because the API server is away. Readiness answers "is this
replica of use?": caches synced; a follower is ready, too. Both list what fails, one line each.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from aiohttp import web

from ameide_shared.metrics import CONTENT_TYPE, Metrics

log = logging.getLogger(__name__)

Check = Callable[[], Mapping[str, str]]
"""What fails now and why, by name; empty when all is well. Must not wait."""


class HealthServer:
    """The server; `async with` starts and stops it. `port` is the one in use, also when any free one was asked for."""

    def __init__(self, host: str, port: int, *, metrics: Metrics, live: Check, ready: Check) -> None:
        self._host = host or None
        self.port = port
        application = _application(metrics, live, ready)
        self._runner = web.AppRunner(application, access_log=None, handle_signals=False, shutdown_timeout=0.5)

    async def __aenter__(self) -> HealthServer:
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self.port).start()
        self.port = self._runner.addresses[0][1]
        log.info("serving /healthz, /readyz and /metrics", extra={"port": self.port})
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()


def _application(metrics: Metrics, live: Check, ready: Check) -> web.Application:
    async def healthz(_: web.Request) -> web.Response:
        return _verdict(live())

    async def readyz(_: web.Request) -> web.Response:
        return _verdict(ready())

    async def print_metrics(_: web.Request) -> web.Response:
        return web.Response(body=metrics.render(), headers={"Content-Type": CONTENT_TYPE})

    application = web.Application()
    application.router.add_get("/healthz", healthz)
    application.router.add_get("/readyz", readyz)
    application.router.add_get("/metrics", print_metrics)
    return application


def _verdict(failures: Mapping[str, str]) -> web.Response:
    if not failures:
        return web.Response(text="ok\n")
    return web.Response(status=503, text="".join(f"{name}: {why}\n" for name, why in sorted(failures.items())))
