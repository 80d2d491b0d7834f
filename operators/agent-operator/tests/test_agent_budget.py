"""The request budget, as exact counts from the API server's audit log and from the Transformation API's."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from agents import SUBJECT, Agents, Around, made_around

from ameide_dev.client import KubeClient
from ameide_dev.externalsecrets import ExternalSecrets
from ameide_dev.operators import OperatorProcess
from ameide_dev.platform import Platform
from ameide_dev.testing.subject import metric, namespaces
from ameide_dev.testing.traffic import Asked, asked, counted, settled
from ameide_dev.testing.waiting import until

USER = "agent-rests"
COUNT = 4
REST_SECONDS = 60.0
POLL_SECONDS = 5.0
CHILDREN = {
    "create serviceaccounts": 1,
    "create services": 1,
    "create networkpolicies": 1,
    "create servicemonitors": 1,
    "create externalsecrets": 1,
    "create configmaps": 2,  # definition and grants
    "create controllerrevisions": 1,
    "create deployments": 1,
}


@dataclass
class Resting:
    """An operator whose Agents are all Ready and that has had nothing to do, from `position` on."""

    process: OperatorProcess
    agents: Agents
    creation: list[Asked]
    position: int
    since: float


@pytest.fixture(scope="module")
def quiet_around(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Around]:
    """Servers that nobody else asks."""
    with made_around(tmp_path_factory.mktemp("around-quiet-agents")) as made:
        yield made


@pytest.fixture(scope="module")
def resting(
    chart: Platform,
    kube: KubeClient,
    quiet_around: Around,
    secret_store: ExternalSecrets,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Resting]:
    """Agents of one definition, each with a tool and a credential of its own."""
    kubeconfig = SUBJECT.user_like_it(chart, USER)
    settings = {**quiet_around.settings(), "AMEIDE_TRANSFORMATION__POLL_SECONDS": str(POLL_SECONDS)}
    directory = tmp_path_factory.mktemp("agents-rest")
    operator = SUBJECT.process(chart, directory, "own-agent-rest*", kubeconfig=kubeconfig, **settings)
    start = chart.control_plane.audit_position()
    with namespaces(kube, "own-agent-rest") as (name,), operator:
        agents = Agents(kube, name, quiet_around)
        agents.publish()
        agents.tool("orders")
        secret_store.put(f"{name}/openai", {"apiKey": "sk-rest-0123456789"})
        names = [f"rest-{number}" for number in range(COUNT)]
        for each in names:
            agents.create(each, model={"provider": "openai", "name": "gpt-5"}, **agents.uses({"domain": "orders"}))
        for each in names:
            agents.ready(each, timeout=60)
        settled(chart, USER, start, quiet=3)
        creation = asked(chart, USER, start, name)
        quiet_around.transformation.clear_requests()
        yield Resting(operator, agents, creation, chart.control_plane.audit_position(), time.monotonic())


def test_creation_is_one_request_per_child_and_few_of_status(resting: Resting) -> None:
    """Status: its credential is fetched, a pod starts, it runs the definition, Ready. Nobody else knows the grants, so
    there is no finalizer.
    """
    assert [one for one in resting.creation if one.code >= 400] == []
    counts = counted(resting.creation)
    statuses = counts.pop("patch agents/status")
    assert counts == {request: COUNT * number for request, number in CHILDREN.items()}
    assert statuses <= 4 * COUNT


def test_at_rest_nothing_is_asked_of_the_api_server_and_little_of_others(chart: Platform, resting: Resting) -> None:
    """In a minute not one request; one conditional one for the definition, which all share, per interval."""
    time.sleep(max(0.0, resting.since + REST_SECONDS - time.monotonic()))
    events = chart.control_plane.audit_events(user=USER, after=resting.position)
    assert [(event["verb"], event["requestURI"]) for event in events if event["verb"] != "watch"] == []
    requests = resting.agents.around.transformation.requests()
    waited = time.monotonic() - resting.since
    assert {(each.method, each.status) for each in requests} == {("GET", 304)}
    assert waited / POLL_SECONDS - 2 <= len(requests) <= waited / POLL_SECONDS + 1


def test_another_reading_of_the_same_policy_writes_nothing(chart: Platform, resting: Resting) -> None:
    """Comments and the order of keys are no change; nor does a rule for others write anything of these Agents."""
    policy = resting.agents.around.policy
    start = chart.control_plane.audit_position()
    reconciled = metric(resting.process, "controller_runtime_reconcile_total")
    policy.text(f"# The same.\n{policy.file.read_text()}")
    time.sleep(1.5)
    assert metric(resting.process, "controller_runtime_reconcile_total") == reconciled
    assert asked(chart, USER, start) == []
    policy.deny("somewhere-else", "domain/*/orders")
    until("all were judged anew", lambda: metric(resting.process, "controller_runtime_reconcile_total") > reconciled)
    settled(chart, USER, start)
    writes = counted([one for one in asked(chart, USER, start) if one.writes])
    assert writes == {"patch agents/status": COUNT}  # the digest of the policy by which each was judged


def test_restart_writes_nothing(chart: Platform, resting: Resting) -> None:
    resting.process.stop()
    before = chart.control_plane.audit_position()
    resting.process.start()
    until(
        "every Agent has been reconciled once",
        lambda: metric(resting.process, "controller_runtime_reconcile_total") >= COUNT,
    )
    settled(chart, USER, before, quiet=3)
    assert [str(one) for one in asked(chart, USER, before) if one.writes] == []


def test_while_it_is_down_nothing_is_forgotten(chart: Platform, resting: Resting) -> None:
    """A child removed and a policy tightened meanwhile: the first reconcile after the start sees to both."""
    agents, name = resting.agents, "rest-0"
    resting.process.stop()
    agents.kube.delete("v1", "Service", f"{name}-agent", agents.namespace)
    agents.around.policy.deny(agents.namespace, "domain/*/orders")
    resting.process.start()
    agents.until("PolicyViolation", name=name)
    until("the Service is back", lambda: agents.child("v1", "Service", f"{name}-agent"))
    agents.around.policy.forgive(agents.namespace)
    agents.ready(name)
