"""The one workflow type: whatever process it is started as, it executes that process's binding table."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RawValue, RetryPolicy, SearchAttributeKey
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from process_worker.engine import Engine
    from process_worker.errors import BpmnError, incident
    from process_worker.mailbox import Mailbox, Message
    from process_worker.scope import Scope
    from process_worker.tables import TABLES
    from process_worker.variables import Variables

MEMO = "ameide-definition-checksum"
ATTRIBUTE = SearchAttributeKey.for_keyword("AmeideDefinitionChecksum")

# Decides on the worker that takes the first task; a local activity's answer is part of that task's result.
_BEGIN = "ameide.begin"
_BEGIN_SECONDS = 10


@workflow.defn(dynamic=True)
class Process:
    """One instance of a process.

    Arguments: an object of variables, and optionally an object {startEvent, tenant}. The result is the process's
    variables. The definition that it began with is recorded and stays its own, whatever is deployed later.
    """

    def __init__(self) -> None:
        self._mailbox = Mailbox()
        self._engine: Engine | None = None

    @workflow.run
    async def run(self, args: Sequence[RawValue]) -> dict[str, Any]:
        """Run to the end; fails with the code of a BPMN error that nothing catches, or the kind of an incident."""
        variables, options = _object(args, 0, "variables"), _object(args, 1, "options {startEvent, tenant}")
        begun = await self._begin(options.get("tenant"))
        checksum = begun["checksum"]
        workflow.upsert_memo({MEMO: checksum})
        if begun["searchable"]:
            workflow.upsert_search_attributes([ATTRIBUTE.value_set(checksum)])
        # A definition that is missing fails this task, not the workflow: it goes on where the definition is mounted.
        table = TABLES.get(checksum)
        own = Variables(variables)
        self._engine = Engine(table, checksum, begun["tenant"], own, self._mailbox)
        start = self._start(options.get("startEvent"))
        self._mailbox.open(table)
        if start is not None:
            own.outputs(self._engine.element(start).get("outputs", ()), variables)
        try:
            await Scope(self._engine, table["process"], own).run(start)
        except BpmnError as error:
            raise error.failure() from error.cause
        return dict(own.values)

    async def _begin(self, tenant: Any) -> dict[str, Any]:
        info = workflow.info()
        try:
            answer: dict[str, Any] = await workflow.execute_local_activity(
                _BEGIN,
                {"process": info.workflow_type, "child": info.parent is not None, "tenant": tenant},
                start_to_close_timeout=timedelta(seconds=_BEGIN_SECONDS),
                retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=200), maximum_attempts=0),
            )
        except ActivityError as error:
            if is_cancelled_exception(error) or not isinstance(error.cause, ApplicationError):
                raise
            raise incident(error.cause.type or "Refused", error.cause.message) from error
        return answer

    def _start(self, asked: Any) -> str | None:
        """The start event asked for; None is the scope's own."""
        assert self._engine is not None
        starts: list[str] = self._engine.table["scopes"][self._engine.table["process"]]["start"]
        if asked is not None and asked not in starts:
            raise incident("UnknownStartEvent", f"the process has no start event {asked!r}; it has {', '.join(starts)}")
        return asked if asked is not None else starts[0] if len(starts) == 1 else None

    @workflow.signal(dynamic=True)
    def arrived(self, name: str, args: Sequence[RawValue]) -> None:
        """A message or BPMN signal of that name: its payload and, if it has one, its correlation key."""
        values = [workflow.payload_converter().from_payload(each.payload) for each in args]
        self._mailbox.deliver(Message(name, *values[:2]) if values else Message(name, None))

    @workflow.signal(name="message")
    def message(self, message: dict[str, Any]) -> None:
        """A message or BPMN signal as one object {name, payload, key}."""
        self._mailbox.deliver(Message(str(message.get("name")), message.get("payload"), message.get("key")))

    @workflow.signal(name="completeTask")
    def complete_task(self, completion: dict[str, Any]) -> None:
        """Complete a user task: {task: id, result}. Nothing happens when no such task is open."""
        task = self._mailbox.find(str(completion.get("task")))
        if task is None or task.future.done():
            workflow.logger.warning("no user task %r is open", completion.get("task"))
            return
        task.future.set_result(completion.get("result"))

    @workflow.update(name="completeTask")
    def complete_task_now(self, completion: dict[str, Any]) -> dict[str, Any]:
        """As the signal, but one that is refused when no such task is open."""
        task = self._mailbox.find(str(completion.get("task")))
        assert task is not None
        task.future.set_result(completion.get("result"))
        return {"task": task.id}

    @complete_task_now.validator
    def _refuse_unknown_task(self, completion: dict[str, Any]) -> None:
        task = self._mailbox.find(str(completion.get("task")))
        if task is None or task.future.done():
            opened = ", ".join(self._mailbox.tasks) or "none"
            raise incident("UnknownTask", f"no user task {completion.get('task')!r} is open (open: {opened})")

    @workflow.query(name="state")
    def state(self) -> dict[str, Any]:
        """What is active and waited for, the open user tasks, the way taken, and the variables."""
        if self._engine is None:
            return {"process": workflow.info().workflow_type, "active": [], "tasks": [], "path": [], "variables": {}}
        return self._engine.state()


def _object(args: Sequence[RawValue], index: int, what: str) -> dict[str, Any]:
    value = workflow.payload_converter().from_payload(args[index].payload) if len(args) > index else None
    if value is not None and not isinstance(value, dict):
        raise incident("InvalidInput", f"argument {index + 1} of the workflow must be an object of {what}")
    return value or {}
