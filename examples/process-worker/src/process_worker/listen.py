"""Waits for events: timers, messages, BPMN signals and conditions, once or again and again."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from temporalio import workflow

from process_worker.errors import incident
from process_worker.expressions import evaluate, holds
from process_worker.mailbox import Mailbox, Message
from process_worker.times import TimeError, plan
from process_worker.variables import Variables

AWAITED = frozenset({"timer", "message", "signal", "conditional"})
"""The kinds of events that come from outside the flow; all others are raised by an element of the process."""


@dataclass(frozen=True, slots=True)
class Occurrence:
    """An event that has happened; `message` is the one that it took, which can be given back."""

    payload: Any = None
    message: Message | None = None


class Listener:
    """Waits for the event of one element. Made when the wait begins, as keys and times are evaluated then."""

    def __init__(self, element: Mapping[str, Any], variables: Variables, mailbox: Mailbox) -> None:
        """Raises an incident when a timer's expression yields no time."""
        self._element = element
        self._variables = variables
        self._mailbox = mailbox
        self._event: Mapping[str, Any] = element.get("event") or {"kind": "message", "message": element["message"]}
        self._heard: asyncio.Queue[Any] | None = None
        self._due: datetime | None = None
        self._key: Any = None
        self._was_true = False
        match self._event["kind"]:
            case "timer":
                self._plan = _plan(element, self._event["timer"], variables)
                self._due, self._left = self._plan.first, self._plan.more
            case "signal":
                self._heard = mailbox.listen(self._event["signal"])
            case "message":
                if key := self._event["message"].get("correlationKey"):
                    self._key = evaluate(key, variables.values)

    def about(self) -> dict[str, Any]:
        """What is being waited for, for people."""
        match self._event["kind"]:
            case "timer":
                return {"timer": self._due.isoformat() if self._due else None}
            case "message":
                key = {} if self._key is None else {"key": self._key}
                return {"message": self._event["message"]["name"], **key}
            case "signal":
                return {"signal": self._event["signal"]}
            case _:
                return {"condition": self._event["condition"]["source"]}

    async def next(self) -> Occurrence | None:
        """Wait until it happens, or happens again; None when it never will (the last repetition is over)."""
        match self._event["kind"]:
            case "timer":
                return await self._tick()
            case "message":
                message = self._event["message"]
                got = await self._mailbox.receive(message["name"], "correlationKey" in message, self._key)
                return Occurrence(got.payload, got)
            case "signal":
                assert self._heard is not None
                return Occurrence(await self._heard.get())
            case _:
                await self._turn_true()
                return Occurrence()

    def close(self) -> None:
        """Stop listening."""
        if self._heard is not None:
            self._mailbox.unlisten(self._event["signal"], self._heard)

    async def _tick(self) -> Occurrence | None:
        if self._due is None:
            return None
        at = self._due
        if at > workflow.now():
            await workflow.sleep(at - workflow.now(), summary=self._element["id"])
        if self._plan.interval is not None and self._left != 0:
            self._left = None if self._left is None else self._left - 1
            self._due = self._plan.interval.after(at)
        else:
            self._due = None
        return Occurrence(at.isoformat())

    async def _turn_true(self) -> None:
        condition = self._event["condition"]
        if self._was_true:
            await workflow.wait_condition(lambda: not holds(condition, self._variables.values))
        await workflow.wait_condition(lambda: holds(condition, self._variables.values))
        self._was_true = True


def _plan(element: Mapping[str, Any], timer: Mapping[str, Any], variables: Variables) -> Any:
    value = evaluate(timer["value"], variables.values) if "value" in timer else None
    if "value" in timer and not isinstance(value, str):
        raise incident(
            "InvalidTimer", f"element {element['id']!r}: {timer['value']['source']} is no text but {value!r}"
        )
    try:
        return plan(timer, value, workflow.now())
    except TimeError as error:
        raise incident("InvalidTimer", f"element {element['id']!r}: {error}") from error
