"""The worker's own metrics; those of the Temporal SDK are added to the same page."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

REGISTRY = CollectorRegistry()

CALLS = Histogram(
    "process_worker_call_duration_seconds",
    "Calls of dependencies by activity and outcome (ok, error type, or cancelled).",
    ["activity", "outcome"],
    registry=REGISTRY,
)
STARTS = Counter(
    "process_worker_workflow_starts_total",
    "Workflows begun on this worker, by process and outcome (accepted or why it was refused).",
    ["process", "outcome"],
    registry=REGISTRY,
)
POLLING = Gauge("process_worker_polling", "1 while this worker is seen polling its task queue.", registry=REGISTRY)
DEFINITIONS = Gauge("process_worker_definitions", "Definitions that this worker can execute.", registry=REGISTRY)
CONNECTED = Gauge("process_worker_temporal_connected", "1 while Temporal answers.", registry=REGISTRY)
WAITING = Gauge(
    "process_worker_calls_waiting", "Calls that wait for the tenant's share of concurrency.", registry=REGISTRY
)
