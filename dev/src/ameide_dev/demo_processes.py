"""The demo's Processes: the servers that they and Agents need, and a workflow that their workers complete."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.service import RPCError

from ameide_dev import demo_agents
from ameide_dev.client import KubeClient
from ameide_dev.demo_domains import EXAMPLES, SHOP, DemoError
from ameide_dev.operators import NAMESPACE as SYSTEM
from ameide_dev.temporal import TemporalServer
from ameide_dev.transformation import TransformationServer

DEFINITION = "order-to-cash"
TENANT = "acme"
PROCESS_ID = "order_to_cash"
"""The id of the executable process in the definition: the type of its workflows."""
_TOKEN_SECRET = "transformation-token"  # noqa: S105 - the name of a Secret
_TOKEN_FOLDER = "/etc/ameide-transformation"  # noqa: S105 - a folder
_WORKFLOW_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Servers:
    """What Processes and Agents need beside the cluster: Temporal, and a Transformation service with definitions."""

    temporal: TemporalServer
    transformation: TransformationServer
    token: str

    @property
    def where(self) -> str:
        """Both, with their addresses."""
        return f"Temporal at {self.temporal.address}, Transformation at {self.transformation.url}"

    def prepare(self, client: KubeClient) -> None:
        """Register the namespace, publish the definitions, and put the token where the operators' pods mount it."""
        self.temporal.create_namespace(SHOP)
        demo_agents.publish(self.transformation, TENANT)
        definition = json.loads((EXAMPLES / "definitions" / f"{DEFINITION}.json").read_text())
        self.transformation.put("process", TENANT, DEFINITION, definition)
        metadata = {"name": _TOKEN_SECRET, "namespace": SYSTEM}
        client.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"token": self.token}})

    def values(self) -> Mapping[str, Any]:
        """The block of the Process operator in the chart's values."""
        temporal = {"connections": {"default": {"address": self.temporal.address}}, "checkSeconds": 10}
        return self._values({"temporal": temporal}, self.temporal.address, self.transformation.url)

    def agent_values(self) -> Mapping[str, Any]:
        """The block of the Agent operator in the chart's values."""
        return self._values({"secretStore": {"name": "demo"}}, self.transformation.url)

    def _values(self, settings: Mapping[str, Any], *servers: str) -> Mapping[str, Any]:
        """The block of an operator that reads definitions, with ways to these servers."""
        return {
            "settings": {**settings, "transformation": {"url": self.transformation.url, "pollSeconds": 10}},
            # On the host node a file is where its mount is, which it puts into variables, not into files of settings.
            "env": [{"name": "AMEIDE_TRANSFORMATION__TOKEN_FILE", "value": f"{_TOKEN_FOLDER}/token"}],
            "volumes": [{"name": "transformation", "secret": {"secretName": _TOKEN_SECRET}}],
            "volumeMounts": [{"name": "transformation", "mountPath": _TOKEN_FOLDER, "readOnly": True}],
            "egress": [
                {"to": [{"ipBlock": {"cidr": "127.0.0.1/32"}}], "ports": [{"port": port, "protocol": "TCP"}]}
                for port in map(_port, servers)
            ],
        }


def start(stack: ExitStack) -> Servers:
    """Start both servers on loopback; `stack` stops them."""
    token = secrets.token_urlsafe(24)
    temporal = stack.enter_context(TemporalServer())
    return Servers(temporal, stack.enter_context(TransformationServer(token=token)), token)


@dataclass(frozen=True, slots=True)
class Run:
    """A workflow that was completed: its id, the elements that it waited at, and the variables that it ended with."""

    workflow: str
    waited_at: tuple[str, ...]
    variables: Mapping[str, Any]


def run_workflow(address: str, queue: str, say: Callable[[str], None]) -> Run:
    """Start an order, pay it, and wait for its end. Raises DemoError where it does not come to that."""
    return asyncio.run(_run(address, queue, say))


async def _run(address: str, queue: str, say: Callable[[str], None]) -> Run:
    client = await Client.connect(address, namespace=SHOP)
    workflow = f"order-{secrets.token_hex(3)}"
    try:
        async with asyncio.timeout(_WORKFLOW_SECONDS):
            say(f"{PROCESS_ID} {workflow} is started: two espresso machines")
            variables = {"item": "espresso machine", "quantity": 2}
            handle = await client.start_workflow(
                PROCESS_ID, args=[variables, {"tenant": TENANT}], id=workflow, task_queue=queue
            )
            await _at(handle, "await_payment")
            order = (await handle.query("state"))["variables"]["order"]
            say(f"Domain orders has order {order['id']}; the goods are picked, and the workflow waits for the payment")
            await handle.signal("payment", args=[{"amount": 1998}, order["id"]])
            return Run(workflow, ("await_payment",), await handle.result())
    except (TimeoutError, RPCError, WorkflowFailureError) as error:
        raise DemoError(f"workflow {workflow} on task queue {queue} was not completed: {error!r}") from error


async def _at(handle: WorkflowHandle[Any, Any], element: str) -> None:
    """Wait until the workflow is at an element."""
    while True:
        state = await handle.query("state")
        if any(active["id"] == element for active in state["active"]):
            return
        await asyncio.sleep(0.2)


def _port(address: str) -> int:
    return urlsplit(address if "://" in address else f"//{address}").port or 0
