"""The stand-in for external-secrets, on a real API server with the real CRD."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ameide_dev.client import KubeClient, condition_of
from ameide_dev.externalsecrets import API, ExternalSecrets
from ameide_dev.testing.waiting import until

Object = dict[str, Any]


@pytest.fixture
def store(kube: KubeClient, tmp_path: Path) -> Iterator[ExternalSecrets]:
    """The stand-in over an empty store."""
    with ExternalSecrets(kube, tmp_path / "store.json", retry_seconds=0.2) as running:
        yield running


def external_secret(namespace: str, name: str = "openai", **target: Any) -> Object:
    """Asks for one property of one entry."""
    return {
        "apiVersion": API,
        "kind": "ExternalSecret",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "refreshInterval": "1h",
            "secretStoreRef": {"name": "vault", "kind": "ClusterSecretStore"},
            "target": {"name": name, "creationPolicy": "Owner", **target},
            "data": [{"secretKey": "api-key", "remoteRef": {"key": "acme/openai", "property": "apiKey"}}],
        },
    }


def synced(kube: KubeClient, namespace: str, value: str, name: str = "openai") -> Object:
    """Wait until the target holds a value; the Secret."""
    encoded = base64.b64encode(value.encode()).decode()
    found = kube.wait_for(
        "v1", "Secret", name, lambda it: it is not None and it["data"].get("api-key") == encoded, namespace, timeout=10
    )
    assert found is not None
    return found


def ready(kube: KubeClient, namespace: str, status: str, name: str = "openai") -> Object:
    """Wait for what the condition Ready says; the condition."""

    def holds(item: Object | None) -> bool:
        return ((condition_of(item, "Ready") or {}).get("status")) == status

    item = kube.wait_for(API, "ExternalSecret", name, holds, namespace, timeout=10)
    condition = condition_of(item, "Ready")
    assert condition is not None
    return condition


def cause(kube: KubeClient, namespace: str, words: str) -> None:
    """Wait for the Event that says why an ExternalSecret could not be synced."""
    until(
        f"an Event says {words!r}",
        lambda: any(words in event["message"] for event in kube.list("v1", "Event", namespace)),
    )


def test_an_entry_becomes_a_secret_with_the_labels_of_its_template(
    kube: KubeClient, store: ExternalSecrets, namespace: str
) -> None:
    store.put("acme/openai", {"apiKey": "first", "other": "unused"})
    kube.create(external_secret(namespace, template={"metadata": {"labels": {"ameide.io/name": "coder"}}}))
    secret = synced(kube, namespace, "first")
    assert secret["metadata"]["labels"]["ameide.io/name"] == "coder"
    assert secret["metadata"]["ownerReferences"][0]["kind"] == "ExternalSecret"
    assert set(secret["data"]) == {"api-key"}
    assert ready(kube, namespace, "True")["reason"] == "SecretSynced"
    item = kube.get(API, "ExternalSecret", "openai", namespace)
    assert item["status"]["syncedResourceVersion"].startswith("1-")


def test_a_rotated_entry_reaches_the_secret(kube: KubeClient, store: ExternalSecrets, namespace: str) -> None:
    store.put("acme/openai", {"apiKey": "first"})
    kube.create(external_secret(namespace))
    synced(kube, namespace, "first")
    store.put("acme/openai", {"apiKey": "second"})
    synced(kube, namespace, "second")


def test_what_is_missing_or_refused_is_said_and_heals(kube: KubeClient, store: ExternalSecrets, namespace: str) -> None:
    kube.create(external_secret(namespace))
    assert ready(kube, namespace, "False")["message"] == "could not get secret data from provider"
    cause(kube, namespace, "Secret does not exist")
    store.put("acme/openai", {"token": "x"})
    cause(kube, namespace, "property apiKey")
    store.fail("denied")
    store.put("acme/openai", {"apiKey": "first"})
    cause(kube, namespace, "permission denied")
    assert kube.find("v1", "Secret", "openai", namespace) is None
    store.heal()
    synced(kube, namespace, "first")


def test_a_secret_of_nobody_is_taken_over_and_one_of_another_controller_is_not(
    kube: KubeClient, store: ExternalSecrets, namespace: str
) -> None:
    store.put("acme/openai", {"apiKey": "first"})
    other = kube.create(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "other", "namespace": namespace}}
    )
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "other", "uid": other["metadata"]["uid"]}
    for name, owners in (("openai", []), ("theirs", [{**owner, "controller": True}])):
        metadata = {"name": name, "namespace": namespace, "ownerReferences": owners}
        kube.create({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"api-key": "theirs"}})
        kube.create(external_secret(namespace, name))
    synced(kube, namespace, "first")
    ready(kube, namespace, "False", "theirs")
    cause(kube, namespace, "owned by another controller")
    synced(kube, namespace, "theirs", "theirs")


def test_an_edited_secret_is_brought_back(kube: KubeClient, store: ExternalSecrets, namespace: str) -> None:
    store.put("acme/openai", {"apiKey": "first"})
    kube.create(external_secret(namespace))
    synced(kube, namespace, "first")
    kube.merge_patch("v1", "Secret", "openai", {"data": {"api-key": base64.b64encode(b"edited").decode()}}, namespace)
    synced(kube, namespace, "first")


def test_while_it_is_paused_nothing_happens(kube: KubeClient, store: ExternalSecrets, namespace: str) -> None:
    store.put("acme/openai", {"apiKey": "first"})
    store.pause()
    kube.create(external_secret(namespace))
    store.put("acme/other", "x")
    assert kube.find("v1", "Secret", "openai", namespace) is None
    store.resume()
    synced(kube, namespace, "first")
