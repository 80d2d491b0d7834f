"""Follows the coming and going of optional APIs while an operator runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from ameide_shared.kube.client import ApiClient
from ameide_shared.kube.discovery import Discovery
from ameide_shared.kube.errors import ApiError
from ameide_shared.kube.resources import ResourceType

_RETRY_SECONDS = 2.0
_GATHER_SECONDS = 0.5  # changes come in groups
_SERVED_TRIES = 20  # half a second apart: how long discovery may lag behind a new CRD
_SERVED_SECONDS = 0.5


class ApiFollower:
    """Keeps `discovery` current: by CRD events, which others feed, and by asking every `interval` seconds.

    `on_change` is called when an optional API has appeared and is served, or has gone.
    """

    def __init__(
        self, client: ApiClient, discovery: Discovery, *, interval: float, on_change: Callable[[], None]
    ) -> None:
        self._client = client
        self._discovery = discovery
        self._interval = interval
        self._on_change = on_change
        self._changed = asyncio.Event()

    async def sync(self) -> None:
        """Return once it is known which optional APIs there are. Only later changes are told."""
        while not await self._discovery.refresh(self._client):  # noqa: ASYNC110 - polls the API server
            await asyncio.sleep(_RETRY_SECONDS)
        self._discovery.subscribe(lambda resource, installed: self._changed.set())

    async def run(self) -> None:
        """Follow for ever; after `sync`."""
        while True:
            try:
                async with asyncio.timeout(self._interval):
                    await self._changed.wait()
            except TimeoutError:
                await self._discovery.refresh(self._client)  # in case nobody tells
                continue
            await asyncio.sleep(_GATHER_SECONDS)
            self._changed.clear()
            await self._until_served()
            self._on_change()

    async def installed(self, resource: ResourceType) -> bool:
        """Whether the API server serves a kind, asked now; True where it could not be asked."""
        return not await self._discovery.refresh(self._client) or self._discovery.installed(resource)

    async def _until_served(self) -> None:
        """A CRD may be established a moment before discovery, which kopf asks, shows it."""
        expected = {r for r in self._discovery.optional if self._discovery.installed(r)}
        for _ in range(_SERVED_TRIES):
            served: set[tuple[str, str, str]] = set()
            for group, version in {(r.group, r.version) for r in expected}:
                with suppress(ApiError):
                    answer = await self._client.raw_get(f"/apis/{group}/{version}" if group else f"/api/{version}")
                    served |= {(group, version, str(item.get("name"))) for item in answer.get("resources") or ()}
            if all((r.group, r.version, r.plural) in served for r in expected):
                return
            await asyncio.sleep(_SERVED_SECONDS)
