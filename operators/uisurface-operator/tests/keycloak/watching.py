"""A watcher that runs, whom it told, and the requests that it made."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from ameide_shared.kube.resources import ObjectKey
from uisurface_operator.keycloak.connection import Connection
from uisurface_operator.keycloak.settings import KeycloakSettings
from uisurface_operator.keycloak.watcher import KeycloakWatcher

from .conftest import Record


@dataclass
class Watching:
    """What a test looks at: resources that were told, and requests."""

    watcher: KeycloakWatcher
    told: set[ObjectKey] = field(default_factory=set)
    requests: list[str] = field(default_factory=list)

    def taken(self) -> list[str]:
        """The requests since the last time, those for tokens too."""
        lines = list(self.requests)
        self.requests.clear()
        return lines

    async def until(self, holds: Callable[[], bool], seconds: float) -> None:
        """Wait until something holds."""
        async with asyncio.timeout(seconds):
            while not holds():  # noqa: ASYNC110 - what holds is in Keycloak, which signals nothing
                await asyncio.sleep(0.02)


Transport = Callable[[ssl.SSLContext | bool, list[str]], Record]


@asynccontextmanager
async def watching(settings: KeycloakSettings, transport: Transport = Record) -> AsyncIterator[Watching]:
    """A watcher with these settings, running; its requests go through `transport`."""
    lines: list[str] = []
    told: set[ObjectKey] = set()

    def connect(name: str) -> Connection:
        return Connection(name, settings.connections[name], transport=lambda verify: transport(verify, lines))

    watcher = KeycloakWatcher(settings, told.update, connect=connect)
    task = asyncio.create_task(watcher.run())
    try:
        yield Watching(watcher, told, lines)
        assert not task.done(), "the watcher runs until it is told to stop"
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
