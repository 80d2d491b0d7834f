"""Moves tokens through one scope: the process itself, a sub-process, or an event sub-process."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from temporalio import workflow

from process_worker.engine import Engine, discard
from process_worker.errors import BpmnError, TransactionCancelledError, incident
from process_worker.gateways import Arrivals, leave
from process_worker.listen import AWAITED, Listener
from process_worker.tables import Element
from process_worker.variables import Variables
from process_worker.work import Work


@dataclass(slots=True)
class Token:
    """A point of execution; `at` is the id of its element."""

    at: str
    task: asyncio.Task[None] | None = None


@dataclass(frozen=True, slots=True)
class Completed:
    """An activity that has ended well and could be compensated; `scope` is a sub-process's own."""

    element: Element
    variables: Variables
    scope: Scope | None


@dataclass(frozen=True, slots=True)
class Interruption:
    """An event sub-process takes over the scope."""

    start: Element
    payload: Any


@dataclass(eq=False, slots=True)
class Scope:
    """One execution of a scope of the table. `host` is the activity that it is the inside of."""

    engine: Engine
    id: str
    variables: Variables
    parent: Scope | None = None
    host: Work | None = None
    completed: list[Completed] = field(default_factory=list)
    _tokens: dict[int, Token] = field(default_factory=dict)
    _arrivals: Arrivals = field(default_factory=Arrivals)
    _listening: list[asyncio.Task[None]] = field(default_factory=list)
    _outcome: asyncio.Future[Interruption | None] = field(init=False)

    def __post_init__(self) -> None:
        self._outcome = asyncio.get_running_loop().create_future()

    @property
    def kind(self) -> str:
        """The scope's kind in the table."""
        return str(self.engine.table["scopes"][self.id]["kind"])

    async def run(self, start: str | None = None) -> None:
        """Run from the given start event, or from the scope's none start events, until no token is left.

        Raises BpmnError and TransactionCancelledError that nothing inside has caught, and incidents.
        """
        for event in self._event_subprocesses(AWAITED):
            self._listening.append(asyncio.create_task(self._listen(event)))
        for identity in [start] if start else self._starts():
            self.spawn(identity)
        try:
            try:
                interruption = await self._outcome
            except BpmnError as error:
                interruption = self._caught(error)
                if interruption is None:
                    raise
            if interruption is not None:
                await self._halt()
                await self._event_subprocess(interruption.start, interruption.payload)
        except TransactionCancelledError:
            await self._halt()
            await self.compensate()
            raise
        finally:
            await self._halt()

    def _starts(self) -> list[str]:
        starts: list[str] = self.engine.table["scopes"][self.id]["start"]
        return [each for each in starts if "event" not in self.engine.element(each)] or starts[:1]

    # Tokens.

    def spawn(self, element: str, flow: str | None = None, leaving: bool = False) -> None:
        """Set a new token on an element; `leaving` when the element's own work is done already."""
        number = next(self.engine.numbers)
        self._tokens[number] = token = Token(element)
        token.task = asyncio.create_task(self._travel(number, token, flow, leaving))

    async def _travel(self, number: int, token: Token, flow: str | None, leaving: bool) -> None:
        try:
            while True:
                element = self.engine.element(token.at)
                if leaving:
                    flows, leaving = leave(self.engine.table, element, self.variables), False
                else:
                    self.engine.step(element)
                    flows = await self._perform(element, flow)
                if not flows:
                    break
                flow, *others = flows
                for other in others:
                    self.spawn(self.engine.target(other), other)
                token.at = self.engine.target(flow)
                self._release_joins()
        except Exception as error:
            if not self._outcome.done():
                self._outcome.set_exception(error)
        self._end(number)

    def _end(self, number: int) -> None:
        del self._tokens[number]
        self._release_joins()
        if self._tokens or self._outcome.done():
            return
        if gateway := self._arrivals.waiting():
            self._outcome.set_exception(
                incident("StuckAtJoin", f"no token can reach the other incoming flows of gateway {gateway!r} any more")
            )
        else:
            self._outcome.set_result(None)

    async def _halt(self) -> None:
        """Cancel every token and listener, and wait until they have unwound."""
        tasks = [token.task for token in self._tokens.values() if token.task is not None] + self._listening
        await discard(tasks)
        self._tokens.clear()
        self._listening.clear()
        self._arrivals.clear()

    async def _perform(self, element: Element, flow: str | None) -> list[str]:
        """Do what the element stands for; returns the flows to take, none when the token ends here."""
        match element["kind"]:
            case "parallelGateway" | "inclusiveGateway" if len(element["incoming"]) > 1 and flow is not None:
                go_on = self._arrivals.arrive(element, flow)
                return leave(self.engine.table, element, self.variables) if go_on else []
            case "startEvent" | "parallelGateway" | "inclusiveGateway" | "exclusiveGateway":
                return leave(self.engine.table, element, self.variables)
            case "eventBasedGateway":
                return await self._first_event(element)
            case "intermediateCatchEvent":
                if element.get("event", {}).get("kind") in AWAITED:
                    await self._catch(element)
                return list(element["outgoing"])
            case "intermediateThrowEvent" | "endEvent":
                return await self._throw(element)
            case _:
                return await Work(self, element, self.variables).run()

    # Gateways.

    def _release_joins(self) -> None:
        places = [token.at for token in self._tokens.values()]
        for identity in self._arrivals.released(self.engine, places):
            self.spawn(identity, leaving=True)

    async def _first_event(self, gateway: Element) -> list[str]:
        elements = [self.engine.element(self.engine.target(flow)) for flow in gateway["outgoing"]]
        listeners = [Listener(element, self.variables, self.engine.mailbox) for element in elements]
        waits = [asyncio.create_task(listener.next()) for listener in listeners]
        with self.engine.active(gateway) as entry:
            entry.waits = {element["id"]: each.about() for element, each in zip(elements, listeners, strict=True)}
            try:
                done, _ = await workflow.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait, listener in zip(waits, listeners, strict=True):
                    wait.cancel()
                    listener.close()
        first, *late = done
        for other in late:
            occurrence = other.result()
            if occurrence and occurrence.message:
                self.engine.mailbox.give_back(occurrence.message)
        element = elements[waits.index(first)]
        occurrence = first.result()
        self.engine.step(element)
        self.variables.outputs(element.get("outputs", ()), occurrence.payload if occurrence else None)
        return leave(self.engine.table, element, self.variables)

    # Events.

    async def _catch(self, element: Element) -> None:
        listener = Listener(element, self.variables, self.engine.mailbox)
        try:
            with self.engine.active(element) as entry:
                entry.waits = listener.about()
                occurrence = await listener.next()
        finally:
            listener.close()
        self.variables.outputs(element.get("outputs", ()), occurrence.payload if occurrence else None)

    async def _throw(self, element: Element) -> list[str]:
        event = element.get("event", {"kind": "none"})
        payload = self.variables.inputs(element.get("inputs", ()))
        match event["kind"]:
            case "message" if "binding" in element:
                with self.engine.active(element):
                    result = await self.engine.call(element, self.variables)
                self.variables.outputs(element.get("outputs", ()), result)
            case "signal":
                self.engine.mailbox.broadcast(event["signal"], payload)
            case "escalation":
                if self.escalate(event.get("code"), payload):
                    await asyncio.get_running_loop().create_future()  # until the interruption cancels this token
            case "error":
                raise BpmnError(
                    event["code"], f"the process raised error {event['code']!r} at {element['id']!r}", payload
                )
            case "cancel":
                raise TransactionCancelledError
            case "compensation":
                await self._throw_compensation(element, event)
            case "terminate" if not self._outcome.done():
                self._outcome.set_result(None)
            case "link":
                landing = self.engine.element(event["target"])
                self.engine.step(landing)
                return list(landing["outgoing"])
        return [] if element["kind"] == "endEvent" else list(element["outgoing"])

    async def _throw_compensation(self, element: Element, event: Element) -> None:
        # In an event sub-process it is the scope around it that has something to compensate.
        scope = self.parent if self.kind == "eventSubProcess" and self.parent else self
        if event.get("wait", True):
            with self.engine.active(element):
                await scope.compensate(event.get("activity"))
        else:
            self._background(element["id"], scope.compensate(event.get("activity")))

    def _background(self, element: str, work: Any) -> None:
        """Do something that the scope waits for, but no token."""
        number = next(self.engine.numbers)
        self._tokens[number] = token = Token(element)

        async def do() -> None:
            try:
                await work
            except Exception as error:
                if not self._outcome.done():
                    self._outcome.set_exception(error)
            self._end(number)

        token.task = asyncio.create_task(do())

    def escalate(self, code: str | None, payload: Any) -> bool:
        """Hand an escalation to the innermost event sub-process or boundary event for it; whether it interrupts us."""
        scope: Scope | None = self
        inside = False  # in an event sub-process: its siblings do not catch what it throws
        while scope is not None:
            for start in [] if inside else scope._event_subprocesses({"escalation"}):
                if start["event"].get("code") in (None, code):
                    scope._trigger(start, payload)
                    return bool(start.get("interrupting", True))
            inside = scope.kind == "eventSubProcess"
            if not inside and scope.host is not None and (caught := scope.host.escalated(code, payload)) is not None:
                return caught
            scope = scope.parent
        workflow.logger.warning("nothing catches escalation %r", code)
        return False

    # Event sub-processes.

    def _event_subprocesses(self, kinds: frozenset[str] | set[str]) -> list[Element]:
        """The start events of the scope's event sub-processes that are of one of the kinds."""
        scopes = self.engine.table["scopes"]
        starts = [self.engine.element(scopes[each]["start"][0]) for each in scopes[self.id]["eventSubProcesses"]]
        return [start for start in starts if start["event"]["kind"] in kinds]

    async def _listen(self, start: Element) -> None:
        try:
            listener = Listener(start, self.variables, self.engine.mailbox)
            try:
                while (occurrence := await listener.next()) is not None:
                    self._trigger(start, occurrence.payload)
                    if start.get("interrupting", True):
                        return
            finally:
                listener.close()
        except Exception as error:
            if not self._outcome.done():
                self._outcome.set_exception(error)

    def _trigger(self, start: Element, payload: Any) -> None:
        if self._outcome.done():
            return
        if start.get("interrupting", True):
            self._outcome.set_result(Interruption(start, payload))
        else:
            self._background(start["scope"], self._event_subprocess(start, payload))

    def _caught(self, error: BpmnError) -> Interruption | None:
        starts = self._event_subprocesses({"error"})
        exact = [start for start in starts if start["event"].get("code") == error.code]
        any_code = [start for start in starts if "code" not in start["event"]]
        return next((Interruption(start, error.payload()) for start in [*exact, *any_code]), None)

    async def _event_subprocess(self, start: Element, payload: Any) -> None:
        variables = Variables(below=self.variables)
        variables.outputs(start.get("outputs", ()), payload)
        await Scope(self.engine, start["scope"], variables, parent=self).run(start["id"])

    # Compensation.

    def note(self, element: Element, variables: Variables, inside: Scope | None) -> None:
        """Remember an activity that has ended well, if there is a way to compensate it."""
        if "compensation" in element or (inside is not None and inside.can_compensate):
            self.completed.append(Completed(element, variables.snapshot(), inside))

    @property
    def can_compensate(self) -> bool:
        """Whether anything inside can be compensated."""
        return bool(self.completed) or bool(self._event_subprocesses({"compensation"}))

    async def compensate(self, activity: str | None = None) -> None:
        """Compensate one activity, or all, in reverse order of completion; each once."""
        records: Sequence[Completed] = [
            record for record in reversed(self.completed) if activity in (None, record.element["id"])
        ]
        for record in records:
            self.completed = [each for each in self.completed if each is not record]
            if "compensation" in record.element:
                handler = self.engine.element(record.element["compensation"])
                self.engine.step(handler)
                await Work(self, handler, record.variables).run()
            elif record.scope is not None:
                await record.scope.undo(record.variables)

    async def undo(self, variables: Variables) -> None:
        """Compensate this completed sub-process: by its event sub-process for that, else all that it has done."""
        starts = self._event_subprocesses({"compensation"})
        if not starts:
            await self.compensate()
            return
        inner = Scope(self.engine, starts[0]["scope"], Variables(below=variables), parent=self)
        await inner.run(starts[0]["id"])
