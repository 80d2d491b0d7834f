"""Runs one activity: its work, once or in a loop, while its boundary events listen."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from temporalio import workflow

from process_worker.engine import Active, discard
from process_worker.errors import BpmnError, TransactionCancelledError, incident
from process_worker.gateways import leave
from process_worker.listen import AWAITED, Listener
from process_worker.tables import Element
from process_worker.variables import Variables

if TYPE_CHECKING:
    from process_worker.scope import Scope

_MOST_INSTANCES = 10_000


@dataclass(frozen=True, slots=True)
class Caught:
    """A boundary event that ends the activity."""

    event: Element
    payload: Any


@dataclass(eq=False, slots=True)
class Work:
    """One execution of an activity within a scope."""

    scope: Scope
    element: Element
    variables: Variables
    _interrupted: asyncio.Future[Caught] = field(init=False)
    _entry: Active = field(init=False)

    async def run(self) -> list[str]:
        """Do the work; returns the flows to take, the activity's own or those of the boundary event that ended it.

        Raises BpmnError that no boundary event catches, and incidents.
        """
        self._interrupted = asyncio.get_running_loop().create_future()
        with self.scope.engine.active(self.element) as self._entry:
            task = asyncio.create_task(self._repeat())
            listening = [asyncio.create_task(self._listen(event)) for event in self._boundary() if _awaited(event)]
            try:
                ends: list[asyncio.Future[Any]] = [task, self._interrupted]
                await workflow.wait(ends, return_when=asyncio.FIRST_COMPLETED)
                if task.done():
                    await task
                    return leave(self.scope.engine.table, self.element, self.scope.variables)
                caught = self._interrupted.result()
            except BpmnError as error:
                match = self._for_error(error)
                if match is None:
                    raise
                caught = Caught(match, error.payload())
            except TransactionCancelledError:
                match = next((event for event in self._boundary() if event["event"]["kind"] == "cancel"), None)
                if match is None:
                    raise incident(
                        "TransactionCancelled", f"transaction {self.element['id']!r} has no cancel boundary event"
                    ) from None
                caught = Caught(match, None)
            finally:
                await discard([task, *listening])
        return self._leave_by(caught)

    def escalated(self, code: str | None, payload: Any) -> bool | None:
        """Offer an escalation from inside to the boundary events: whether it interrupts; None when none is for it."""
        for event in self._boundary():
            if event["event"]["kind"] == "escalation" and event["event"].get("code") in (None, code):
                self._happened(event, payload)
                return bool(event.get("interrupting", True))
        return None

    # Boundary events.

    def _boundary(self) -> list[Element]:
        return [self.scope.engine.element(each) for each in self.element.get("boundary", ())]

    async def _listen(self, event: Element) -> None:
        try:
            listener = Listener(event, self.variables, self.scope.engine.mailbox)
            try:
                while (occurrence := await listener.next()) is not None:
                    if self._interrupted.done():
                        if occurrence.message:
                            self.scope.engine.mailbox.give_back(occurrence.message)
                        return
                    self._happened(event, occurrence.payload)
            finally:
                listener.close()
        except Exception as error:
            if not self._interrupted.done():
                self._interrupted.set_exception(error)

    def _happened(self, event: Element, payload: Any) -> None:
        if event.get("interrupting", True):
            if not self._interrupted.done():
                self._interrupted.set_result(Caught(event, payload))
            return
        for flow in self._leave_by(Caught(event, payload)):
            self.scope.spawn(self.scope.engine.target(flow), flow)

    def _leave_by(self, caught: Caught) -> list[str]:
        self.scope.engine.step(caught.event)
        self.scope.variables.outputs(caught.event.get("outputs", ()), caught.payload)
        return list(caught.event["outgoing"])

    def _for_error(self, error: BpmnError) -> Element | None:
        events = [event for event in self._boundary() if event["event"]["kind"] == "error"]
        exact = [event for event in events if event["event"].get("code") == error.code]
        return next(iter([*exact, *(event for event in events if "code" not in event["event"])]), None)

    # Loops.

    async def _repeat(self) -> None:
        loop = self.element.get("loop")
        if loop is None:
            await self._once(self.variables, self.element["id"])
        elif loop["kind"] == "standard":
            await self._while(loop)
        else:
            await self._for_each(loop)

    async def _while(self, loop: Element) -> None:
        count = 0
        while "maximum" not in loop or count < loop["maximum"]:
            # Counted on the element's own id, as a loop that never waits must end, too.
            self.scope.engine.step(self.element)
            variables = Variables({"loopCounter": count + 1}, below=self.variables)
            if loop["testBefore"] and not variables.holds(loop["condition"]):
                return
            await self._once(variables, f"{self.element['id']}/{count + 1}")
            count += 1
            if not loop["testBefore"] and not variables.holds(loop["condition"]):
                return

    async def _for_each(self, loop: Element) -> None:
        layers = [Variables(values, below=self.variables) for values in self._instances(loop)]
        results: dict[int, Any] = {}
        running: dict[asyncio.Task[Any], int] = {}
        waiting = list(enumerate(layers))
        try:
            while waiting or running:
                while waiting and (not loop["sequential"] or not running):
                    number, variables = waiting.pop(0)
                    identity = f"{self.element['id']}/{number + 1}"
                    running[asyncio.create_task(self._once(variables, identity))] = number
                done, _ = await workflow.wait(list(running), return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    results[running.pop(task)] = task.result()
                    if self._complete(loop, len(layers), len(results), len(running)):
                        waiting.clear()
                        return
        finally:
            await discard(list(running))
            if "output" in loop:
                self.variables.set(loop["output"], [results[number] for number in sorted(results)])

    def _instances(self, loop: Element) -> list[dict[str, Any]]:
        if "collection" in loop:
            items = self.variables.value(loop["collection"])
            if not isinstance(items, list):
                raise self._bad_loop(loop["collection"], "a list", items)
        else:
            count = self.variables.value(loop["cardinality"])
            if not isinstance(count, int) or isinstance(count, bool) or count < 0:
                raise self._bad_loop(loop["cardinality"], "a whole number", count)
            items = [None] * min(count, _MOST_INSTANCES + 1)
        if len(items) > _MOST_INSTANCES:
            raise incident(
                "TooManyInstances", f"activity {self.element['id']!r} would run more than {_MOST_INSTANCES} times"
            )
        name = loop.get("element")
        return [{"loopCounter": number, **({name: item} if name else {})} for number, item in enumerate(items, start=1)]

    def _bad_loop(self, expression: Element, expected: str, value: Any) -> Exception:
        return incident(
            "InvalidLoop",
            f"activity {self.element['id']!r}: {expression['source']} must be {expected}, it is {value!r:.100}",
        )

    def _complete(self, loop: Element, all_: int, completed: int, active: int) -> bool:
        counts = {
            "numberOfInstances": all_,
            "numberOfCompletedInstances": completed,
            "numberOfActiveInstances": active,
        }
        return Variables(counts, below=self.variables).holds(loop.get("completion"))

    # The work itself.

    async def _once(self, variables: Variables, identity: str) -> Any:
        inside: Scope | None = None
        result: Any = None
        match self.element["kind"]:
            case "subProcess" | "transaction":
                inside = type(self.scope)(self.scope.engine, self.element["id"], variables, self.scope, self)
                await inside.run()
            case "callActivity" if self.element["call"]["local"]:
                result = await self._called(variables)
            case "callActivity":
                result = await self.scope.engine.child(self.element, variables)
            case "userTask":
                result = await self._by_hand(variables, identity)
            case "receiveTask":
                result = await self._received(variables)
            case _ if "binding" in self.element:
                result = await self.scope.engine.call(self.element, variables)
            case "scriptTask" if "script" in self.element:
                script = self.element["script"]
                result = variables.value(script["expression"])
                variables.set(script["result"], result)
        variables.outputs(self.element.get("outputs", ()), result)
        self.scope.note(self.element, variables, inside)
        return result

    async def _called(self, variables: Variables) -> dict[str, Any]:
        """A process of the same table, with variables of its own."""
        own = Variables(variables.inputs(self.element.get("inputs", ())))
        called = self.element["call"].get("scope", self.element["call"]["process"])
        await type(self.scope)(self.scope.engine, called, own, self.scope, self).run()
        return dict(own.values)

    async def _by_hand(self, variables: Variables, identity: str) -> Any:
        assignment = self.element.get("assignment", {})
        about: dict[str, Any] = {"name": self.element.get("name", self.element["id"])}
        if "assignee" in assignment:
            about["assignee"] = variables.value(assignment["assignee"])
        about |= {key: assignment[key] for key in ("candidateUsers", "candidateGroups", "formKey") if key in assignment}
        if "due" in assignment:
            due = {"id": self.element["id"], "event": {"kind": "timer", "timer": assignment["due"]}}
            about["due"] = Listener(due, variables, self.scope.engine.mailbox).about()["timer"]
        if inputs := variables.inputs(self.element.get("inputs", ())):
            about["inputs"] = inputs
        self._entry.waits = {"task": identity}
        return await self.scope.engine.mailbox.complete(self.element["id"], identity, about)

    async def _received(self, variables: Variables) -> Any:
        listener = Listener(self.element, variables, self.scope.engine.mailbox)
        self._entry.waits = listener.about()
        occurrence = await listener.next()
        return occurrence.payload if occurrence else None


def _awaited(event: Element) -> bool:
    return event["event"]["kind"] in AWAITED
