"""Metrics under the names that Kubernetes operators use, so that existing dashboards and alerts fit.

One registry per operator process; `/metrics` prints it. Labels hold kinds, verbs and codes, never names of objects
and never anything that an author writes.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


disable_created_metrics()  # type: ignore[no-untyped-call]  # a sample per counter that nobody asks for


class Metrics:
    """All metrics of one operator; `controller` is the kind it reconciles, in lower case.

    It is an observer of the work queue (`added`, `taken`, `finished`, `retried`) and of the API client (`request`).
    """

    def __init__(self, controller: str) -> None:
        self.controller = controller
        self.registry = CollectorRegistry()
        reg = self.registry
        self._reconciles = Counter(
            "controller_runtime_reconcile", "Reconciles by result.", ["controller", "result"], registry=reg
        )
        self._errors = Counter(
            "controller_runtime_reconcile_errors", "Reconciles that failed.", ["controller"], registry=reg
        )
        self._reconcile_seconds = Histogram(
            "controller_runtime_reconcile_time_seconds",
            "Seconds per reconcile.",
            ["controller"],
            buckets=_SECONDS,
            registry=reg,
        )
        self._active = Gauge(
            "controller_runtime_active_workers", "Workers at work.", ["controller"], registry=reg
        ).labels(controller)
        self._workers = Gauge(
            "controller_runtime_max_concurrent_reconciles", "Workers there are.", ["controller"], registry=reg
        ).labels(controller)
        self._depth = Gauge("workqueue_depth", "Keys ready to be taken.", ["name"], registry=reg).labels(controller)
        self._adds = Counter("workqueue_adds", "Keys handed to the queue.", ["name"], registry=reg).labels(controller)
        self._retries = Counter("workqueue_retries", "Keys added after a failure.", ["name"], registry=reg).labels(
            controller
        )
        self._waited = Histogram(
            "workqueue_queue_duration_seconds",
            "Seconds that keys waited for a worker.",
            ["name"],
            buckets=_SECONDS,
            registry=reg,
        ).labels(controller)
        self._worked = Histogram(
            "workqueue_work_duration_seconds",
            "Seconds that a worker had a key.",
            ["name"],
            buckets=_SECONDS,
            registry=reg,
        ).labels(controller)
        self._requests = Counter(
            "rest_client_requests",
            "Requests to the API server, watches not included.",
            ["code", "method", "resource"],
            registry=reg,
        )
        self._request_seconds = Histogram(
            "rest_client_request_duration_seconds",
            "Seconds per request to the API server.",
            ["verb"],
            buckets=_SECONDS,
            registry=reg,
        )
        self._leader = Gauge(
            "leader_election_master_status", "1 while this replica leads.", ["name"], registry=reg
        ).labels(controller)
        self._audits = Counter("ameide_audits", "Comparisons with the API server.", ["kind", "result"], registry=reg)
        self._repairs = Counter("ameide_audit_findings", "What a watch had lost.", ["kind", "finding"], registry=reg)
        self._watch_events = Counter("ameide_watch_events", "Events received.", ["kind"], registry=reg)
        self._k8s_events = Counter(
            "ameide_events", "Kubernetes Events by what became of them.", ["result"], registry=reg
        )
        self._build = Gauge(
            "ameide_build_info", "Always 1: which build this is.", ["controller", "version", "python"], registry=reg
        )
        self._conditions = _Conditions()
        reg.register(self._conditions)
        reg.register(_Process())
        self._requests_by: dict[tuple[str, str, str], Counter] = {}
        self._events_by: dict[str, Counter] = {}

    def render(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)

    def built(self, version: str, python: str) -> None:
        """Which version of the operator runs on which Python."""
        self._build.labels(self.controller, version, python).set(1)

    # --- observers --------------------------------------------------------------------------------------------------

    def added(self, depth: int) -> None:
        self._adds.inc()
        self._depth.set(depth)

    def taken(self, depth: int, waited: float) -> None:
        self._depth.set(depth)
        self._waited.observe(waited)
        self._active.inc()

    def finished(self, worked: float) -> None:
        self._worked.observe(worked)
        self._active.dec()

    def retried(self) -> None:
        self._retries.inc()

    def request(self, verb: str, resource_name: str, code: str, seconds: float) -> None:
        """One request to the API server: an `OnRequest` of the API client."""
        counter = self._requests_by.get((code, verb, resource_name))
        if counter is None:
            counter = self._requests.labels(code, verb, resource_name)
            self._requests_by[(code, verb, resource_name)] = counter
        counter.inc()
        self._request_seconds.labels(verb).observe(seconds)

    def reconciled(self, result: str, seconds: float) -> None:
        """One reconcile: `success`, `requeue_after` or `error`."""
        self._reconciles.labels(self.controller, result).inc()
        self._reconcile_seconds.labels(self.controller).observe(seconds)
        if result == "error":
            self._errors.labels(self.controller).inc()

    def workers(self, count: int) -> None:
        self._workers.set(count)

    def leading(self, leads: bool) -> None:
        self._leader.set(1 if leads else 0)

    def watch_event(self, kind: str) -> None:
        counter = self._events_by.get(kind)
        if counter is None:
            counter = self._events_by[kind] = self._watch_events.labels(kind)
        counter.inc()

    def audited(self, kind: str, result: str) -> None:
        """One comparison of a kind: `agreed`, `repaired`, `behind`, `skipped` or `failed`."""
        self._audits.labels(kind, result).inc()

    def audit_found(self, kind: str, finding: str, count: int = 1) -> None:
        """What a comparison found: `missed_deletion` or `not_delivered` objects."""
        self._repairs.labels(kind, finding).inc(count)

    def event(self, result: str) -> None:
        """One Kubernetes Event: `created`, `counted`, `dropped` or `failed`."""
        self._k8s_events.labels(result).inc()

    def conditions(self, owner: object, kind: str, conditions: Iterable[Mapping[str, str]] | None) -> None:
        """The conditions that an object now has, for `ameide_objects`; None when the object is gone."""
        self._conditions.put(owner, kind, conditions)


class _Conditions(Collector):
    """`ameide_objects{kind,condition,status}`: how many objects have which condition."""

    def __init__(self) -> None:
        self._of: dict[object, tuple[str, tuple[tuple[str, str], ...]]] = {}

    def put(self, owner: object, kind: str, conditions: Iterable[Mapping[str, str]] | None) -> None:
        if conditions is None:
            self._of.pop(owner, None)
        else:
            self._of[owner] = (kind, tuple((c.get("type", ""), c.get("status", "")) for c in conditions))

    def collect(self) -> Iterable[Metric]:
        counts: dict[tuple[str, str, str], int] = {}
        for kind, conditions in self._of.values():
            for condition, status in conditions:
                key = (kind, condition, status)
                counts[key] = counts.get(key, 0) + 1
        family = GaugeMetricFamily("ameide_objects", "Objects by condition.", labels=["kind", "condition", "status"])
        for labels, count in sorted(counts.items()):
            family.add_metric(labels, count)
        yield family


class _Process(Collector):
    """Memory, CPU and start time of this process, under the names of Prometheus' own clients."""

    def __init__(self) -> None:
        self._started = time.time()

    def collect(self) -> Iterable[Metric]:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        yield CounterMetricFamily(
            "process_cpu_seconds", "CPU seconds, user and system.", value=usage.ru_utime + usage.ru_stime
        )
        yield GaugeMetricFamily("process_start_time_seconds", "Start, in seconds since 1970.", value=self._started)
        if (resident := resident_bytes()) is not None:
            yield GaugeMetricFamily("process_resident_memory_bytes", "Resident memory in bytes.", value=resident)


def resident_bytes() -> int | None:
    """Resident memory of this process in bytes; None where /proc does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * resource.getpagesize()
