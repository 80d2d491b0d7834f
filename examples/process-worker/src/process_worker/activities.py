"""The activities: the first step of each workflow, and the calls of other systems.

Calls are one dynamic activity, so that each shows in Temporal under the name that its binding gives it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any

import httpx
from temporalio import activity
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError

from process_worker import metrics
from process_worker.config import Config
from process_worker.drain import draining
from process_worker.tables import TABLES
from process_worker.targets import PathError, address, path

BEGIN = "ameide.begin"
DRAINING = "Draining"

_MOST_BYTES = 1_000_000
_RETRIED = frozenset({408, 425, 429})
_MOST_SECONDS_OF_WAIT = 300.0

log = logging.getLogger(__name__)


class Activities:
    """What workflows do outside themselves. One instance per worker."""

    def __init__(self, config: Config, searchable: Callable[[], bool], http: httpx.AsyncClient) -> None:
        """`searchable` tells whether the search attribute of the definition's checksum is registered."""
        self._config = config
        self._searchable = searchable
        self._http = http
        self._shares: dict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(config.concurrency or 1))

    @activity.defn(name=BEGIN)
    async def begin(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Decide what a new workflow runs on; being recorded, the answer holds for all its life.

        `request`: {process, child, tenant?}. Raises ApplicationError Draining, UnknownProcess or TenantMismatch.
        """
        process = request["process"]
        try:
            tenant = self._admit(process, bool(request.get("child")), request.get("tenant"))
        except ApplicationError as error:
            metrics.STARTS.labels(process, error.type).inc()
            raise
        metrics.STARTS.labels(process, "accepted").inc()
        return {"checksum": TABLES.current, "tenant": tenant, "searchable": self._searchable()}

    def _admit(self, process: str, child: bool, tenant: object) -> str:
        # A child belongs to a workflow that is open already, and that may finish.
        if not child and draining(self._config.drain_file):
            raise ApplicationError(
                "the Process is being drained: it takes no new workflows; start them elsewhere, or later",
                type=DRAINING,
                non_retryable=True,
            )
        served = TABLES.get(TABLES.current)["process"]
        if process != served:
            raise ApplicationError(
                f"this worker executes the process {served!r}, not {process!r}; correct the workflow type",
                type="UnknownProcess",
                non_retryable=True,
            )
        if self._config.tenant and tenant not in (None, self._config.tenant):
            raise ApplicationError(
                f"this Process belongs to tenant {self._config.tenant!r}, the workflow was started for {tenant!r}",
                type="TenantMismatch",
                non_retryable=True,
            )
        return self._config.tenant or (tenant if isinstance(tenant, str) else "")

    @activity.defn(dynamic=True)
    async def call(self, args: Sequence[RawValue]) -> Any:
        """Call a dependency as the request (see `Engine.call`) says; return JSON answer. Raises ApplicationError."""
        request: dict[str, Any] = activity.payload_converter().from_payload(args[0].payload, dict)
        name = activity.info().activity_type
        started = time.monotonic()
        outcome = "cancelled"
        try:
            async with self._share(request["tenant"]), _heartbeat():
                answer = await self._send(request)
            outcome = "ok"
            return answer
        except ApplicationError as error:
            outcome = error.type or "error"
            raise
        finally:
            metrics.CALLS.labels(name, outcome).observe(time.monotonic() - started)

    @asynccontextmanager
    async def _share(self, tenant: str) -> AsyncIterator[None]:
        # With one tenant the worker itself takes no more than the tenant's share.
        if self._config.concurrency is None or self._config.tenant:
            yield
            return
        with metrics.WAITING.track_inprogress():
            await self._shares[tenant].acquire()
        try:
            yield
        finally:
            self._shares[tenant].release()

    async def _send(self, request: Mapping[str, Any]) -> Any:
        info = activity.info()
        target = request["target"]
        what = f"{target['kind']} {target['name']}"
        if request["protocol"] != "http":
            raise ApplicationError(
                f"{what}: this worker speaks HTTP only; give element {request['element']!r} a binding with "
                "protocol http, or use a worker of your own for gRPC",
                type="ProtocolNotSupported",
                non_retryable=True,
            )
        base = address(target, "http", self._config.dependencies)
        if base is None:
            # Not final: the operator may add the address and roll the workers.
            raise ApplicationError(
                f"the address of {what} is not known to this worker; declare it in spec.dependencies",
                type="DependencyUnknown",
            )
        try:
            url = base + path(request["segments"])
        except PathError as error:
            raise ApplicationError(
                f"{what}, operation {request['operation']}: {error}", type="InvalidPath", non_retryable=True
            ) from None
        method, inputs = request["method"], request["inputs"]
        headers = {
            self._config.tenant_header: request["tenant"],
            "accept": "application/json",
            # The same for every attempt, so that a dependency can tell a repetition from a second order.
            "idempotency-key": f"{info.workflow_id}/{info.workflow_run_id}/{info.activity_id}",
        }
        query = _query(inputs) if method in ("GET", "DELETE") else None
        body = None if method in ("GET", "DELETE") else inputs
        limit = (info.start_to_close_timeout or timedelta(seconds=60)).total_seconds()
        try:
            async with asyncio.timeout(limit):
                return await self._exchange(method, url, headers, query, body, what)
        except (httpx.TransportError, TimeoutError) as error:
            raise ApplicationError(
                f"{what} cannot be reached: {error or 'no answer in time'}", type="Unreachable"
            ) from None

    async def _exchange(
        self, method: str, url: str, headers: Mapping[str, str], query: Any, body: Any, what: str
    ) -> Any:
        async with self._http.stream(method, url, headers=headers, params=query, json=body, timeout=None) as response:
            content = bytearray()
            async for chunk in response.aiter_bytes():
                content += chunk
                if len(content) > _MOST_BYTES:
                    raise ApplicationError(
                        f"{what} answered more than {_MOST_BYTES} bytes, which a workflow cannot keep",
                        type="AnswerTooLarge",
                        non_retryable=True,
                    )
        if response.is_success:
            return _json(bytes(content), what)
        raise _failure(response, bytes(content), f"{what}: {method} {response.url.path}")


def _query(inputs: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Query parameters; lists repeat the name, objects are JSON, null is left out."""
    return [
        (name, item if isinstance(item, str) else json.dumps(item))
        for name, value in inputs.items()
        for item in (value if isinstance(value, list) else [value])
        if item is not None
    ]


def _json(content: bytes, what: str) -> Any:
    if not content.strip():
        return None
    try:
        return json.loads(content)
    except ValueError:
        raise ApplicationError(f"{what} answered something that is no JSON", type="InvalidAnswer") from None


def _failure(response: httpx.Response, content: bytes, what: str) -> ApplicationError:
    try:
        answer = json.loads(content)
    except ValueError:
        answer = None
    told = answer if isinstance(answer, dict) else {}
    code = told.get("errorCode")
    reason = next((told[key] for key in ("detail", "message", "error", "title") if isinstance(told.get(key), str)), "")
    status = response.status_code
    delay: timedelta | None = None
    if status in (429, 503):
        with suppress(ValueError):
            seconds = float(response.headers.get("retry-after", ""))
            delay = timedelta(seconds=min(max(seconds, 0.0), _MOST_SECONDS_OF_WAIT))
    return ApplicationError(
        f"{what} answered {status}{': ' + reason[:300] if reason else ''}",
        answer,
        type=code if isinstance(code, str) and code else f"HTTP_{status}",
        non_retryable=status < 500 and status not in _RETRIED,
        next_retry_delay=delay,
    )


@asynccontextmanager
async def _heartbeat() -> AsyncIterator[None]:
    """Heartbeat while the activity runs, where its timeouts ask for it."""
    interval = activity.info().heartbeat_timeout
    if not interval:
        yield
        return

    async def beat() -> None:
        while True:
            activity.heartbeat()
            await asyncio.sleep(interval.total_seconds() / 3)

    task = asyncio.create_task(beat())
    try:
        yield
    finally:
        task.cancel()
