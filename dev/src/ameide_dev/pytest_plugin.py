"""Pytest fixtures over a real local platform: one per session, and with pytest-xdist one per worker.

Load it from the root conftest: `pytest_plugins = ["ameide_dev.pytest_plugin"]`. Whatever uses the `platform` fixture
is marked `platform`, so `-m "not platform"` leaves the quick tests.
"""

import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from ameide_dev.client import ApiError, KubeClient, UnknownKindError
from ameide_dev.platform import Platform

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
