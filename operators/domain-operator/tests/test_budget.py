"""The request budget, as exact counts from the API server's audit log. Events are counted apart and not here."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from databases import given, given_secret, migration_jobs, migrator, real
from domain_support import CLIENT_IMAGE, SUBJECT, Domains

from ameide_dev.client import KubeClient
from ameide_dev.operators import OperatorProcess
from ameide_dev.platform import Platform
from ameide_dev.testing.subject import metric, namespaces
from ameide_dev.testing.traffic import Asked, asked, counted, listed, settled
from ameide_dev.testing.waiting import until

USER = "rests"
REST_SECONDS = 60.0
PLAIN = 27
DATABASES = 3
KINDS_WATCHED = 16


@dataclass
class Resting:
    """An operator whose Domains are all Ready, and that has had nothing to do since `since`, at `position`."""

    process: OperatorProcess
    domains: list[Domains]
    position: int
    since: float


@pytest.fixture(scope="module")
def resting(
    chart: Platform, kube: KubeClient, cluster: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Resting]:
    kubeconfig = SUBJECT.user_like_it(chart, USER)
    process = SUBJECT.process(
        chart, tmp_path_factory.mktemp("rest"), "own-rest-*", kubeconfig=kubeconfig, AMEIDE_API__QPS="1000"
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


CHILDREN = {
    "create serviceaccounts": 1,
    "create services": 1,
    "create networkpolicies": 1,
    "create servicemonitors": 1,
    "create controllerrevisions": 1,
    "create deployments": 1,
}
KINDS = ("plain", "database", "given")
QUICK = {"command": ["sh", "-c", """echo '{"migrationVersion": "7"}' >/dev/termination-log"""]}
"""A migration that is over before status would be brought up to date within the phase."""


@dataclass
class Life:
    """One Domain's life in phases, and what each cost."""

    domains: Domains
    phases: dict[str, list[Asked]] = field(default_factory=dict)


@pytest.fixture(scope="module")
def lives(
    resting: Resting, platform: Platform, operator: OperatorProcess, kube: KubeClient, cluster: str
) -> Iterator[dict[str, Life]]:
    """Three Domains, created, touched, changed and deleted beside each other; what each step cost.

    The minute at rest runs meanwhile.
    """
    with namespaces(kube, *(f"budget-{kind}" for kind in KINDS)) as names:
        lives = {kind: Life(Domains(kube, name)) for kind, name in zip(KINDS, names, strict=True)}
        lead(lives, platform, operator, cluster)
        yield lives


def lead(lives: dict[str, Life], platform: Platform, operator: OperatorProcess, cluster: str) -> None:
    """Lead the Domains through their phases."""
    plain, database, with_secret = (lives[kind].domains for kind in KINDS)
    given_secret(with_secret)
    position = platform.control_plane.audit_position()

    def phase(name: str) -> None:
        """Wait until every Domain is Ready, and the operator has nothing more to say."""
        for life in lives.values():
            life.domains.ready(timeout=60)
        record(name)

    def record(name: str) -> None:
        nonlocal position
        settled(platform, operator.user, position)
        for life in lives.values():
            life.phases[name] = asked(platform, operator.user, position, life.domains.namespace)
        position = platform.control_plane.audit_position()

    plain.create()
    database.create(db={**real(database, cluster), "migrationJobImage": CLIENT_IMAGE, "migrations": QUICK})
    with_secret.create(db=given(migrator("ok:7")))
    phase("creation")
    for life in lives.values():
        life.domains.patch(image="ghcr.io/ameide/orders-domain:1.13.0")
    phase("image")
    for life in lives.values():
        life.domains.annotate(reconcile_at="now")
    phase("reconcile-at")
    for life in lives.values():
        life.domains.kube.delete("ameide.io/v1", "Domain", "orders", life.domains.namespace)
    for life in lives.values():
        life.domains.kube.wait_gone("ameide.io/v1", "Domain", "orders", life.domains.namespace, timeout=30)
    record("deletion")


def cost(lives: dict[str, Life], kind: str, phase: str) -> tuple[dict[str, int], int]:
    """The requests of a phase without status writes, and how many status writes there were."""
    requests = lives[kind].phases[phase]
    assert [one for one in requests if one.code >= 400] == []
    counts = counted(requests)
    return counts, counts.pop("patch domains/status", 0)


def test_creation_is_one_request_per_child_and_two_of_status(lives: dict[str, Life]) -> None:
    requests, statuses = cost(lives, "plain", "creation")
    assert requests == CHILDREN
    assert statuses <= 2


def test_creation_with_database_adds_one_finalizer_and_at_most_two_of_status(lives: dict[str, Life]) -> None:
    requests, statuses = cost(lives, "database", "creation")
    assert requests == {
        **CHILDREN,
        "patch domains": 1,  # the finalizer
        "create secrets": 4,  # passwords beside the cluster and connections beside the pods, of owner and application
        "create databaseroles": 2,
        "create databases": 1,
        "create jobs": 2,  # the migration's, and the one that looks in PostgreSQL whether the names are free
        "delete jobs": 1,  # the latter goes once they are claimed
    }
    assert statuses <= 4


def test_finalizer_comes_before_anything_outside(lives: dict[str, Life]) -> None:
    """Whatever an interruption leaves in the cluster's namespace has somebody who must remove it."""
    assert str(lives["database"].phases["creation"][0]) == "patch domains"


def test_creation_with_given_connection_reads_its_secret_once(lives: dict[str, Life]) -> None:
    requests, statuses = cost(lives, "given", "creation")
    assert requests == {**CHILDREN, "get secrets": 1, "create jobs": 1}
    assert statuses <= 4


def test_new_image_is_one_revision_and_one_apply(lives: dict[str, Life]) -> None:
    requests, statuses = cost(lives, "plain", "image")
    assert requests == {"create controllerrevisions": 1, "patch deployments": 1}
    assert statuses <= 2


def test_new_image_with_migration_adds_one_job(lives: dict[str, Life]) -> None:
    requests, statuses = cost(lives, "database", "image")
    assert requests == {"create jobs": 1, "create controllerrevisions": 1, "patch deployments": 1}
    assert statuses <= 4


def test_new_image_with_given_connection_looks_at_its_secret_again(lives: dict[str, Life]) -> None:
    """No watch shows others' Secrets: what was read is believed for 15 s, then read again once."""
    requests, statuses = cost(lives, "given", "image")
    reads = requests.pop("get secrets", 0)
    assert requests == {"create jobs": 1, "create controllerrevisions": 1, "patch deployments": 1}
    assert reads <= 2
    assert statuses <= 4


@pytest.mark.parametrize("kind", ["plain", "database"])
def test_reconcile_of_what_rests_costs_nothing(lives: dict[str, Life], kind: str) -> None:
    assert lives[kind].phases["reconcile-at"] == []


def test_deletion_is_left_to_the_garbage_collector(lives: dict[str, Life]) -> None:
    assert lives["plain"].phases["deletion"] == []
    assert lives["given"].phases["deletion"] == []


def test_deletion_with_database_ends_with_the_finalizer(lives: dict[str, Life]) -> None:
    requests = lives["database"].phases["deletion"]
    assert [one for one in requests if one.code >= 400 and one.code != 404] == []
    assert str(requests[-1]) == "patch domains"
    assert counted(requests)["patch domains"] == 1


def test_nothing_is_asked_at_rest(chart: Platform, resting: Resting) -> None:
    """Thirty Domains, three of them with databases: for a minute not one request, watches that are renewed aside."""
    time.sleep(max(0.0, resting.since + REST_SECONDS - time.monotonic()))
    events = chart.control_plane.audit_events(user=USER, after=resting.position)
    assert [(event["verb"], event["requestURI"]) for event in events if event["verb"] != "watch"] == []


def test_restart_writes_nothing_migrates_nothing_and_lists_each_kind_twice(chart: Platform, resting: Resting) -> None:
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
    reads = [one.resource for one in asked(chart, USER, before)]
    assert [path for path in reads if not path.startswith("/api")] == []  # they only ask which APIs there are
    lists = listed(chart, USER, before)
    assert lists.pop("customresourcedefinitions") == 1
    assert len(lists) == KINDS_WATCHED
    assert set(lists.values()) == {2}
    assert [len(migration_jobs(domains)) for domains in resting.domains] == [0, *[1] * DATABASES]
