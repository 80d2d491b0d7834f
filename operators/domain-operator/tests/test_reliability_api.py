"""An API server that is away, slow, full or failing: the operator waits, says so, and carries on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from databases import real
from domain_support import CLIENT_IMAGE, SUBJECT, Domains

from ameide_dev.client import KubeClient
from ameide_dev.operators import OperatorProcess
from ameide_dev.platform import Platform
from ameide_dev.testing.apiproxy import Answer, ApiProxy, Call, Cut, Fault, Late
from ameide_dev.testing.resources import API
from ameide_dev.testing.subject import metric, namespaces
from ameide_dev.testing.waiting import never, until

OUTAGE_SECONDS = 5.0
SLOW_START = "ghcr.io/ameide/scenario-slow-start:1"
"""Pods of this image are ready after three seconds: time enough for something to happen."""


@dataclass
class Behind:
    """An operator behind a proxy, with one Domain `steady` that is Ready."""

    domains: Domains
    process: OperatorProcess
    proxy: ApiProxy

    def alive(self) -> bool:
        return httpx.get(f"http://127.0.0.1:{self.process.port}/healthz", timeout=2).status_code == 200

    def writes(self, *parts: str) -> list[Call]:
        """The writes whose path or body has all these parts."""
        return [
            call
            for call in list(self.proxy.calls)
            if call.writes and all(part in f"{call.path} {call.body.decode()}" for part in parts)
        ]


@pytest.fixture(scope="module")
def shared(chart: Platform, kube: KubeClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Behind]:
    directory = tmp_path_factory.mktemp("api")
    with namespaces(kube, "own-api") as (namespace,), ApiProxy(chart.control_plane) as proxy:
        kubeconfig = proxy.kubeconfig("domain", directory)
        with SUBJECT.process(chart, directory, f"{namespace}*", kubeconfig=kubeconfig) as process:
            domains = Domains(kube, namespace)
            domains.create("steady")
            domains.ready("steady")
            yield Behind(domains, process, proxy)


@pytest.fixture
def behind(shared: Behind) -> Iterator[Behind]:
    shared.proxy.calls.clear()
    yield shared
    shared.proxy.fault = lambda call: None


def test_refused_requests_wait_as_long_as_the_server_says(behind: Behind) -> None:
    """429 with Retry-After: nobody asks again before that, and nothing is lost."""
    refused: list[Call] = []

    def full_once(call: Call) -> Fault:
        if call.writes and not refused:
            refused.append(call)
            return Answer(429, {"Retry-After": "2"})
        return None

    behind.proxy.fault = full_once
    behind.domains.create("full")
    until("a request is refused", lambda: bool(refused))
    count = len(behind.writes())
    never("something is written too early", lambda: len(behind.writes()) > count, 1.5)
    behind.domains.ready("full")
    assert len(children(behind.domains, "ControllerRevision", "full")) == 1


def test_failing_writes_are_told_and_tried_again_until_they_succeed(behind: Behind) -> None:
    """500 on a child: the status names the child and the error, and says nothing of it any more once it is written."""
    broken = True

    def services_fail(call: Call) -> Fault:
        return Answer(500) if broken and call.method == "POST" and call.path.endswith("/services") else None

    behind.proxy.fault = services_fail
    errors = metric(behind.process, "controller_runtime_reconcile_errors_total")
    behind.domains.create("failing")
    told = behind.domains.until("Degraded", name="failing")
    assert "Service" in told["status"]["blocker"]["object"]
    assert "the test says so" in told["status"]["blocker"]["message"]
    until("it was tried again", lambda: len(behind.writes("/services", '"failing-domain"')) >= 3)
    assert metric(behind.process, "controller_runtime_reconcile_errors_total") >= errors + 2
    assert metric(behind.process, "workqueue_retries_total") >= 2
    broken = False
    ready = behind.domains.ready("failing", timeout=60)
    assert "blocker" not in ready["status"]


def test_lost_answers_are_no_second_child(behind: Behind) -> None:
    """Every third write loses its connection before it is passed on."""
    seen = 0

    def every_third(call: Call) -> Fault:
        nonlocal seen
        seen += call.writes
        return Cut() if call.writes and seen % 3 == 0 else None

    behind.proxy.fault = every_third
    behind.domains.create("lossy")
    behind.domains.ready("lossy", timeout=60)
    assert len(children(behind.domains, "ControllerRevision", "lossy")) == 1


def test_slow_server_is_waited_for(behind: Behind) -> None:
    behind.proxy.fault = lambda call: None if call.watches else Late(0.4)
    behind.domains.create("slow")
    behind.domains.ready("slow", timeout=60)
    assert behind.alive()
    assert len(behind.writes("domains/slow/status")) <= 3


def test_outage_in_the_middle_of_a_rollout_harms_nothing(chart: Platform, behind: Behind) -> None:
    """Five seconds without API server: alive all the while, the rollout ends, and what rested stays untouched."""
    before = deployment(behind.domains, "steady-domain")
    behind.domains.create("rolling", image=SLOW_START)
    until("the rollout has begun", lambda: bool(children(behind.domains, "Deployment", "rolling")))
    process = behind.process.server
    assert process is not None
    pid = process.pid
    chart.control_plane.stop_apiserver()
    try:
        never("the operator is not alive", lambda: not behind.alive(), OUTAGE_SECONDS)
    finally:
        chart.control_plane.start_apiserver()
    behind.domains.ready("rolling", timeout=60)
    behind.domains.create("later")
    behind.domains.ready("later", timeout=60)
    assert behind.alive()
    assert process.pid == pid
    after = deployment(behind.domains, "steady-domain")
    assert after["metadata"]["generation"] == before["metadata"]["generation"]
    assert behind.writes("steady-domain") == []


def deployment(domains: Domains, name: str) -> dict[str, Any]:
    found = domains.child("apps/v1", "Deployment", name)
    assert found is not None
    return found


def children(domains: Domains, kind: str, name: str) -> list[dict[str, Any]]:
    return domains.kube.list("apps/v1", kind, domains.namespace, label_selector=f"ameide.io/name={name}")


def test_log_that_cannot_be_read_at_first_still_tells_the_version(behind: Behind, cluster: str) -> None:
    """The node of the migration's pod does not answer: the rollout goes on, and the log is asked for again."""
    refused: list[Call] = []

    def node_is_away(call: Call) -> Fault:
        if call.path.endswith("/log") and not refused:
            refused.append(call)
            return Answer(502)
        return None

    behind.proxy.fault = node_is_away
    says = {"command": ["sh", "-c", "echo Successfully applied 7 migrations to schema orders, now at version v7"]}
    db = real(behind.domains, cluster, deletionPolicy="Delete", migrations=says, migrationJobImage=CLIENT_IMAGE)
    behind.domains.create("orders", db=db)
    behind.domains.ready("orders", timeout=90)
    assert refused

    def version() -> object:
        return behind.domains.get("orders")["status"]["db"].get("migrationVersion")

    assert until("the version", version, timeout=30) == "7"
    behind.domains.kube.delete(API, "Domain", "orders", behind.domains.namespace, wait=60)
