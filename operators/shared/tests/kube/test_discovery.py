"""Optional APIs: found when they come, missed when they go, and no reason not to start."""

from __future__ import annotations

import asyncio

import pytest

from ameide_dev.client import KubeClient
from ameide_dev.platform import Platform
from ameide_shared.kube.client import ApiClient
from ameide_shared.kube.connection import Connection
from ameide_shared.kube.discovery import Discovery
from ameide_shared.kube.kubeconfig import ClusterAccess
from ameide_shared.kube.resources import CNPG_DATABASE, CNPG_DATABASE_ROLE, DEPLOYMENT, SERVICE_MONITOR, ResourceType

from .fake_server import fake_server, refuses, says

THING = ResourceType("discovery.example.com", "v1", "Thing", "things")
LATER = ResourceType("discovery.example.com", "v2", "Thing", "things")


def crd(*, established: bool = True) -> dict[str, object]:
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.discovery.example.com"},
        "spec": {
            "group": "discovery.example.com",
            "names": {"plural": "things", "kind": "Thing"},
            "scope": "Namespaced",
            "versions": [
                {
                    "name": version,
                    "served": version == "v1",
                    "storage": version == "v1",
                    "schema": {"openAPIV3Schema": {"type": "object"}},
                }
                for version in ("v1", "v2")
            ],
        },
        "status": {"conditions": [{"type": "Established", "status": str(established)}]},
    }


def test_events_of_definitions() -> None:
    discovery = Discovery([THING, LATER, SERVICE_MONITOR])
    changes: list[tuple[str, bool]] = []
    discovery.subscribe(lambda resource, installed: changes.append((f"{resource}/{resource.version}", installed)))
    assert discovery.installed(DEPLOYMENT)
    assert not discovery.installed(THING)
    discovery.on_crd_event("ADDED", crd(established=False))
    assert changes == []
    discovery.on_crd_event("MODIFIED", crd())
    discovery.on_crd_event(None, crd())
    assert (discovery.installed(THING), discovery.installed(LATER)) == (True, False), "v2 is defined but not served"
    discovery.on_crd_event("DELETED", crd())
    assert changes == [("things.discovery.example.com/v1", True), ("things.discovery.example.com/v1", False)]


async def test_a_server_that_is_down_is_no_reason_not_to_start() -> None:
    discovery = Discovery([SERVICE_MONITOR, CNPG_DATABASE])
    answers = (
        says({"resources": [{"name": "servicemonitors"}]}),  # of monitoring.coreos.com/v1
        refuses(404, "NotFound"),
        refuses(503, "ServiceUnavailable"),
    )
    async with fake_server(*answers) as server, Connection(ClusterAccess(server.url)) as connection:
        client = ApiClient(connection, field_manager="x")
        assert await discovery.refresh(client)
        assert discovery.installed(SERVICE_MONITOR)
        assert not discovery.installed(CNPG_DATABASE)
        assert not await discovery.refresh(client)
        assert discovery.installed(SERVICE_MONITOR), "what was known stays"
        url = server.url
    async with Connection(ClusterAccess(url)) as connection:
        assert not await Discovery([SERVICE_MONITOR]).refresh(ApiClient(connection, field_manager="x"))


@pytest.mark.usefixtures("platform")
async def test_a_real_server(client: ApiClient, kube: KubeClient, platform: Platform) -> None:
    discovery = Discovery([SERVICE_MONITOR, CNPG_DATABASE, CNPG_DATABASE_ROLE, THING])
    assert await discovery.refresh(client)
    assert [discovery.installed(resource) for resource in discovery.optional] == [True, True, True, False]
    kube.create({key: value for key, value in crd().items() if key != "status"})
    try:
        async with asyncio.timeout(20):
            while not discovery.installed(THING):
                await asyncio.sleep(0.2)
                assert await discovery.refresh(client)
    finally:
        kube.delete("apiextensions.k8s.io/v1", "CustomResourceDefinition", "things.discovery.example.com", wait=True)
    async with asyncio.timeout(20):
        while discovery.installed(THING):
            await asyncio.sleep(0.2)
            assert await discovery.refresh(client)
