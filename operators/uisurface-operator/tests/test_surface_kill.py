"""The operator killed at every write of a UISurface's creation, and started again: the end is the same as without.

What it had done in Keycloak by then is found again, and not done twice.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from surfaces import SUBJECT, Around, Surfaces

from ameide_dev.client import KubeClient
from ameide_dev.gateway import GatewayStandIn
from ameide_dev.platform import Platform
from ameide_dev.testing import kills

WRITES = 14
"""At least so many writes a UISurface takes; how many of status there are is up to timing."""
EXPECTED = {
    ("apps/v1", "Deployment"): 1,
    ("apps/v1", "ControllerRevision"): 1,
    ("v1", "ConfigMap"): 2,
    ("v1", "Secret"): 1,
    ("v1", "Service"): 1,
    ("v1", "ServiceAccount"): 1,
    ("networking.k8s.io/v1", "NetworkPolicy"): 1,
    ("monitoring.coreos.com/v1", "ServiceMonitor"): 1,
    ("gateway.envoyproxy.io/v1alpha1", "SecurityPolicy"): 1,
    ("gateway.networking.k8s.io/v1", "HTTPRoute"): 1,
}


@pytest.fixture(scope="module")
def chains(
    chart: Platform,
    kube: KubeClient,
    around: Around,
    gateways: GatewayStandIn,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[kills.Chains]:
    """The creation of a surface with a scope of its own; in the end it goes, and leaves nothing in Keycloak."""

    def surfaces(namespace: str) -> Surfaces:
        return Surfaces(kube, namespace, around)

    def create(namespace: str) -> None:
        surfaces(namespace).create(auth={"scopes": [scope(namespace)]})

    def check(namespace: str, where: str) -> None:
        made, mine = surfaces(namespace), scope(namespace)
        selector = "app.kubernetes.io/managed-by=uisurface-operator"
        found = {kind: len(kube.list(*kind, namespace, label_selector=selector)) for kind in EXPECTED}
        assert found == EXPECTED, where
        client = made.client()
        assert client is not None, where
        assert made.secret() == client["secret"], where
        assert mine in client["defaultClientScopes"], where
        made.delete()
        made.wait_gone()
        assert (made.client(), around.realm.scope(mine), around.realm.role(mine)) == (None, None, None), where

    deed = kills.Deed(create, lambda namespace: surfaces(namespace).is_ready(), check)
    directory = tmp_path_factory.mktemp("kill")
    with kills.chains(SUBJECT, chart, kube, directory, deed, **around.settings()) as running:
        yield running


def scope(namespace: str) -> str:
    """A scope that no other surface asks for."""
    return f"{namespace}:read"


def test_killed_before_each_write_it_ends_the_same(chains: kills.Chains) -> None:
    assert chains[False].result() >= WRITES


def test_killed_before_each_answer_it_ends_the_same(chains: kills.Chains) -> None:
    assert chains[True].result() >= WRITES
