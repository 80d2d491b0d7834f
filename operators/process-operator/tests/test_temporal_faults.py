"""Temporal that lacks a namespace, is slow, dies or comes back; and task queues that two Processes want."""

from __future__ import annotations

import secrets

from processes import PLAYED, TEMPORAL_NAMESPACE, Around, Processes, finish, open_workflow, run

from ameide_dev.client import KubeClient
from ameide_dev.pytest_plugin import NamespaceMaker
from ameide_dev.testing.subject import StartOperator
from ameide_dev.testing.waiting import until


def test_namespace_that_is_created_later_is_noticed(processes: Processes) -> None:
    name = f"later-{secrets.token_hex(4)}"
    processes.create(replicas=0, temporal={"namespace": name})
    process = processes.until("TemporalReady", "False", reason="NamespaceNotFound", timeout=30)
    assert name in process["status"]["blocker"]["remedy"]
    assert processes.child("apps/v1", "Deployment", "flow-process") is None
    processes.around.temporal.create_namespace(name)
    processes.ready(timeout=60)


def test_missing_namespace_is_registered_where_settings_say_so(
    kube: KubeClient, make_namespace: NamespaceMaker, around: Around, start_operator: StartOperator
) -> None:
    processes = Processes(kube, make_namespace("own-register"), around)
    processes.publish()
    start_operator("own-register", **around.settings(registerNamespaces=True))
    name = f"registered-{secrets.token_hex(4)}"
    processes.create(replicas=0, temporal={"namespace": name})
    process = processes.ready(timeout=60)
    assert process["status"]["temporal"]["namespaceState"] == "Registered"


def test_workers_survive_a_server_that_dies(
    kube: KubeClient, make_namespace: NamespaceMaker, own_around: Around, start_operator: StartOperator
) -> None:
    """Killed and back, then stopped in its tracks and back: the same pods all the while, and they go on working."""
    processes = Processes(kube, make_namespace("own-outage"), own_around)
    processes.publish()
    start_operator("own-outage", **own_around.settings())
    processes.create()
    processes.ready(timeout=60)
    pods = processes.uids()
    server = own_around.temporal
    workflow = run(open_workflow(server, processes.queue()))

    server.kill()
    process = processes.until("Degraded", reason="TemporalUnreachable", timeout=60)
    assert process["status"]["temporal"]["reachable"] is False
    server.start()
    processes.ready(timeout=90)

    server.pause()
    processes.until("TemporalReady", "False", reason="TemporalUnreachable", timeout=60)
    server.resume()
    processes.ready(timeout=90)
    assert processes.uids() == pods
    assert run(finish(server, workflow)) == {"edition": 1}


def test_task_queue_belongs_to_the_older_and_is_taken_over(processes: Processes) -> None:
    processes.create("first", replicas=0)
    processes.ready("first", timeout=60)
    first = processes.get("first")["metadata"]["creationTimestamp"]
    # Times of creation are whole seconds; of equal ones an accident decides.
    until("a second later", lambda: probe(processes) > first)
    queue = processes.queue("first")
    processes.create("second", replicas=0, temporal={"taskQueue": queue})
    process = processes.until("TemporalReady", "False", reason="TaskQueueConflict", name="second", timeout=30)
    assert f"{processes.namespace}/first" in process["status"]["blocker"]["message"]
    assert processes.child("apps/v1", "Deployment", "second-process") is None
    processes.delete("first", wait=60)
    processes.ready("second", timeout=60)


def probe(processes: Processes) -> str:
    """The API server's time."""
    metadata = {"generateName": "probe-", "namespace": processes.namespace}
    made = processes.kube.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})
    return str(made["metadata"]["creationTimestamp"])


def test_ready_pods_that_poll_nothing_are_told(
    kube: KubeClient, make_namespace: NamespaceMaker, around: Around, start_operator: StartOperator
) -> None:
    processes = Processes(kube, make_namespace("own-silent"), around)
    processes.publish()
    start_operator("own-silent", **around.settings(), AMEIDE_WORKERS_EXPECTED__POLLING_SECONDS="2")
    processes.create(image=PLAYED)
    process = processes.until("Ready", "False", reason="WorkersNotPolling", timeout=60)
    assert processes.queue() in process["status"]["blocker"]["message"]
    until("it has given up waiting", lambda: processes.condition("Degraded").get("status") == "True", timeout=30)


def test_connection_that_settings_lack_is_named(processes: Processes) -> None:
    processes.create(replicas=0, temporal={"connection": "elsewhere"})
    process = processes.until("TemporalReady", "False", reason="TemporalConnectionUnknown", timeout=30)
    assert "elsewhere" in process["status"]["blocker"]["message"]


def test_namespaces_are_limited_by_tenant(
    kube: KubeClient, make_namespace: NamespaceMaker, around: Around, start_operator: StartOperator
) -> None:
    processes = Processes(kube, make_namespace("own-limit"), around)
    processes.publish()
    start_operator("own-limit", **around.settings(namespaces={"t123": ["{tenant}-*"]}))
    processes.create(replicas=0)
    process = processes.until("TemporalReady", "False", reason="NamespaceNotPermitted", timeout=30)
    assert TEMPORAL_NAMESPACE in process["status"]["blocker"]["message"]
