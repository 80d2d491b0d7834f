"""Two replicas: one works, the other takes over when it is killed, stopped or cut off, and never do both work."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from databases import given, given_secret, migration_jobs, migrator
from domain_support import SUBJECT, Domains

from ameide_dev.client import KubeClient, condition_of
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


# --- a new leader whose watches are behind ----------------------------------------------------------------------------

V1, V2, V3 = (f"ghcr.io/ameide/orders-domain:1.{minor}.0" for minor in range(3))


@dataclass
class Veil:
    """What a replica's watches show: nothing of the kinds that are `hidden`; what they have shown is `seen`."""

    hidden: tuple[str, ...] = ()
    seen: set[str] = field(default_factory=set)

    def __call__(self, event: dict[str, Any]) -> bool:
        kind = event["object"]["kind"]
        if kind in self.hidden:
            return True
        complete = condition_of(event["object"], "Complete") is not None
        self.seen.add(f"{kind}{' complete' if complete else ''}")
        return False


@pytest.fixture
def migrated(pair: Pair) -> Pair:
    """A Domain whose first migration and release both replicas know, and of the next ones only the leader."""
    veil = pair.other.proxy.hides = Veil()
    given_secret(pair.domains)
    pair.domains.create(image=V1, db=given(migrator("ok:7")))
    pair.domains.ready()
    until("the other replica knows it", lambda: {"Job complete", "ControllerRevision"} <= veil.seen)
    veil.hidden = ("Job", "Pod", "ControllerRevision", "Deployment")
    return pair


def take_over(pair: Pair) -> None:
    pair.leader.process.kill()
    until("the other replica leads", lambda: pair.other.leads)


def test_new_leader_that_is_behind_starts_no_migration_beside_the_one_that_runs(migrated: Pair) -> None:
    pair, domains = migrated, migrated.domains
    domains.patch(image=V2, db={"migrationJobImage": migrator("hang:1")})
    domains.until("Ready", "False", reason="MigrationRunning")
    running = migration_jobs(domains)[-1]["metadata"]["name"]
    domains.patch(image=V3, db={"migrationJobImage": migrator("ok:9")})
    domains.until("Ready", "False", reason="MigrationPending")
    take_over(pair)
    domains.patch(replicas=2)
    domain = domains.until("Ready", "False", reason="MigrationPending")
    assert running in condition_of(domain, "Ready")["message"]
    assert [job["metadata"]["name"] for job in migration_jobs(domains)][1:] == [running]


def test_new_leader_that_is_behind_repeats_no_migration_whose_job_is_gone(migrated: Pair) -> None:
    """What remembers it is the release, of which the new leader has not heard either."""
    pair, domains = migrated, migrated.domains
    domains.patch(image=V2, db={"migrationJobImage": migrator("ok:8")})
    domains.ready()
    done = migration_jobs(domains)[-1]["metadata"]["name"]
    domains.kube.delete("batch/v1", "Job", done, domains.namespace)
    domains.kube.wait_gone("batch/v1", "Job", done, domains.namespace)
    take_over(pair)
    asked = f"/apis/apps/v1/namespaces/{domains.namespace}/controllerrevisions"
    until("it has asked what there is", lambda: ("GET", asked) in ((c.method, c.path) for c in pair.other.proxy.calls))
    domains.patch(replicas=2)
    domains.until("MigrationSucceeded")
    assert len(migration_jobs(domains)) == 1
    assert [call for call in pair.other.writes if "/jobs" in call] == []


def test_new_leader_asks_once_for_each_namespace_and_only_before_a_migration(migrated: Pair) -> None:
    pair, domains = migrated, migrated.domains
    pair.other.proxy.hides = lambda event: False  # nothing has happened yet that it was not shown
    take_over(pair)
    before = len(pair.other.proxy.calls)
    domains.annotate(reconcile_at="now")
    domains.create("plain")
    domains.ready("plain")
    for minor in (2, 3):
        domains.patch(image=f"ghcr.io/ameide/orders-domain:1.{minor}.0")
        domains.ready()
    listed = [
        call.path.rpartition("/")[2]
        for call in pair.other.proxy.calls[before:]
        if call.method == "GET"
        and not call.watches
        and f"/namespaces/{domains.namespace}/" in call.path
        and "/events/" not in call.path  # an Event that the first replica wrote is counted up
    ]
    assert sorted(name for name in listed if name != "given") == ["controllerrevisions", "domains", "jobs", "pods"]
