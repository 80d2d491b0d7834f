"""The runtime's metrics. What a model or a caller makes up never becomes a label: only granted tools are named."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

REGISTRY = CollectorRegistry()

SESSIONS = Counter(
    "agent_runtime_sessions_total",
    "Sessions by outcome: ok, rejected (too many at once), draining, not_ready, invalid, timeout, cancelled, or the"
    " code of the failure.",
    ["outcome"],
    registry=REGISTRY,
)
ACTIVE = Gauge("agent_runtime_sessions_active", "Sessions that are running.", registry=REGISTRY)
LIMIT = Gauge("agent_runtime_sessions_limit", "Sessions that may run at once.", registry=REGISTRY)
SESSION_SECONDS = Histogram(
    "agent_runtime_session_duration_seconds",
    "Sessions from their start to their end.",
    buckets=(0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300),
    registry=REGISTRY,
)
MODEL_SECONDS = Histogram(
    "agent_runtime_model_request_duration_seconds",
    "Requests to the model, each with its retries, by outcome: ok, or the code of the failure.",
    ["outcome"],
    buckets=(0.05, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120),
    registry=REGISTRY,
)
TOKENS = Counter(
    "agent_runtime_tokens_total",
    "Tokens as the model counts them, by direction: prompt or completion.",
    ["direction"],
    registry=REGISTRY,
)
TOOL_SECONDS = Histogram(
    "agent_runtime_tool_call_duration_seconds",
    "Calls of granted tools by outcome: ok, http_<status>, or unreachable.",
    ["tool", "outcome"],
    registry=REGISTRY,
)
REFUSALS = Counter(
    "agent_runtime_tool_refusals_total",
    "Calls that were asked for and not made. A tool that is not granted counts as `other`.",
    ["tool", "reason"],
    registry=REGISTRY,
)
READY = Gauge("agent_runtime_ready", "1 while sessions can be held.", registry=REGISTRY)
GRANTED = Gauge("agent_runtime_granted_tools", "Tools that the grants in force name.", registry=REGISTRY)
