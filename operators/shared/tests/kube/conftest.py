"""Fixtures: our client on the platform's API server, with the requests that it makes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest

from ameide_shared.kube.cache import Cache
from ameide_shared.kube.client import ApiClient
from ameide_shared.kube.connection import connect
from ameide_shared.kube.limiter import Limiter

if TYPE_CHECKING:
    from ameide_dev.platform import Platform

Requests = list[tuple[str, str, str]]
"""Verb, resource and status of each request, in order."""


@pytest.fixture
def requests() -> Requests:
    return []


@pytest.fixture
async def client(platform: Platform, requests: Requests) -> AsyncIterator[ApiClient]:
    """Our client with all rights, without a limit."""
    async with connect(platform.kubeconfig) as connection:
        yield ApiClient(
            connection,
            field_manager="domain-operator",
            limiter=Limiter(0),
            on_request=lambda verb, resource, code, _: requests.append((verb, resource, code)),
        )


@pytest.fixture
def cache() -> Cache:
    return Cache()
