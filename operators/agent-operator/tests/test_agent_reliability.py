"""Operators and API servers that go away: an Agent that has to be cut off meanwhile is cut off all the same."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from agents import SUBJECT, Agents, Around

from ameide_dev.client import KubeClient
from ameide_dev.operators import RELEASE, OperatorProcess
from ameide_dev.platform import Platform
from ameide_dev.pytest_plugin import NamespaceMaker
from ameide_dev.testing.subject import StartOperator, metric, namespaces
from ameide_dev.testing.traffic import asked
from ameide_dev.testing.waiting import never, until

OUTAGE_SECONDS = 5.0
ELECTION = {
    "AMEIDE_LEADER_ELECTION__ENABLED": "true",
    "AMEIDE_LEADER_ELECTION__NAME": f"{RELEASE}-agent",  # as the chart has it
    "AMEIDE_LEADER_ELECTION__LEASE_DURATION": "10",
    "AMEIDE_LEADER_ELECTION__RENEW_DEADLINE": "8",
    "AMEIDE_LEADER_ELECTION__RETRY_PERIOD": "0.5",
}


def leads(process: OperatorProcess) -> bool:
    return metric(process, "leader_election_master_status") == 1


Pair = tuple[Agents, OperatorProcess, OperatorProcess]


@pytest.fixture
def pair(chart: Platform, kube: KubeClient, own_around: Around, tmp_path: Path) -> Iterator[Pair]:
    """Agents of one namespace, the replica that leads, and one that waits."""
    with ExitStack() as stack:
        (namespace,) = stack.enter_context(namespaces(kube, "own-agent-pair"))
        settings = {**own_around.settings(), **ELECTION}
        replicas = []
        for name in ("first", "second"):
            kubeconfig = SUBJECT.user_like_it(chart, f"agents-{name}")
            process = SUBJECT.process(chart, tmp_path / name, f"{namespace}*", kubeconfig=kubeconfig, **settings)
            stack.enter_context(process)
            replicas.append(process)
            until("the first replica leads", lambda: leads(replicas[0]))
        agents = Agents(kube, namespace, own_around)
        agents.publish()
        agents.tool("orders")
        yield agents, *replicas


def test_policy_is_kept_over_the_death_of_the_leader(pair: Pair, chart: Platform) -> None:
    """The other replica takes over with the policy as it is by then; what was in order it does not touch."""
    agents, leader, other = pair
    agents.create("steady")
    agents.create(riskTier="high", **agents.uses({"domain": "orders"}))
    agents.ready("steady")
    agents.ready()
    before = chart.control_plane.audit_position()
    leader.kill()
    agents.around.policy.deny(agents.namespace, "domain/*/orders")
    agents.create("late")
    agents.until("Ready", "False", reason="Quarantined", timeout=60)
    assert leads(other)
    assert agents.egress() == []
    until("its pods are gone", lambda: not agents.pods())
    agents.ready("late")
    writes = [one for one in asked(chart, "agents-second", before, agents.namespace) if one.writes]
    # The policy by which it was judged is another by now; nothing else of it has changed.
    assert {str(one) for one in writes if one.name.startswith("steady")} <= {"patch agents/status"}


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
