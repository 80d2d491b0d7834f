"""Operators and API servers that go away: an Agent that has to be cut off meanwhile is cut off all the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from agents import SUBJECT, Agents, Around

from ameide_dev.client import KubeClient
from ameide_dev.platform import Platform
from ameide_dev.pytest_plugin import NamespaceMaker
from ameide_dev.testing.replicas import Replica, replicas
from ameide_dev.testing.subject import StartOperator, namespaces
from ameide_dev.testing.waiting import never, until

OUTAGE_SECONDS = 5.0
LEASE_SECONDS = 10.0
"""Long enough for all that happens between the leader's death and its replacement."""
Pair = tuple[Agents, Replica, Replica]


@pytest.fixture
def pair(chart: Platform, kube: KubeClient, own_around: Around, tmp_path: Path) -> Iterator[Pair]:
    """Agents of one namespace, the replica that leads, and one that waits."""
    settings = own_around.settings()
    with (
        namespaces(kube, "own-agent-pair") as (namespace,),
        replicas(SUBJECT, chart, tmp_path, f"{namespace}*", lease_seconds=LEASE_SECONDS, **settings) as (leader, other),
    ):
        agents = Agents(kube, namespace, own_around)
        agents.publish()
        agents.tool("orders")
        yield agents, leader, other


def test_policy_is_kept_over_the_death_of_the_leader(pair: Pair) -> None:
    """The other replica takes over with the policy as it is by then; what was in order it does not touch."""
    agents, leader, other = pair
    agents.create("steady")
    agents.create(riskTier="high", **agents.uses({"domain": "orders"}))
    agents.ready("steady")
    agents.ready()
    leader.process.kill()
    agents.around.policy.deny(agents.namespace, "domain/*/orders")
    agents.create("late")
    agents.until("Ready", "False", reason="Quarantined", timeout=60)
    assert other.leads
    assert agents.egress() == []
    until("its pods are gone", lambda: not agents.pods())
    agents.ready("late")
    # The policy by which it was judged is another by now; nothing else of it has changed.
    status = f"PATCH /apis/ameide.io/v1/namespaces/{agents.namespace}/agents/steady/status"
    assert {*other.writes_about("steady")} <= {status}


def test_outage_of_the_api_server_delays_a_quarantine_and_does_not_prevent_it(
    chart: Platform,
    kube: KubeClient,
    make_namespace: NamespaceMaker,
    own_around: Around,
    start_operator: StartOperator,
) -> None:
    """Alive all the while; afterwards what the new policy forbids is cut off, and the rest as it was."""
    agents = Agents(kube, make_namespace("own-outage"), own_around)
    agents.publish()
    agents.tool("orders")
    operator = start_operator(agents.namespace, **own_around.settings())
    agents.create("steady")
    agents.create(riskTier="high", **agents.uses({"domain": "orders"}))
    agents.ready("steady")
    agents.ready()
    steady = agents.deployment("steady")["metadata"]["generation"]

    def dead() -> bool:
        return httpx.get(f"http://127.0.0.1:{operator.port}/healthz", timeout=2).status_code != 200

    chart.control_plane.stop_apiserver()
    try:
        own_around.policy.deny(agents.namespace, "domain/*/orders")
        never("the operator is not alive", dead, OUTAGE_SECONDS)
    finally:
        chart.control_plane.start_apiserver()
    agents.until("Ready", "False", reason="Quarantined", timeout=60)
    assert agents.egress() == []
    until("its pods are gone", lambda: not agents.pods())
    agents.ready("steady", timeout=60)
    assert agents.deployment("steady")["metadata"]["generation"] == steady
    own_around.policy.forgive(agents.namespace)
    agents.ready(timeout=60)
