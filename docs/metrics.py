"""The page of the metrics, read from the collectors that the operators register, so that it cannot drift."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.registry import Collector, CollectorRegistry

from agent_operator.metrics import AgentMetrics
from agent_operator.policy.state import PolicyState
from ameide_shared.metrics import Metrics

# What the labels say. A label that is not here fails the page.
LABELS: Final[Mapping[str, str]] = {
    "code": "status of the answer, `error` where there was none",
    "condition": "type of a condition",
    "controller": "the operator's kind in lower case: `domain`, `process`, `agent`, `uisurface`",
    "finding": "`missed_deletion`: gone, and nobody told; `not_delivered`: there, and not told of in time",
    "kind": "Kubernetes kind",
    "method": "what was asked: `get`, `list`, `create`, `apply`, `update`, `patch`, `delete`",
    "name": "as `controller`",
    "python": "version of the Python that runs it",
    "ready": "`true` or `false`",
    "resource": "the resource asked for, such as `deployments`",
    "result": "of reconciles: `success`, `requeue_after`, `error`; of comparisons: `agreed`, `repaired`, `behind`, "
    "`failed`; of Events: `created`, `counted`, `dropped`, `failed`",
    "risk_tier": "`spec.riskTier` of Agents",
    "status": "`True`, `False` or `Unknown`",
    "tenant_id": "the tenant; beyond 200 of them `(other)`",
    "verb": "as `method`",
    "version": "the operator's: the release's, or the package's where it is no image of a release",
    "violation": "whether `PolicyViolation` is True",
}


@dataclass(frozen=True, slots=True)
class Family:
    """A metric with its samples' common name, type, help and labels."""

    name: str
    type: str
    help: str
    labels: tuple[str, ...]


def families() -> tuple[list[Family], list[Family]]:
    """What every operator has, and what only that of Agents has."""
    common = [family for collector in _collectors(Metrics("domain").registry) for family in _families(collector)]
    agents = list(_families(AgentMetrics(lambda: (), PolicyState, lambda _: "")))
    return sorted(common, key=lambda family: family.name), agents


def _collectors(registry: CollectorRegistry) -> list[Collector]:
    return list(registry._collector_to_names)


def _families(collector: Collector) -> Iterator[Family]:
    for metric in collector.collect():
        # A metric tells its labels only by samples, and one that has not counted yet has none.
        given: Any = collector if isinstance(collector, MetricWrapperBase) else metric
        labels: tuple[str, ...] = given._labelnames
        name = f"{metric.name}_total" if metric.type == "counter" else metric.name
        yield Family(name, metric.type, metric.documentation, tuple(labels))


def page(table: Callable[[tuple[str, ...], Sequence[tuple[str, ...]]], str]) -> str:
    """The page, without its head."""
    common, agents = families()
    used = {label for family in (*common, *agents) for label in family.labels}
    if used != set(LABELS):
        raise ValueError(f"docs/metrics.py: LABELS and the metrics differ in {sorted(used ^ set(LABELS))}")

    def rows(found: list[Family]) -> list[tuple[str, ...]]:
        return [
            (f"`{family.name}`", family.type, ", ".join(f"`{label}`" for label in family.labels), family.help)
            for family in found
        ]

    headings = ("metric", "type", "labels", "meaning")
    labels = [(f"`{label}`", LABELS[label]) for label in sorted(LABELS)]
    return f"""# Metrics

Every operator serves them at `/metrics` on its port 8080, in Prometheus' text format. Names that other controllers
have, too, are the same as theirs, so that existing dashboards fit. Labels hold kinds, verbs, codes, versions and
tenants, never names of objects. A histogram has `…_bucket` (with the label `le`), `…_sum` and `…_count`.

The chart's alerts and its dashboard stand on them; [runbooks](../runbooks/README.md) say what to do. Prometheus adds
`job`, which the chart's monitors set to `<kind>-operator`, `namespace` and `pod`.

## Of every operator

{table(headings, rows(common))}
## Of the Agent operator

{table(headings, rows(agents))}
## Labels

{table(("label", "holds"), labels)}"""
