"""The example process worker as an image of the host node: pods as a Process's operator would make them."""

import asyncio
import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from ameide_dev.client import KubeClient
from ameide_dev.platform import Platform
from ameide_dev.temporal import TemporalServer
from process_operator.bpmn import Compiled, Dependencies, compile

Object = dict[str, Any]

NAMESPACE = "hosted-worker"


def definition() -> Compiled:
    """Doubles a number after a short while."""
    script = {
        "$type": "bpmn:ScriptTask",
        "id": "double",
        "script": "n * 2",
        "extensionElements": {
            "$type": "bpmn:ExtensionElements",
            "values": [{"$type": "ameide:Script", "result": "doubled"}],
        },
    }
    timer = {"$type": "bpmn:TimerEventDefinition", "timeDuration": {"$type": "bpmn:FormalExpression", "body": "PT0.2S"}}
    nodes: list[Object] = [
        {"$type": "bpmn:StartEvent", "id": "start"},
        {"$type": "bpmn:IntermediateCatchEvent", "id": "soon", "eventDefinitions": [timer]},
        script,
        {"$type": "bpmn:EndEvent", "id": "end"},
    ]
    ids = [node["id"] for node in nodes]
    flows: list[Object] = [
        {"$type": "bpmn:SequenceFlow", "id": f"{a}_{b}", "sourceRef": a, "targetRef": b} for a, b in pairwise(ids)
    ]
    process = {"$type": "bpmn:Process", "id": "doubling", "isExecutable": True, "flowElements": [*nodes, *flows]}
    return compile(
        {"$type": "bpmn:Definitions", "id": "definitions", "rootElements": [process]},
        Dependencies(domains=frozenset(), agents=frozenset()),
    )


def container(compiled: Compiled, temporal: TemporalServer, tag: str, queue: str) -> Object:
    variables = {
        "AMEIDE_PROCESS_DEFINITION_CHECKSUM": compiled.checksum,
        "AMEIDE_TENANT_ID": "t123",
        "TEMPORAL_ADDRESS": temporal.address,
        "TEMPORAL_NAMESPACE": NAMESPACE,
        "TASK_QUEUE": queue,
        "PORT_HTTP": "8080",
        "AMEIDE_SHUTDOWN_SECONDS": "1",
    }
    own = {"POD_NAME": "metadata.name", "POD_IP": "status.podIP"}
    return {
        "name": "worker",
        "image": f"ghcr.io/ameide/hostnode-process-worker:{tag}",
        "env": [
            *({"name": name, "value": value} for name, value in variables.items()),
            *({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in own.items()),
        ],
        "ports": [{"name": "http", "containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": "http"}, "periodSeconds": 1, "timeoutSeconds": 3},
        "volumeMounts": [
            {"name": "definitions", "mountPath": "/etc/ameide/process", "readOnly": True},
            {"name": "drain", "mountPath": "/etc/ameide/drain", "readOnly": True},
        ],
    }


def volumes(compiled: Compiled) -> list[Object]:
    item = {"key": "table.json", "path": f"{compiled.checksum.removeprefix('sha256:')}/table.json"}
    return [
        {"name": "definitions", "projected": {"sources": [{"configMap": {"name": "definition", "items": [item]}}]}},
        {"name": "drain", "configMap": {"name": "drain", "optional": True}},
    ]


def pod_spec(compiled: Compiled, temporal: TemporalServer, tag: str, queue: str, **more: Any) -> Object:
    return {
        "containers": [container(compiled, temporal, tag, queue)],
        "volumes": volumes(compiled),
        "terminationGracePeriodSeconds": 3,
        **more,
    }


def deploy(kube: KubeClient, namespace: str, name: str, spec: Object) -> None:
    labels = {"app": name}
    kube.create(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": spec},
            },
        }
    )


def store(kube: KubeClient, namespace: str, name: str, data: dict[str, str]) -> None:
    metadata = {"name": name, "namespace": namespace}
    kube.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})


def only_pod(kube: KubeClient, namespace: str, name: str) -> Object | None:
    pods = kube.list("v1", "Pod", namespace, label_selector=f"app={name}")
    return pods[0] if pods else None


async def eventually(what: str, holds: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = asyncio.get_running_loop().time() + seconds
    while not holds():
        assert asyncio.get_running_loop().time() < deadline, f"waited {seconds} s for {what}"
        await asyncio.sleep(0.1)


def ready(kube: KubeClient, namespace: str, name: str) -> bool:
    pod = only_pod(kube, namespace, name) or {}
    statuses = pod.get("status", {}).get("containerStatuses", [{}])
    return bool(statuses[0].get("ready"))


@pytest.fixture
def compiled(kube: KubeClient, namespace: str, temporal: TemporalServer) -> Compiled:
    """The definition, stored as the operator stores it."""
    temporal.create_namespace(NAMESPACE)
    made = definition()
    store(kube, namespace, "definition", {"table.json": made.bytes.decode()})
    return made


async def test_a_worker_pod_executes_workflows_and_refuses_them_when_drained(
    platform: Platform, kube: KubeClient, namespace: str, temporal: TemporalServer, compiled: Compiled
) -> None:
    deploy(kube, namespace, "worker", pod_spec(compiled, temporal, "1.0.0", namespace))
    await eventually("the worker to be ready", lambda: ready(kube, namespace, "worker"))
    client = await temporal.client(NAMESPACE)
    first = f"{namespace}-1"
    assert await client.execute_workflow("doubling", {"n": 21}, id=first, task_queue=namespace) == {
        "n": 21,
        "doubled": 42,
    }
    pod = only_pod(kube, namespace, "worker")
    assert pod is not None
    handle = client.get_workflow_handle(first)
    history = await handle.fetch_history()
    identities = {
        event.workflow_task_completed_event_attributes.identity
        for event in history.events
        if event.HasField("workflow_task_completed_event_attributes")
    }
    assert identities == {pod["metadata"]["name"]}

    store(kube, namespace, "drain", {"drain": "true"})

    async def refused() -> bool:
        started = await client.start_workflow("doubling", {"n": 1}, id=f"{namespace}-2", task_queue=namespace)
        try:
            await started.result()
        except Exception as error:
            return "drained" in str(error.__cause__)
        return False

    for _ in range(40):
        if await refused():
            break
        await asyncio.sleep(0.25)
    else:
        raise AssertionError("workflows are still taken")


async def test_a_scheduled_job_runs_with_the_same_wiring(
    platform: Platform, kube: KubeClient, namespace: str, temporal: TemporalServer, compiled: Compiled
) -> None:
    spec = pod_spec(compiled, temporal, "1.0.0", namespace, restartPolicy="Never")
    spec["containers"][0]["args"] = ["job", "SLACheck", "--max-age", "PT1H"]
    del spec["containers"][0]["readinessProbe"]
    metadata = {"name": "sla", "namespace": namespace}
    body = {"backoffLimit": 0, "template": {"spec": spec}}
    kube.create({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": body})
    await asyncio.to_thread(kube.wait_condition, "batch/v1", "Job", "sla", "Complete", namespace, timeout=30)
    [pod] = kube.list("v1", "Pod", namespace, label_selector="job-name=sla")
    said = [json.loads(line) for line in kube.logs(namespace, pod["metadata"]["name"]).splitlines()]
    assert said[-1]["purpose"] == "SLACheck"
    assert said[-1]["found"] == 0


async def test_broken_builds_crash_or_never_poll(
    platform: Platform, kube: KubeClient, namespace: str, temporal: TemporalServer, compiled: Compiled
) -> None:
    deploy(kube, namespace, "crash", pod_spec(compiled, temporal, "2.0.0-crash", namespace))
    deploy(kube, namespace, "silent", pod_spec(compiled, temporal, "2.0.0-nopoll", namespace))
    await eventually("the silent one to seem ready", lambda: ready(kube, namespace, "silent"))

    def crashed() -> bool:
        pod = only_pod(kube, namespace, "crash") or {}
        [status] = pod.get("status", {}).get("containerStatuses", [{}])
        return bool(status.get("lastState", {}).get("terminated", {}).get("exitCode") == 3)

    await eventually("the crash", crashed)
    client = await temporal.client(NAMESPACE)
    started = await client.start_workflow("doubling", {"n": 1}, id=f"{namespace}-3", task_queue=namespace)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(started.result(), 2)
    await started.terminate("the test is over")
