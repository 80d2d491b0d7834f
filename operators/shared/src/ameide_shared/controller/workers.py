"""Workers: take keys from the queue, reconcile them within a time limit, and have failures tried again."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from typing import Protocol
from uuid import uuid4

from ameide_shared.controller.queue import QueueClosed, WorkQueue
from ameide_shared.kube.errors import ApiError
from ameide_shared.kube.resources import ObjectKey
from ameide_shared.logging import bind
from ameide_shared.metrics import Metrics

log = logging.getLogger(__name__)


class Result(Protocol):
    """How a reconcile ended: `failed` says why it shall be retried, `requeue_after` (seconds) when to look again.

    With both, the retry comes no earlier than the growing delay of failures allows and no later than `requeue_after`.
    """

    @property
    def requeue_after(self) -> float | None: ...

    @property
    def failed(self) -> str: ...


Reconcile = Callable[[ObjectKey], Awaitable[Result]]
OnFailure = Callable[[ObjectKey, Exception], Awaitable[None]]

_FAILURE_REPORT_SECONDS = 10.0
_SPREAD = random.Random()  # noqa: S311 - spreads work over time, keeps no secrets


class ReconcileTimeout(Exception):  # noqa: N818 - named as the reason in status is
    """A reconcile took longer than it may."""


class Workers:
    """A fixed number of workers on one queue.

    `timeout`: seconds per reconcile. `resync`: seconds after which a key is looked at again although nothing happened,
    while its object `exists`. `may_work` is asked before each reconcile and must not wait: a replica that has
    lost its lead while it was asleep must not touch anything. `on_failure` is told of each exception, to report it in
    the object's status.
    """

    def __init__(
        self,
        kind: str,
        queue: WorkQueue[ObjectKey],
        reconcile: Reconcile,
        *,
        count: int,
        timeout: float,
        resync: float,
        exists: Callable[[ObjectKey], bool],
        metrics: Metrics,
        may_work: Callable[[], bool] = lambda: True,
        on_failure: OnFailure | None = None,
    ) -> None:
        self._kind = kind
        self._queue = queue
        self._reconcile = reconcile
        self._count = count
        self._timeout = timeout
        self._resync = resync
        self._exists = exists
        self._metrics = metrics
        self._may_work = may_work
        self._on_failure = on_failure
        self._tasks: list[asyncio.Task[None]] = []
        self._complaints: dict[ObjectKey, str] = {}  # the last failure that was logged

    def start(self) -> None:
        """Start the workers; they take keys until `drain` or `kill`."""
        self._metrics.workers(self._count)
        self._tasks = [asyncio.create_task(self._work(), name=f"worker {i}") for i in range(self._count)]

    async def drain(self, seconds: float) -> None:
        """Hand out nothing more, let the reconciles that run finish for so long, then cancel them."""
        self._queue.close()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        if self._queue.busy:
            log.warning("%d reconciles did not end within %.0f s and are cancelled", self._queue.busy, seconds)
        await self.kill()

    async def kill(self) -> None:
        """Stop at once: for a replica that no longer leads."""
        self._queue.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    async def _work(self) -> None:
        while True:
            try:
                key = await self._queue.get()
            except QueueClosed:
                return
            try:
                if self._may_work():
                    await self._once(key)
            finally:
                self._queue.done(key)

    async def _once(self, key: ObjectKey) -> None:
        """One reconcile. Only cancellation leaves this function."""
        with bind(kind=self._kind, namespace=key.namespace, name=key.name, reconcile=uuid4().hex[:8]):
            started = time.perf_counter()
            try:
                try:
                    async with asyncio.timeout(self._timeout) as limit:
                        result = await self._reconcile(key)
                except TimeoutError:
                    if not limit.expired():
                        raise  # some request's own
                    raise ReconcileTimeout(f"reconcile took longer than {self._timeout:.0f} s") from None
            except Exception as error:
                self._metrics.reconciled("error", time.perf_counter() - started)
                await self._failed(key, error)
                return
            seconds = time.perf_counter() - started
            log.debug("reconciled", extra={"seconds": round(seconds, 4)})
            if result.failed:
                self._metrics.reconciled("error", seconds)
                retry = self._queue.retry_after_failure(key)
                self._complain(key, result.failed, retry)
            else:
                self._metrics.reconciled("success" if result.requeue_after is None else "requeue_after", seconds)
                self._recovered(key)
            if result.requeue_after is not None:
                self._queue.add_after(key, result.requeue_after)
            if self._exists(key):
                self._queue.add_after(key, self._resync * _SPREAD.uniform(0.9, 1.1))

    async def _failed(self, key: ObjectKey, error: Exception) -> None:
        at_least = (error.retry_after or 0.0) if isinstance(error, ApiError) else 0.0
        retry = self._queue.retry_after_failure(key, at_least)
        expected = isinstance(error, (ApiError, ReconcileTimeout))
        self._complain(key, f"{type(error).__name__}: {error}", retry, None if expected else error)
        if self._on_failure is None:
            return
        try:
            async with asyncio.timeout(_FAILURE_REPORT_SECONDS):
                await self._on_failure(key, error)
        except Exception as second:
            log.debug("the failure could not be reported in status: %s", second)

    def _complain(self, key: ObjectKey, what: str, retry: float, error: Exception | None = None) -> None:
        """Log a failure, but not the same one over and over."""
        level = logging.DEBUG if self._complaints.get(key) == what else logging.WARNING
        if error is not None and level == logging.WARNING:
            level = logging.ERROR
        self._complaints[key] = what
        log.log(level, "reconcile failed: %s; next try in %.1f s", what, retry, exc_info=error)

    def _recovered(self, key: ObjectKey) -> None:
        failures = self._queue.failures(key)
        self._queue.forget(key)
        if self._complaints.pop(key, None) is not None:
            log.info("reconcile succeeded after %d failures", failures)
