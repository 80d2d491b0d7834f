"""Metrics: names and labels that dashboards know, and objects counted by condition."""

from ameide_shared.metrics import Metrics


def test_names_are_those_of_kubernetes_operators() -> None:
    metrics = Metrics("domain")
    metrics.added(3)
    metrics.taken(2, 0.01)
    metrics.finished(0.2)
    metrics.retried()
    metrics.reconciled("error", 0.2)
    metrics.request("patch", "domains.ameide.io", "200", 0.004)
    metrics.leading(True)
    text = metrics.render().decode()
    for line in (
        'controller_runtime_reconcile_total{controller="domain",result="error"} 1.0',
        'controller_runtime_reconcile_errors_total{controller="domain"} 1.0',
        'controller_runtime_reconcile_time_seconds_count{controller="domain"} 1.0',
        'workqueue_depth{name="domain"} 2.0',
        'workqueue_adds_total{name="domain"} 1.0',
        'workqueue_queue_duration_seconds_count{name="domain"} 1.0',
        'workqueue_work_duration_seconds_count{name="domain"} 1.0',
        'workqueue_retries_total{name="domain"} 1.0',
        'rest_client_requests_total{code="200",method="patch",resource="domains.ameide.io"} 1.0',
        'leader_election_master_status{name="domain"} 1.0',
    ):
        assert line in text.splitlines()
    assert "process_resident_memory_bytes" in text
    assert "# TYPE process_cpu_seconds_total counter" in text
    assert "_created" not in text


def test_objects_are_counted_by_condition_until_they_are_gone() -> None:
    metrics = Metrics("domain")

    def count(status: str) -> float | None:
        labels = {"kind": "Domain", "condition": "Ready", "status": status}
        return metrics.registry.get_sample_value("ameide_objects", labels)

    for name in ("a", "b", "c"):
        metrics.conditions(name, "Domain", [{"type": "Ready", "status": "True"}])
    metrics.conditions("c", "Domain", [{"type": "Ready", "status": "False"}])
    assert (count("True"), count("False")) == (2, 1)
    metrics.conditions("c", "Domain", None)
    metrics.conditions("a", "Domain", [])
    assert (count("True"), count("False")) == (1, None)
