"""The request budget, as exact counts from the API server's audit log and from the logs of the servers around."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from processes import PLAYED, SUBJECT, TEMPORAL_NAMESPACE, Around, Processes, poll_once, run

from ameide_dev.client import KubeClient
from ameide_dev.operators import OperatorProcess
from ameide_dev.platform import Platform
from ameide_dev.temporal import TemporalServer
from ameide_dev.testing.subject import metric, namespaces
from ameide_dev.testing.traffic import Asked, asked, counted, settled
from ameide_dev.testing.waiting import until
from ameide_dev.transformation import TransformationServer

USER = "process-rests"
COUNT = 4
REST_SECONDS = 30.0
CHECK_SECONDS = 10.0
CHILDREN = {
    "create serviceaccounts": 1,
    "create services": 1,
    "create networkpolicies": 1,
    "create servicemonitors": 1,
    "create configmaps": 1,
    "create controllerrevisions": 1,
    "create deployments": 1,
}


@dataclass
class Resting:
    """An operator whose Processes are all Ready and that has had nothing to do, from `position` on."""

    process: OperatorProcess
    processes: Processes
    creation: list[Asked]
    position: int
    since: float


@pytest.fixture(scope="module")
def quiet_around(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Around]:
    """Servers that nobody else asks."""
    token = tmp_path_factory.mktemp("transformation") / "token"
    token.write_text("a-token-for-the-budget")
    with TemporalServer("budget") as temporal, TransformationServer(token=token.read_text()) as transformation:
        temporal.create_namespace(TEMPORAL_NAMESPACE)
        yield Around(temporal, transformation, token)


@pytest.fixture(scope="module")
def resting(
    chart: Platform, kube: KubeClient, quiet_around: Around, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Resting]:
    """Processes of one definition, whose pods are heard of on their queues once."""
    kubeconfig = SUBJECT.user_like_it(chart, USER)
    settings = {
        **quiet_around.settings(),
        "AMEIDE_TEMPORAL__CHECK_SECONDS": str(CHECK_SECONDS),
        "AMEIDE_TEMPORAL__POLLER_SECONDS": "3600",
        "AMEIDE_TRANSFORMATION__POLL_SECONDS": "5",
    }
    operator = SUBJECT.process(
        chart, tmp_path_factory.mktemp("rest"), "own-process-rest*", kubeconfig=kubeconfig, **settings
    )
    start = chart.control_plane.audit_position()
    with namespaces(kube, "own-process-rest") as (name,), operator:
        processes = Processes(kube, name, quiet_around)
        processes.publish()
        names = [f"rest-{number}" for number in range(COUNT)]
        for each in names:
            processes.create(each, image=PLAYED)
        for each in names:
            processes.until("WorkloadReady", name=each, timeout=60)
        run(
            poll_once(
                quiet_around.temporal, {processes.pods(x)[0]["metadata"]["name"]: processes.queue(x) for x in names}
            )
        )
        for each in names:
            processes.ready(each, timeout=60)
        settled(chart, USER, start, quiet=3)
        creation = asked(chart, USER, start, name)
        time.sleep(60)  # as long as pollers were looked for often
        quiet_around.transformation.clear_requests()
        yield Resting(operator, processes, creation, chart.control_plane.audit_position(), time.monotonic())


def test_creation_is_one_request_per_child_and_few_of_status(resting: Resting) -> None:
    """Status: nothing runs, pods are ready, nobody polls for a while (the test makes them wait), Ready."""
    assert [one for one in resting.creation if one.code >= 400] == []
    counts = counted(resting.creation)
    statuses = counts.pop("patch processes/status")
    finalizers = counts.pop("patch processes")
    assert counts == {request: COUNT * number for request, number in CHILDREN.items()}
    assert finalizers == COUNT
    assert statuses <= 4 * COUNT


def test_at_rest_nothing_is_asked_of_the_api_server_and_little_of_others(chart: Platform, resting: Resting) -> None:
    """One conditional request for the definition that all share per interval; one look per queue and interval."""
    temporal, api = resting.processes.around.temporal, resting.processes.around.transformation
    before = Counter(temporal.requests(TEMPORAL_NAMESPACE))
    time.sleep(REST_SECONDS)
    after = Counter(temporal.requests(TEMPORAL_NAMESPACE))
    events = chart.control_plane.audit_events(user=USER, after=resting.position)
    assert [(event["verb"], event["requestURI"]) for event in events if event["verb"] != "watch"] == []
    requests = api.requests()
    waited = time.monotonic() - resting.since
    assert {(each.method, each.status) for each in requests} == {("GET", 304)}
    assert all(each.if_none_match for each in requests)
    assert waited / 5 - 2 <= len(requests) <= waited / 5 + 1
    asked_for = after - before
    looks = COUNT * REST_SECONDS / CHECK_SECONDS
    assert set(asked_for) <= {"DescribeNamespace", "DescribeTaskQueue"}
    assert 0 < asked_for["DescribeNamespace"] <= REST_SECONDS / CHECK_SECONDS + 1
    assert looks - COUNT <= asked_for["DescribeTaskQueue"] / 2 <= looks + COUNT  # workflow and activity tasks


def test_restart_writes_nothing(chart: Platform, resting: Resting) -> None:
    resting.process.stop()
    before = chart.control_plane.audit_position()
    resting.process.start()
    until(
        "every Process has been reconciled once",
        lambda: metric(resting.process, "controller_runtime_reconcile_total") >= COUNT,
    )
    settled(chart, USER, before, quiet=3)
    assert [str(one) for one in asked(chart, USER, before) if one.writes] == []
