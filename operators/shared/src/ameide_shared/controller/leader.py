"""Leader election on a Lease, so that of several replicas one works and the others wait with warm caches.

The rules are those of client-go. A holder renews its Lease; a candidate takes it over once it has itself watched it
not change for a whole lease duration. Nobody's wall clock is compared with anybody else's: times in the Lease are for
people. A leader that cannot renew, because the API server is away, leads on until its renew deadline; that is
shorter than the lease duration, so that it has stopped before anybody else starts.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from ameide_shared.kube.client import ApiClient
from ameide_shared.kube.errors import AlreadyExists, ApiError, Conflict, NotFound
from ameide_shared.kube.kubeconfig import ConfigError
from ameide_shared.kube.resources import LEASE, Manifest, ObjectKey
from ameide_shared.settings import LeaderElectionSettings

log = logging.getLogger(__name__)

_JITTER = 1.2


def boot_time() -> float:
    """Seconds of a clock that nobody sets and that goes on while the machine sleeps."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


def own_identity() -> str:
    """A name for this process that no other bears, a restarted one of the same pod included."""
    return f"{os.environ.get('POD_NAME') or socket.gethostname()}_{uuid4().hex[:12]}"


class LeaderElector:
    """One candidate for one Lease.

    `on_change(leads)` is told when this replica begins and ceases to lead.
    """

    def __init__(
        self,
        client: ApiClient,
        key: ObjectKey,
        settings: LeaderElectionSettings,
        *,
        identity: str = "",
        on_change: Callable[[bool], None] = lambda leads: None,
        clock: Callable[[], float] = boot_time,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self.key = key
        self.identity = identity or own_identity()
        self.holder = ""
        """Who leads, as far as we know; empty for nobody."""
        self._client = client
        self._settings = settings
        self._on_change = on_change
        self._clock = clock
        self._uniform = uniform
        self._lease: Manifest | None = None  # as last read or written
        self._observed_at = 0.0  # when we last saw it change
        self._renewed_at: float | None = None  # when our last successful renewal was sent; None: we do not lead
        self._told = False

    def leads(self) -> bool:
        """Whether this replica may work right now. True only while nobody else can have taken over."""
        return self._renewed_at is not None and self._clock() < self._renewed_at + self._settings.renew_deadline

    async def acquire(self) -> None:
        """Return once this replica leads. API errors are waited out."""
        log.info("waiting to lead", extra={"lease": str(self.key), "identity": self.identity})
        while True:
            if await self._attempt(self._settings.renew_deadline):
                break
            await asyncio.sleep(self._settings.retry_period * self._uniform(1.0, _JITTER))
        log.info("leading", extra={"lease": str(self.key), "identity": self.identity})
        self._tell(True)

    async def hold(self) -> None:
        """Renew the Lease; returns when the lead is lost, never otherwise."""
        try:
            while self._renewed_at is not None:
                left = self._renewed_at + self._settings.renew_deadline - self._clock()
                if left <= 0:
                    log.error("lead lost: the Lease %s could not be renewed in time", self.key)
                    return
                await asyncio.sleep(min(self._settings.retry_period, left))
                left = self._renewed_at + self._settings.renew_deadline - self._clock()
                if left <= 0:
                    continue
                # A request that hangs must leave time for another one.
                renewed = await self._attempt(min(left, self._settings.renew_deadline / 2))
                if not renewed and self.holder != self.identity:
                    log.error("lead lost: %s holds the Lease %s", self.holder or "nobody", self.key)
                    return
        finally:
            self._renewed_at = None
            self._tell(False)

    async def release(self) -> None:
        """Give the Lease back, so that the next replica need not wait for it to expire. Never raises an ApiError."""
        self._renewed_at = None
        self._tell(False)
        if self._lease is None or self.holder != self.identity:
            return
        spec = {"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": _now()}
        try:
            await self._write(spec)
        except ApiError as error:
            log.warning("the Lease %s could not be released: %s", self.key, error)
        else:
            log.info("released the Lease %s", self.key)

    # --- one attempt ------------------------------------------------------------------------------------------------

    async def _attempt(self, seconds: float) -> bool:
        """Take or renew the Lease if that is possible now."""
        started = self._clock()  # before the request: the server may have acted long before its answer arrives
        try:
            async with asyncio.timeout(seconds):
                if not await self._take_or_renew():
                    return False
        except (ApiError, ConfigError, TimeoutError) as error:
            log.warning("the Lease %s cannot be reached: %s", self.key, str(error) or f"no answer in {seconds:.0f} s")
            if isinstance(error, Conflict):
                self._lease = None  # somebody wrote it: look anew
            return False
        self._renewed_at = started
        return True

    async def _take_or_renew(self) -> bool:
        mine = self._renewed_at is not None and self._lease is not None and self.holder == self.identity
        if not mine and not await self._look():
            return await self._create()
        try:
            return await self._take(mine)
        except Conflict:
            if not mine:
                return False  # another candidate was faster
            # Something else wrote to our Lease, a label say. It is ours as long as it says so.
            if not await self._look():
                return await self._create()
            return await self._take(self.holder == self.identity)
        except NotFound:
            return await self._create()

    async def _take(self, mine: bool) -> bool:
        assert self._lease is not None
        spec = self._lease.get("spec") or {}
        if mine:
            await self._write({"renewTime": _now(), "leaseDurationSeconds": self._duration_seconds})
            return True
        if self.holder and self.holder != self.identity:
            term = max(float(spec.get("leaseDurationSeconds") or 0), self._settings.lease_duration)
            if self._clock() < self._observed_at + term:
                return False
        transitions = int(spec.get("leaseTransitions") or 0) + (self.holder != self.identity)
        await self._write(self._own_spec(transitions))
        return True

    async def _look(self) -> bool:
        """Read the Lease; False if there is none."""
        try:
            self._remember(await self._client.get(LEASE, self.key))
        except NotFound:
            self._lease, self.holder = None, ""
            return False
        return True

    async def _create(self) -> bool:
        manifest = {
            "apiVersion": LEASE.api_version,
            "kind": LEASE.kind,
            "metadata": {"namespace": self.key.namespace, "name": self.key.name},
            "spec": self._own_spec(0),
        }
        try:
            self._remember(await self._client.create(manifest))
        except AlreadyExists:
            return False
        return True

    async def _write(self, spec: dict[str, Any]) -> None:
        assert self._lease is not None
        metadata = self._lease["metadata"]
        patch = {"metadata": {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}, "spec": spec}
        self._remember(await self._client.merge_patch(LEASE, self.key, patch))

    def _remember(self, lease: Manifest) -> None:
        old = self._lease["metadata"].get("resourceVersion") if self._lease else None
        if old != lease["metadata"].get("resourceVersion"):
            self._observed_at = self._clock()
        self._lease = lease
        self.holder = str((lease.get("spec") or {}).get("holderIdentity") or "")

    def _own_spec(self, transitions: int) -> dict[str, Any]:
        return {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": self._duration_seconds,
            "acquireTime": _now(),
            "renewTime": _now(),
            "leaseTransitions": transitions,
        }

    @property
    def _duration_seconds(self) -> int:
        return max(1, round(self._settings.lease_duration))

    def _tell(self, leads: bool) -> None:
        if leads != self._told:
            self._told = leads
            self._on_change(leads)


def _now() -> str:
    """A MicroTime, for people who read the Lease."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
