"""Many Processes while Temporal and the Transformation API die and come back."""

from __future__ import annotations

from typing import Any

from processes import PLAYED, Around, Processes, poll_once, run

from ameide_dev.client import KubeClient, condition_of
from ameide_dev.platform import Platform
from ameide_dev.pytest_plugin import NamespaceMaker
from ameide_dev.testing.subject import StartOperator
from ameide_dev.testing.traffic import asked
from ameide_dev.testing.waiting import until

COUNT = 200


def test_outage_of_everything_touches_nothing_but_status(
    chart: Platform,
    kube: KubeClient,
    make_namespace: NamespaceMaker,
    own_around: Around,
    start_operator: StartOperator,
) -> None:
    """No pod is replaced, nothing but status is written, and all are Ready again when the servers are back."""
    processes = Processes(kube, make_namespace("own-scale"), own_around)
    processes.publish()
    settings = {
        **own_around.settings(),
        "AMEIDE_TEMPORAL__CHECK_SECONDS": "10",
        "AMEIDE_TEMPORAL__POLLER_SECONDS": "3600",
        "AMEIDE_API__QPS": "1000",
    }
    operator = start_operator("own-scale", **settings)
    names = [f"p{number}" for number in range(COUNT)]
    for name in names:
        processes.create(name, image=PLAYED)
    where = processes.namespace

    def holding(condition: str, status: str) -> int:
        """How many Processes have a condition of this status."""
        found = kube.list("ameide.io/v1", "Process", where)
        return sum((condition_of(each, condition) or {}).get("status") == status for each in found)

    until("all have their pods", lambda: holding("WorkloadReady", "True") == COUNT, timeout=120)

    def pods() -> list[dict[str, Any]]:
        return kube.list("v1", "Pod", where)

    queues = {pod["metadata"]["name"]: processes.queue(pod["metadata"]["labels"]["ameide.io/name"]) for pod in pods()}
    run(poll_once(own_around.temporal, queues))
    until("all are Ready", lambda: holding("Ready", "True") == COUNT, timeout=90)

    before = {pod["metadata"]["uid"] for pod in pods()}
    position = chart.control_plane.audit_position()
    own_around.temporal.kill()
    own_around.transformation.stop()
    until("all tell of it", lambda: holding("TemporalReady", "False") == COUNT, timeout=90)
    own_around.transformation.start()
    own_around.temporal.start()
    run(poll_once(own_around.temporal, queues))
    until("all are Ready again", lambda: holding("Ready", "True") == COUNT, timeout=120)
    assert {pod["metadata"]["uid"] for pod in pods()} == before
    written = {str(one) for one in asked(chart, operator.user, position, where) if one.writes}
    assert written == {"patch processes/status"}
