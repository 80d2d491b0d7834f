"""What a Process costs: requests to the API server, Temporal and the Transformation API, as exact counts of theirs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from processes import SUBJECT, Around, Processes

from ameide_dev.client import KubeClient
from ameide_dev.operators import OperatorProcess
from ameide_dev.platform import Platform
from ameide_dev.testing.subject import namespaces
from ameide_dev.testing.traffic import asked, counted, settled

USER = "process-rests"
POLL_SECONDS = 4
CHECK_SECONDS = 4
REST_SECONDS = 24
COUNT = 5


@dataclass
class Resting:
    """An operator whose Processes are all Ready, and which had nothing to do any more at `position`."""

    process: OperatorProcess
    processes: Processes
    position: int


@pytest.fixture(scope="module")
def resting(
    chart: Platform, kube: KubeClient, around: Around, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Resting]:
    """Five Processes of one definition, without pods: what workers do at the servers is not the operator's cost."""
    kubeconfig = SUBJECT.user_like_it(chart, USER)
    settings = {
        **around.settings(),
        "AMEIDE_TRANSFORMATION__POLL_SECONDS": str(POLL_SECONDS),
        "AMEIDE_TEMPORAL__CHECK_SECONDS": str(CHECK_SECONDS),
    }
    operator = SUBJECT.process(chart, tmp_path_factory.mktemp("rest"), "own-rest-*", kubeconfig=kubeconfig, **settings)
    start = chart.control_plane.audit_position()
    with namespaces(kube, "own-rest") as (name,), operator:
        processes = Processes(kube, name, around)
        processes.publish()
        for number in range(COUNT):
            processes.create(f"rest-{number}", replicas=0)
        for number in range(COUNT):
            processes.ready(f"rest-{number}", timeout=60)
        settled(chart, USER, start)
        yield Resting(operator, processes, chart.control_plane.audit_position())


def test_process_costs_one_write_a_child_and_one_of_status_for_each_phase(
    chart: Platform, kube: KubeClient, around: Around, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """From creation to Ready: pods are made, pods come up, workers are awaited on the queue, Ready. Nothing is read."""
    user = "process-creates"
    kubeconfig = SUBJECT.user_like_it(chart, user)
    operator = SUBJECT.process(
        chart, tmp_path_factory.mktemp("create"), "own-create-*", kubeconfig=kubeconfig, **around.settings()
    )
    with namespaces(kube, "own-create") as (name,), operator:
        processes = Processes(kube, name, around)
        processes.publish()
        before = chart.control_plane.audit_position()
        processes.create()
        processes.ready(timeout=60)
        settled(chart, user, before)
        requests = counted(asked(chart, user, before, name))
        assert requests.pop("patch processes/status") <= 4
        assert requests == {
            "patch processes": 1,  # the finalizer
            "create serviceaccounts": 1,
            "create services": 1,
            "create networkpolicies": 1,
            "create servicemonitors": 1,
            "create configmaps": 1,
            "create controllerrevisions": 1,
            "create deployments": 1,
        }


def test_at_rest_the_api_server_is_asked_for_nothing(chart: Platform, resting: Resting) -> None:
    """And the servers outside once per interval: for each reference, and for each task queue."""
    around, queues = resting.processes.around, COUNT
    around.transformation.clear_requests()
    temporal = around.temporal.requests("processes")
    position = chart.control_plane.audit_position()
    time.sleep(REST_SECONDS)
    assert counted(asked(chart, USER, position)) == {}
    polls = [one for one in around.transformation.requests() if resting.processes.definition_id in one.path]
    intervals = REST_SECONDS / POLL_SECONDS
    # All five share the reference; the edges of the window may fall on either side of a question.
    assert intervals - 1 <= len(polls) <= intervals + 1
    assert {one.status for one in polls} == {304}
    time.sleep(1.5)  # the server counts late
    more = {name: count - temporal.get(name, 0) for name, count in around.temporal.requests("processes").items()}
    looks = (REST_SECONDS + 1.5) / CHECK_SECONDS
    # Two types of tasks in each look; other operators of this session look at other queues of the same namespace.
    assert more["DescribeTaskQueue"] >= 2 * queues * (looks - 2)
    assert "ListWorkflowExecutions" not in more or more["ListWorkflowExecutions"] == 0


def test_restart_writes_nothing(chart: Platform, resting: Resting) -> None:
    resting.process.stop()
    position = chart.control_plane.audit_position()
    resting.process.start()
    settled(chart, USER, position)
    assert [str(one) for one in asked(chart, USER, position) if one.writes] == []
