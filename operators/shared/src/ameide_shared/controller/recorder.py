"""Kubernetes Events: recorded in the background, counted when they repeat, limited per object, never in the way.

An Event's name follows from the object, the reason and the message. The same thing happening again therefore counts
up the same Event, also after a restart. Whatever goes wrong here is logged and dropped: no reconcile waits for it.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import socket
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ameide_shared.confidential import cleaned
from ameide_shared.kube.client import ApiClient
from ameide_shared.kube.errors import AlreadyExists, NotFound
from ameide_shared.kube.resources import EVENT, Manifest, ObjectKey
from ameide_shared.metrics import Metrics

log = logging.getLogger(__name__)

NOTE_BYTES = 1024
"""What the API allows; longer messages are cut."""

_QUEUE_LENGTH = 1000
_BUCKETS = 4096
_BURST = 15.0  # Events that one object may have at once
_REFILL_SECONDS = 20.0  # and one more each so many seconds


@dataclass(slots=True)
class _Pending:
    """An Event that waits to be written; `count` grows when it repeats meanwhile."""

    regarding: dict[str, str]
    namespace: str
    name: str
    type: str
    reason: str
    note: str
    first: datetime
    last: datetime
    count: int = 1


class Recorder:
    """Records Events for one operator. `run` writes them and must be running as a task."""

    def __init__(
        self,
        client: ApiClient,
        operator: str,
        *,
        metrics: Metrics,
        instance: str = "",
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._client = client
        self._operator = operator
        self._instance = (instance or os.environ.get("POD_NAME") or socket.gethostname())[:128]
        self._metrics = metrics
        self._clock = clock
        self._now = now
        self._pending: OrderedDict[str, _Pending] = OrderedDict()
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._written: OrderedDict[ObjectKey, int] = OrderedDict()  # Events of ours and their counts
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # by uid: tokens, when

    def event(self, resource: Manifest, type: str, reason: str, message: str) -> None:
        """Record that something happened to an object. `type` is Normal or Warning. Returns at once."""
        metadata = resource["metadata"]
        uid = str(metadata.get("uid") or "")
        note = _cut(cleaned(message))
        digest = hashlib.sha256("\0".join((uid, type, reason, note)).encode()).hexdigest()[:16]
        name = f"{str(metadata['name'])[:200]}.{digest}"
        now = self._now()
        if (pending := self._pending.get(name)) is not None:
            pending.count += 1
            pending.last = now
            return
        if not self._allow(uid or name) or len(self._pending) >= _QUEUE_LENGTH:
            self._metrics.event("dropped")
            log.debug("Event dropped, there are too many", extra={"reason": reason})
            return
        regarding = {
            "apiVersion": str(resource["apiVersion"]),
            "kind": str(resource["kind"]),
            "name": str(metadata["name"]),
            "namespace": str(metadata.get("namespace") or ""),
            "uid": uid,
            "resourceVersion": str(metadata.get("resourceVersion") or ""),
        }
        namespace = regarding["namespace"] or "default"
        self._pending[name] = _Pending(
            {field: value for field, value in regarding.items() if value}, namespace, name, type, reason, note, now, now
        )
        self._idle.clear()
        self._wake.set()

    async def run(self) -> None:
        """Write Events until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._pending:
                _, pending = self._pending.popitem(last=False)
                try:
                    self._metrics.event(await self._write(pending))
                except Exception as error:  # nothing about Events may stop the operator
                    self._metrics.event("failed")
                    log.warning("an Event was not recorded: %s", error, extra={"reason": pending.reason})
            self._idle.set()

    async def flush(self, seconds: float) -> None:
        """Wait until all is written, at most so long."""
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        except TimeoutError:
            log.debug("%d Events were not written in time", len(self._pending))

    async def _write(self, pending: _Pending) -> str:
        """Create the Event, or count up the one that is there; what was done."""
        key = ObjectKey(pending.namespace, pending.name)
        counted = self._written.get(key)
        if counted is None:
            try:
                await self._client.create(self._manifest(pending))
            except AlreadyExists:
                live = await self._client.get(EVENT, key)
                counted = int((live.get("series") or {}).get("count") or 1)
            else:
                self._remember(key, pending.count)
                return "created"
        series = {"count": counted + pending.count, "lastObservedTime": _micro(pending.last)}
        try:
            await self._client.merge_patch(EVENT, key, {"series": series})
        except NotFound:  # it expired in between
            await self._client.create(self._manifest(pending))
            self._remember(key, pending.count)
            return "created"
        self._remember(key, counted + pending.count)
        return "counted"

    def _remember(self, key: ObjectKey, count: int) -> None:
        """Keep the count of an Event that we wrote: its repetition is then one request."""
        self._written.pop(key, None)
        self._written[key] = count
        while len(self._written) > _BUCKETS:
            self._written.popitem(last=False)

    def _manifest(self, pending: _Pending) -> dict[str, Any]:
        manifest: dict[str, Any] = {
            "apiVersion": EVENT.api_version,
            "kind": EVENT.kind,
            "metadata": {"namespace": pending.namespace, "name": pending.name},
            "eventTime": _micro(pending.first),
            "reportingController": self._operator,
            "reportingInstance": self._instance,
            "action": "Reconcile",
            "reason": pending.reason,
            "regarding": pending.regarding,
            "note": pending.note,
            "type": pending.type,
        }
        if pending.count > 1:
            manifest["series"] = {"count": pending.count, "lastObservedTime": _micro(pending.last)}
        return manifest

    def _allow(self, uid: str) -> bool:
        """Take a token of the object's bucket, if it has one."""
        now = self._clock()
        tokens, since = self._buckets.pop(uid, (_BURST, now))
        tokens = min(_BURST, tokens + (now - since) / _REFILL_SECONDS)
        allowed = tokens >= 1.0
        self._buckets[uid] = (tokens - 1.0 if allowed else tokens, now)
        while len(self._buckets) > _BUCKETS:
            self._buckets.popitem(last=False)
        return allowed


def _cut(message: str) -> str:
    """At most NOTE_BYTES bytes of UTF-8, cut between characters."""
    data = message.encode()
    if len(data) <= NOTE_BYTES:
        return message
    return data[: NOTE_BYTES - 3].decode(errors="ignore") + "…"


def _micro(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
