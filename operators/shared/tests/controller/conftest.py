"""Fixtures: clients of the platform's API server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ameide_shared.kube.client import ApiClient
from ameide_shared.kube.connection import connect
from ameide_shared.kube.limiter import Limiter

if TYPE_CHECKING:
    from ameide_dev.platform import Platform

MakeClient = Callable[[], ApiClient]


@pytest.fixture
async def make_client(platform: Platform) -> AsyncIterator[MakeClient]:
    """Makes clients with all rights, each with connections of its own."""
    async with AsyncExitStack() as stack:
        connections = [connect(platform.kubeconfig) for _ in range(3)]
        for connection in connections:
            await stack.enter_async_context(connection)
        free = iter(connections)
        yield lambda: ApiClient(next(free), field_manager="t-operator", limiter=Limiter(0), timeout=5.0)


@pytest.fixture
async def client(make_client: MakeClient) -> ApiClient:
    return make_client()


@pytest.fixture
def kubeconfig(platform: Platform) -> Path:
    return Path(platform.kubeconfig)
