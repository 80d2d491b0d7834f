"""The auditor against a server that fails to find an API for a moment, or for good."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from ameide_shared.controller import audit
from ameide_shared.controller.apis import ApiFollower
from ameide_shared.controller.audit import Audited, Auditor
from ameide_shared.kube.cache import Cache
from ameide_shared.kube.client import ApiClient
from ameide_shared.kube.connection import Connection
from ameide_shared.kube.discovery import Discovery
from ameide_shared.kube.kubeconfig import ClusterAccess
from ameide_shared.kube.limiter import Limiter
from ameide_shared.kube.resources import SERVICE_MONITOR, ObjectKey
from ameide_shared.metrics import Metrics

KEY = ObjectKey("shop", "orders")
LIST, GROUP = SERVICE_MONITOR.path(None), f"/apis/{SERVICE_MONITOR.api_version}"
MONITOR = {
    "apiVersion": SERVICE_MONITOR.api_version,
    "kind": SERVICE_MONITOR.kind,
    "metadata": {"namespace": "shop", "name": "orders", "uid": "u1", "resourceVersion": "5"},
}
SERVED = {"resources": [{"name": SERVICE_MONITOR.plural}]}
LISTED = {"metadata": {"resourceVersion": "9"}, "items": [MONITOR]}


@asynccontextmanager
async def auditing(answers: dict[str, list[Any]]) -> AsyncIterator[tuple[Auditor, Cache]]:
    """An auditor of ServiceMonitors, one of which is cached. The last answer of a path is repeated; None is a 404."""

    async def handle(request: web.Request) -> web.Response:
        left = answers[request.path]
        body = left.pop(0) if len(left) > 1 else left[0]
        return web.json_response(body if body is not None else {"kind": "Status"}, status=200 if body else 404)

    app = web.Application()
    app.router.add_get("/{path:.*}", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with Connection(ClusterAccess(f"http://127.0.0.1:{runner.addresses[0][1]}")) as connection:
            client, cache = ApiClient(connection, field_manager="x", limiter=Limiter(0)), Cache()
            cache.put(MONITOR)
            apis = ApiFollower(client, Discovery([SERVICE_MONITOR]), interval=600, on_change=lambda: None)
            kinds = [Audited(SERVICE_MONITOR, optional=True)]
            yield (
                Auditor(
                    client, cache, kinds, metrics=Metrics("domain"), interval=600, installed=apis.installed, grace=0.1
                ),
                cache,
            )
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("listings", "groups", "kept"),
    [
        pytest.param([None, LISTED], [SERVED], True, id="it is found again"),
        pytest.param([None], [SERVED], True, id="discovery has it all the same"),
        pytest.param([None], [None], False, id="it is gone for good"),
        pytest.param([None, {"metadata": {"resourceVersion": "9"}}], [SERVED], False, id="it is back, without objects"),
    ],
)
async def test_objects_are_dropped_only_if_their_api_is_gone(
    listings: list[Any], groups: list[Any], kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "_ABSENCE", 0.05)
    monkeypatch.setattr(audit, "_SETTLE", 0.05)
    async with auditing({LIST: list(listings), GROUP: list(groups)}) as (auditor, cache):
        await auditor.audit(SERVICE_MONITOR)
        assert (cache.get(SERVICE_MONITOR, KEY) is not None) is kept
