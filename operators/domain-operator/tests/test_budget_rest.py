"""What an operator costs that has nothing to do: at rest, and when it starts anew over what is in place."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from databases import real
from harness import Domains
from own import metric, namespaces, own_operator, until, user_like_operator
from traffic import asked, listed, settled

from ameide_dev.client import KubeClient
from ameide_dev.operators import OperatorProcess
from ameide_dev.platform import Platform
from ameide_dev.processes import Guard

USER = "rests"
REST_SECONDS = 60.0
PLAIN = 27
DATABASES = 3


@dataclass
class Resting:
    """An operator whose Domains are all Ready, and that has had nothing to do since `since`, at `position`."""

    process: OperatorProcess
    domains: list[Domains]
    position: int
    since: float


@pytest.fixture(scope="module")
def resting(
    chart: Platform, kube: KubeClient, guard: Guard, cluster: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Resting]:
    kubeconfig = user_like_operator(chart, USER)
    process = own_operator(
        chart, guard, tmp_path_factory.mktemp("rest"), "own-rest-*", kubeconfig=kubeconfig, AMEIDE_API__QPS="1000"
    )
    start = chart.control_plane.audit_position()
    with namespaces(kube, "own-rest-plain", *(f"own-rest-{number}" for number in range(DATABASES))) as names, process:
        plain, *databases = (Domains(kube, name) for name in names)
        for number in range(PLAIN):
            plain.create(f"rest-{number}")
        for domains in databases:
            domains.create(db=real(domains, cluster))
        for number in range(PLAIN):
            plain.ready(f"rest-{number}", timeout=60)
        for domains in databases:
            domains.ready(timeout=60)
        settled(chart, USER, start)
        yield Resting(process, [plain, *databases], chart.control_plane.audit_position(), time.monotonic())


def test_nothing_is_asked_at_rest(chart: Platform, resting: Resting) -> None:
    """Thirty Domains, three of them with databases: for a minute not one request, watches that are renewed aside."""
    time.sleep(max(0.0, resting.since + REST_SECONDS - time.monotonic()))
    events = chart.control_plane.audit_events(user=USER, after=resting.position)
    assert [(event["verb"], event["requestURI"]) for event in events if event["verb"] != "watch"] == []


def test_restart_writes_nothing_and_lists_each_kind_twice(chart: Platform, resting: Resting) -> None:
    """One LIST is the watch's, one the check that the cache holds what the API server has."""
    resting.process.stop()
    before = chart.control_plane.audit_position()
    resting.process.start()
    until(
        "every Domain has been reconciled once",
        lambda: metric(resting.process, "controller_runtime_reconcile_total") >= PLAIN + DATABASES,
    )
    settled(chart, USER, before, quiet=3)
    assert [str(one) for one in asked(chart, USER, before) if one.writes] == []
    lists = listed(chart, USER, before)
    print(lists, [str(one) for one in asked(chart, USER, before)])
    assert set(lists.values()) == {2}
    migrations = [
        job["metadata"]["name"]
        for domains in resting.domains
        for job in domains.kube.list("batch/v1", "Job", domains.namespace)
    ]
    assert len(migrations) == DATABASES
