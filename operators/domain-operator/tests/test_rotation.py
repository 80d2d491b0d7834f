"""Passwords are made anew on request: PostgreSQL first, then the connection Secret, then the pods, and no migration."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest
from databases import database_of, outcomes, real, role_of
from domain_support import Domains
from tenants import CLUSTERS, connection_values, session

from ameide_dev.client import condition_of
from ameide_dev.platform import Platform
from ameide_dev.testing.resources import secret_values
from ameide_dev.testing.waiting import until


@pytest.fixture
def released(domains: Domains, cluster: str) -> Domains:
    """A Domain that is Ready, with a database."""
    domains.create(db=real(domains, cluster))
    domains.ready(timeout=60)
    return domains


def deployment(domains: Domains) -> dict[str, Any]:
    found = domains.child("apps/v1", "Deployment", "orders-domain")
    assert found is not None
    return found


def rotated(domains: Domains, token: str) -> tuple[dict[str, str], dict[str, str]]:
    """The application's connection before and after a rotation that has ended."""
    before = connection_values(domains)
    owner = connection_values(domains, owner=True)["password"]
    generation = deployment(domains)["metadata"]["generation"]
    domains.annotate(rotate_password=token)
    until("a new password", lambda: connection_values(domains)["password"] != before["password"], timeout=30)
    until("the owner's too", lambda: connection_values(domains, owner=True)["password"] != owner, timeout=30)
    until("new pods", lambda: deployment(domains)["metadata"]["generation"] != generation, timeout=30)
    domains.ready(timeout=30)
    return before, connection_values(domains)


def test_new_password_works_and_the_old_one_does_not(chart: Platform, released: Domains) -> None:
    before, after = rotated(released, "1")
    assert before["password"] != after["password"]
    assert {**before, "password": "", "uri": "", "jdbc-uri": ""} == {**after, "password": "", "uri": "", "jdbc-uri": ""}
    for owner in (False, True):
        with session(chart, released, owner=owner) as connection:
            assert connection.execute("SELECT count(*) FROM orders").fetchone() == (0,)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        session(chart, released, password=before["password"]).__enter__()


def test_pods_are_rolled_once_and_nothing_is_migrated(released: Domains) -> None:
    before = deployment(released)
    rotated(released, "1")
    after = deployment(released)
    assert after["metadata"]["generation"] == before["metadata"]["generation"] + 1
    assert outcomes(released) == ["complete"]
    revision = after["metadata"]["annotations"].get("deployment.kubernetes.io/revision")
    assert revision == "2"


def test_same_token_rotates_once(released: Domains) -> None:
    """Another pass, another change of the spec: the annotation stays, and so does the password."""
    _, after = rotated(released, "1")
    released.annotate(reconcile_at="now")
    released.patch(observability={"logLevel": "debug"})
    released.ready()
    assert connection_values(released) == after
    _, again = rotated(released, "2")
    assert again["password"] != after["password"]


def test_connection_waits_for_the_database(chart: Platform, released: Domains) -> None:
    """Until CloudNativePG reports the new version, containers keep a password that works, and the Domain is Ready."""
    before, generation = connection_values(released), deployment(released)["metadata"]["generation"]
    (name,) = (
        it["metadata"]["name"]
        for it in released.kube.list(
            "v1", "Secret", CLUSTERS, label_selector=f"ameide.io/owner-namespace={released.namespace}"
        )
        if it["metadata"]["name"].endswith("-app")
    )
    chart.cnpg.pause()
    try:
        released.annotate(rotate_password="1")
        until(
            "a new password",
            lambda: secret_values(released.kube, CLUSTERS, name)["password"] != before["password"],
            timeout=10,
        )
        released.until("DBReady", "True", reason="PasswordRotating")
        assert connection_values(released) == before
        with session(chart, released):
            pass
        domain = released.get()
        ready = condition_of(domain, "Ready")
        assert ready is not None
        assert ready["status"] == "True"
        assert deployment(released)["metadata"]["generation"] == generation
    finally:
        chart.cnpg.resume()
    until("its arrival", lambda: connection_values(released)["password"] != before["password"], timeout=30)
    released.ready()
    with session(chart, released):
        pass


def test_addresses_are_complete(chart: Platform, released: Domains, cluster: str) -> None:
    """Encryption, search path and every part of the address, for libpq and for JDBC; the URIs work as they are."""
    found = connection_values(released)
    host = f"main-rw.{CLUSTERS}.svc"
    assert (found["host"], found["port"], found["dbname"]) == (host, "5432", database_of(released))
    uri = urlsplit(found["uri"])
    assert (uri.scheme, uri.hostname, uri.port, uri.path) == ("postgresql", host, 5432, f"/{database_of(released)}")
    assert (uri.username, uri.password) == (role_of(released), found["password"])
    assert parse_qs(uri.query) == {"sslmode": ["require"], "options": ["-c search_path=orders"]}
    jdbc = urlsplit(found["jdbc-uri"].removeprefix("jdbc:"))
    assert parse_qs(jdbc.query) == {
        "user": [role_of(released)],
        "password": [found["password"]],
        "sslmode": ["require"],
        "currentSchema": ["orders"],
    }
    with session(chart, released) as connection:
        assert connection.execute("SHOW search_path").fetchone() == ("orders",)
        assert connection.info.dbname == database_of(released)
        assert connection.pgconn.ssl_in_use
