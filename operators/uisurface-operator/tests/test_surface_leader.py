"""Two replicas: when the leader dies, the other goes on with hosts, routes and clients as the first had left them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from surfaces import SUBJECT, Around, Surfaces

from ameide_dev.client import KubeClient
from ameide_dev.gateway import GatewayStandIn
from ameide_dev.platform import Platform
from ameide_dev.testing.replicas import TAKEOVER_SECONDS, Replica, replicas
from ameide_dev.testing.resources import content
from ameide_dev.testing.subject import namespaces
from ameide_dev.testing.waiting import until

Pair = tuple[Surfaces, Replica, Replica]


@pytest.fixture
def pair(chart: Platform, kube: KubeClient, around: Around, gateways: GatewayStandIn, tmp_path: Path) -> Iterator[Pair]:
    """Surfaces of one namespace, the replica that leads, and one that waits."""
    with (
        namespaces(kube, "own-surface-pair") as (namespace,),
        replicas(SUBJECT, chart, tmp_path, f"{namespace}*", **around.settings()) as (leader, other),
    ):
        yield Surfaces(kube, namespace, around), leader, other


def test_the_other_replica_goes_on_where_a_killed_leader_ended(pair: Pair) -> None:
    """What was finished it leaves as it is, in Keycloak too; what happens meanwhile it sees to when it leads."""
    surfaces, leader, other = pair
    surfaces.create("steady")
    surfaces.create("robbed", host=f"robbed.{surfaces.host}")
    surfaces.ready("steady")
    surfaces.ready("robbed")
    steady, robbed = surfaces.client("steady"), surfaces.client("robbed")
    assert steady is not None
    assert robbed is not None
    before = content(surfaces.policy("steady-ui") or {})
    assert (leader.leads, other.leads, other.writes) == (True, False, [])

    leader.process.kill()
    killed = time.monotonic()
    surfaces.create("late", host=f"late.{surfaces.host}")
    surfaces.create("rival")  # at the host that the steady one has
    surfaces.around.realm.send("DELETE", "clients", robbed["id"])
    until("the other replica leads", lambda: other.leads)
    assert time.monotonic() - killed < TAKEOVER_SECONDS

    surfaces.ready("late")
    told = surfaces.until("Ready", "False", reason="RouteConflict", name="rival")
    assert f"{surfaces.namespace}/steady" in told["status"]["blocker"]["message"]
    until("the lost client is made again", lambda: surfaces.client("robbed") is not None)
    surfaces.ready("robbed")
    assert surfaces.client("steady") == steady, "a client that was as wanted, its secret with it"
    assert content(surfaces.policy("steady-ui") or {}) == before, "what the gateway was told"
    assert other.writes_about("steady") == []
