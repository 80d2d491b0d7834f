"""The client against a real API server."""

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from ameide_dev.client import (
    ConflictError,
    InvalidError,
    KubeClient,
    NotFoundError,
    UnavailableError,
    UnknownKindError,
    WaitTimeoutError,
    condition_of,
)
from ameide_dev.kubeconfig import write_kubeconfig
from ameide_dev.platform import Platform


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def test_create_read_change_delete(kube: KubeClient, namespace: str) -> None:
    created = kube.create(config_map("a", x="1"), namespace)
    assert created["metadata"]["namespace"] == namespace
    assert kube.get("v1", "ConfigMap", "a", namespace)["data"] == {"x": "1"}

    kube.merge_patch("v1", "ConfigMap", "a", {"data": {"x": None, "y": "2"}}, namespace)
    changed = kube.json_patch("v1", "ConfigMap", "a", [{"op": "add", "path": "/data/z", "value": "3"}], namespace)
    assert changed["data"] == {"y": "2", "z": "3"}

    changed["data"] = {"only": "this"}
    assert kube.replace(changed)["data"] == {"only": "this"}
    with pytest.raises(ConflictError) as stale:
        kube.replace({**changed, "data": {"too": "late"}})
    assert stale.value.reason == "Conflict"

    kube.delete("v1", "ConfigMap", "a", namespace, wait=10)
    assert kube.find("v1", "ConfigMap", "a", namespace) is None
    kube.delete("v1", "ConfigMap", "a", namespace, missing_ok=True)
    with pytest.raises(NotFoundError):
        kube.delete("v1", "ConfigMap", "a", namespace)


def test_lists_carry_kinds_and_obey_selectors(kube: KubeClient, namespace: str) -> None:
    for name, tier in (("a", "x"), ("b", "y")):
        item = config_map(name)
        item["metadata"]["labels"] = {"tier": tier}
        kube.create(item, namespace)
    found = kube.list("v1", "ConfigMap", namespace, label_selector="tier in (x, y)")
    assert [(item["kind"], item["metadata"]["name"]) for item in found] == [("ConfigMap", "a"), ("ConfigMap", "b")]
    assert len(kube.list("v1", "ConfigMap", namespace, label_selector="tier=y")) == 1
    assert len(kube.list("v1", "ConfigMap", namespace, field_selector="metadata.name=a")) == 1
    everywhere = {item["metadata"]["namespace"] for item in kube.list("v1", "ConfigMap")}
    assert {namespace, "kube-system"} <= everywhere


def test_apply_owns_fields(kube: KubeClient, namespace: str) -> None:
    kube.apply(config_map("a", x="1"), namespace, field_manager="one")
    with pytest.raises(ConflictError, match='conflict with "one"'):
        kube.apply(config_map("a", x="2"), namespace, field_manager="two", force=False)
    kube.apply(config_map("a", x="2"), namespace, field_manager="two")
    kube.apply(config_map("a"), namespace, field_manager="two")
    assert kube.get("v1", "ConfigMap", "a", namespace).get("data", {}) == {}


def test_files_are_applied_in_order(kube: KubeClient, namespace: str, tmp_path: Path) -> None:
    path = tmp_path / "objects.yaml"
    path.write_text(
        "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: a}\n---\n---\n"
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: b}\nrules: []\n"
    )
    assert [item["kind"] for item in kube.apply_file(path, namespace)] == ["ServiceAccount", "Role"]


def test_refusals_carry_the_servers_own_words(kube: KubeClient, namespace: str) -> None:
    with pytest.raises(InvalidError, match=r"metadata\.name: Invalid value") as refusal:
        kube.create(config_map("Not A Name"), namespace)
    assert refusal.value.status == 422
    kube.create(config_map("a"), namespace)
    with pytest.raises(ConflictError) as twice:
        kube.create(config_map("a"), namespace)
    assert twice.value.reason == "AlreadyExists"


def test_unknown_kinds(kube: KubeClient) -> None:
    with pytest.raises(UnknownKindError, match="v1 has no kind Gadget in this cluster"):
        kube.list("v1", "Gadget")
    with pytest.raises(UnknownKindError, match=r"the cluster serves no example\.org/v1"):
        kube.list("example.org/v1", "Gadget")


def test_a_watch_sees_each_change_and_ends(kube: KubeClient, namespace: str) -> None:
    kube.create(config_map("there"), namespace)

    def change() -> None:
        time.sleep(0.3)
        kube.create(config_map("new", x="1"), namespace)
        kube.merge_patch("v1", "ConfigMap", "new", {"data": {"x": "2"}}, namespace)
        kube.delete("v1", "ConfigMap", "new", namespace)

    thread = threading.Thread(target=change)
    thread.start()
    seen = []
    for event, item in kube.watch("v1", "ConfigMap", namespace, timeout=2):
        if item["metadata"]["name"] != "kube-root-ca.crt":
            seen.append((event, item["metadata"]["name"]))
    thread.join()
    assert seen == [("ADDED", "there"), ("ADDED", "new"), ("MODIFIED", "new"), ("DELETED", "new")]


def test_waiting_is_woken_by_the_change(kube: KubeClient, namespace: str) -> None:
    def create() -> None:
        time.sleep(0.3)
        kube.create(config_map("late", x="1"), namespace)

    thread = threading.Thread(target=create)
    began = time.monotonic()
    thread.start()
    found = kube.wait_for("v1", "ConfigMap", "late", lambda it: it is not None, namespace, timeout=10)
    assert found["data"] == {"x": "1"}
    assert time.monotonic() - began < 5
    thread.join()


def test_waiting_in_vain_tells_the_last_state(kube: KubeClient, namespace: str) -> None:
    with pytest.raises(WaitTimeoutError, match=rf"waited 1 s for better days of Namespace {namespace} .*Active"):
        kube.wait_for("v1", "Namespace", namespace, lambda it: False, timeout=1, what="better days")
    with pytest.raises(WaitTimeoutError, match="it does not exist"):
        kube.wait_condition("v1", "Pod", "ghost", "Ready", namespace, timeout=1)


def test_what_waiting_says_of_a_secret_is_not_its_content(kube: KubeClient, namespace: str) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"password": "hush-hush"}}
    kube.create(secret, namespace)
    with pytest.raises(WaitTimeoutError) as caught:
        kube.wait_for("v1", "Secret", "s", lambda it: False, namespace, timeout=1)
    assert "hush" not in str(caught.value)
    assert "aHVzaC1odXNo" not in str(caught.value)


def test_conditions() -> None:
    obj = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    assert condition_of(obj, "Ready") == {"type": "Ready", "status": "True"}
    assert condition_of(obj, "Degraded") is None
    assert condition_of({}, "Ready") is None
    assert condition_of(None, "Ready") is None


def test_a_condition_of_an_older_generation_does_not_count(kube: KubeClient, namespace: str) -> None:
    # A Gateway, whose status nobody writes but this test.
    gateway = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": "g"},
        "spec": {"gatewayClassName": "none", "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]},
    }
    api_version, kind = gateway["apiVersion"], gateway["kind"]
    assert isinstance(api_version, str)
    assert isinstance(kind, str)
    assert kube.create(gateway, namespace)["metadata"]["generation"] == 1
    programmed = {
        "type": "Programmed",
        "status": "True",
        "reason": "Programmed",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
        "observedGeneration": 1,
    }
    kube.patch_status(api_version, kind, "g", {"conditions": [programmed]}, namespace)
    kube.wait_condition(api_version, kind, "g", "Programmed", namespace, reason="Programmed", timeout=5)
    with pytest.raises(WaitTimeoutError, match=r"condition Programmed=True \(Weather\)"):
        kube.wait_condition(api_version, kind, "g", "Programmed", namespace, reason="Weather", timeout=1)

    kube.merge_patch(api_version, kind, "g", {"spec": {"gatewayClassName": "other"}}, namespace)
    with pytest.raises(WaitTimeoutError):
        kube.wait_condition(api_version, kind, "g", "Programmed", namespace, timeout=1)


def test_nobody_there(tmp_path: Path, platform: Platform) -> None:
    path = write_kubeconfig(
        tmp_path / "config", server="https://127.0.0.1:9", ca_pem=platform.control_plane.ca_pem, user={}
    )
    with (
        KubeClient.from_kubeconfig(path) as client,
        pytest.raises(UnavailableError, match=r"GET https://127\.0\.0\.1:9"),
    ):
        client.request("GET", "/version")


def test_a_kubeconfig_with_holes_is_named(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text("{current-context: x, contexts: [{name: x, context: {cluster: c, user: u}}], clusters: []}")
    with pytest.raises(ValueError, match="clusters has no entry 'c'"):
        KubeClient.from_kubeconfig(path)
