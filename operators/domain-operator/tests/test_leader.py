"""Two replicas: one works, the other takes over when it is killed, stopped or cut off, and never do both work."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest
from domain_support import SUBJECT, Domains

from ameide_dev.client import KubeClient
from ameide_dev.operators import RELEASE, OperatorProcess
from ameide_dev.platform import Platform
from ameide_dev.testing.apiproxy import ApiProxy, Cut
from ameide_dev.testing.subject import metric, namespaces
from ameide_dev.testing.waiting import until

LEASE_SECONDS = 3.0
SETTINGS = {
    "AMEIDE_LEADER_ELECTION__ENABLED": "true",
    "AMEIDE_LEADER_ELECTION__NAME": f"{RELEASE}-domain",  # as the chart has it
    "AMEIDE_LEADER_ELECTION__LEASE_DURATION": str(LEASE_SECONDS),
    "AMEIDE_LEADER_ELECTION__RENEW_DEADLINE": "2",
    "AMEIDE_LEADER_ELECTION__RETRY_PERIOD": "0.4",
}
TAKEOVER_SECONDS = LEASE_SECONDS + 3.0
"""Lease duration, a retry, and room for a machine that has other things to do."""


@dataclass
class Replica:
    """One of the replicas, behind a proxy of its own that knows what it asked for."""

    process: OperatorProcess
    proxy: ApiProxy

    @property
    def leads(self) -> bool:
        return metric(self.process, "leader_election_master_status") == 1

    @property
    def writes(self) -> list[str]:
        return [f"{call.method} {call.path}" for call in self.proxy.calls if call.writes]

    def said(self, message: str) -> datetime:
        """When the log first says something that begins so."""
        entries = (json.loads(line) for line in self.process.logs.splitlines() if line.startswith("{"))
        return next(datetime.fromisoformat(it["time"]) for it in entries if it["message"].startswith(message))


@dataclass
class Pair:
    """A leader and a replica that waits, for the Domains of one namespace."""

    domains: Domains
    leader: Replica
    other: Replica


@pytest.fixture
def pair(chart: Platform, kube: KubeClient, tmp_path: Path) -> Iterator[Pair]:
    with ExitStack() as stack:
        (namespace,) = stack.enter_context(namespaces(kube, "own-pair"))
        replicas = []
        for name in ("first", "second"):
            proxy = stack.enter_context(ApiProxy(chart.control_plane))
            directory = tmp_path / name
            directory.mkdir()
            process = SUBJECT.process(
                chart, directory, f"{namespace}*", kubeconfig=proxy.kubeconfig("domain", directory), **SETTINGS
            )
            stack.callback(process.stop)
            process.start()
            replicas.append(Replica(process, proxy))
            until("the first replica leads", lambda: replicas[0].leads)
        domains = Domains(kube, namespace)
        domains.create("before")
        domains.ready("before")
        yield Pair(domains, *replicas)


def test_only_the_leader_writes(pair: Pair) -> None:
    assert pair.leader.leads
    assert not pair.other.leads
    assert pair.other.writes == []


def test_killed_leader_is_replaced_within_the_lease_duration(pair: Pair) -> None:
    pair.leader.process.kill()
    killed = time.monotonic()
    pair.domains.create("meanwhile")
    until("the other replica leads", lambda: pair.other.leads)
    assert time.monotonic() - killed < TAKEOVER_SECONDS
    pair.domains.ready("meanwhile")
    touched = [call for call in pair.other.writes if "before" in call]
    assert touched == [], "what the first replica had finished"


def test_stopped_leader_gives_the_lease_back(pair: Pair) -> None:
    assert pair.leader.process.stop() < 10
    stopped = time.monotonic()
    until("the other replica leads", lambda: pair.other.leads)
    assert time.monotonic() - stopped < LEASE_SECONDS
    pair.domains.create("after")
    pair.domains.ready("after")


def test_leader_that_is_cut_off_stops_before_the_other_starts(pair: Pair) -> None:
    """It cannot know what the other does, so it must give up by its own clock."""
    pair.leader.proxy.fault = lambda call: Cut()
    pair.leader.proxy.cut_watches()
    pair.domains.create("meanwhile")
    until("the other replica leads", lambda: pair.other.leads)
    assert pair.leader.said("lead lost") < pair.other.said("leading")
    server = pair.leader.process.server
    assert server is not None
    until("the first replica has ended", lambda: not server.alive, timeout=10)
    pair.domains.ready("meanwhile")
