"""What reaches a running process from outside: messages, BPMN signals and the completion of user tasks.

A message that nobody waits for yet is kept; a BPMN signal is heard only by those who listen when it comes.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from temporalio import workflow

from process_worker.expressions import evaluate
from process_worker.tables import Table, message_names, signal_names

_EQUAL = {"ast": {"op": "=", "args": [{"op": "var", "name": "a"}, {"op": "var", "name": "b"}]}}


@dataclass(frozen=True, slots=True)
class Message:
    """A message that has come; `key` tells apart messages of one name."""

    name: str
    payload: Any
    key: Any = None


@dataclass(frozen=True, slots=True)
class Waiter:
    """Someone who waits for a message; `correlated` is whether its key must equal `key`."""

    future: asyncio.Future[Message]
    correlated: bool
    key: Any

    def accepts(self, message: Message) -> bool:
        """Whether the message is for this one and it still waits."""
        matches = not self.correlated or evaluate(_EQUAL, {"a": self.key, "b": message.key}) is True
        return matches and not self.future.done()


@dataclass(frozen=True, slots=True)
class UserTask:
    """An open user task, as people who are to do it see it."""

    id: str
    element: str
    about: dict[str, Any]
    future: asyncio.Future[Any]


@dataclass(slots=True)
class Mailbox:
    """All that is waiting, on either side. It opens when the definition is known; what comes before is kept."""

    tasks: dict[str, UserTask] = field(default_factory=dict)
    _early: list[Message] | None = field(default_factory=list)
    _kept: dict[str, list[Message]] = field(default_factory=lambda: defaultdict(list))
    _waiters: dict[str, list[Waiter]] = field(default_factory=lambda: defaultdict(list))
    _listeners: dict[str, list[asyncio.Queue[Any]]] = field(default_factory=lambda: defaultdict(list))
    _messages: frozenset[str] = frozenset()
    _signals: frozenset[str] = frozenset()

    def open(self, table: Table) -> None:
        """Learn the names that the process knows and hand out what has come already."""
        self._messages, self._signals = message_names(table), signal_names(table)
        early, self._early = self._early or [], None
        for message in early:
            self.deliver(message)

    def deliver(self, message: Message) -> None:
        """Take in what came under a name: a message, a BPMN signal, or both."""
        if self._early is not None:
            self._early.append(message)
            return
        if message.name in self._signals:
            self.broadcast(message.name, message.payload)
        if message.name in self._messages:
            self._hand_out(message)
        elif message.name not in self._signals:
            workflow.logger.warning("the process knows no message or signal %r; it is dropped", message.name)

    def _hand_out(self, message: Message) -> None:
        waiters = self._waiters[message.name] = [each for each in self._waiters[message.name] if not each.future.done()]
        for waiter in waiters:
            if waiter.accepts(message):
                waiter.future.set_result(message)
                return
        self._kept[message.name].append(message)

    async def receive(self, name: str, correlated: bool, key: Any) -> Message:
        """The next message of that name (and key), oldest first. If the wait is cancelled, the message is kept."""
        waiter = Waiter(asyncio.get_running_loop().create_future(), correlated, key)
        for message in self._kept[name]:
            if waiter.accepts(message):
                self._kept[name].remove(message)
                return message
        self._waiters[name].append(waiter)
        try:
            return await waiter.future
        except asyncio.CancelledError:
            if waiter.future.done() and not waiter.future.cancelled():
                self.give_back(waiter.future.result())
            raise

    def give_back(self, message: Message) -> None:
        """Return a message that its receiver has no use for: it goes to the next one who waits, or to the front."""
        waiter = next((each for each in self._waiters[message.name] if each.accepts(message)), None)
        if waiter:
            waiter.future.set_result(message)
        else:
            self._kept[message.name].insert(0, message)

    def listen(self, signal: str) -> asyncio.Queue[Any]:
        """A queue of the signal's payloads from now on; end it with `unlisten`."""
        queue: asyncio.Queue[Any] = asyncio.Queue()
        self._listeners[signal].append(queue)
        return queue

    def unlisten(self, signal: str, queue: asyncio.Queue[Any]) -> None:
        """Stop listening."""
        self._listeners[signal] = [each for each in self._listeners[signal] if each is not queue]

    def broadcast(self, signal: str, payload: Any) -> None:
        """Let everyone in this process who listens hear the signal."""
        for queue in self._listeners[signal]:
            queue.put_nowait(payload)

    async def complete(self, element: str, instance: str, about: dict[str, Any]) -> Any:
        """Open a user task and wait for its completion; returns what it was completed with."""
        number, identity = 1, instance
        while identity in self.tasks:
            number += 1
            identity = f"{instance}#{number}"
        task = UserTask(identity, element, about, asyncio.get_running_loop().create_future())
        self.tasks[identity] = task
        try:
            return await task.future
        finally:
            del self.tasks[identity]

    def find(self, name: str) -> UserTask | None:
        """The open task with this id, or the only open task of the element with this id."""
        if name in self.tasks:
            return self.tasks[name]
        found = [task for task in self.tasks.values() if task.element == name and not task.future.done()]
        return found[0] if len(found) == 1 else None
