"""Borders between tenants: whose databases, roles and schemas. Nobody gets what another holds, or has left behind."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from databases import database_of, databases_and_roles, real, role_of, superuser
from domain_support import Domains
from tenants import CLUSTERS, CNPG_API, annotate_cluster, claims, make_cluster, session

from ameide_dev.client import InvalidError, KubeClient, condition_of
from ameide_dev.platform import Platform
from ameide_dev.testing.resources import API
from ameide_dev.testing.waiting import until

MakeNamespace = Callable[..., str]


@pytest.fixture
def rival(domains: Domains, make_namespace: MakeNamespace, kube: KubeClient) -> Domains:
    """Domains of another tenant's namespace."""
    return Domains(kube, make_namespace(labels={"ameide.io/tenant-id": "rival"}))


def foreign_object(kube: KubeClient, kind: str, namespace: str, name: str, cluster: str = "main") -> None:
    """A Database or DatabaseRole that somebody made by hand."""
    spec = {"cluster": {"name": cluster}, "name": name}
    spec |= {"owner": "app"} if kind == "Database" else {"login": True}
    spec[f"{kind[0].lower()}{kind[1:]}ReclaimPolicy"] = "delete"
    metadata = {"name": f"byhand-{namespace[-20:]}", "namespace": CLUSTERS}
    kube.create({"apiVersion": CNPG_API, "kind": kind, "metadata": metadata, "spec": spec})


def blocker(domains: Domains, reason: str, name: str = "orders") -> dict[str, str]:
    """What stands in the way, once it is for this reason."""
    domain = domains.until("DBReady", "False", reason=reason, name=name)
    assert domain["status"]["blocker"]["reason"] == reason
    found: dict[str, str] = domain["status"]["blocker"]
    return found


def has_database(domains: Domains) -> bool:
    ready = condition_of(domains.get(), "DBReady")
    return ready is not None and ready["status"] == "True"


def delete(domains: Domains, name: str = "orders") -> None:
    domains.kube.delete(API, "Domain", name, domains.namespace, wait=30)


def test_anothers_database_is_refused(domains: Domains, rival: Domains, cluster: str, kube: KubeClient) -> None:
    domains.create(db=real(domains, cluster))
    domains.until("DBReady")
    rival.create(db={**real(rival, cluster), "database": database_of(domains)})
    found = blocker(rival, "DatabaseConflict")
    assert f"the database '{database_of(domains)}'" in found["message"]
    assert found["object"] == f"Domain {domains.namespace}/orders"
    assert "spec.db.database" in found["remedy"]
    assert claims(kube, rival) == []


@pytest.mark.parametrize("mine", ["{}", "{}_owner"])
def test_anothers_role_is_refused(domains: Domains, rival: Domains, cluster: str, kube: KubeClient, mine: str) -> None:
    """Neither the application's nor the owner's."""
    domains.create(db=real(domains, cluster))
    domains.until("DBReady")
    rival.create(db={**real(rival, cluster), "role": mine.format(role_of(domains))})
    found = blocker(rival, "DatabaseConflict")
    assert f"Domain {domains.namespace}/orders" in found["message"]
    assert claims(kube, rival) == []


def test_two_domains_of_one_namespace_do_not_share_a_database(domains: Domains, cluster: str) -> None:
    domains.create(db=real(domains, cluster))
    domains.until("DBReady")
    domains.create("billing", db={**real(domains, cluster), "schema": "billing", "role": f"{role_of(domains)}2"})
    assert blocker(domains, "DatabaseConflict", "billing")["object"] == f"Domain {domains.namespace}/orders"


@pytest.mark.parametrize(
    ("make", "free", "found"),
    [
        ('CREATE DATABASE "{database}"', 'DROP DATABASE "{database}"', "the database exists"),
        ('CREATE ROLE "{role}" LOGIN', 'DROP ROLE "{role}"', "the role of the app exists"),
        ('CREATE ROLE "{role}_owner"', 'DROP ROLE "{role}_owner"', "the role of the owner exists"),
    ],
    ids=["database", "role", "owner"],
)
def test_what_was_made_by_hand_in_postgresql_is_refused(
    chart: Platform, domains: Domains, cluster: str, kube: KubeClient, make: str, free: str, found: str
) -> None:
    """No object stands for it, and CloudNativePG would take it over: nothing is asked of it until the name is free."""
    names = {"database": database_of(domains), "role": role_of(domains)}
    with superuser(chart) as connection:
        connection.execute(make.format(**names).encode())
    domains.create(db=real(domains, cluster))
    told = blocker(domains, "DatabaseNameTaken")
    assert found in told["message"]
    assert all(repr(name) in told["message"] for name in names.values())
    assert "spec.db" in told["remedy"]
    assert [claim.partition("/")[0] for claim in claims(kube, domains)] == ["Job"]
    with superuser(chart) as connection:
        connection.execute(free.format(**names).encode())
    domains.annotate(retry_migration="freed")
    domains.ready(timeout=60)
    assert [claim for claim in claims(kube, domains) if claim.startswith("Job/")] == []


@pytest.mark.parametrize(("kind", "field"), [("Database", "database"), ("DatabaseRole", "role")])
def test_name_of_an_unmarked_object_is_refused(
    domains: Domains, kube: KubeClient, cluster: str, kind: str, field: str
) -> None:
    """CloudNativePG would adopt it."""
    name = f"held-{domains.namespace[-40:]}"
    foreign_object(kube, kind, domains.namespace, name)
    domains.create(db={**real(domains, cluster), field: name})
    found = blocker(domains, "DatabaseNameTaken")
    assert f"claimed by {kind} {CLUSTERS}/byhand-" in found["message"]
    assert claims(kube, domains) == []
    kube.delete(CNPG_API, kind, f"byhand-{domains.namespace[-20:]}", CLUSTERS, wait=20)
    domains.until("DBReady")


@pytest.fixture(scope="module")
def peculiar(chart: Platform, kube: KubeClient) -> str:
    """A Cluster with a bootstrap database and roles of its own."""
    roles = [{"name": "auditor", "ensure": "present", "login": True}]
    initdb = {"database": "ledger", "owner": "clerk"}
    return make_cluster(
        kube,
        "peculiar",
        annotations={"ameide.io/allowed-namespaces": "*"},
        bootstrap={"initdb": initdb},
        managed={"roles": roles},
    )


@pytest.mark.parametrize(("field", "name"), [("database", "ledger"), ("role", "clerk"), ("role", "auditor")])
def test_clusters_own_names_are_refused(
    domains: Domains, kube: KubeClient, peculiar: str, field: str, name: str
) -> None:
    domains.create(db={**real(domains, peculiar), field: name})
    found = blocker(domains, "DatabaseNameTaken")
    assert f"the {field} '{name}'" in found["message"]
    assert claims(kube, domains) == []


@pytest.mark.parametrize("field", ["database", "role"])
def test_default_bootstrap_name_is_refused(domains: Domains, cluster: str, field: str) -> None:
    domains.create(db={**real(domains, cluster), field: "app"})
    assert f"the {field} 'app'" in blocker(domains, "DatabaseNameTaken")["message"]


@pytest.mark.parametrize(
    ("field", "name"),
    [
        ("database", "postgres"),
        ("database", "template1"),
        ("role", "postgres"),
        ("role", "streaming_replica"),
        ("role", "pg_read_all_data"),
        ("role", "cnpg_pooler_pgbouncer"),
        ("schema", "public"),
        ("schema", "pg_catalog"),
        ("schema", "information_schema"),
    ],
)
def test_reserved_names_never_get_in(domains: Domains, cluster: str, field: str, name: str) -> None:
    with pytest.raises(InvalidError, match=f"spec.db.{field}"):
        domains.create(db={**real(domains, cluster), field: name})


def test_older_of_two_wins_and_the_other_takes_over(
    chart: Platform, domains: Domains, rival: Domains, cluster: str
) -> None:
    """The loser gets what is wanted once the winner has gone with its data, and with a database of its own making."""
    names = {"database": database_of(domains), "role": role_of(domains), "deletionPolicy": "Delete"}
    both = [domains, rival]
    for each in both:
        each.create(db={**real(each, cluster), **names})
    # Of two that were made within one second, the first to be seen may be either.
    winner = until("one that has the database", lambda: next(filter(has_database, both), None), timeout=30)
    loser = both[1 - both.index(winner)]
    winner.ready(timeout=60)
    assert blocker(loser, "DatabaseConflict")["object"] == f"Domain {winner.namespace}/orders"
    with superuser(chart, database_of(domains)) as connection:
        connection.execute("CREATE TABLE orders.secret_of_the_winner (id int)")
    delete(winner)
    loser.ready(timeout=60)
    with session(chart, loser) as connection:
        found = connection.execute("SELECT to_regclass('orders.secret_of_the_winner')").fetchone()
        assert found == (None,)


def test_refused_domain_drops_nothing_when_it_goes(
    chart: Platform, domains: Domains, rival: Domains, cluster: str
) -> None:
    """deletionPolicy: Delete is about what was made for it."""
    domains.create(db=real(domains, cluster))
    domains.ready(timeout=60)
    names = {"database": database_of(domains), "role": role_of(domains), "deletionPolicy": "Delete"}
    rival.create(db={**real(rival, cluster), **names})
    blocker(rival, "DatabaseConflict")
    delete(rival)
    assert len(databases_and_roles(chart, domains)) == 3
    with session(chart, domains) as connection:
        assert connection.execute("SELECT count(*) FROM orders").fetchone() == (0,)
    domains.ready()


def test_retained_data_is_had_again_only_under_its_names(domains: Domains, cluster: str) -> None:
    """CloudNativePG's objects cannot be renamed: that is told before anything is written, and what to do."""
    spec = real(domains, cluster)
    domains.create(db=spec)
    domains.ready(timeout=60)
    delete(domains)
    domains.create(db={**spec, "database": f"{database_of(domains)}2"})
    found = blocker(domains, "DatabaseConflict")
    assert f"was retained for the database '{database_of(domains)}'" in found["message"]
    assert "as it was" in found["remedy"]
    delete(domains)
    domains.create(db=spec)
    domains.ready(timeout=60)


def test_retained_data_is_refused_to_another_namespace(
    chart: Platform, domains: Domains, rival: Domains, cluster: str
) -> None:
    """Who left it gets it back, with a password that works, although the other asked in between."""
    names = {"database": database_of(domains), "role": role_of(domains)}
    domains.create(db=real(domains, cluster))
    domains.ready(timeout=60)
    with session(chart, domains, owner=True) as connection:
        connection.execute("CREATE TABLE orders.kept AS SELECT 7 AS number")
    delete(domains)
    rival.create(db={**real(rival, cluster), **names})
    found = blocker(rival, "DatabaseConflict")
    assert found["object"] == f"Domain {domains.namespace}/orders"
    assert "retained" in found["remedy"]
    rival.create("another", db={**real(rival, cluster), "role": f"{role_of(domains)}_owner"})
    blocker(rival, "DatabaseConflict", "another")
    domains.create(db=real(domains, cluster))
    domains.ready(timeout=60)
    with session(chart, domains) as connection:
        assert connection.execute("SELECT number FROM kept").fetchone() == (7,)
    blocker(rival, "DatabaseConflict")


def test_name_cannot_be_held_without_consent_to_the_cluster(domains: Domains, rival: Domains, kube: KubeClient) -> None:
    """A Domain that may not refer to the Cluster does not stand in the way of those that may, however old it is."""
    name = f"walled-{domains.namespace[-6:]}"
    reference = make_cluster(kube, name, annotations={"ameide.io/allowed-namespaces": domains.namespace})
    names = {"database": database_of(domains), "role": role_of(domains)}
    rival.create(db={**real(rival, reference), **names})
    blocker(rival, "ReferenceNotPermitted")
    domains.create(db=real(domains, reference))
    domains.until("DBReady")
    annotate_cluster(kube, name, "*")
    assert blocker(rival, "DatabaseConflict")["object"] == f"Domain {domains.namespace}/orders"
    domains.annotate(reconcile_at="now")
    domains.patch(observability={"logLevel": "debug"})
    domains.until("DBReady")
    kube.delete(CNPG_API, "Cluster", name, CLUSTERS)


def test_session_of_a_refused_domain_is_not_possible(domains: Domains, rival: Domains, cluster: str) -> None:
    """No connection Secret, no migration, no pod."""
    domains.create(db=real(domains, cluster))
    domains.until("DBReady")
    rival.create(db={**real(rival, cluster), "database": database_of(domains)})
    blocker(rival, "DatabaseConflict")
    assert rival.child("v1", "Secret", "orders-domain-db") is None
    assert rival.kube.list("batch/v1", "Job", rival.namespace) == []
    assert rival.kube.list("v1", "Pod", rival.namespace) == []
