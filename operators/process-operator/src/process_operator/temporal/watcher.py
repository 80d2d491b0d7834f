"""What is known of all task queues, kept fresh in the background, so that reconciles never wait for a slow server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Final

from ameide_shared.kube.resources import ObjectKey
from process_operator.temporal.errors import ConnectionUnknown
from process_operator.temporal.gateway import TemporalGateway
from process_operator.temporal.link import Changed, Link
from process_operator.temporal.model import Detail, Observation, Problem, ProblemKind, Target

_FIRST_SECONDS: Final = 1.0  # that a reconcile waits for the first look at a target
_EXPEDITED_SECONDS: Final = 60.0


class TemporalWatcher:
    """Looks at each (connection, namespace, queue) once per `check_seconds`, however many objects use it.

    `on_change` is called with the users of a target when something that matters about it changed (see
    `Observation.significant`). Use it within one event loop; work starts with the first `observe`.
    """

    def __init__(
        self,
        gateway: TemporalGateway,
        on_change: Changed,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._gateway = gateway
        self._on_change = on_change
        self._clock = clock
        self._links: dict[str, Link] = {}
        self._targets: dict[ObjectKey, Target] = {}

    async def observe(self, target: Target, user: ObjectKey, details: Collection[Detail] = ()) -> Observation:
        """What is known of the user's target, which it has one of, and keep looking, `details` included.

        Waits up to a second for the first look at a target, unless its server is known to be away; what is not known
        then is None, and `on_change` follows. Raises nothing: what is wrong is the observation's `problem`.
        """
        before = self._targets.get(user)
        if before is not None and before != target:
            self.forget(user)
        try:
            self._gateway.channel(target.connection)
        except ConnectionUnknown as error:
            problem = Problem(ProblemKind.ConnectionUnknown, str(error), error.remedy, self._gateway.now())
            return Observation(target, problem=problem)
        link = self._links.get(target.connection)
        if link is None:
            link = Link(target.connection, self._gateway, self._on_change, clock=self._clock)
            self._links[target.connection] = link
        self._targets[user] = target
        entry = link.watch(target, user, frozenset(details))
        if not entry.looked.is_set():
            entry.answered.add(user)
            try:
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(_FIRST_SECONDS, self._gateway.settings.timeout)):
                        await entry.looked.wait()
            finally:
                if not entry.looked.is_set():
                    entry.answered.discard(user)  # to be told when it is known
        return entry.observation

    def forget(self, user: ObjectKey) -> None:
        """The user is gone; a target that nobody uses is not looked at any more."""
        target = self._targets.pop(user, None)
        if target is not None and (link := self._links.get(target.connection)):
            link.drop(target, user)

    def expedite(self, target: Target, seconds: float = _EXPEDITED_SECONDS) -> None:
        """Something is awaited (pollers of a rollout, the end of open workflows): look now, and each second for so
        long. A target that nobody observes is left alone."""
        if link := self._links.get(target.connection):
            link.expedite(target, seconds)

    async def run(self) -> None:
        """Until cancelled; then all work ends. For owners that run background tasks; `close` does as well."""
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await self.close()

    async def close(self) -> None:
        """End all work; what was observed is forgotten."""
        links, self._links = list(self._links.values()), {}
        self._targets.clear()
        for link in links:
            await link.close()
