"""An operator process: watches fill the cache and the queue, the leader's workers reconcile, the auditor looks after.

Order of things: probes first; then watches; when the caches are filled, election; when elected, workers. On SIGTERM:
watches stop, workers finish what they have, the Lease is given back, within ten seconds.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import signal
import threading
from collections.abc import Callable, Coroutine, Hashable, Iterable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import Any

from ameide_shared.controller import urgency
from ameide_shared.controller.apis import ApiFollower
from ameide_shared.controller.audit import Audited, Auditor
from ameide_shared.controller.background import Background
from ameide_shared.controller.leader import LeaderElector
from ameide_shared.controller.namespaces import NamespacePoller, namespace_filter
from ameide_shared.controller.queue import WorkQueue
from ameide_shared.controller.recorder import Recorder
from ameide_shared.controller.streams import Streams
from ameide_shared.controller.workers import OnFailure, Reconcile, Workers
from ameide_shared.health import HealthServer
from ameide_shared.kube.cache import Cache
from ameide_shared.kube.client import ApiClient
from ameide_shared.kube.connection import Connection
from ameide_shared.kube.discovery import Discovery
from ameide_shared.kube.limiter import Limiter
from ameide_shared.kube.resources import (
    CUSTOM_RESOURCE_DEFINITION,
    NAMESPACE,
    Manifest,
    ObjectKey,
    ResourceType,
    key_of,
)
from ameide_shared.metrics import Metrics
from ameide_shared.settings import OperatorSettings

log = logging.getLogger(__name__)

_DRAIN_SECONDS = 5.0
_FLUSH_SECONDS = 1.0
_RELEASE_SECONDS = 1.5

ToKeys = Callable[[Manifest], Iterable[ObjectKey]]
"""Which resources of the operator's kind an object concerns."""


@dataclass(frozen=True, slots=True)
class Watch:
    """A kind to watch and cache. A change of an object queues what `keys` says of it, before and after.

    `optional`: its API may be absent, and may appear or go while we run. `matters`: what of an object concerns anybody
    but itself; where that stays the same, nobody is woken. How soon follows from the type: see `urgency`.
    """

    resource: ResourceType
    keys: ToKeys
    label_selector: str = ""
    optional: bool = False
    matters: Callable[[Manifest], Hashable] | None = None


class Runtime:
    """One operator process. `client`, `cache`, `discovery`, `recorder` and `metrics` are there for `reconcile` to use.

    `primary` is the operator's own kind; it is watched without being named in `watches`. `asked` are APIs that may be
    absent, too, of which objects are only asked for by name. Construct it and call `run` within one event loop.
    """

    def __init__(
        self,
        operator: str,
        primary: ResourceType,
        watches: Sequence[Watch],
        settings: OperatorSettings,
        connection: Connection,
        asked: Sequence[ResourceType] = (),
    ) -> None:
        self.operator = operator
        self.primary = primary
        self.settings = settings
        self.connection = connection
        self.metrics = Metrics(primary.kind.lower())
        limiter = Limiter(settings.api.qps, settings.api.burst)
        self.client = self._client(limiter, settings.api.request_timeout)
        self.cache = Cache()
        self.discovery = Discovery([*(watch.resource for watch in watches if watch.optional), *asked])
        self.recorder = Recorder(self._client(limiter, 10.0), operator, metrics=self.metrics)
        self.queue: WorkQueue[ObjectKey] = WorkQueue(observer=self.metrics)
        self._watches = (Watch(primary, lambda manifest: (key_of(manifest),)), *watches)
        self._admits = namespace_filter(settings.watch)
        listed = dict.fromkeys((*settings.watch.namespaces, *settings.watch.referenced))
        namespaces = () if settings.watch.cluster_wide else tuple(listed)
        watched = [watch for watch in self._watches if not (namespaces and watch.resource is NAMESPACE)]
        self._poller = (
            NamespacePoller(self.client, self.cache, namespaces) if len(watched) < len(self._watches) else None
        )
        self._streams = self._build_streams(watched, namespaces)
        self._apis = ApiFollower(
            self.client, self.discovery, interval=settings.audit_seconds, on_change=self._apis_changed
        )
        self._auditor = Auditor(
            self.client,
            self.cache,
            [Audited(watch.resource, watch.label_selector, watch.optional) for watch in watched],
            metrics=self.metrics,
            interval=settings.audit_seconds,
            namespaces=namespaces,
            admits=self._counts,
            revive=self._streams.restart,
            installed=self._apis.installed,
        )
        self._beside: list[tuple[str, Callable[[], Coroutine[Any, Any, None]]]] = []
        self.health_port = settings.http.port
        """The port of the probes; the one in use once `run` has started."""
        for watch in self._watches:
            self.cache.subscribe(watch.resource, self._queuer(watch), own_writes=False)
        self.cache.subscribe(primary, self._count_conditions)

    def beside(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run `work()` for as long as the process lives: the watching of a system outside the cluster, say."""
        self._beside.append((name, work))

    async def run(
        self,
        reconcile: Reconcile,
        *,
        stop: asyncio.Event | None = None,
        on_failure: OnFailure | None = None,
    ) -> int:
        """Run until SIGTERM, SIGINT or `stop`; the exit code: 0 when told to stop, 1 when something gave way."""
        stop = stop or asyncio.Event()
        with suppress(NotImplementedError):
            self._handle_signals(stop)
        async with AsyncExitStack() as stack:
            health = HealthServer(
                self.settings.http.host,
                self.settings.http.port,
                metrics=self.metrics,
                live=lambda: self._auditor.dead,
                ready=self._unready,
            )
            await stack.enter_async_context(health)
            self.health_port = health.port
            async with Background() as background:
                watching = background.start("watches", self._streams.run())
                background.start("events", self.recorder.run())
                for name, work in self._beside:
                    background.start(name, work())
                code = await self._serve(reconcile, stop, on_failure, background, watching)
                await self.recorder.flush(_FLUSH_SECONDS)
        log.info("stopped", extra={"exit_code": code})
        return code

    async def _serve(
        self,
        reconcile: Reconcile,
        stop: asyncio.Event,
        on_failure: OnFailure | None,
        background: Background,
        watching: asyncio.Task[None],
    ) -> int:
        """From empty caches to the end."""
        stopped = background.start("stop flag", stop.wait())
        if not await background.first(stopped, background.start("cache sync", self._sync())):
            return background.exit_code
        log.info("caches are filled")
        background.start("audit", self._auditor.run())
        background.start("API discovery", self._apis.run())
        if self._poller:
            background.start("namespaces", self._poller.run())
        elector: LeaderElector | None = None
        if self.settings.leader_election.enabled:
            elector = self._elector()
            if not await background.first(stopped, background.start("election", elector.acquire())):
                await self._release(elector)
                return background.exit_code
        else:
            self.metrics.leading(True)
        workers = Workers(
            self.primary.kind,
            self.queue,
            reconcile,
            count=self.settings.workers,
            timeout=self.settings.reconcile_timeout,
            resync=self.settings.resync_seconds,
            exists=lambda key: self.cache.get(self.primary, key) is not None,
            metrics=self.metrics,
            may_work=elector.leads if elector else (lambda: True),
            on_failure=on_failure,
        )
        workers.start()
        log.info("working", extra={"workers": self.settings.workers})
        if elector is None:
            await background.first(stopped)
            watching.cancel()
            await workers.drain(_DRAIN_SECONDS)
            return background.exit_code
        lost = background.start("renewal", elector.hold())
        if await background.first(stopped, lost):
            # Another replica may start at any moment: no time for finishing.
            await workers.kill()
            return 1
        # The Lease is renewed while the last reconciles end, and given back only then.
        watching.cancel()
        await workers.drain(_DRAIN_SECONDS)
        lost.cancel()
        await self._release(elector)
        return background.exit_code

    # --- parts ------------------------------------------------------------------------------------------------------

    def _client(self, limiter: Limiter, timeout: float) -> ApiClient:
        return ApiClient(
            self.connection,
            field_manager=self.operator,
            limiter=limiter,
            on_request=self.metrics.request,
            timeout=timeout,
        )

    def _build_streams(self, watches: Sequence[Watch], namespaces: Sequence[str]) -> Streams:
        watched = {watch.resource: watch.label_selector for watch in watches}
        if self.discovery.optional and self.settings.watch.cluster_wide:
            watched[CUSTOM_RESOURCE_DEFINITION] = ""
        return Streams(
            self.connection,
            watched,
            on_event=self._take_event,
            on_listed=self._take_listing,
            is_echo=self._is_echo,
            is_writing=self.client.writing,
            expected=self._expected,
            namespaces=namespaces,
        )

    def _elector(self) -> LeaderElector:
        settings = self.settings.leader_election
        key = ObjectKey(
            settings.namespace or self.connection.default_namespace or "default", settings.name or self.operator
        )
        # A client of its own: renewals wait for no token that reconciles have used up.
        client = self._client(Limiter(0), settings.renew_deadline)
        return LeaderElector(client, key, settings, on_change=self.metrics.leading)

    @staticmethod
    async def _release(elector: LeaderElector) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_RELEASE_SECONDS):
                await elector.release()

    def _handle_signals(self, stop: asyncio.Event) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        self._streams.on_started = functools.partial(self._handle_signals, stop)  # kopf puts its own in place

    def _unready(self) -> dict[str, str]:
        problem = self._poller.problem if self._poller else ""
        return self._auditor.unsynced | ({"namespaces": problem} if problem else {})

    # --- what happens -----------------------------------------------------------------------------------------------

    def _take_event(self, resource: ResourceType, event_type: str | None, manifest: dict[str, Any]) -> None:
        self.metrics.watch_event(resource.kind)
        if resource is CUSTOM_RESOURCE_DEFINITION:
            self.discovery.on_crd_event(event_type, manifest)
        elif self._counts(resource, manifest["metadata"].get("namespace", "")):
            self.cache.on_event(resource, event_type, manifest)

    def _is_echo(self, resource: ResourceType, version: str) -> bool:
        if resource is CUSTOM_RESOURCE_DEFINITION or not self.cache.store(resource).take_echo(version):
            return False
        self.metrics.watch_event(resource.kind)
        return True

    def _counts(self, resource: ResourceType, namespace: str) -> bool:
        """Whether an object is of interest: those that a resource refers to may be in namespaces left alone."""
        return resource is not self.primary or self._admits(namespace)

    def _take_listing(self, resource: ResourceType) -> None:
        if resource is not CUSTOM_RESOURCE_DEFINITION:
            self._auditor.relisted(resource)

    def _expected(self, resource: ResourceType) -> bool:
        """Whether a kind's API is installed; an optional one's coming and going is followed by `discovery`."""
        if resource in self.discovery.optional:
            return self.discovery.installed(resource)
        return resource not in self._auditor.absent

    def _queuer(self, watch: Watch) -> Callable[[Manifest | None, Manifest | None], None]:
        keys, matters, can_wait = watch.keys, watch.matters, urgency.can_wait(watch.resource)

        def changed(old: Manifest | None, new: Manifest | None) -> None:
            if matters is not None and old is not None and new is not None and matters(old) == matters(new):
                return
            concerned = set(keys(new)) if new is not None else set()
            if old is not None:
                concerned.update(keys(old))
            waits = can_wait is not None and can_wait(old, new)
            for key in concerned:
                if not self._admits(key.namespace):
                    continue
                if waits:
                    self.queue.add_after(key, urgency.PATIENCE)
                else:
                    self.queue.add(key, debounce=True)

        return changed

    def _count_conditions(self, old: Manifest | None, new: Manifest | None) -> None:
        manifest = new if new is not None else old
        assert manifest is not None
        conditions = ((new.get("status") or {}).get("conditions") or ()) if new is not None else None
        self.metrics.conditions(key_of(manifest), self.primary.kind, conditions)

    async def _sync(self) -> None:
        """Fill the caches and learn which optional APIs there are."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._auditor.sync())
            group.create_task(self._apis.sync())
            if self._poller:
                group.create_task(self._poller.sync())

    def _apis_changed(self) -> None:
        """An optional API has appeared or gone: watch anew, and look at everything in its light."""
        self._streams.restart()
        for manifest in self.cache.list(self.primary):
            self.queue.add(key_of(manifest), debounce=True)


def run_loop(main: Coroutine[Any, Any, int]) -> int:
    """Run an operator's main coroutine in an event loop, uvloop's where it is installed; its exit code."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    return uvloop.run(main)
