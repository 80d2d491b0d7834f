"""The auditor compares the caches with the API server, because a watch can lose things without a sound.

A metadata-only LIST per kind, at start (are the caches filled?), after the watch listed anew, and every few minutes,
finds objects that are gone and whose deletion nobody told us of: they are dropped, which queues their owners. And it
finds objects that do not arrive: then the watch is dead. It is restarted; if that does not help, liveness fails. Where
the API server has gone back in time (see `timeline`) the process ends, to start from scratch.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from ameide_shared.controller.timeline import Seen, Timeline
from ameide_shared.kube.cache import Cache, Store
from ameide_shared.kube.client import ApiClient
from ameide_shared.kube.errors import ApiError, NotFound
from ameide_shared.kube.resources import ObjectKey, ResourceType, key_of
from ameide_shared.metrics import Metrics

log = logging.getLogger(__name__)

_POLL = 0.05  # seconds between looks at the cache; costs no requests
_SYNC_PATIENCE = 5.0  # without progress for so long, list anew: objects may have been deleted meanwhile
_SETTLE = 2.0  # events may be on their way
_GRACE = 15.0  # an object that takes longer to arrive will not arrive
_RELIST_QUIET = 3.0
_ABSENCE = 10.0  # an API that is being replaced, or whose server restarts, is not found for a moment
_EVER = str(2**63)  # later than any resourceVersion
_JITTER = random.Random()  # noqa: S311 - spreads requests, keeps no secrets


@dataclass(frozen=True, slots=True)
class Audited:
    """A kind to compare, as it is watched."""

    resource: ResourceType
    label_selector: str = ""
    optional: bool = False


class Auditor:
    """Compares; `run` does so for ever.

    `namespaces` are those that are watched one by one; empty for one cluster-wide watch. `admits` tells of which
    namespaces the objects of a kind count. `revive` restarts the watches. `installed` asks the API server anew whether
    it serves a kind.
    """

    def __init__(
        self,
        client: ApiClient,
        cache: Cache,
        kinds: Sequence[Audited],
        *,
        metrics: Metrics,
        interval: float,
        namespaces: Sequence[str] = (),
        admits: Callable[[ResourceType, str], bool] = lambda resource, namespace: True,
        revive: Callable[[], None] = lambda: None,
        installed: Callable[[ResourceType], Awaitable[bool]],
        grace: float = _GRACE,
    ) -> None:
        self._client = client
        self._cache = cache
        self._kinds = {kind.resource: kind for kind in kinds}
        self._metrics = metrics
        self._interval = interval
        self._namespaces = tuple(namespaces)
        self._admits = admits
        self._revive = revive
        self._installed = installed
        self._grace = grace
        self._timelines = {resource: Timeline(2 * grace) for resource in self._kinds}
        self._synced: set[ResourceType] = set()
        self._sync_errors: dict[ResourceType, str] = {}
        self.absent: set[ResourceType] = set()
        """Kinds whose API was not installed when last asked for."""
        self._behind: dict[ResourceType, str] = {}
        self._relisted: dict[ResourceType, float] = {}
        self._wake = asyncio.Event()

    @property
    def unsynced(self) -> dict[str, str]:
        """Kinds whose cache is not filled yet, and why if an error is known."""
        return {
            str(resource): self._sync_errors.get(resource, "the cache is being filled")
            for resource in self._kinds
            if resource not in self._synced
        }

    @property
    def dead(self) -> dict[str, str]:
        """Kinds whose watch does not deliver although it was restarted."""
        return {str(resource): why for resource, why in self._behind.items()}

    def relisted(self, resource: ResourceType) -> None:
        """The watch has listed a kind anew: what was deleted in between must be found. Cheap; may be called often."""
        if resource in self._synced:
            self._relisted[resource] = asyncio.get_running_loop().time() + _RELIST_QUIET
            self._wake.set()

    # --- start ------------------------------------------------------------------------------------------------------

    async def sync(self) -> None:
        """Return once the cache of every kind holds what the API server had when it was asked."""
        await asyncio.gather(*(self._sync(kind) for kind in self._kinds.values()))

    async def _sync(self, kind: Audited) -> None:
        store = self._cache.store(kind.resource)
        loop = asyncio.get_running_loop()
        wait, patience = 1.0, _SYNC_PATIENCE
        while True:
            try:
                seen = await self._list(kind)
            except ApiError as error:
                absent = kind.resource in self.absent
                why = "its API is not installed; install its CustomResourceDefinition" if absent else str(error)
                if self._sync_errors.get(kind.resource) != why:
                    log.warning("%s cannot be listed: %s", kind.resource, why)
                self._sync_errors[kind.resource] = why
                await asyncio.sleep(wait * _JITTER.uniform(0.5, 1.0))
                wait = min(30.0, wait * 2)
                continue
            self._sync_errors.pop(kind.resource, None)
            missing = _not_cached(store, seen)
            progress = loop.time()
            while missing and loop.time() < progress + patience:
                await asyncio.sleep(_POLL)
                left = [item for item in missing if _lacks(store, *item)]
                if len(left) < len(missing):
                    progress = loop.time()
                missing = left
            if not missing:
                self._synced.add(kind.resource)
                return
            patience = min(30.0, patience * 2)

    # --- for ever ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Compare every kind each interval, and those listed anew soon after that."""
        loop = asyncio.get_running_loop()
        due = loop.time() + self._interval
        while True:
            wake_at = min([due, *self._relisted.values()])
            try:
                async with asyncio.timeout_at(wake_at):
                    await self._wake.wait()
                self._wake.clear()
                continue
            except TimeoutError:
                pass
            now = loop.time()
            kinds = [resource for resource, at in self._relisted.items() if at <= now]
            for resource in kinds:
                del self._relisted[resource]
            if now >= due:
                kinds = list(self._kinds)
                due = now + self._interval * _JITTER.uniform(0.9, 1.1)
            for resource in kinds:
                await self.audit(resource)

    async def audit(self, resource: ResourceType) -> None:
        """Compare one kind. Raises WentBackError, but no ApiError: what cannot be listed is looked at next time."""
        kind = self._kinds[resource]
        try:
            result = await self._audit(kind)
        except ApiError as error:
            result = "failed"
            log.warning("audit of %s: %s", resource, error)
        self._metrics.audited(resource.kind, result)

    async def _audit(self, kind: Audited) -> str:
        store = self._cache.store(kind.resource)
        newest = store.newest
        seen = await self._list(kind)
        if not self._timelines[kind.resource].judge(store, seen, newest, asyncio.get_running_loop().time()):
            log.warning("audit of %s: the API server lists an older state than it had shown", kind.resource)
            self._look_again(kind.resource)
            return "skipped"
        if kind.resource in self.absent and len(store):
            # That an API is not there for a moment does not mean that all its objects are gone.
            await asyncio.sleep(_ABSENCE)
            seen = await self._list(kind)
            if kind.resource in self.absent and await self._installed(kind.resource):
                log.warning("audit of %s: it is installed but cannot be found", kind.resource)
                return "failed"
        dropped = 0
        if _gone(store, seen):
            await asyncio.sleep(_SETTLE)  # most of them are deletions that are being told right now
            for part in seen:
                uids = [uid for uid, _ in part.objects.values()]
                dropped += len(store.drop_missing(uids, part.resource_version, part.namespace))
        if dropped:
            self._metrics.audit_found(kind.resource.kind, "missed_deletion", dropped)
            log.warning("audit of %s: %d deletions had been missed", kind.resource, dropped)
        if missing := await self._overdue(store, seen):
            # Some may have been deleted since. Only what a second LIST still has is overdue.
            seen = await self._list(kind)
            missing = [item for item in _not_cached(store, seen) if item[0] in {key for key, _, _ in missing}]
        if not missing:
            if self._behind.pop(kind.resource, None):
                log.info("audit of %s: the watch delivers again", kind.resource)
            return "repaired" if dropped else "agreed"
        self._metrics.audit_found(kind.resource.kind, "not_delivered", len(missing))
        why = f"{len(missing)} objects were not delivered within {self._grace:.0f} s, {missing[0][0]} among them"
        log.error("audit of %s: the watch is dead: %s; watching anew", kind.resource, why)
        self._revive()
        if not await self._overdue(store, seen):
            self._behind.pop(kind.resource, None)
            return "repaired"
        self._behind[kind.resource] = why
        self._look_again(kind.resource)
        return "behind"

    def _look_again(self, resource: ResourceType) -> None:
        self._relisted[resource] = asyncio.get_running_loop().time() + self._grace

    async def _overdue(self, store: Store, seen: Sequence[Seen]) -> list[tuple[ObjectKey, str, str]]:
        """What the cache still lacks after the grace period."""
        deadline = asyncio.get_running_loop().time() + self._grace
        missing = _not_cached(store, seen)
        while missing and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(min(0.5, self._grace / 4))
            missing = [item for item in missing if _lacks(store, *item)]
        return missing

    async def _list(self, kind: Audited) -> list[Seen]:
        """List a kind as it is watched; nothing where its API is not installed."""
        namespaces: Sequence[str | None] = self._namespaces if kind.resource.namespaced else ()
        seen = []
        for namespace in namespaces or (None,):
            try:
                listing = await self._client.list(
                    kind.resource, namespace, label_selector=kind.label_selector, metadata_only=True
                )
            except NotFound:
                self.absent.add(kind.resource)
                if not kind.optional:
                    raise
                seen.append(Seen(namespace, {}, _EVER))
                continue
            if kind.resource in self.absent and not kind.optional:
                self._revive()  # kopf looked when it was absent
            self.absent.discard(kind.resource)
            objects = {}
            for item in listing.items:
                key = key_of(item)
                if self._admits(kind.resource, key.namespace):
                    objects[key] = (str(item["metadata"]["uid"]), str(item["metadata"]["resourceVersion"]))
            seen.append(Seen(namespace, objects, listing.resource_version))
        return seen


def _not_cached(store: Store, seen: Sequence[Seen]) -> list[tuple[ObjectKey, str, str]]:
    return [
        (key, uid, version)
        for part in seen
        for key, (uid, version) in part.objects.items()
        if _lacks(store, key, uid, version)
    ]


def _lacks(store: Store, key: ObjectKey, uid: str, version: str) -> bool:
    """Whether the cache has neither this state of the object nor a later one."""
    live = store.get(key)
    if live is None:
        return True
    metadata = live["metadata"]
    try:
        # Versions grow over all objects of a kind, so a successor of the same name is later, too.
        return int(metadata["resourceVersion"]) < int(version)
    except ValueError:
        return bool(metadata.get("uid") != uid)


def _gone(store: Store, seen: Sequence[Seen]) -> bool:
    """Whether the cache has an object that a LIST lacks. It may be younger than the LIST."""
    listed = {uid for part in seen for uid, _ in part.objects.values()}
    return any(live["metadata"].get("uid") not in listed for live in store.list())
