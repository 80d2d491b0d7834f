"""The request budget of UISurfaces, as exact counts from the API server's audit log."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from surfaces import SUBJECT, Around, Surfaces

from ameide_dev.client import KubeClient
from ameide_dev.gateway import GatewayStandIn
from ameide_dev.operators import OperatorProcess
from ameide_dev.platform import Platform
from ameide_dev.testing.subject import namespaces
from ameide_dev.testing.traffic import Asked, asked, counted, settled

USER = "uisurface-rests"
COUNT = 3
REST_SECONDS = 30.0
CHILDREN = {
    "patch uisurfaces": 1,  # the finalizer
    "create serviceaccounts": 1,
    "create services": 1,
    "create networkpolicies": 1,
    "create servicemonitors": 1,
    "create configmaps": 2,  # flags and SDK configuration
    "create secrets": 1,
    "create controllerrevisions": 1,
    "create deployments": 1,
    "create securitypolicies": 1,
    "create httproutes": 1,
}


@dataclass
class Resting:
    """An operator whose UISurfaces are all Ready and that has had nothing to do, from `position` on."""

    process: OperatorProcess
    creation: list[Asked]
    position: int
    since: float


@pytest.fixture(scope="module")
def resting(
    chart: Platform,
    kube: KubeClient,
    around: Around,
    gateways: GatewayStandIn,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Resting]:
    """UISurfaces that users log in to at the gateway."""
    kubeconfig = SUBJECT.user_like_it(chart, USER)
    directory = tmp_path_factory.mktemp("surfaces-rest")
    operator = SUBJECT.process(chart, directory, "own-ui-rest*", kubeconfig=kubeconfig, **around.settings())
    start = chart.control_plane.audit_position()
    with namespaces(kube, "own-ui-rest") as (name,), operator:
        surfaces = Surfaces(kube, name, around)
        names = [f"rest-{number}" for number in range(COUNT)]
        for each in names:
            surfaces.create(each, pathPrefix=f"/{each}")
        for each in names:
            surfaces.ready(each, timeout=60)
        settled(chart, USER, start, quiet=3)
        creation = asked(chart, USER, start, name)
        yield Resting(operator, creation, chart.control_plane.audit_position(), time.monotonic())


def test_creation_is_one_request_per_child_and_few_of_status(resting: Resting) -> None:
    """Status: the client is made, the gateway judges policy and route, a pod starts, Ready."""
    assert [one for one in resting.creation if one.code >= 400] == []
    counts = counted(resting.creation)
    statuses = counts.pop("patch uisurfaces/status")
    assert counts == {request: COUNT * number for request, number in CHILDREN.items()}
    assert statuses <= 5 * COUNT


def test_at_rest_nothing_is_asked_of_the_api_server(chart: Platform, resting: Resting) -> None:
    """Keycloak is looked at every two seconds meanwhile, and has nothing new to tell."""
    time.sleep(max(0.0, resting.since + REST_SECONDS - time.monotonic()))
    events = chart.control_plane.audit_events(user=USER, after=resting.position)
    assert [(event["verb"], event["requestURI"]) for event in events if event["verb"] != "watch"] == []
