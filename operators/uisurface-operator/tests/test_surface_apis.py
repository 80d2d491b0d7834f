"""A cluster without Envoy Gateway: surfaces stay closed and say why, and what is installed later is noticed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from surfaces import GATEWAY, GATEWAYS, SUBJECT, Around, Surfaces

from ameide_dev import crds
from ameide_dev.gateway import GatewayStandIn
from ameide_dev.operators import install_identities
from ameide_dev.platform import Platform
from ameide_dev.pytest_plugin import TENANT, TENANT_LABEL
from ameide_dev.testing.waiting import never

NAMESPACE = "bare"


@pytest.fixture
def bare() -> Iterator[Platform]:
    """A platform of the test's own, with HTTPRoutes but without SecurityPolicies."""
    with Platform(crd_sources=["gateway-api"], cnpg=False, host_node=False) as platform:
        install_identities(platform.client)
        for name in (NAMESPACE, GATEWAYS):
            metadata = {"name": name, "labels": {TENANT_LABEL: TENANT}}
            platform.client.create({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        yield platform


def test_without_the_policy_api_a_surface_stays_closed_and_opens_its_login_once_that_is_installed(
    bare: Platform, around: Around, tmp_path: Path
) -> None:
    surfaces = Surfaces(bare.client, NAMESPACE, around)
    with SUBJECT.process(bare, tmp_path / "operator", **around.settings()):
        surfaces.create()
        told = surfaces.until("AuthConfigured", "False", reason="APINotInstalled")
        assert "SecurityPolicy" in told["status"]["blocker"]["message"]
        assert surfaces.conditions()["RoutingReady"] == ("Unknown", "Blocked")
        never("a route that nobody guards", lambda: surfaces.route(), 2)
        surfaces.create("open", pathPrefix="/open", auth={"public": True})
        surfaces.until("RoutingReady", "False", reason="RoutePending", name="open")  # no gateway works here yet
        assert surfaces.route("open-ui") is not None
        crds.install(["envoy-gateway"], bare.client)
        with GatewayStandIn(bare.client) as gateways:
            gateways.make_gateway(GATEWAYS, GATEWAY)
            surfaces.ready(timeout=90)
            surfaces.ready("open")
        policy, client = surfaces.policy(), surfaces.client()
        assert policy is not None
        assert client is not None
        assert policy["spec"]["oidc"]["clientID"] == client["clientId"]
        for name in ("open", None):
            surfaces.delete(name)
            surfaces.wait_gone(name)


def test_by_setting_a_surface_is_open_rather_than_away_and_not_ready(
    bare: Platform, around: Around, tmp_path: Path
) -> None:
    surfaces = Surfaces(bare.client, NAMESPACE, around)
    opened = {"AMEIDE_ROUTING__WITHOUT_POLICY": "Open"}
    with SUBJECT.process(bare, tmp_path / "operator", **around.settings(), **opened):
        surfaces.create()
        told = surfaces.until("Ready", "False", reason="APINotInstalled")
        assert "open to everybody" in told["status"]["blocker"]["message"]
        surfaces.until("RoutingReady", "False", reason="RoutePending")
        assert surfaces.route() is not None
        surfaces.delete()
        surfaces.wait_gone()
