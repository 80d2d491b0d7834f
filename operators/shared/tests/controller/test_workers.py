"""Workers: time limits, retries after failures, quiet logs, draining."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from ameide_shared.controller.queue import WorkQueue
from ameide_shared.controller.workers import ReconcileTimeout, Workers
from ameide_shared.kube.errors import ServerUnavailable
from ameide_shared.kube.resources import ObjectKey
from ameide_shared.logging import FIELDS
from ameide_shared.metrics import Metrics

KEY = ObjectKey("ns", "a")


@dataclass
class Result:
    requeue_after: float | None = None
    failed: str = ""


@dataclass
class Bench:
    """Workers around a reconcile function, and what became of it."""

    reconcile: Callable[[ObjectKey], Awaitable[Result]]
    options: dict[str, Any] = field(default_factory=dict)

    async def __aenter__(self) -> "Bench":
        self.metrics = Metrics("domain")
        self.queue: WorkQueue[ObjectKey] = WorkQueue(observer=self.metrics, uniform=lambda low, high: high / 100)
        options: dict[str, Any] = {
            "count": 3,
            "timeout": 1.0,
            "resync": 600.0,
            "exists": lambda key: True,
        } | self.options
        self.workers = Workers("Domain", self.queue, self.reconcile, metrics=self.metrics, **options)
        self.workers.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.workers.kill()

    def metric(self, sample: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(sample, labels)


async def until(condition: Callable[[], bool], seconds: float = 3.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - polls what the workers do
            await asyncio.sleep(0.005)


async def test_failures_are_retried_logged_once_and_recover(caplog: pytest.LogCaptureFixture) -> None:
    calls = 0

    async def reconcile(key: ObjectKey) -> Result:
        nonlocal calls
        calls += 1
        if calls <= 2:
            raise ServerUnavailable("no answer", retry_after=0.01)
        if calls <= 4:
            return Result(failed="quota is used up")
        return Result()

    with caplog.at_level(logging.INFO, "ameide_shared"):
        async with Bench(reconcile) as bench:
            bench.queue.add(KEY)
            await until(lambda: calls == 5 and bench.queue.busy == 0)
            assert bench.queue.failures(KEY) == 0
            assert bench.metric("controller_runtime_reconcile_total", controller="domain", result="error") == 4
            assert bench.metric("controller_runtime_reconcile_total", controller="domain", result="success") == 1
            assert bench.metric("workqueue_retries_total", name="domain") == 4
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 3, lines
    assert "ServerUnavailable: no answer" in lines[0]
    assert "quota is used up" in lines[1]
    assert "succeeded after 4 failures" in lines[2]


async def test_a_programming_error_keeps_its_traceback_and_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    reported: list[Exception] = []

    async def reconcile(key: ObjectKey) -> Result:
        raise KeyError("oops")

    async def on_failure(key: ObjectKey, error: Exception) -> None:
        reported.append(error)
        raise RuntimeError("status cannot be written either")

    async with Bench(reconcile, {"on_failure": on_failure}) as bench:
        bench.queue.add(KEY)
        await until(lambda: len(reported) >= 3)
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 1
    assert errors[0].exc_info is not None
    assert isinstance(reported[0], KeyError)


async def test_a_reconcile_that_hangs_is_cut_off_and_others_go_on() -> None:
    reported: list[Exception] = []
    done: list[str] = []

    async def reconcile(key: ObjectKey) -> Result:
        if key.name == "hangs":
            await asyncio.Event().wait()
        done.append(key.name)
        return Result()

    async def on_failure(key: ObjectKey, error: Exception) -> None:
        reported.append(error)

    async with Bench(reconcile, {"timeout": 0.1, "on_failure": on_failure}) as bench:
        bench.queue.add(ObjectKey("ns", "hangs"))
        for i in range(5):
            bench.queue.add(ObjectKey("ns", str(i)))
        await until(lambda: len(done) == 5 and bool(reported))
    assert isinstance(reported[0], ReconcileTimeout)
    assert "0 s" in str(reported[0])


async def test_requeue_resync_and_objects_that_are_gone() -> None:
    runs: dict[str, int] = {}

    async def reconcile(key: ObjectKey) -> Result:
        runs[key.name] = runs.get(key.name, 0) + 1
        return Result(requeue_after=0.02 if key.name == "soon" and runs[key.name] < 4 else None)

    async with Bench(reconcile, {"resync": 0.3, "exists": lambda key: key.name != "gone"}) as bench:
        for name in ("soon", "there", "gone"):
            bench.queue.add(ObjectKey("ns", name))
        await until(lambda: runs.get("soon", 0) >= 4)
        assert runs["there"] == 1
        await until(lambda: runs["there"] >= 3)
    assert runs["gone"] == 1


async def test_a_replica_that_may_not_work_touches_nothing() -> None:
    runs = 0

    async def reconcile(key: ObjectKey) -> Result:
        nonlocal runs
        runs += 1
        return Result()

    async with Bench(reconcile, {"may_work": lambda: False}) as bench:
        bench.queue.add(KEY)
        await until(lambda: len(bench.queue) == 0 and bench.queue.busy == 0)
    assert runs == 0


async def test_drain_lets_running_reconciles_finish_and_cancels_those_that_do_not() -> None:
    ended: list[str] = []

    async def reconcile(key: ObjectKey) -> Result:
        try:
            await asyncio.sleep(0.1 if key.name == "quick" else 30)
        except asyncio.CancelledError:
            ended.append(f"{key.name} cancelled")
            raise
        ended.append(key.name)
        return Result()

    async with Bench(reconcile, {"timeout": 60.0, "count": 2}) as bench:
        for name in ("quick", "slow", "waiting"):
            bench.queue.add(ObjectKey("ns", name))
        await until(lambda: bench.queue.busy == 2)
        await bench.workers.drain(0.3)
    assert ended == ["quick", "slow cancelled"]


async def test_logs_within_a_reconcile_know_the_object() -> None:
    seen: list[dict[str, Any]] = []

    async def reconcile(key: ObjectKey) -> Result:
        seen.append(FIELDS.get({}))
        return Result()

    async with Bench(reconcile) as bench:
        bench.queue.add(KEY)
        await until(lambda: bool(seen))
    assert seen[0] | {"reconcile": ""} == {"kind": "Domain", "namespace": "ns", "name": "a", "reconcile": ""}
    assert len(seen[0]["reconcile"]) == 8
