"""Passwords are in Secrets alone: whatever the operator writes, says or logs is searched for every one of them."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from urllib.parse import quote

import pytest
from click.testing import CliRunner
from databases import database_of, external_secret, given, given_secret, real
from domain_golden import GOLDEN
from domain_support import CLIENT_IMAGE, Domains
from tenants import CLUSTERS, CNPG_API, connection_values, make_cluster

from ameide_dev.client import KubeClient, UnknownKindError, condition_of
from ameide_dev.operators import OperatorProcess
from ameide_dev.platform import Platform
from ameide_dev.testing.firstlook import passed_on, secret_of
from ameide_dev.testing.resources import API
from ameide_dev.testing.subject import StartOperator
from ameide_dev.testing.waiting import until
from ameide_shared.plan import EnsureSecret
from ameide_shared.redact import fingerprint
from domain_operator.main import DEFINITION, main
from domain_operator.observe import CREDENTIALS

MakeNamespace = Callable[..., str]
SEEN = (
    ("v1", "ConfigMap"),
    ("v1", "Event"),
    ("v1", "Pod"),
    ("v1", "Service"),
    ("apps/v1", "ControllerRevision"),
    ("apps/v1", "Deployment"),
    ("apps/v1", "ReplicaSet"),
    ("batch/v1", "Job"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
    (API, "Domain"),
    (CNPG_API, "Cluster"),
    (CNPG_API, "Database"),
    (CNPG_API, "DatabaseRole"),
)
"""What people and programs without the right to read Secrets may see."""
PASSWORD = "s3cr3t/of:some@body&else=42"
GIVEN = {
    "host": "db.example",
    "port": "5432",
    "dbname": "orders",
    "username": "clerk",
    "password": PASSWORD,
    "uri": f"postgresql://clerk:{quote(PASSWORD, safe='')}@db.example:5432/orders",
}


class Watchful:
    """Passwords as they come and go, and where else they turn up."""

    def __init__(self, kube: KubeClient, namespaces: list[str]) -> None:
        self.kube = kube
        self.namespaces = namespaces
        self.passwords: set[str] = set()

    def learn(self) -> None:
        """Remember every password that the Secrets of the namespaces have now, in each form that text may have."""
        for namespace in self.namespaces:
            for secret in self.kube.list("v1", "Secret", namespace):
                coded = (secret.get("data") or {}).get("password")
                if coded:
                    password = base64.b64decode(coded).decode()
                    self.passwords |= {password, quote(password, safe=""), coded}

    def seen_in_cluster(self) -> dict[str, str]:
        """The text of every object that may be seen, by kind and name."""
        found = {}
        for api_version, kind in SEEN:
            for namespace in self.namespaces:
                try:
                    objects = self.kube.list(api_version, kind, namespace)
                except UnknownKindError:
                    continue
                for it in objects:
                    found[f"{kind} {namespace}/{it['metadata']['name']}"] = json.dumps(it)
        return found

    def leaks(self, texts: dict[str, str]) -> list[str]:
        """The places that hold a password."""
        assert self.passwords
        return sorted(place for place, text in texts.items() if any(password in text for password in self.passwords))


def migrator_that_says(text: str, after: float = 0) -> dict[str, object]:
    """A migration that fails with these last words, in which the shell fills in the variables."""
    said = ["sh", "-c", f'sleep {after}; echo "{text}" >&2; exit 3']
    return {"migrationJobImage": CLIENT_IMAGE, "migrations": {"command": said, "backoffLimit": 0}}


def whole(operator: OperatorProcess, platform: Platform) -> dict[str, str]:
    """What the operator has logged, measured and asked for."""
    audit = "\n".join(json.dumps(event) for event in platform.control_plane.audit_events(user=operator.user))
    return {"the operator's log": operator.logs, "metrics": operator.metrics(), "audit log": audit}


@pytest.fixture(scope="module")
def open_cluster(chart: Platform, kube: KubeClient) -> str:
    """A Cluster that shares its superuser with provisioning Jobs."""
    allowed = {"ameide.io/allowed-namespaces": "*"}
    return make_cluster(kube, "open", annotations=allowed, enableSuperuserAccess=True)


@pytest.mark.parametrize("provisioning", ["Database", "Job"])
def test_whole_life_shows_no_password(
    chart: Platform,
    start_operator: StartOperator,
    make_namespace: MakeNamespace,
    kube: KubeClient,
    cluster: str,
    open_cluster: str,
    provisioning: str,
) -> None:
    """Creation, migration, failure, rotation and deletion, with logs at their most talkative."""
    domains = Domains(kube, make_namespace("own"))
    operator = start_operator(domains.namespace, AMEIDE_LOG_LEVEL="debug")
    reference = cluster if provisioning == "Database" else open_cluster
    watchful = Watchful(kube, [domains.namespace, CLUSTERS])
    everything: dict[str, str] = {}

    def look() -> None:
        watchful.learn()
        everything.update({f"{len(everything)} {place}": text for place, text in watchful.seen_in_cluster().items()})

    domains.create(db=real(domains, reference, provisioning=provisioning, deletionPolicy="Delete"))
    domains.ready(timeout=60)
    look()
    first = connection_values(domains)["password"]
    domains.annotate(rotate_password="once")
    until("another password", lambda: connection_values(domains)["password"] != first, timeout=20)
    domains.ready(timeout=30)
    look()
    failing = migrator_that_says(
        "connecting to $DATABASE_URL as $PGUSER with password $PGPASSWORD: refused, $PGPASSWORD"
    )
    domains.patch(image="ghcr.io/ameide/orders-domain:2.0.0", db=failing)
    domains.until("MigrationFailed", timeout=30)
    look()
    pods = [place for place in watchful.leaks(everything) if " Pod " in place]
    assert pods, "the migrator's own pod was to say the password"
    assert watchful.leaks({place: text for place, text in everything.items() if place not in pods}) == []
    kube.delete(API, "Domain", "orders", domains.namespace, wait=40)
    look()
    assert watchful.leaks({place: text for place, text in everything.items() if place not in pods}) == []
    assert watchful.leaks(whole(operator, chart)) == []
    assert len(operator.logs.splitlines()) > 20
    assert database_of(domains) in "".join(everything.values())


@pytest.mark.parametrize(
    "words",
    [
        "FATAL: connection to $DATABASE_URL failed",
        "FATAL: jdbc says $JDBC_DATABASE_URL",
        "the word is $PGPASSWORD and not a word more",
        "psql: PGPASSWORD=$PGPASSWORD psql -h $PGHOST",
    ],
)
def test_failed_migration_does_not_pass_on_a_password(
    chart: Platform, domains: Domains, cluster: str, operator: OperatorProcess, words: str
) -> None:
    """The last words of a migrator are told, without the password in them."""
    domains.create(db=real(domains, cluster, **migrator_that_says(f"before {words} after")))
    domain = domains.until("MigrationFailed", timeout=40)
    watchful = Watchful(domains.kube, [domains.namespace])
    watchful.learn()
    message = domain["status"]["blocker"]["message"]
    assert "before " in message
    assert " after" in message
    assert "<redacted" in message
    event = until(
        "an Event of the failure",
        lambda: [it for it in domains.kube.list("v1", "Event", domains.namespace) if it["reason"] == "MigrationFailed"],
        timeout=10,
    )
    texts = {"status": json.dumps(domain["status"]), "Event": json.dumps(event), "log": operator.logs}
    assert watchful.leaks(texts) == []


@pytest.fixture
def given_and_failed(domains: Domains) -> Domains:
    """A Domain with a connection of somebody else's, whose migration says the password and fails."""
    given_secret(domains, keys=GIVEN)
    says = migrator_that_says("before $PGPASSWORD and $DATABASE_URL after")
    domains.create(db={**given(migrations=says["migrations"]), "migrationJobImage": CLIENT_IMAGE})
    domains.until("MigrationFailed", timeout=40)
    return domains


def test_password_of_a_given_secret_is_not_passed_on(given_and_failed: Domains, operator: OperatorProcess) -> None:
    """The operator did not make this one; it knows it by reading the Secret."""
    domain = given_and_failed.get()
    failed = condition_of(domain, "MigrationFailed")
    assert failed is not None
    assert "before <redacted" in failed["message"]
    assert "after" in failed["message"]
    watchful = Watchful(given_and_failed.kube, [given_and_failed.namespace])
    watchful.learn()
    texts = {place: text for place, text in watchful.seen_in_cluster().items() if not place.startswith("Pod ")}
    assert watchful.leaks({**texts, "log": operator.logs}) == []


@pytest.mark.parametrize("whose", ["ours", "given", "fetched"])
def test_failure_while_no_operator_runs_is_told_without_the_password(
    chart: Platform,
    start_operator: StartOperator,
    make_namespace: MakeNamespace,
    kube: KubeClient,
    cluster: str,
    whose: str,
) -> None:
    """A new process has seen no Secret being written, and knows the passwords before it looks at what was said."""
    domains = Domains(kube, make_namespace("own"))
    operator = start_operator(domains.namespace, AMEIDE_LOG_LEVEL="debug")
    says = migrator_that_says("the word is $PGPASSWORD and not a word more", after=4)
    if whose == "ours":
        domains.create(db=real(domains, cluster, **says))
    else:
        given_secret(domains, keys=GIVEN)
        reference = {"name": "given"}
        if whose == "fetched":
            reference = {"kind": "ExternalSecret", "name": "orders-db"}
            external_secret(domains, "orders-db", target="given")
        wanted = given(migrations=says["migrations"], connectionSecretRef=reference)
        domains.create(db={**wanted, "migrationJobImage": CLIENT_IMAGE})
    domains.until("MigrationSucceeded", "False", reason="MigrationRunning", timeout=40)
    operator.kill()
    (job,) = kube.list("batch/v1", "Job", domains.namespace)
    name = job["metadata"]["name"]
    kube.wait_condition("batch/v1", "Job", name, "Failed", domains.namespace, timeout=40)
    assert condition_of(domains.get(), "MigrationFailed")["status"] == "False", "nobody told of it yet"

    explained = explain(chart, domains)  # the operator has not said it yet: here the pod itself is looked at
    operator.start()
    domain = domains.until("MigrationFailed", timeout=40)
    event = until(
        "an Event of the failure",
        lambda: [it for it in kube.list("v1", "Event", domains.namespace) if it["reason"] == "MigrationFailed"],
        timeout=10,
    )
    watchful = Watchful(kube, [domains.namespace, CLUSTERS])
    watchful.learn()
    assert "the word is <redacted sha256:" in domain["status"]["blocker"]["message"]
    assert watchful.leaks(watchful.seen_in_cluster()) == [
        f"Pod {it['metadata']['namespace']}/{it['metadata']['name']}"
        for it in kube.list("v1", "Pod", domains.namespace)
        if it["metadata"]["labels"].get("batch.kubernetes.io/job-name") == name
    ], "nothing but the migrator's own pod says it"
    told = {"status": json.dumps(domain["status"]), "Event": json.dumps(event), **whole(operator, chart)}
    assert watchful.leaks({**told, "explain": explained, "explain later": explain(chart, domains)}) == []
    assert "the word is <redacted sha256:" in explained


def explain(chart: Platform, domains: Domains) -> str:
    """What `explain` says of the Domain, in words and as data."""
    environment = {"KUBECONFIG": str(chart.kubeconfig), "AMEIDE_SETTINGS_FILE": None}
    arguments = ["explain", domains.name, "-n", domains.namespace]
    results = [CliRunner().invoke(main, [*arguments, "-o", form], env=environment) for form in ("text", "json")]
    assert [result.exit_code for result in results] == [1, 1], [result.output for result in results]
    return "".join(result.output for result in results)


async def test_first_look_of_a_new_process_knows_the_passwords_of_this_domain_alone() -> None:
    """Its own Secrets' and that of the one it was given; not those of another Domain, which a container might guess."""
    domain = GOLDEN.based({"base": "given"})
    another = {**domain, "metadata": {**domain["metadata"], "name": "another"}}
    heard = await passed_on(
        DEFINITION,
        domain,
        "before our-own-password given-password word-of-others clerk after",
        secret_of(domain, "orders-domain-db", username="clerk", password="our-own-password"),
        secret_of(another, "orders-connection", username="clerk", password="given-password"),
        secret_of(another, "another-domain-db", username="clerk", password="word-of-others"),
    )
    ours, theirs = fingerprint("our-own-password"), fingerprint("given-password")
    assert heard == f"before {ours} {theirs} word-of-others clerk after"


@pytest.mark.parametrize("name", GOLDEN.names())
def test_every_value_that_is_a_secret_has_a_key_that_is_known_as_one(name: str) -> None:
    filled = [action for action in GOLDEN.load(name).plan().actions if isinstance(action, EnsureSecret)]
    secret = {key for action in filled for key, value in action.values.items() if not isinstance(value, str)}
    assert secret <= CREDENTIALS


def test_password_that_was_told_before_a_restart_stays_unknown(
    start_operator: StartOperator, make_namespace: MakeNamespace, kube: KubeClient, cluster: str
) -> None:
    """A new process finds the failure that is there, and knows the passwords before it tells of it."""
    domains = Domains(kube, make_namespace("own"))
    operator = start_operator(domains.namespace)
    domains.create(db=real(domains, cluster, **migrator_that_says("before $PGPASSWORD after")))
    first = domains.until("MigrationFailed", timeout=40)
    operator.kill()
    version = domains.get()["metadata"]["resourceVersion"]
    operator.start()
    domains.annotate(reconcile_at="again")
    domains.patch(observability={"logLevel": "debug"})
    domain = domains.until("MigrationFailed")
    assert domain["metadata"]["resourceVersion"] != version
    watchful = Watchful(kube, [domains.namespace])
    watchful.learn()
    assert watchful.leaks({"status": json.dumps(domain["status"]), "log": operator.logs}) == []
    assert domain["status"]["blocker"]["message"] == first["status"]["blocker"]["message"]
