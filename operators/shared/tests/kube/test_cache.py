"""The cache: it never goes back in time, whatever the order of events and answers."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ameide_shared.kube.cache import Cache, Owner, Store, owner_of
from ameide_shared.kube.resources import (
    CONFIG_MAP,
    CUSTOM_RESOURCE_DEFINITION,
    DEPLOYMENT,
    POD,
    Manifest,
    ObjectKey,
    ResourceType,
)
from ameide_shared.kube.slim import Slimmer

from . import samples

KEY = ObjectKey("shop", "a")


def config_map(version: str, uid: str = "u1", **metadata: Any) -> dict[str, Any]:
    base = {"name": "a", "namespace": "shop", "uid": uid, "resourceVersion": version}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {**base, **metadata}, "data": {"at": version}}


def version_of(store: Store) -> str | None:
    live = store.get(KEY)
    return live["metadata"]["resourceVersion"] if live else None


@dataclass(frozen=True)
class Case:
    """Steps: an event type (None: listed) with version and uid, or put, or remove; and what is left."""

    reason: str
    steps: tuple[tuple[str | None, str, str], ...]
    expect: str | None


@pytest.mark.parametrize(
    "case",
    [
        Case("listed, then changed", ((None, "5", "u1"), ("MODIFIED", "6", "u1")), "6"),
        Case("an event from before our write", (("put", "9", "u1"), ("MODIFIED", "8", "u1")), "9"),
        Case("the event of our own write", (("put", "9", "u1"), ("MODIFIED", "9", "u1")), "9"),
        Case("versions are numbers, not text", (("put", "9", "u1"), ("MODIFIED", "10", "u1")), "10"),
        Case("deleted", (("ADDED", "5", "u1"), ("DELETED", "7", "u1")), None),
        Case("its successor came first", (("ADDED", "5", "u1"), ("ADDED", "9", "u2"), ("DELETED", "7", "u1")), "9"),
        Case("a late event of the deleted one", (("ADDED", "5", "u1"), ("DELETED", "7", "u1"),
             ("MODIFIED", "6", "u1")), None),
        Case("a late answer of the deleted one", (("ADDED", "5", "u1"), ("DELETED", "7", "u1"),
             ("put", "6", "u1")), None),
        Case("our delete, then its late event", (("ADDED", "5", "u1"), ("remove", "", "u1"),
             ("MODIFIED", "6", "u1")), None),
        Case("our delete, then its DELETED", (("ADDED", "5", "u1"), ("remove", "", "u1"),
             ("DELETED", "7", "u1")), None),
        Case("our delete of another uid", (("ADDED", "5", "u2"), ("remove", "", "u1")), "5"),
        Case("re-created after our delete", (("ADDED", "5", "u1"), ("remove", "", "u1"), ("put", "8", "u2"),
             ("DELETED", "7", "u1")), "8"),
        Case("left the selector, and came back", (("put", "5", "u1"), ("DELETED", "6", "u1"), ("put", "6", "u1")), "6"),
        Case("we brought it back before its DELETED came", (("put", "5", "u1"), ("put", "7", "u1"),
             ("DELETED", "6", "u1")), "7"),
        Case("a predecessor's late event", (("put", "8", "u2"), ("MODIFIED", "6", "u1")), "8"),
        Case("versions that are no numbers: equality only", (("put", "b", "u1"), ("MODIFIED", "a", "u1")), "a"),
    ],
    ids=lambda case: case.reason,
)  # fmt: skip
def test_order(case: Case) -> None:
    store = Store(CONFIG_MAP)
    for step, version, uid in case.steps:
        if step == "put":
            store.put(config_map(version, uid))
        elif step == "remove":
            store.remove(KEY, uid)
        else:
            store.on_event(step, config_map(version, uid))
    assert version_of(store) == case.expect
    assert len(store) == (case.expect is not None)
    assert len(store.list()) == len(store.list("shop")) == len(store)


def test_news_is_told_apart() -> None:
    store = Store(CONFIG_MAP)
    assert store.on_event("ADDED", config_map("5"))
    assert not store.on_event("ADDED", config_map("5"))
    assert not store.on_event("MODIFIED", config_map("4"))
    assert not store.on_event("DELETED", config_map("6", uid="other"))
    assert store.on_event("DELETED", config_map("6"))


def test_listeners() -> None:
    cache = Cache()
    everything: list[tuple[str | None, str | None]] = []
    foreign: list[tuple[str | None, str | None]] = []

    def recorder(into: list[tuple[str | None, str | None]]) -> Any:
        def listener(old: Manifest | None, new: Manifest | None) -> None:
            before, after = (m["metadata"]["resourceVersion"] if m else None for m in (old, new))
            into.append((before, after))

        return listener

    cache.subscribe(CONFIG_MAP, recorder(everything))
    cache.subscribe(CONFIG_MAP, recorder(foreign), own_writes=False)
    cache.put(config_map("1"))
    cache.on_event(CONFIG_MAP, "MODIFIED", config_map("2"))
    cache.on_event(CONFIG_MAP, "MODIFIED", config_map("2"))
    cache.remove(CONFIG_MAP, KEY, "u1")
    cache.on_event(CONFIG_MAP, "DELETED", config_map("3"))
    assert everything == [(None, "1"), ("1", "2"), ("2", None)]
    assert foreign == [("1", "2")]


def test_a_complete_list_finds_lost_deletions() -> None:
    store = Store(CONFIG_MAP)
    store.on_event(None, config_map("5", "u1", name="lost"))
    store.on_event(None, config_map("6", "u2", name="there"))
    store.put(config_map("12", "u3", name="newer-than-the-list"))
    store.on_event(None, config_map("7", "u4", name="elsewhere", namespace="other"))
    dropped = store.drop_missing({"u2"}, "10", namespace="shop")
    assert [m["metadata"]["name"] for m in dropped] == ["lost"]
    assert sorted(m["metadata"]["name"] for m in store.list()) == ["elsewhere", "newer-than-the-list", "there"]
    assert not store.on_event("MODIFIED", config_map("5", "u1", name="lost"))
    assert not store.on_event("MODIFIED", config_map("8", "u1", name="lost"))


def test_children() -> None:
    cache = Cache()
    cache.put({**samples.service(), "metadata": {**samples.service()["metadata"], "uid": "s", "resourceVersion": "1"}})
    pod: dict[str, Any] = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "shop", "uid": "p",
           "resourceVersion": "2", "labels": samples.LABELS}}  # fmt: skip
    cache.on_event(POD, "ADDED", pod)
    labels = {"ameide.io/primitive": "domain", "ameide.io/owner-namespace": "shop", "ameide.io/owner-name": "orders"}
    cache.put(config_map("3", labels=labels, namespace="database"))
    owner = Owner("domain", "shop", "orders")
    assert sorted(child["kind"] for child in cache.children(owner)) == ["ConfigMap", "Pod", "Service"]
    assert cache.children(Owner("domain", "other", "orders")) == []
    cache.on_event(CONFIG_MAP, "MODIFIED", config_map("4", labels={}, namespace="database"))
    cache.on_event(POD, "DELETED", {**pod, "metadata": {**pod["metadata"], "resourceVersion": "5"}})
    assert [child["kind"] for child in cache.children(owner)] == ["Service"]


def test_the_controller_says_more_than_labels() -> None:
    service = samples.service()
    service["metadata"]["labels"] = {"ameide.io/primitive": "domain", "ameide.io/name": "somebody-else"}
    assert owner_of(service) == Owner("domain", "shop", "orders")


# --- any order of events ----------------------------------------------------------------------------------------------


@dataclass
class Server:
    """One object's life on an API server: what it is now, and the events that are still on their way."""

    version: int = 0
    uid: int = 0
    live: dict[str, Any] | None = None
    underway: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def write(self) -> dict[str, Any]:
        self.version += 1
        kind = "MODIFIED"
        if self.live is None:
            self.uid += 1
            kind = "ADDED"
        self.live = config_map(str(self.version), f"u{self.uid}")
        self.underway.append((kind, self.live))
        return self.live

    def delete(self) -> str:
        assert self.live is not None
        self.version += 1
        uid = str(self.live["metadata"]["uid"])
        self.underway.append(("DELETED", config_map(str(self.version), uid)))
        self.live = None
        return uid


class CacheAgainstServer(RuleBasedStateMachine):
    """Writes of ours and of others, events in order but late: once all have arrived, cache and server agree."""

    def __init__(self) -> None:
        super().__init__()
        self.server = Server()
        self.store = Store(CONFIG_MAP)
        self.last_answer = 0

    @rule()
    def we_write(self) -> None:
        answer = self.server.write()
        self.store.put(answer)
        self.last_answer = self.server.version

    @rule()
    def others_write(self) -> None:
        self.server.write()

    @precondition(lambda self: self.server.live is not None)
    @rule()
    def we_delete(self) -> None:
        uid = self.server.delete()
        self.store.remove(KEY, uid)

    @precondition(lambda self: self.server.live is not None)
    @rule()
    def others_delete(self) -> None:
        self.server.delete()

    @precondition(lambda self: self.server.live is not None)
    @rule()
    def we_read(self) -> None:
        assert self.server.live is not None
        self.store.put(self.server.live)

    @precondition(lambda self: self.server.underway)
    @rule(count=st.integers(1, 4))
    def events_arrive(self, count: int) -> None:
        for kind, manifest in self.server.underway[:count]:
            self.store.on_event(kind, manifest)
        del self.server.underway[:count]

    @invariant()
    def agrees_once_all_have_arrived(self) -> None:
        if not self.server.underway:
            expected = self.server.live["metadata"]["resourceVersion"] if self.server.live else None
            assert version_of(self.store) == expected

    @invariant()
    def never_older_than_an_answer(self) -> None:
        version = version_of(self.store)
        if self.server.live is not None and version is not None:
            assert self.server.version >= int(version)
            cached = self.store.get(KEY) or {}
            if self.server.live["metadata"]["uid"] == cached["metadata"]["uid"]:
                assert int(version) >= min(self.last_answer, int(self.server.live["metadata"]["resourceVersion"]))


TestCacheAgainstServer = CacheAgainstServer.TestCase
TestCacheAgainstServer.settings = settings(deadline=None)


# --- what is kept -----------------------------------------------------------------------------------------------------

values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(0, 2), st.sampled_from((0.0, 1.0, 1.5)), st.sampled_from("ab0")),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(("a", "b", "[]")), inner, max_size=3)
    ),
    max_leaves=10,
)


@settings(deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from(("a", "b", "c")), values), min_size=1, max_size=8))
def test_sharing_changes_no_content(specs: list[dict[str, Any]]) -> None:
    slimmer = Slimmer()
    previous = None
    for spec in specs:
        text = json.dumps(spec, sort_keys=True)
        previous = slimmer(DEPLOYMENT, {"metadata": {"name": "a"}, "spec": json.loads(text)}, previous)
        # As JSON, since in Python 1 == True == 1.0.
        assert json.dumps(previous["spec"], sort_keys=True) == text


def test_what_nobody_reads_is_dropped() -> None:
    manifest = samples.deployment()
    manifest["metadata"]["managedFields"] = [{"manager": "x"}]
    manifest["metadata"]["annotations"] = {"kubectl.kubernetes.io/last-applied-configuration": "{}", "kept": "yes"}
    slim = Slimmer()(DEPLOYMENT, manifest)
    assert "managedFields" not in slim["metadata"]
    assert slim["metadata"]["annotations"] == {"kept": "yes"}
    assert slim["spec"] == manifest["spec"]


def test_pods_and_crds_are_cut_down() -> None:
    pod = {
        "metadata": {"name": "p", "namespace": "shop", "uid": "u", "resourceVersion": "1", "generateName": "p-"},
        "spec": {
            "nodeName": "n",
            "volumes": [{}],
            "containers": [{"name": "app", "image": "i", "env": [{"name": "S"}]}],
        },
        "status": {"phase": "Running", "hostIP": "1.1.1.1", "containerStatuses": [{"name": "app", "ready": True}]},
    }
    slim = Slimmer()(POD, pod)
    assert slim["spec"] == {"nodeName": "n", "containers": [{"name": "app", "image": "i"}]}
    assert slim["status"] == {"phase": "Running", "containerStatuses": [{"name": "app", "ready": True}]}
    crd = {
        "metadata": {"name": "things.example.com"},
        "spec": {
            "group": "example.com",
            "names": {"plural": "things"},
            "scope": "Namespaced",
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"big": "schema"}}],
        },
        "status": {"conditions": [{"type": "Established", "status": "True"}]},
    }
    text = json.dumps(Slimmer()(CUSTOM_RESOURCE_DEFINITION, crd))
    assert "schema" not in text
    assert "Established" in text


def size(value: Any, seen: set[int]) -> int:
    """Bytes of a value that no earlier value has been charged for."""
    if id(value) in seen:
        return 0
    seen.add(id(value))
    total = sys.getsizeof(value)
    if isinstance(value, dict):
        return total + sum(size(k, seen) + size(v, seen) for k, v in value.items())
    if isinstance(value, list):
        return total + sum(size(v, seen) for v in value)
    return total


def test_equal_parts_are_kept_once() -> None:
    def copies(store: Callable[[ResourceType, dict[str, Any]], dict[str, Any]]) -> int:
        seen: set[int] = set()
        total = 0
        for number in range(50):
            manifest = samples.changed(samples.deployment(), "metadata/name", f"orders-{number}")
            total += size(store(DEPLOYMENT, json.loads(json.dumps(manifest))), seen)
        return total

    kept: list[Any] = []  # keeps everything alive, so that no address is used twice

    def alone(_: ResourceType, manifest: dict[str, Any]) -> dict[str, Any]:
        kept.append(manifest)
        return manifest

    slimmer = Slimmer()

    def shared(resource: ResourceType, manifest: dict[str, Any]) -> dict[str, Any]:
        slim = slimmer(resource, manifest)
        kept.append(slim)
        return slim

    assert copies(shared) * 5 < copies(alone)
