"""The Domain operator on the local platform."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from harness import CLIENT_IMAGE, OWN, Domains, StartOperator

from ameide_dev.client import KubeClient
from ameide_dev.operators import OperatorProcess, install_identities
from ameide_dev.platform import Platform
from ameide_dev.processes import Guard


@pytest.fixture(scope="session")
def chart(platform: Platform) -> Platform:
    """The platform with the chart's CRDs, identities and rights."""
    install_identities(platform.client)
    return platform


@pytest.fixture(scope="session")
def guard() -> Iterator[Guard]:
    guard = Guard()
    yield guard
    guard.close()


@pytest.fixture(scope="session")
def operator(chart: Platform, guard: Guard, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    """The Domain operator with default settings, for all tests that do not need one of their own."""
    process = OperatorProcess(
        chart.control_plane,
        tmp_path_factory.mktemp("operator"),
        guard=guard,
        settings={"AMEIDE_WATCH__EXCLUDE": f"{OWN}*", "AMEIDE_DATABASE__CLIENT_IMAGE": CLIENT_IMAGE},
    )
    with process:
        yield process


@pytest.fixture
def start_operator(chart: Platform, guard: Guard, tmp_path: Path) -> Iterator[StartOperator]:
    """`start_operator(namespace, **settings)`: an operator of the test's own for one namespace."""
    with ExitStack() as stack:
        count = 0

        def start(namespace: str, *, wait: bool = True, **settings: str) -> OperatorProcess:
            nonlocal count
            count += 1
            process = OperatorProcess(
                chart.control_plane,
                tmp_path / f"operator-{count}",
                guard=guard,
                settings={
                    "AMEIDE_WATCH__NAMESPACES": f"{namespace}*",
                    "AMEIDE_DATABASE__CLIENT_IMAGE": CLIENT_IMAGE,
                    **settings,
                },
            )
            stack.callback(process.stop)
            process.start(wait=wait)
            return process

        yield start


@pytest.fixture
def domains(operator: OperatorProcess, kube: KubeClient, namespace: str) -> Domains:
    """Domains in a namespace of the test's own, under the shared operator."""
    return Domains(kube, namespace)


@pytest.fixture(scope="session")
def cluster(chart: Platform, kube: KubeClient) -> str:
    """A Ready CloudNativePG Cluster in namespace `cnpg` that every namespace may use: `cnpg/main`."""
    kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "cnpg"}})
    kube.apply(
        {
            "apiVersion": "postgresql.cnpg.io/v1",
            "kind": "Cluster",
            "metadata": {
                "name": "main",
                "namespace": "cnpg",
                "annotations": {"ameide.io/allowed-namespaces": "*"},
            },
            "spec": {"instances": 1, "storage": {"size": "1Gi"}},
        }
    )
    kube.wait_condition("postgresql.cnpg.io/v1", "Cluster", "main", "Ready", "cnpg", timeout=30)
    return "cnpg/main"
