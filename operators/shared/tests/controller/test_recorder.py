"""Events: one per transition, counted on repeats, limited per object, cut to size, and never in the way."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from ameide_shared.confidential import Confidential, keep, take_up
from ameide_shared.controller.recorder import NOTE_BYTES, Recorder
from ameide_shared.kube.client import ApiClient
from ameide_shared.kube.errors import ServerUnavailable
from ameide_shared.kube.resources import EVENT
from ameide_shared.logging import bind
from ameide_shared.metrics import Metrics

if TYPE_CHECKING:
    from ameide_dev.client import KubeClient


@pytest.fixture
def subject(kube: KubeClient, namespace: str) -> dict[str, Any]:
    manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "orders", "namespace": namespace}}
    return kube.create(manifest)


def recorded(metrics: Metrics, result: str) -> float:
    return metrics.registry.get_sample_value("ameide_events_total", {"result": result}) or 0.0


async def test_an_event_is_there_for_kubectl_and_repeats_are_counted_also_after_a_restart(
    client: ApiClient, namespace: str, subject: dict[str, Any]
) -> None:
    for _ in range(2):  # the second recorder is a restarted operator
        metrics = Metrics("configmap")
        recorder = Recorder(client, "t-operator", metrics=metrics)
        running = asyncio.create_task(recorder.run())
        recorder.event(subject, "Warning", "MigrationFailed", "relation x exists")
        await recorder.flush(5)
        running.cancel()
    recorder = Recorder(client, "t-operator", metrics=metrics)
    for _ in range(3):  # not yet written: one request for all
        recorder.event(subject, "Warning", "MigrationFailed", "relation x exists")
    running = asyncio.create_task(recorder.run())
    await recorder.flush(5)
    running.cancel()
    events = (await client.list(EVENT, namespace)).items
    assert len(events) == 1
    (event,) = events
    assert event["regarding"]["name"] == "orders"
    assert event["regarding"]["uid"] == subject["metadata"]["uid"]
    assert (event["type"], event["reason"]) == ("Warning", "MigrationFailed")
    assert event["note"] == "relation x exists"
    assert event["reportingController"] == "t-operator"
    assert event["series"]["count"] == 5


async def test_another_message_is_another_event_and_long_ones_are_cut(
    client: ApiClient, namespace: str, subject: dict[str, Any]
) -> None:
    metrics = Metrics("configmap")
    recorder = Recorder(client, "t-operator", metrics=metrics)
    running = asyncio.create_task(recorder.run())
    recorder.event(subject, "Normal", "Available", "all is well")
    recorder.event(subject, "Normal", "Available", "ü" * 2000)
    await recorder.flush(5)
    running.cancel()
    events = (await client.list(EVENT, namespace)).items
    assert len(events) == 2
    assert max(len(event["note"].encode()) for event in events) <= NOTE_BYTES
    assert recorded(metrics, "created") == 2


async def test_an_event_has_no_secret_value_of_the_resource_at_hand_not_even_a_part_where_it_is_cut(
    client: ApiClient, namespace: str, subject: dict[str, Any]
) -> None:
    recorder = Recorder(client, "t-operator", metrics=Metrics("configmap"))
    running = asyncio.create_task(recorder.run())
    with bind(name="orders"):
        take_up(Confidential())
        keep("the-password-of-orders")
        recorder.event(subject, "Warning", "MigrationFailed", f"{'x' * (NOTE_BYTES - 12)} the-password-of-orders")
    await recorder.flush(5)
    running.cancel()
    (event,) = (await client.list(EVENT, namespace)).items
    assert "the-pass" not in event["note"]
    assert "<redact" in event["note"]


async def test_an_object_that_talks_too_much_is_cut_off_and_others_are_not() -> None:
    created: list[str] = []

    class Client:
        async def create(self, manifest: dict[str, Any]) -> dict[str, Any]:
            created.append(manifest["regarding"]["name"])
            return manifest

    metrics = Metrics("domain")
    time = 0.0
    recorder = Recorder(Client(), "t-operator", metrics=metrics, clock=lambda: time)  # type: ignore[arg-type]  # a double

    def subject(name: str) -> dict[str, Any]:
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "x", "uid": name}}

    for i in range(100):
        recorder.event(subject("loud"), "Normal", "Moved", f"to {i}")
    recorder.event(subject("quiet"), "Normal", "Moved", "once")
    running = asyncio.create_task(recorder.run())
    await recorder.flush(5)
    assert created.count("loud") == 15
    assert created.count("quiet") == 1
    assert recorded(metrics, "dropped") == 85
    time = 60.0  # three more tokens
    for i in range(100, 110):
        recorder.event(subject("loud"), "Normal", "Moved", f"to {i}")
    await recorder.flush(5)
    running.cancel()
    assert created.count("loud") == 18


async def test_failures_are_counted_and_do_not_stop_the_recorder() -> None:
    class Client:
        tries = 0

        async def create(self, manifest: dict[str, Any]) -> dict[str, Any]:
            self.tries += 1
            if self.tries == 1:
                raise ServerUnavailable("away")
            return manifest

    metrics = Metrics("domain")
    recorder = Recorder(Client(), "t-operator", metrics=metrics)  # type: ignore[arg-type]  # a double
    running = asyncio.create_task(recorder.run())
    manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "x", "uid": "1"}}
    recorder.event(manifest, "Normal", "Moved", "one")
    recorder.event(manifest, "Normal", "Moved", "two")
    await recorder.flush(5)
    running.cancel()
    assert (recorded(metrics, "failed"), recorded(metrics, "created")) == (1, 1)
