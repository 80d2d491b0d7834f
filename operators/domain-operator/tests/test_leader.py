"""Two replicas: one works, the other takes over when it is killed, stopped or cut off, and never do both work."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from domain_support import SUBJECT, Domains

from ameide_dev.client import KubeClient
from ameide_dev.platform import Platform
from ameide_dev.testing.apiproxy import Cut
from ameide_dev.testing.replicas import LEASE_SECONDS, TAKEOVER_SECONDS, Replica, replicas
from ameide_dev.testing.subject import namespaces
from ameide_dev.testing.waiting import until


@dataclass
class Pair:
    """A leader and a replica that waits, for the Domains of one namespace."""

    domains: Domains
    leader: Replica
    other: Replica


@pytest.fixture
def pair(chart: Platform, kube: KubeClient, tmp_path: Path) -> Iterator[Pair]:
    with (
        namespaces(kube, "own-pair") as (namespace,),
        replicas(SUBJECT, chart, tmp_path, f"{namespace}*") as (leader, other),
    ):
        domains = Domains(kube, namespace)
        domains.create("before")
        domains.ready("before")
        yield Pair(domains, leader, other)


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
    assert pair.other.writes_about("before") == [], "what the first replica had finished"


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
