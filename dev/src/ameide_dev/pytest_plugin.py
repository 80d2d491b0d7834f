"""Pytest fixtures over a real local platform: one per session, and with pytest-xdist one per worker.

Load it from the root conftest: `pytest_plugins = ["ameide_dev.pytest_plugin"]`. Whatever uses the `platform` fixture
is marked `platform`, so `-m "not platform"` leaves the quick tests.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from ameide_dev.client import ApiError, KubeClient, UnknownKindError
from ameide_dev.platform import Platform

if TYPE_CHECKING:
    from ameide_dev.gateway import GatewayStandIn
    from ameide_dev.grantsservice import GrantsService
    from ameide_dev.keycloak_realm import Realm
    from ameide_dev.keycloak_shared import SharedKeycloak
    from ameide_dev.temporal import TemporalServer

# A tenant for namespaces whose test does not care which.
TENANT_LABEL = "ameide.io/tenant-id"
TENANT = "t123"

NamespaceMaker = Callable[..., str]


@pytest.hookimpl(tryfirst=True)  # before -m deselects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs the platform."""
    for item in items:
        if "platform" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.platform)


@pytest.fixture(scope="session")
def platform() -> Iterator[Platform]:
    """The platform, started for the first test that needs it."""
    with Platform() as running:
        yield running


@pytest.fixture(scope="session")
def kube(platform: Platform) -> KubeClient:
    """A client with all rights on the platform's cluster."""
    return platform.client


@pytest.fixture
def gateway(kube: KubeClient) -> Iterator[GatewayStandIn]:
    """The gateway controller, at work while the test runs; what a test ordered of it ends with the test."""
    from ameide_dev.gateway import GatewayStandIn

    with GatewayStandIn(kube) as running:
        yield running


@pytest.fixture
def grants_service() -> Iterator[GrantsService]:
    """A grants service of the test's own; it asks for its `token`."""
    from ameide_dev.grantsservice import GrantsService

    with GrantsService(secrets.token_urlsafe(16)) as running:
        yield running


@pytest.fixture(scope="session")
def temporal() -> Iterator[TemporalServer]:
    """A Temporal server, started for the first test that needs it. Tests share it, each with a namespace of its own,
    and leave it running."""
    from ameide_dev.temporal import TemporalServer  # brings a large SDK along, which few tests need

    with TemporalServer("tests") as running:
        yield running


_keycloak_key = pytest.StashKey["SharedKeycloak"]()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Start what takes long to start, where a test wants it: it comes up while others run."""
    wanted = any("keycloak" in getattr(item, "fixturenames", ()) for item in session.items)
    if wanted and not session.config.option.collectonly:
        from ameide_dev.keycloak_shared import SharedKeycloak

        session.config.stash[_keycloak_key] = SharedKeycloak()
        session.config.stash[_keycloak_key].start()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Let go of what was started for tests that were never run."""
    if server := config.stash.get(_keycloak_key, None):
        server.release()


@pytest.fixture(scope="session")
def keycloak(pytestconfig: pytest.Config) -> SharedKeycloak:
    """A Keycloak, one for all workers. Tests leave it running; those that may not have one of their own."""
    server = pytestconfig.stash[_keycloak_key]
    server.wait_ready()
    return server


@pytest.fixture
def realm(keycloak: SharedKeycloak) -> Iterator[Realm]:
    """A realm of the test's own, deleted after it."""
    made = keycloak.admin.create_realm()
    yield made
    made.delete()


@pytest.fixture
def make_namespace(kube: KubeClient, request: pytest.FixtureRequest) -> Iterator[NamespaceMaker]:
    """`make_namespace(prefix="t", labels={...})` creates a namespace with a unique name, deleted after the test."""
    made: list[str] = []
    slug = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower().removeprefix("test_")).strip("-")[:30].strip("-")

    def make(prefix: str = "t", labels: dict[str, str] | None = None) -> str:
        name = f"{prefix}-{slug}-{secrets.token_hex(3)}"
        metadata = {"name": name, "labels": {TENANT_LABEL: TENANT} if labels is None else labels}
        kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        made.append(name)
        # Until it is there, a pod is refused.
        kube.wait_for("v1", "ServiceAccount", "default", lambda it: it is not None, name)
        return name

    yield make
    for name in made:
        discard_namespace(kube, name)


@pytest.fixture
def namespace(make_namespace: NamespaceMaker) -> str:
    """A namespace of the test's own, with the tenant label, deleted after the test."""
    return make_namespace()


def discard_namespace(client: KubeClient, name: str) -> None:
    """Delete a namespace without waiting; its Ameide objects lose finalizers that no operator may be left to honour."""
    client.delete("v1", "Namespace", name, missing_ok=True)
    for kind in ("Domain", "Process", "Agent", "UISurface"):
        with suppress(UnknownKindError, ApiError):
            for obj in client.list("ameide.io/v1", kind, name):
                if obj["metadata"].get("finalizers"):
                    client.merge_patch(
                        "ameide.io/v1", kind, obj["metadata"]["name"], {"metadata": {"finalizers": None}}, name
                    )
