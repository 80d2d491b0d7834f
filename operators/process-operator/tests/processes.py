"""Processes as the tests on the local platform write them, the operator that they are for, and what is around it."""

from __future__ import annotations

import asyncio
import itertools
import json
import secrets
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from temporalio.api.enums.v1 import TaskQueueKind
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import PollWorkflowTaskQueueRequest
from temporalio.client import Client, WorkflowHandle
from temporalio.service import RPCError

from ameide_dev.client import KubeClient
from ameide_dev.temporal import TemporalServer
from ameide_dev.testing.resources import Resources, merged
from ameide_dev.testing.subject import Subject
from ameide_dev.testing.waiting import until
from ameide_dev.transformation import TransformationServer

SUBJECT = Subject("process")
TENANT = "t123"
TEMPORAL_NAMESPACE = "processes"
WORKER = "ghcr.io/ameide/hostnode-process-worker:1.0.0"
"""The example worker, which the host node really runs."""
PLAYED = "ghcr.io/ameide/flow-process:1.0.0"
"""Pods of this image are only played: Ready at once, and polling nothing."""
FLOW = "flow"
"""The id of the executable process in `definition`: the type of its workflows."""

_QUERY = timedelta(seconds=5)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Around:
    """The servers that the operator talks to besides the API server, and the token for one of them."""

    temporal: TemporalServer
    transformation: TransformationServer
    token_file: Path

    def settings(self, **connection: Any) -> dict[str, str]:
        """`AMEIDE_*` variables; `connection` goes into the settings of connection `default`."""
        connections = {"default": {"address": self.temporal.address, **connection}}
        return {
            "AMEIDE_TRANSFORMATION__URL": self.transformation.url,
            "AMEIDE_TRANSFORMATION__TOKEN_FILE": str(self.token_file),
            "AMEIDE_TRANSFORMATION__POLL_SECONDS": "1",
            "AMEIDE_TEMPORAL__CONNECTIONS": json.dumps(connections),
            "AMEIDE_TEMPORAL__CHECK_SECONDS": "2",
            "AMEIDE_TEMPORAL__TIMEOUT": "3",
            "AMEIDE_DEFINITIONS__RETENTION_SECONDS": "0",
        }


class Processes(Resources):
    """Processes of one namespace; the least one has a definition of that namespace's own, and calls nothing."""

    kind = "Process"
    name = "flow"
    spec = {"image": WORKER, "resources": {"cpu": "50m", "memory": "64Mi"}}  # noqa: RUF012 - never changed

    def __init__(self, kube: KubeClient, namespace: str, around: Around) -> None:
        super().__init__(kube, namespace)
        self.around = around

    @property
    def definition_id(self) -> str:
        """The id of the definition of this namespace's Processes."""
        return self.namespace

    def queue(self, name: str | None = None) -> str:
        """The task queue of a Process, unless its spec says otherwise."""
        return f"{self.namespace}/{name or self.name}"

    def manifest(self, name: str | None = None, **spec: Any) -> dict[str, Any]:
        """A valid Process; `spec` is merged over the least one."""
        own = {
            "definitionRef": {"id": self.definition_id, "tenantId": TENANT},
            "temporal": {"namespace": TEMPORAL_NAMESPACE, "taskQueue": self.queue(name)},
        }
        return super().manifest(name, **merged(own, spec))

    def publish(self, edition: int = 1, **more: Any) -> int:
        """Publish `definition(edition)` for the Processes of this namespace; its version."""
        return self.around.transformation.put(
            "process", TENANT, self.definition_id, definition(edition, **more), version=None
        )

    def pods(self, name: str | None = None, track: str = "stable") -> list[dict[str, Any]]:
        """The pods of a Process that are not going."""
        selector = f"ameide.io/name={name or self.name},ameide.io/track={track}"
        found = self.kube.list("v1", "Pod", self.namespace, label_selector=selector)
        return [pod for pod in found if not pod["metadata"].get("deletionTimestamp")]

    def uids(self, name: str | None = None) -> set[str]:
        """What tells whether pods were replaced."""
        return {pod["metadata"]["uid"] for pod in self.pods(name)}

    def definitions(self) -> list[str]:
        """Names of the ConfigMaps that hold definitions."""
        found = self.kube.list("v1", "ConfigMap", self.namespace)
        return sorted(
            each["metadata"]["name"]
            for each in found
            if "ameide.io/definition-checksum" in each["metadata"].get("annotations", {})
        )

    def events(self, reason: str) -> list[str]:
        """Messages of the Events with a reason."""
        found = self.kube.list("v1", "Event", self.namespace)
        return [event.get("message") or event.get("note", "") for event in found if event.get("reason") == reason]

    def wait_event(self, reason: str) -> list[str]:
        """Wait for Events with a reason; their messages."""
        return until(f"an Event {reason}", lambda: self.events(reason))


def definition(edition: int = 1, *, extra: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A process that waits for message `go`, then sets the variable `edition`, so that one sees which version ran.

    Editions after the first pass a further task before they wait: a workflow of one cannot be replayed on another.
    `extra`: one more element, in the way between the script and the end.
    """
    script = {
        "$type": "bpmn:ScriptTask",
        "id": "note",
        "script": str(edition),
        "extensionElements": {
            "$type": "bpmn:ExtensionElements",
            "values": [{"$type": "ameide:Script", "result": "edition"}],
        },
    }
    timer = {
        "$type": "bpmn:IntermediateCatchEvent",
        "id": "breathe",
        "eventDefinitions": [
            {
                "$type": "bpmn:TimerEventDefinition",
                "timeDuration": {"$type": "bpmn:FormalExpression", "body": "PT0.01S"},
            }
        ],
    }
    steps: list[Mapping[str, Any]] = [
        {"$type": "bpmn:StartEvent", "id": "start"},
        *([timer] if edition > 1 else []),
        {"$type": "bpmn:ReceiveTask", "id": "await_go", "messageRef": "message_go"},
        script,
        *([extra] if extra else []),
        {"$type": "bpmn:EndEvent", "id": "end"},
    ]
    flows = [
        {
            "$type": "bpmn:SequenceFlow",
            "id": f"flow_{number}",
            "sourceRef": before["id"],
            "targetRef": after["id"],
        }
        for number, (before, after) in enumerate(itertools.pairwise(steps))
    ]
    process = {"$type": "bpmn:Process", "id": FLOW, "isExecutable": True, "flowElements": [*steps, *flows]}
    message = {"$type": "bpmn:Message", "id": "message_go", "name": "go"}
    return {"$type": "bpmn:Definitions", "id": "definitions", "rootElements": [message, process]}


def run(work: Coroutine[Any, Any, T], seconds: float = 45) -> T:
    """Run what talks to Temporal, for at most so many seconds."""

    async def bounded() -> T:
        async with asyncio.timeout(seconds):
            return await work

    return asyncio.run(bounded())


async def start(
    server: TemporalServer, queue: str, namespace: str = TEMPORAL_NAMESPACE
) -> WorkflowHandle[Any, dict[str, Any]]:
    """Start a workflow of `definition`; it waits for `go`."""
    client = await Client.connect(server.address, namespace=namespace)
    return await client.start_workflow(
        FLOW, args=[{}, {"tenant": TENANT}], id=f"flow-{secrets.token_hex(4)}", task_queue=queue
    )


async def waiting(handle: WorkflowHandle[Any, Any]) -> None:
    """Wait until a workflow waits for `go`; whoever answers this has replayed it."""
    while True:
        try:
            state = await handle.query("state", rpc_timeout=_QUERY)
        except RPCError:
            state = {"active": []}  # no worker yet
        if any(each["id"] == "await_go" for each in state["active"]):
            return
        await asyncio.sleep(0.2)


async def open_workflow(server: TemporalServer, queue: str, namespace: str = TEMPORAL_NAMESPACE) -> str:
    """Start a workflow, and wait until it waits for `go`; its id."""
    handle = await start(server, queue, namespace)
    await waiting(handle)
    return handle.id


async def finish(server: TemporalServer, workflow: str, namespace: str = TEMPORAL_NAMESPACE) -> dict[str, Any]:
    """Let a workflow go on, and wait for its variables."""
    client = await Client.connect(server.address, namespace=namespace)
    handle: WorkflowHandle[Any, dict[str, Any]] = client.get_workflow_handle(workflow)
    await handle.signal("go", args=[{}])
    return await handle.result()


async def outcome(server: TemporalServer, workflow: str, namespace: str = TEMPORAL_NAMESPACE) -> str:
    """The state of a workflow, as in COMPLETED, RUNNING, TERMINATED."""
    client = await Client.connect(server.address, namespace=namespace)
    described = await client.get_workflow_handle(workflow).describe()
    return described.status.name if described.status is not None else ""


async def poll_once(server: TemporalServer, pods: Mapping[str, str], seconds: float = 5.0) -> None:
    """Poll task queues for a moment as these pods would: pod → queue. The server remembers pollers for minutes.

    It does not wait at all for those who would go after two seconds or less.
    """
    client = await Client.connect(server.address, namespace=TEMPORAL_NAMESPACE)

    async def poll(pod: str, queue: str) -> None:
        request = PollWorkflowTaskQueueRequest(
            namespace=TEMPORAL_NAMESPACE,
            task_queue=TaskQueue(name=queue, kind=TaskQueueKind.TASK_QUEUE_KIND_NORMAL),
            identity=f"1@{pod}",
        )
        try:
            await client.workflow_service.poll_workflow_task_queue(request, timeout=timedelta(seconds=seconds))
        except RPCError:
            return  # nothing came in time

    await asyncio.gather(*(poll(pod, queue) for pod, queue in pods.items()))
