"""The namespaces of one connection: asked for once per interval, whatever the number of their task queues, and given
the search attribute for definitions where the settings say so."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from process_operator.temporal.errors import TemporalDenied, TemporalRejected
from process_operator.temporal.gateway import TemporalGateway
from process_operator.temporal.model import Namespace, NamespaceState

log = logging.getLogger(__name__)

FAST_SECONDS: Final = 1.0
"""Between two looks while something is awaited."""
MISSING_SECONDS: Final = 5.0
"""Between two looks at a namespace that does not exist, for somebody may just be making it."""
_FRESH: Final = 0.9  # the part of an interval after which an answer is asked for anew: looks are never quite on time


@dataclass(frozen=True, slots=True)
class _Seen:
    at: float
    namespace: Namespace


class Namespaces:
    """What was last heard of each namespace."""

    def __init__(self, connection: str, gateway: TemporalGateway, clock: Callable[[], float]) -> None:
        self._connection = connection
        self._gateway = gateway
        self._settings = gateway.settings.connections[connection]
        self._clock = clock
        self._attributed: set[str] = set()  # whose search attribute was seen to, successfully or not
        self._seen: dict[str, _Seen] = {}
        self._asking: dict[str, asyncio.Task[Namespace]] = {}

    async def get(self, name: str, *, fast: bool) -> tuple[Namespace, bool]:
        """The namespace, and whether it was another one before. `fast`: somebody waits for it to appear.

        Raises TemporalError.
        """
        seen = self._seen.get(name)
        if seen is not None and self._clock() - seen.at < _FRESH * self._interval(seen.namespace, fast):
            return seen.namespace, False
        found = await self._ask(name)
        if found.state is NamespaceState.Registered and self._settings.register_search_attribute:
            await self._index(name)
        return found, seen is not None and seen.namespace != found

    def forget(self, name: str) -> None:
        """Nobody uses it any more."""
        self._seen.pop(name, None)

    def clear(self) -> None:
        """Believe nothing: the server was away."""
        self._seen.clear()

    async def close(self) -> None:
        """Give up what is being asked."""
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(self, name: str) -> Namespace:
        """Describe it; whoever asks meanwhile gets the same answer."""
        task = self._asking.get(name)
        if task is None:
            task = asyncio.create_task(self._gateway.describe_namespace(self._connection, name))
            self._asking[name] = task
            task.add_done_callback(lambda done: self._asked(name, done))
        return await asyncio.shield(task)

    async def _index(self, name: str) -> None:
        """Have the search attribute registered, once; without it memos are read, which takes longer."""
        if name in self._attributed:
            return
        self._attributed.add(name)
        try:
            await self._gateway.register_search_attribute(self._connection, name)
        except (TemporalDenied, TemporalRejected) as refused:
            log.warning("no search attribute for definitions in Temporal namespace %s: %s", name, refused)
        except BaseException:
            self._attributed.discard(name)
            raise

    def _interval(self, namespace: Namespace, fast: bool) -> float:
        usual = self._gateway.settings.check_seconds
        if namespace.state is NamespaceState.Registered:
            return usual
        return FAST_SECONDS if fast else min(usual, MISSING_SECONDS)

    def _asked(self, name: str, task: asyncio.Task[Namespace]) -> None:
        # Here, and not where the answer is awaited: nobody shall come in between and ask again.
        del self._asking[name]
        if not task.cancelled() and task.exception() is None:
            self._seen[name] = _Seen(self._clock(), task.result())
