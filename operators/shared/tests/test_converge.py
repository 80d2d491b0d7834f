"""Carrying out plans against a real API server: what is written, what is kept, and what a failure becomes."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from ameide_dev.client import KubeClient
from ameide_dev.operators import install_identities
from ameide_shared.converge import Converger, decoded
from ameide_shared.failures import describe, explain
from ameide_shared.kube.cache import Cache
from ameide_shared.kube.client import ApiClient
from ameide_shared.kube.connection import connect
from ameide_shared.kube.errors import Conflict, Forbidden, Invalid, NotFound, ServerUnavailable
from ameide_shared.kube.limiter import Limiter
from ameide_shared.kube.resources import DEPLOYMENT, DOMAIN, SECRET, SERVICE, Manifest, ObjectKey
from ameide_shared.plan import (
    Action,
    AddFinalizer,
    Delete,
    Ensure,
    EnsureSecret,
    FromSecret,
    Generated,
    HandOverReplicas,
    Notify,
    Outcome,
    Plan,
    RemoveFinalizer,
    SecretValue,
    Text,
)

if TYPE_CHECKING:
    from ameide_dev.platform import Platform

FINALIZER = "domain.ameide.io/finalizer"
MANAGER = "domain-operator"


class Notes:
    """A recorder that keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, str]] = []

    def event(self, resource: Manifest, type: str, reason: str, message: str) -> None:
        self.events.append((type, reason, message))


@pytest.fixture(scope="module")
def domain_kind(platform: Platform) -> None:
    """The Domain CRD, as the chart has it."""
    install_identities(platform.client)


@pytest.fixture
async def client(platform: Platform) -> AsyncIterator[ApiClient]:
    async with connect(platform.kubeconfig) as connection:
        yield ApiClient(connection, field_manager=MANAGER, limiter=Limiter(0))


class Site:
    """A Domain of the test's own, its cache, and a converger that works for it."""

    def __init__(self, client: ApiClient, domain: Manifest) -> None:
        self.cache, self.notes = Cache(), Notes()
        self.client = client
        self.domain = self.cache.store(DOMAIN).put(domain)
        self.converger = Converger(client, self.cache, self.notes)
        self.namespace = domain["metadata"]["namespace"]

    async def run(self, *actions: Action) -> Outcome:
        return await self.converger.run(self.domain, Plan(actions))

    def metadata(self, name: str) -> dict[str, Any]:
        owner = {
            "apiVersion": "ameide.io/v1",
            "kind": "Domain",
            "name": "orders",
            "uid": self.domain["metadata"]["uid"],
        }
        return {
            "name": name,
            "namespace": self.namespace,
            "labels": {"app.kubernetes.io/managed-by": MANAGER},
            "ownerReferences": [{**owner, "controller": True, "blockOwnerDeletion": True}],
        }

    def service(self, name: str = "orders", port: int = 80) -> dict[str, Any]:
        spec = {"selector": {"app": name}, "ports": [{"name": "http", "port": port, "protocol": "TCP"}]}
        return {"apiVersion": "v1", "kind": "Service", "metadata": self.metadata(name), "spec": spec}

    def deployment(self, replicas: int | None) -> dict[str, Any]:
        labels = {"app": "orders"}
        spec: dict[str, Any] = {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "domain", "image": "ghcr.io/ameide/orders:1"}]},
            },
        }
        if replicas is not None:
            spec["replicas"] = replicas
        return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": self.metadata("orders"), "spec": spec}

    def secret(self, name: str, values: dict[str, SecretValue], rotation: str = "") -> EnsureSecret:
        manifest = {"apiVersion": "v1", "kind": "Secret", "metadata": self.metadata(name), "type": "Opaque"}
        return EnsureSecret(manifest, values, "why", rotation)

    async def value(self, name: str, key: str) -> str | None:
        return decoded(await self.client.get(SECRET, ObjectKey(self.namespace, name)), key)


@pytest.fixture
def site(domain_kind: None, client: ApiClient, kube: KubeClient, make_namespace: Callable[..., str]) -> Site:
    domain = {
        "apiVersion": "ameide.io/v1",
        "kind": "Domain",
        "metadata": {"name": "orders", "namespace": make_namespace(prefix="own-converge")},
        "spec": {"image": "ghcr.io/ameide/orders:1"},
    }
    return Site(client, kube.create(domain))


async def test_a_child_is_written_once_and_again_only_when_it_differs(site: Site) -> None:
    assert (await site.run(Ensure(site.service(), "why"))).written == 1
    assert (await site.run(Ensure(site.service(), "why"))).written == 0
    assert (await site.run(Ensure(site.service(port=81), "why"))).written == 1
    assert (await site.run(Ensure(site.service(port=82), "why", create_only=True))).written == 0
    live = await site.client.get(SERVICE, ObjectKey(site.namespace, "orders"))
    assert live["spec"]["ports"][0]["port"] == 81


async def test_a_generated_password_is_kept_until_another_rotation_is_asked_for(site: Site) -> None:
    values: dict[str, SecretValue] = {"username": "orders", "password": Generated(40)}
    await site.run(site.secret("own", values))
    first = await site.value("own", "password")
    assert first is not None
    assert len(first) == 40
    assert (await site.run(site.secret("own", values))).written == 0
    assert (await site.run(site.secret("own", values, rotation="1"))).written == 1
    second = await site.value("own", "password")
    assert (await site.run(site.secret("own", values, rotation="1"))).written == 0
    assert second != first
    assert await site.value("own", "username") == "orders"


async def test_a_password_is_kept_although_the_cache_does_not_know_it(site: Site) -> None:
    """After a restart, or without the label that somebody removed, the server's answer is what counts."""
    await site.run(site.secret("own", {"password": Generated()}))
    first = await site.value("own", "password")
    restarted = Site(site.client, dict(site.domain))
    assert not (await restarted.run(site.secret("own", {"password": Generated()}))).failures
    assert await site.value("own", "password") == first


async def test_values_are_copied_and_quoted_from_another_secret(site: Site) -> None:
    await site.run(site.secret("source", {"password": "a/b c%"}))
    source = FromSecret(site.namespace, "source", "password")
    quoted = FromSecret(site.namespace, "source", "password", quoted=True)
    await site.run(site.secret("copy", {"password": source, "uri": Text(("postgresql://orders:", quoted, "@db"))}))
    assert await site.value("copy", "password") == "a/b c%"
    assert await site.value("copy", "uri") == "postgresql://orders:a%2Fb%20c%25@db"


async def test_a_source_that_is_missing_fails_its_secret_and_nothing_else(site: Site) -> None:
    copy = site.secret("copy", {"password": FromSecret(site.namespace, "nowhere", "password")})
    outcome = await site.run(copy, Ensure(site.service(), "why"))
    (failure,) = outcome.failures
    assert (failure.reason, failure.terminal, outcome.written) == ("SecretNotFound", False, 1)
    assert f"{site.namespace}/nowhere" in failure.message
    assert failure.remedy


async def test_finalizers_are_added_and_removed_once_beside_those_of_others(site: Site, kube: KubeClient) -> None:
    add, remove = AddFinalizer(FINALIZER, "why"), RemoveFinalizer(FINALIZER, "why")
    name = ("ameide.io/v1", "Domain", "orders")
    theirs = kube.merge_patch(*name, {"metadata": {"finalizers": ["other.example/hold"]}}, site.namespace)
    site.cache.store(DOMAIN).put(theirs)
    assert [(await site.run(action)).written for action in (add, add)] == [1, 0]
    assert kube.get(*name, site.namespace)["metadata"]["finalizers"] == ["other.example/hold", FINALIZER]
    assert [(await site.run(action)).written for action in (remove, remove)] == [1, 0]
    assert kube.get(*name, site.namespace)["metadata"]["finalizers"] == ["other.example/hold"]
    kube.merge_patch(*name, {"metadata": {"finalizers": None}}, site.namespace)


async def test_without_the_finalizer_nothing_is_made(site: Site, kube: KubeClient) -> None:
    """A finalizer that cannot be added (the Domain changed meanwhile) ends the pass before anything is made outside."""
    kube.merge_patch("ameide.io/v1", "Domain", "orders", {"metadata": {"labels": {"a": "b"}}}, site.namespace)
    outcome = await site.run(AddFinalizer(FINALIZER, "why"), Ensure(site.service(), "why"))
    assert ([failure.reason for failure in outcome.failures], outcome.written) == (["ApplyFailed"], 0)
    with pytest.raises(NotFound):
        await site.client.get(SERVICE, ObjectKey(site.namespace, "orders"))


async def test_a_successor_of_the_same_name_survives_a_delete(site: Site) -> None:
    await site.run(Ensure(site.service(), "why"))
    key = ObjectKey(site.namespace, "orders")
    await site.run(Delete(SERVICE, key, "00000000-0000-0000-0000-000000000000", "an older one"))
    live = await site.client.get(SERVICE, key)
    outcome = await site.run(Delete(SERVICE, key, live["metadata"]["uid"], "this one"))
    assert (outcome.written, outcome.failures) == (1, ())
    with pytest.raises(NotFound):
        await site.client.get(SERVICE, key)
    assert not (await site.run(Delete(SERVICE, key, live["metadata"]["uid"], "again"))).failures


async def test_the_replica_count_stays_when_it_is_no_longer_ours(site: Site) -> None:
    key = ObjectKey(site.namespace, "orders")
    await site.run(Ensure(site.deployment(3), "why"))
    await site.run(HandOverReplicas(key, 3, "an autoscaler takes over"), Ensure(site.deployment(None), "why"))
    assert (await site.client.get(DEPLOYMENT, key))["spec"]["replicas"] == 3
    assert (await site.run(Ensure(site.deployment(None), "why"))).written == 0


async def test_a_hand_over_that_changes_nothing_is_no_reason_to_look_again(site: Site) -> None:
    """While the autoscaler is refused the count is handed over in each pass."""
    hand_over = HandOverReplicas(ObjectKey(site.namespace, "orders"), 3, "an autoscaler takes over")
    await site.run(Ensure(site.deployment(3), "why"))
    outcomes = [await site.run(hand_over, Ensure(site.deployment(None), "why")) for _ in range(3)]
    assert [outcome.written for outcome in outcomes] == [2, 0, 0]


async def test_a_refused_child_does_not_keep_the_others_from_being_written(site: Site) -> None:
    bad = site.service("bad", port=99_999)
    outcome = await site.run(Ensure(bad, "why"), Ensure(site.service(), "why"))
    (failure,) = outcome.failures
    assert (failure.reason, failure.terminal, outcome.written) == ("ApplyFailed", True, 1)
    assert "ports[0].port" in failure.message
    assert failure.remedy


async def test_an_object_of_somebody_else_is_never_taken_over(site: Site, kube: KubeClient) -> None:
    theirs = site.service() | {"metadata": {"name": "orders", "namespace": site.namespace}}
    before = kube.create(theirs)
    (failure,) = (await site.run(Ensure(site.service(port=81), "why"))).failures
    assert (failure.reason, failure.terminal) == ("ChildConflict", False)
    after = kube.get("v1", "Service", "orders", site.namespace)
    assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]


async def test_what_requires_a_secret_that_is_somebody_elses_is_not_written(site: Site, kube: KubeClient) -> None:
    theirs = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "mine", "namespace": site.namespace}}
    kube.create(theirs)
    wanted, then = site.secret("mine", {"key": "value"}), Ensure(site.service(), "why")
    outcome = await site.run(replace(wanted, required=True), then)
    assert ([failure.reason for failure in outcome.failures], outcome.written) == (["ChildConflict"], 0)
    assert (await site.run(wanted, then)).written == 1


async def test_a_quota_that_is_full_is_named_as_such(site: Site, kube: KubeClient) -> None:
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none", "namespace": site.namespace}}
    kube.create(quota | {"spec": {"hard": {"services": "0"}}})
    kube.wait_for(
        "v1", "ResourceQuota", "none", lambda found: bool((found or {}).get("status")), site.namespace, timeout=20
    )
    (failure,) = (await site.run(Ensure(site.service(), "why"))).failures
    assert (failure.reason, failure.remedy) == ("QuotaExceeded", "raise the ResourceQuota")


async def test_an_event_is_passed_on_and_writes_nothing(site: Site) -> None:
    assert (await site.run(Notify("Warning", "DataLeftBehind", "there it lies"))).written == 0
    assert site.notes.events == [("Warning", "DataLeftBehind", "there it lies")]


async def test_a_server_that_is_away_ends_the_pass(site: Site) -> None:
    """One request, not one for each child, while the API server cannot answer."""
    attempts: list[Manifest] = []

    async def away(manifest: Manifest, **_: Any) -> dict[str, Any]:
        attempts.append(manifest)
        raise ServerUnavailable("busy", status=503, retry_after=7.0)

    site.client.create = away  # type: ignore[method-assign]  # what a real server says only when it is overloaded
    outcome = await site.run(Ensure(site.service(), "why"), Ensure(site.service("other"), "why"))
    (failure,) = outcome.failures
    assert (len(attempts), failure.retry_after, failure.terminal) == (1, 7.0, False)


@pytest.mark.parametrize(
    "error", [Conflict("changed", status=409), NotFound("no such kind", status=404), Invalid("bad", status=422)]
)
def test_every_failure_names_the_object_and_a_remedy(error: Exception) -> None:
    manifest = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "orders", "namespace": "shop"}}
    failure = explain(Ensure(manifest, "why"), error)
    assert "Service shop/orders" in failure.message
    assert failure.remedy


def test_who_lacks_a_right_is_told_where_rights_are_granted_and_others_are_not() -> None:
    manifest = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "orders", "namespace": "shop"}}
    rights = Forbidden('services is forbidden: User "o" cannot create resource "services" in the namespace "shop"')
    plugin = Forbidden('services "orders" is forbidden: cannot set blockOwnerDeletion')
    remedies = [explain(Ensure(manifest, "why"), error).remedy for error in (rights, plugin)]
    assert ["rbac" in remedy for remedy in remedies] == [True, False]


def test_actions_are_described_by_verb_object_and_reason() -> None:
    key = ObjectKey("shop", "orders")
    manifest = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "orders", "namespace": "shop"}}
    assert [
        describe(action)
        for action in (
            Ensure(manifest, "why"),
            EnsureSecret(manifest, {"password": "not-told"}, "why"),
            Delete(SERVICE, key, "uid", "why"),
            HandOverReplicas(key, 2, "why"),
            AddFinalizer("f", "why"),
            RemoveFinalizer("f", "why"),
            Notify("Normal", "DataRetained", "text"),
        )
    ] == [
        "ensure Secret shop/orders: why",
        "ensure Secret shop/orders: why",
        "delete Service shop/orders: why",
        "hand over replicas of Deployment shop/orders: why",
        "add finalizer f: why",
        "remove finalizer f: why",
        "event DataRetained: tell people",
    ]


def test_a_key_that_a_secret_lacks_has_no_value() -> None:
    assert decoded({"data": {"a": base64.b64encode(b"x").decode()}}, "a") == "x"
    assert decoded({"data": {}}, "a") is None
    assert decoded({}, "a") is None
