"""The UISurface operator on the local platform, with a realm in Keycloak and a gateway controller."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from surfaces import GATEWAY, GATEWAYS, SUBJECT, Around, Surfaces, made_around

from ameide_dev.client import KubeClient
from ameide_dev.gateway import GatewayStandIn
from ameide_dev.keycloak_shared import SharedKeycloak
from ameide_dev.operators import OperatorProcess
from ameide_dev.platform import Platform
from ameide_dev.testing.subject import OWN, StartOperator


@pytest.fixture(scope="session")
def around(keycloak: SharedKeycloak, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Around]:
    """A realm of all tests here."""
    realm = keycloak.admin.create_realm()
    yield made_around(realm, keycloak.https_url, keycloak.ca_file, tmp_path_factory.mktemp("around-surfaces"))
    realm.delete()


@pytest.fixture(scope="session")
def gateways(kube: KubeClient) -> Iterator[GatewayStandIn]:
    """A gateway controller, with the Gateway that routes attach to."""
    kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": GATEWAYS}})
    with GatewayStandIn(kube) as running:
        running.make_gateway(GATEWAYS, GATEWAY)
        yield running


@pytest.fixture(scope="session")
def operator(
    chart: Platform, around: Around, gateways: GatewayStandIn, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OperatorProcess]:
    """The operator for all tests that need none of their own."""
    directory = tmp_path_factory.mktemp("uisurface-operator")
    with SUBJECT.process(chart, directory, AMEIDE_WATCH__EXCLUDE=f"{OWN}*", **around.settings()) as process:
        yield process


@pytest.fixture
def start_operator(
    chart: Platform, gateways: GatewayStandIn, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[StartOperator]:
    """An operator of the test's own, for the namespaces that begin so; it ends with the test."""
    with ExitStack() as stack:

        def begin(namespace: str, *, wait: bool = True, **settings: str) -> OperatorProcess:
            directory = tmp_path_factory.mktemp("uisurface-operator-own")
            process = SUBJECT.process(chart, directory, f"{namespace}*", **settings)
            stack.callback(process.stop)
            process.start(wait=wait)
            return process

        yield begin


@pytest.fixture
def surfaces(operator: OperatorProcess, kube: KubeClient, namespace: str, around: Around) -> Surfaces:
    """UISurfaces in a namespace of the test's own, under the shared operator."""
    return Surfaces(kube, namespace, around)
