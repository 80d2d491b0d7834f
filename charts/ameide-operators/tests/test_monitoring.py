"""Alerts and dashboard ask for what operators measure: names, labels and values, held against the code's metrics."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from agent_operator.metrics import AgentMetrics
from agent_operator.policy.state import PolicyState
from ameide_dev.operators import CHART, render_chart
from ameide_shared.metrics import Metrics

TARGET = {"namespace", "job", "pod"}
"""Labels that Prometheus adds to whatever it reads by the chart's monitors."""
MONITORED = {"metrics": {"serviceMonitor": {"enabled": True}}, "alerts": {"enabled": True}}
_SELECTOR = re.compile(r"([a-zA-Z_:][\w:]*)\{([^}]*)\}")
_MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
_GROUPING = re.compile(r"\b(by|on)\s*\(([^)]*)\)")
_LANGUAGE = {"sum", "max", "rate", "increase", "changes", "histogram_quantile", "absent", "time", "and", "by", "on"}


@dataclass(frozen=True, slots=True)
class Query:
    """An expression, where it stands, and the labels that its words name."""

    place: str
    expr: str
    named: tuple[str, ...] = ()


@cache
def measured() -> dict[str, list[dict[str, str]]]:
    """Metric → the labels of each of its samples, after each thing that operators count has happened."""
    metrics = Metrics("agent")
    metrics.added(1)
    metrics.taken(0, 0.1)
    metrics.finished(0.1)
    metrics.retried()
    metrics.workers(1)
    metrics.leading(True)
    metrics.watch_event("Agent")
    for code in ("200", "201", "403", "409", "500"):
        metrics.request("PATCH", "agents", code, 0.1)
    for result in ("success", "requeue_after", "error"):
        metrics.reconciled(result, 0.1)
    for result in ("agreed", "repaired", "behind", "skipped", "failed"):
        metrics.audited("Agent", result)
    for finding in ("missed_deletion", "missing", "outdated"):
        metrics.audit_found("Agent", finding)
    for result in ("created", "counted", "dropped", "failed"):
        metrics.event(result)
    for index, status in enumerate(("True", "False")):
        conditions = [{"type": each, "status": status} for each in conditions_of_all_kinds()]
        metrics.conditions(index, "Agent", conditions)
    agents: list[dict[str, Any]] = [
        {"spec": {"riskTier": "low"}, "status": {"conditions": [{"type": "PolicyViolation", "status": "True"}]}},
        {"spec": {"riskTier": "low"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}},
    ]
    metrics.registry.register(AgentMetrics(lambda: agents, lambda: PolicyState(), lambda _: "t1"))
    found: dict[str, list[dict[str, str]]] = {}
    for family in text_string_to_metric_families(metrics.render().decode()):
        for sample in family.samples:
            found.setdefault(sample.name, []).append(dict(sample.labels))
    return found


def conditions_of_all_kinds() -> set[str]:
    """Every condition that a golden status of some kind has."""
    types = set()
    for path in CHART.parents[1].glob("operators/*/tests/golden/*/status.yaml"):
        types |= set(re.findall(r"^- \{?type: (\w+)", path.read_text(), flags=re.MULTILINE))
    return types


def alerts() -> Iterator[Query]:
    (rule,) = (each for each in render_chart(MONITORED) if each["kind"] == "PrometheusRule")
    for group in rule["spec"]["groups"]:
        for alert in group["rules"]:
            words = " ".join(alert["annotations"].values())
            yield Query(alert["alert"], alert["expr"], tuple(re.findall(r"\$labels\.(\w+)", words)))


def panels() -> Iterator[Query]:
    dashboard = json.loads((CHART / "files" / "dashboards" / "ameide-operators.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            legend = tuple(re.findall(r"\{\{(\w+)\}\}", target.get("legendFormat", "")))
            yield Query(panel["title"], target["expr"], legend)
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            metric, label = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["definition"]).groups()  # type: ignore[union-attr]
            yield Query(f"variable {variable['name']}", metric if "{" in metric else f"{metric}{{}}", (label,))


def problems(query: Query) -> list[str]:
    """What an expression asks for that nobody measures, and labels in words that its result does not have."""
    found = []
    known: set[str] = set(TARGET)
    for name, matchers in _SELECTOR.findall(query.expr):
        samples = measured().get(name)
        if samples is None:
            found.append(f"no operator has the metric {name}")
            continue
        known |= {label for labels in samples for label in labels}
        for label, operator, wanted in _MATCHER.findall(matchers):
            values = {labels[label] for labels in samples if label in labels}
            if label in TARGET:
                continue
            if not values:
                found.append(f"{name} has no label {label}")
            elif operator in ("=", "=~"):
                found += [
                    f"{name} never has {label}={one!r}"
                    for one in wanted.split("|")
                    if not any(re.fullmatch(one, value) for value in values)
                ]
    groupings = [set(re.split(r"\s*,\s*", labels.strip())) for _, labels in _GROUPING.findall(query.expr)]
    for labels in groupings:
        found += [f"grouped by {label}, which no metric of it has" for label in sorted(labels - known)]
    of_result = groupings[0] if groupings else known
    found += [
        f"its words name {label}, which its result does not have" for label in query.named if label not in of_result
    ]
    rest = _GROUPING.sub(" ", _SELECTOR.sub(" ", query.expr))
    rest = re.sub(r"\[[^\]]*\]", " ", rest)
    found += [
        f"{word} is neither measured nor a function"
        for word in re.findall(r"[a-zA-Z_]\w+", rest)
        if word not in _LANGUAGE
    ]
    return [f"{query.place}: {each}" for each in found]


def test_alerts_ask_for_what_is_measured() -> None:
    queries = list(alerts())
    assert {query.place for query in queries} >= {"AmeideOperatorAbsent", "AmeideAgentPolicyInvalid"}
    assert [problem for query in queries for problem in problems(query)] == []


def test_the_dashboard_asks_for_what_is_measured() -> None:
    queries = list(panels())
    assert len(queries) > 20
    assert [problem for query in queries for problem in problems(query)] == []


@pytest.mark.parametrize(
    ("expr", "named", "problem"),
    [
        ('workqueue_dept{job="a"}', (), "no operator has the metric workqueue_dept"),
        ('sum by (jobs) (workqueue_depth{job="a"})', (), "grouped by jobs"),
        ('ameide_objects{conditions="Ready"}', (), "has no label conditions"),
        ('ameide_objects{condition="Redy"}', (), "never has condition='Redy'"),
        ('ameide_events_total{result=~"dropped|lost"}', (), "never has result='lost'"),
        ('sum by (job) (workqueue_depth{job="a"})', ("pod",), "its words name pod"),
        ('workqueue_depth{job="a"} / up', (), "up is neither measured nor a function"),
    ],
)
def test_what_is_not_measured_is_noticed(expr: str, named: tuple[str, ...], problem: str) -> None:
    assert problem in " ".join(problems(Query("here", expr, named)))


def test_no_alert_waits_for_an_operator_that_is_not_measured() -> None:
    """An alert on absent metrics would fire for ever."""
    values = {**MONITORED, "operators": {"agent": {"metrics": {"serviceMonitor": {"enabled": False}}}}}
    (rule,) = (each for each in render_chart(values) if each["kind"] == "PrometheusRule")
    text = json.dumps(rule)
    assert "domain-operator" in text
    assert "agent-operator" not in text


def test_every_alert_is_known_by_name_and_has_a_runbook() -> None:
    """`alerts.disabled` knows them all, and each names a page of its own."""
    (rule,) = (each for each in render_chart(MONITORED) if each["kind"] == "PrometheusRule")
    found = {alert["alert"]: alert for group in rule["spec"]["groups"] for alert in group["rules"]}
    names = re.findall(r"^- (Ameide\w+)$", (CHART / "templates" / "_alerts.tpl").read_text(), flags=re.MULTILINE)
    assert sorted(found) == names
    for name, alert in found.items():
        assert alert["annotations"]["runbook_url"].endswith(f"/docs/runbooks/{name}.md")
        assert alert["labels"]["severity"] in ("critical", "warning", "info")
