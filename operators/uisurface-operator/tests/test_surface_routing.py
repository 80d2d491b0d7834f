"""Routes on the local platform: what gateways refuse, who has a host, and Ingresses."""

from __future__ import annotations

from typing import Any

import pytest
from surfaces import Surfaces

from ameide_dev.gateway import GatewayStandIn
from ameide_dev.pytest_plugin import NamespaceMaker
from ameide_dev.testing.subject import OWN, StartOperator
from ameide_dev.testing.waiting import never, until

PUBLIC = {"public": True}


@pytest.mark.parametrize(
    ("condition", "reason"), [("Accepted", "NotAllowedByListeners"), ("ResolvedRefs", "BackendNotFound")]
)
def test_a_route_that_the_gateway_refuses_is_told_in_its_words_until_it_takes_it(
    surfaces: Surfaces, gateways: GatewayStandIn, condition: str, reason: str
) -> None:
    gateways.refuse("HTTPRoute", surfaces.namespace, "*", condition, reason, "the gateway's own words")
    surfaces.create(auth=PUBLIC)
    told = surfaces.until("RoutingReady", "False", reason="RouteRejected")
    assert f"{reason}: the gateway's own words" in told["status"]["blocker"]["message"]
    assert surfaces.conditions()["Ready"] == ("False", "RouteRejected")
    gateways.allow("HTTPRoute", surfaces.namespace, "*")
    surfaces.ready()
    gateways.refuse("HTTPRoute", surfaces.namespace, "*", condition, reason, "it thought better of it")
    surfaces.until("Ready", "False", reason="RouteRejected")
    assert surfaces.conditions()["WorkloadReady"][0] == "True"
    gateways.allow("HTTPRoute", surfaces.namespace, "*")
    surfaces.ready()


def test_a_host_belongs_to_one_namespace_and_is_taken_over_at_once_when_freed(
    surfaces: Surfaces, make_namespace: NamespaceMaker
) -> None:
    """Over namespaces even another path is refused, and the loser is told who holds it."""
    other = Surfaces(surfaces.kube, make_namespace(prefix="other"), surfaces.around)
    surfaces.create(auth=PUBLIC, pathPrefix="/a")
    surfaces.ready()
    other.create(auth=PUBLIC, host=surfaces.host, pathPrefix="/b")
    blocker = other.until("RoutingReady", "False", reason="RouteConflict")["status"]["blocker"]
    assert blocker["object"] == f"UISurface {surfaces.namespace}/shop"
    assert f"host {surfaces.host} belongs to UISurface {surfaces.namespace}/shop" in blocker["message"]
    never("a route of the loser", lambda: other.route(), 1)
    surfaces.patch(host=f"moved.{surfaces.host}")
    other.ready()
    assert other.get()["status"]["claim"] == {"host": surfaces.host, "pathPrefix": "/b"}
    surfaces.ready()


def test_who_holds_a_path_keeps_it_from_an_older_surface_that_comes_later(surfaces: Surfaces) -> None:
    """An older one cannot take it by asking; it says so, and its own route is gone rather than beside the other's."""
    surfaces.create("older", auth=PUBLIC, pathPrefix="/a")
    surfaces.ready("older")
    surfaces.create("younger", auth=PUBLIC, pathPrefix="/b")
    surfaces.ready("younger")
    surfaces.patch("older", pathPrefix="/b")
    surfaces.until("RoutingReady", "False", reason="RouteConflict", name="older")
    until("the older one's route is gone", lambda: surfaces.route("older-ui") is None)
    assert surfaces.ready("younger")["status"]["claim"]["pathPrefix"] == "/b"
    surfaces.patch("older", pathPrefix="/a")
    surfaces.ready("older")


def test_an_ingress_is_ready_once_a_controller_has_given_it_an_address(
    surfaces: Surfaces, gateways: GatewayStandIn, start_operator: StartOperator, make_namespace: Any
) -> None:
    own = Surfaces(surfaces.kube, make_namespace(prefix=OWN), surfaces.around)
    gateways.refuse("Ingress", own.namespace, "*", "", "", "")
    routing = {"AMEIDE_ROUTING__KIND": "Ingress", "AMEIDE_ROUTING__INGRESS__CLASS_NAME": "nginx"}
    start_operator(own.namespace, **surfaces.around.settings(), **routing)
    own.create(pathPrefix="/shop")
    own.until("RoutingReady", "False", reason="RoutePending")
    gateways.allow("Ingress", own.namespace, "*")
    status = own.ready()["status"]
    assert status["auth"]["mode"] == "Application"  # an Ingress logs nobody in
    ingress = own.live("networking.k8s.io/v1", "Ingress")
    assert ingress is not None
    assert ingress["spec"]["ingressClassName"] == "nginx"
    [rule] = ingress["spec"]["rules"]
    assert (rule["host"], rule["http"]["paths"][0]["path"]) == (own.host, "/shop")
    assert own.route() is None
    own.patch(auth={"mode": "Gateway"})
    own.until("Ready", "False", reason="AuthModeNotSupported")
    own.delete()
    own.wait_gone()
    assert own.client() is None
