"""Two hundred Processes whose Temporal and Transformation service die and come back."""

from __future__ import annotations

import time

import pytest
from processes import SUBJECT, Around, Processes

from ameide_dev.client import KubeClient
from ameide_dev.platform import Platform
from ameide_dev.testing.subject import namespaces
from ameide_dev.testing.traffic import asked, settled
from ameide_dev.testing.waiting import until

COUNT = 200
USER = "process-scale"


def test_two_hundred_recover_without_a_restart(
    chart: Platform, kube: KubeClient, own_around: Around, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Nothing but status is written, no pod is replaced, and all are Ready again.

    The pods are played by kwok and poll nothing, so Ready is awaited up to the workers: TemporalReady tells the outage.
    """
    kubeconfig = SUBJECT.user_like_it(chart, USER)
    directory = tmp_path_factory.mktemp("scale")
    settings = own_around.settings() | {"AMEIDE_API__QPS": "1000"}
    operator = SUBJECT.process(chart, directory, "own-scale-*", kubeconfig=kubeconfig, **settings)
    start = chart.control_plane.audit_position()
    with namespaces(kube, "own-scale") as (name,), operator:
        processes = Processes(kube, name, own_around)
        processes.publish()
        for number in range(COUNT):
            processes.create(f"p-{number}", image="ghcr.io/ameide/flow-process:1.0.0", replicas=1 if number < 20 else 0)

        def temporal_is(status: str) -> int:
            found = kube.list("ameide.io/v1", "Process", name)
            conditions = [
                {c["type"]: c["status"] for c in each.get("status", {}).get("conditions", ())} for each in found
            ]
            return sum(c.get("TemporalReady") == status and c.get("WorkloadReady") == "True" for c in conditions)

        until("all are running", lambda: temporal_is("True") == COUNT, timeout=150)
        settled(chart, USER, start, timeout=120)
        pods = {pod["metadata"]["uid"] for pod in kube.list("v1", "Pod", name)}
        position = chart.control_plane.audit_position()
        own_around.temporal.kill()
        own_around.transformation.stop()
        until("all tell of it", lambda: temporal_is("False") == COUNT, timeout=60)
        own_around.transformation.start()
        own_around.temporal.start()
        began = time.monotonic()
        until("all have recovered", lambda: temporal_is("True") == COUNT, timeout=90)
        assert time.monotonic() - began < 90
        settled(chart, USER, position, timeout=120)
        assert {pod["metadata"]["uid"] for pod in kube.list("v1", "Pod", name)} == pods
        written = {str(one) for one in asked(chart, USER, position) if one.writes}
        assert written == {"patch processes/status"}
