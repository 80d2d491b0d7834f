"""Runs the runtime: serves HTTP, follows changed grants, and on SIGTERM lets running sessions end."""

from __future__ import annotations

import asyncio
import logging
import signal
from types import FrameType

import httpx
import uvicorn
from prometheus_client import Gauge

from agent_runtime.app import App, Gate
from agent_runtime.config import Config
from agent_runtime.credentials import Credentials
from agent_runtime.metrics import REGISTRY
from agent_runtime.model import Model
from agent_runtime.prompts import Prompts
from agent_runtime.sessions import Sessions
from agent_runtime.standing import Watch
from agent_runtime.tools import Tools

log = logging.getLogger(__name__)

_LOOK_SECONDS = 2.0


class _Server(uvicorn.Server):
    """Uvicorn, which at the first signal drains instead of closing its port at once."""

    def __init__(self, config: uvicorn.Config, gate: Gate, seconds: float) -> None:
        super().__init__(config)
        self._gate = gate
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._asked = False
        self._draining: asyncio.Task[None] | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._asked:
            self.force_exit = self.should_exit = True
            return
        self._asked = True
        # A signal comes in the middle of whatever is running: all it may do is to leave a note for the loop.
        self._loop.call_soon_threadsafe(self._begin, signal.Signals(sig).name)

    def _begin(self, name: str) -> None:
        log.info("stops on %s: takes no new sessions, lets the running ones end", name)
        self._draining = self._loop.create_task(self._drain())

    async def _drain(self) -> None:
        left = await self._gate.drain(self._seconds)
        if left:
            log.warning("%d sessions have not ended in %.0f seconds and are broken off", left, self._seconds)
        self.should_exit = True


async def run(config: Config, credentials: Credentials) -> None:
    """Serve until SIGTERM or SIGINT."""
    watch = Watch(config, credentials)
    gate = Gate(config.max_sessions)
    _describe(config)
    # How many sessions there are is limited elsewhere; a pool that is full would only look like a slow tool.
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(limits=limits, trust_env=False, follow_redirects=False) as http:
        sessions = Sessions(
            config,
            watch,
            Model(config, credentials, http),
            Tools(config, credentials, http),
            Prompts(config.log_prompts, credentials),
        )
        server = _Server(
            uvicorn.Config(
                App(config, watch, sessions, gate).routes(),
                host=config.host,
                port=config.port,
                http="h11",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=2,
            ),
            gate,
            config.shutdown_seconds,
        )
        looking = asyncio.create_task(_look(watch))
        try:
            await server.serve()
        finally:
            looking.cancel()
    log.info("stopped")


async def _look(watch: Watch) -> None:
    """Look at the files now and then, so that logs and metrics tell of a change when it happens, not when asked."""
    while True:
        watch.now()
        await asyncio.sleep(_LOOK_SECONDS)


def _describe(config: Config) -> None:
    labels = {
        "definition_id": config.definition_id,
        "definition_version": config.definition_version,
        "definition_checksum": config.checksum,
        "tenant": config.tenant,
        "risk_tier": config.risk_tier,
        "provider": config.provider,
        "model": config.model,
    }
    info = Gauge("agent_runtime_info", "What this runtime runs.", labels.keys(), registry=REGISTRY)
    info.labels(**labels).set(1)
    log.info("runs %s", labels)
