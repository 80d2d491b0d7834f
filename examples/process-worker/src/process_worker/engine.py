"""What all scopes of one running process share: its table, mailbox, calls, and what can be seen from outside."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ChildWorkflowError, FailureError, is_cancelled_exception

from process_worker.errors import BpmnError, incident
from process_worker.joins import reachable_from
from process_worker.mailbox import Mailbox
from process_worker.tables import Element, Table
from process_worker.variables import Variables

# A process that passes this many elements without waiting for anything goes round in a circle.
_MOST_STEPS = 10_000
_REMEMBERED = 500


@dataclass(slots=True)
class Active:
    """An element that a token is at."""

    element: Element
    since: datetime
    waits: dict[str, Any] = field(default_factory=dict)

    def view(self) -> dict[str, Any]:
        """As the query `state` shows it."""
        name = {"name": self.element["name"]} if "name" in self.element else {}
        waits = {"waitsFor": self.waits} if self.waits else {}
        return {
            "id": self.element["id"],
            "kind": self.element["kind"],
            **name,
            "since": self.since.isoformat(),
            **waits,
        }


class Engine:
    """One running process. Everything it does is a function of the table, the input and Temporal's history."""

    def __init__(self, table: Table, checksum: str, tenant: str, variables: Variables, mailbox: Mailbox) -> None:
        self.table = table
        self.checksum = checksum
        self.tenant = tenant
        self.variables = variables
        self.mailbox = mailbox
        self.path: deque[str] = deque(maxlen=_REMEMBERED)
        self.numbers = itertools.count(1)
        self._active: dict[int, Active] = {}
        self._reach: dict[str, dict[str, frozenset[str]]] = {}
        self._children = itertools.count(1)
        self._now = workflow.now()
        self._steps = 0

    def element(self, identity: str) -> Element:
        """The element with this id."""
        found: Element = self.table["elements"][identity]
        return found

    def target(self, flow: str) -> str:
        """The id of the element that a flow leads to."""
        return str(self.table["flows"][flow]["target"])

    def step(self, element: Element) -> None:
        """Note that a token has come to an element. Raises an incident when the process runs in a circle."""
        self.path.append(element["id"])
        if workflow.now() != self._now:
            self._now, self._steps = workflow.now(), 0
        self._steps += 1
        if self._steps > _MOST_STEPS:
            raise incident(
                "EndlessLoop",
                f"the process has passed {_MOST_STEPS} elements without waiting, the last is {element['id']!r}; "
                "correct the condition of the loop, or put a timer into it",
            )

    @contextmanager
    def active(self, element: Element) -> Iterator[Active]:
        """Show the element as active for as long as the block runs."""
        number = next(self.numbers)
        self._active[number] = entry = Active(element, workflow.now())
        try:
            yield entry
        finally:
            del self._active[number]

    def reach(self, gateway: Element) -> dict[str, frozenset[str]]:
        """For each incoming flow of a gateway, where it can be reached from."""
        identity = gateway["id"]
        if identity not in self._reach:
            self._reach[identity] = {flow: reachable_from(self.table, flow) for flow in gateway["incoming"]}
        return self._reach[identity]

    def state(self) -> dict[str, Any]:
        """The answer to the query `state`."""
        return {
            "process": self.table["process"],
            "definition": self.checksum,
            "tenant": self.tenant,
            "active": [entry.view() for entry in self._active.values()],
            "tasks": [{"id": task.id, "element": task.element, **task.about} for task in self.mailbox.tasks.values()],
            "path": list(self.path),
            "variables": dict(self.variables.values),
        }

    async def call(self, element: Element, variables: Variables) -> Any:
        """Run the activity that an element is bound to; returns its result. Raises BpmnError."""
        binding = element["binding"]
        http = binding.get("http") or {"method": "POST", "path": [{"text": binding["operation"]}]}
        request = {
            "element": element["id"],
            "definition": self.checksum,
            "tenant": self.tenant,
            "target": binding["target"],
            "operation": binding["operation"],
            "protocol": binding["protocol"],
            "method": http["method"],
            "segments": [part["text"] if "text" in part else variables.value(part["value"]) for part in http["path"]],
            "inputs": variables.inputs(element.get("inputs", ())),
        }
        times, retry = binding["timeouts"], binding["retry"]
        try:
            return await workflow.execute_activity(
                binding["activity"],
                request,
                start_to_close_timeout=_span(times, "startToCloseMs"),
                schedule_to_close_timeout=_span(times, "scheduleToCloseMs"),
                schedule_to_start_timeout=_span(times, "scheduleToStartMs"),
                heartbeat_timeout=_span(times, "heartbeatMs"),
                retry_policy=RetryPolicy(
                    initial_interval=timedelta(milliseconds=retry["initialIntervalMs"]),
                    backoff_coefficient=retry["backoffCoefficient"],
                    maximum_interval=timedelta(milliseconds=retry["maximumIntervalMs"]),
                    maximum_attempts=retry["maximumAttempts"],
                    non_retryable_error_types=retry["nonRetryableErrors"],
                ),
                summary=element.get("name", element["id"])[:200],
            )
        except ActivityError as error:
            raise _converted(error) from error

    async def child(self, element: Element, variables: Variables) -> Any:
        """Run another process as a child workflow; returns its variables. Raises BpmnError."""
        call = element["call"]
        identity = f"{workflow.info().workflow_id}/{element['id']}/{next(self._children)}"
        try:
            return await workflow.execute_child_workflow(
                call["process"],
                variables.inputs(element.get("inputs", ())),
                id=identity,
                task_queue=call.get("taskQueue"),
                parent_close_policy=workflow.ParentClosePolicy.REQUEST_CANCEL,
            )
        except ChildWorkflowError as error:
            raise _converted(error) from error


async def discard(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Cancel tasks and wait until they have unwound; how they end is of no interest any more."""
    for task in tasks:
        task.cancel()
    if tasks:
        await workflow.wait(tasks)
    for task in tasks:
        if not task.cancelled():
            task.exception()


def _span(times: Mapping[str, int], name: str) -> timedelta | None:
    return timedelta(milliseconds=times[name]) if name in times else None


def _converted(error: FailureError) -> BaseException:
    if is_cancelled_exception(error):
        return asyncio.CancelledError()
    return BpmnError.of(error)
