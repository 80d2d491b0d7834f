"""Watching, by kopf: one event handler per kind, which only passes events on.

kopf lists, watches, reconnects and lists anew after a 410. With event handlers alone it writes nothing to objects and
retries nothing, which is what we want: state is in the cache, retries are in the work queue. What kopf treats as
fatal (a kind that vanishes, an error within a stream) ends its tasks; they are started again, and everything is
listed anew. The same happens when an optional API appears or goes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import kopf

from ameide_shared.controller.session import IsEcho, IsWriting, OnListed, SessionObserver
from ameide_shared.kube.connection import Connection
from ameide_shared.kube.resources import ResourceType

log = logging.getLogger(__name__)

OnEvent = Callable[[ResourceType, str | None, dict[str, Any]], None]
"""Kind, type (None for listed objects, ADDED, MODIFIED, DELETED), object. Must be quick; errors are only logged."""

_LOGIN_SECONDS = 5.0  # between two logins: credentials that are refused are not tried in a tight loop
_RESTART_SECONDS = 0.2  # reasons to restart come in groups
_LONGEST_RESTART_DELAY = 30.0
_STOP_SECONDS = 4.0
_CHECK_SECONDS = 10.0  # by then kopf has asked for all that it means to watch
_LONGEST_CHECK = 300.0
_PAGE_SIZE = 100  # objects: three or four megabytes of Deployments once they are decoded


class Streams:
    """The watches of one operator: `watched` gives the label selector of each kind (empty for none).

    `namespaces` are watched one by one; without any, one watch per kind spans the cluster. `on_listed` is told when
    kopf has listed a kind anew: what was deleted before that it will not tell. `is_echo` and
    `is_writing` tell which events are not worth telling: see `session`. `expected` tells whether a kind's API is
    installed, as far as is known: kopf looks that up only once, and an API server that is starting may not know yet.
    """

    def __init__(
        self,
        connection: Connection,
        watched: Mapping[ResourceType, str],
        *,
        on_event: OnEvent,
        on_listed: OnListed = lambda resource: None,
        is_echo: IsEcho = lambda resource, version: False,
        is_writing: IsWriting = lambda resource: False,
        expected: Callable[[ResourceType], bool] = lambda resource: True,
        namespaces: Sequence[str] = (),
    ) -> None:
        self._connection = connection
        self._watched = dict(watched)
        self._on_event = on_event
        self._expected = expected
        self._namespaces = tuple(namespaces)
        self._overlooked = 0  # how often in a row kopf has overlooked a kind
        self._session = SessionObserver(self._list_paths(), on_listed, is_echo, is_writing)
        self._registry = self._build_registry()
        self._restart = asyncio.Event()
        self.on_started: Callable[[], None] = lambda: None
        """Called each time that kopf has started; it has put its own signal handlers in place."""
        self._logged_in = float("-inf")

    def restart(self) -> None:
        """List and watch everything anew."""
        self._restart.set()

    async def run(self) -> None:
        """Watch until cancelled."""
        delay = 0.0
        loop = asyncio.get_running_loop()
        while True:
            if delay:
                await asyncio.sleep(delay)
            self._restart.clear()
            started = loop.time()
            error = await self._run_once()
            if error is None:
                log.info("watching anew")
                delay = _RESTART_SECONDS
                continue
            lasted = loop.time() - started
            delay = 1.0 if lasted > _LONGEST_RESTART_DELAY else min(_LONGEST_RESTART_DELAY, max(1.0, delay * 2))
            log.error("the watches have ended and start anew in %.0f s: %s: %s", delay, type(error).__name__, error)

    async def _run_once(self) -> BaseException | None:
        """Run kopf's tasks until `restart` (None) or until one of them ends (its error)."""
        self._session.asked.clear()
        # kopf.operator() would cancel every task of the loop that is younger than itself; these are its own ones only.
        tasks = await kopf.spawn_tasks(
            registry=self._registry,
            settings=self._kopf_settings(),
            standalone=True,
            clusterwide=not self._namespaces,
            namespaces=self._namespaces,
        )
        self.on_started()
        restart = asyncio.create_task(self._restart.wait(), name="watch restart")
        overlooked = asyncio.create_task(self._until_overlooked(), name="watch check")
        tasks = {*tasks, restart, overlooked}
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if restart in done or overlooked in done:
                return None
            task = done.pop()
            ended = RuntimeError(f"kopf's task {task.get_name()!r} has ended")
            return ended if task.cancelled() else task.exception() or ended
        finally:
            for task in tasks:
                task.cancel()
            _, pending = await asyncio.wait(tasks, timeout=_STOP_SECONDS)
            for task in pending:
                log.warning("a task of the watches does not end: %s", task.get_name())
            for task in tasks:
                if task.done() and not task.cancelled():
                    task.exception()  # seen; asyncio would complain otherwise

    async def _until_overlooked(self) -> None:
        """Return if kopf does not watch a kind although its API is installed; never if all is well."""
        while True:
            await asyncio.sleep(min(_LONGEST_CHECK, _CHECK_SECONDS * 2**self._overlooked))
            if not self._session.asked:
                continue  # kopf has yet to be told which APIs there are
            missing = [str(r) for r in self._watched if r not in self._session.asked and self._expected(r)]
            if not missing:
                self._overlooked = 0
                await asyncio.Event().wait()
            self._overlooked += 1
            log.warning("not watched although installed: %s", ", ".join(missing))
            return

    # --- kopf ------------------------------------------------------------------------------------------------------

    def _build_registry(self) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()
        kopf.on.login(registry=registry)(self._login)
        for resource in self._watched:
            kopf.on.event(
                registry=registry,
                group=resource.group,
                version=resource.version,
                plural=resource.plural,
                id=str(resource),
            )(self._handler(resource))
        return registry

    def _handler(self, resource: ResourceType) -> Any:
        on_event = self._on_event

        async def take(event: Mapping[str, Any], **_: Any) -> None:
            on_event(resource, event["type"], event["object"])

        return take

    async def _login(self, **_: Any) -> kopf.AiohttpSession:
        """kopf asks for credentials at start and after each 401."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(0.0, self._logged_in + _LOGIN_SECONDS - loop.time()))
        self._logged_in = loop.time()
        return kopf.AiohttpSession(
            server=self._connection.server,
            default_namespace=self._connection.default_namespace,
            aiohttp_session=self._session.around(self._connection.open_session()),
        )

    def _kopf_settings(self) -> kopf.OperatorSettings:
        settings = kopf.OperatorSettings()
        settings.process.ultimate_exiting_timeout = None  # it is not kopf that decides when this process ends
        settings.posting.enabled = False
        settings.peering.standalone = True
        # kopf keeps a task for each object until no event came for so long: the default of 5 s costs 6 KB an object
        # while thousands are listed.
        settings.queueing.idle_timeout = 0.2
        # What is listed is decoded page by page: all kinds at once, whole, would decide how much memory we ever need.
        settings.watching.chunk_size = _PAGE_SIZE
        settings.scanning.disabled = True  # we tell it to start anew when an API appears
        settings.networking.request_timeout = 60.0
        settings.networking.connect_timeout = 10.0
        settings.networking.error_backoffs = _Patience()
        # No state is kept on objects, and computing what would be kept costs half the CPU of an event.
        settings.persistence.diffbase_storage = _NoDiffs()
        settings.persistence.progress_storage = _NoProgress()
        for resource, selector in self._watched.items():
            if selector:
                settings.watching.label_selectors[resource.group, resource.version, resource.plural] = selector
        return settings

    def _list_paths(self) -> dict[str, ResourceType]:
        """The URL paths at which kopf lists and watches each kind."""
        return {
            resource.path(namespace): resource
            for resource in self._watched
            for namespace in ((self._namespaces if resource.namespaced else ()) or (None,))
        }


class _Patience:
    """Seconds between tries of a request, without end: the API server may be away for hours."""

    def __iter__(self) -> Iterator[float]:
        yield from (0.5, 1, 2, 3, 5, 8)
        while True:
            yield 10.0


class _NoDiffs(kopf.DiffBaseStorage):
    def build(self, **_: Any) -> Any:
        return {}

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        return None


class _NoProgress(kopf.ProgressStorage):
    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        return None

    def purge(self, **_: Any) -> None:
        return None

    def touch(self, **_: Any) -> None:
        return None

    def clear(self, *, essence: Any) -> Any:
        return essence
