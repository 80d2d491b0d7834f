"""A Process's life on real parts: workers that execute workflows on Temporal, from creation through changes."""

from __future__ import annotations

import pytest
from processes import WORKER, Processes, finish, open_workflow, run

from ameide_dev.client import ApiError
from ameide_dev.testing.waiting import never, until

CONDITIONS = {
    "Ready": "True",
    "Progressing": "False",
    "Degraded": "False",
    "DefinitionResolved": "True",
    "DependenciesReady": "True",
    "TemporalReady": "True",
    "WorkersReady": "True",
    "WorkloadReady": "True",
}


def test_deployed_workers_execute_a_workflow(processes: Processes) -> None:
    """From creation to a workflow that the deployed pods ran to its end; status says all that is promised."""
    processes.create()
    process = processes.ready(timeout=60)
    server = processes.around.temporal
    workflow = run(open_workflow(server, processes.queue()))
    assert run(finish(server, workflow)) == {"edition": 1}

    status = process["status"]
    assert {each["type"]: each["status"] for each in status["conditions"]} == CONDITIONS
    assert status["observedGeneration"] == process["metadata"]["generation"]
    assert "blocker" not in status
    told = status["definition"]
    assert (told["id"], told["version"]) == (processes.definition_id, 1)
    assert told["available"] == {"version": 1, "checksum": told["checksum"]}
    assert processes.definitions() == [told["configMap"]]
    assert processes.kube.get("v1", "ConfigMap", told["configMap"], processes.namespace)["immutable"] is True
    assert status["temporal"]["reachable"] is True
    assert status["temporal"]["namespaceState"] == "Registered"
    assert status["temporal"]["pollers"] == 1
    for api_version, kind in (("apps/v1", "Deployment"), ("v1", "Service"), ("networking.k8s.io/v1", "NetworkPolicy")):
        child = processes.child(api_version, kind, "flow-process")
        assert child is not None
        assert child["metadata"]["ownerReferences"][0]["uid"] == process["metadata"]["uid"]


def test_new_image_rolls_the_workers_under_an_open_workflow(processes: Processes) -> None:
    processes.create()
    processes.ready(timeout=60)
    workflow = run(open_workflow(processes.around.temporal, processes.queue()))
    before = processes.uids()
    processes.patch(image=f"{WORKER.rpartition(':')[0]}:1.1.0")
    processes.ready(timeout=60)
    until("the old pod is gone", lambda: len(processes.uids()) == 1 and not processes.uids() & before)
    assert run(finish(processes.around.temporal, workflow)) == {"edition": 1}


def test_workers_get_the_environment_that_is_promised(processes: Processes) -> None:
    processes.create(
        rollout={"maxConcurrencyPerTenant": 7}, observability={"metricsTags": {"processType": "L2O"}}, replicas=0
    )
    process = processes.ready(timeout=60)
    deployment = processes.child("apps/v1", "Deployment", "flow-process")
    assert deployment is not None
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    env = {each["name"]: each.get("value") for each in container["env"]}
    wanted = {
        "AMEIDE_PROCESS_DEFINITION_ID": processes.definition_id,
        "AMEIDE_PROCESS_DEFINITION_VERSION": "1",
        "AMEIDE_PROCESS_DEFINITION_CHECKSUM": process["status"]["definition"]["available"]["checksum"],
        "TEMPORAL_ADDRESS": processes.around.temporal.address,
        "TEMPORAL_NAMESPACE": "processes",
        "TASK_QUEUE": processes.queue(),
        "TEMPORAL_TASK_QUEUE": processes.queue(),
        "AMEIDE_MAX_CONCURRENCY_PER_TENANT": "7",
        "AMEIDE_METRICS_TAGS": '{"processType": "L2O"}',
        "AMEIDE_TENANT_ID": "t123",
    }
    assert {name: env.get(name) for name in wanted} == wanted


def test_paused_process_is_left_as_it_is_until_it_goes_on(processes: Processes) -> None:
    processes.create(replicas=0)
    processes.ready(timeout=60)
    processes.annotate(paused="true")
    processes.until("Paused", timeout=30)
    processes.patch(image=f"{WORKER.rpartition(':')[0]}:1.1.0")
    never("the image changes", lambda: image(processes).endswith(":1.1.0"), 2)
    processes.annotate(paused=None)
    until("the image changes", lambda: image(processes).endswith(":1.1.0"))
    processes.ready(timeout=60)


def image(processes: Processes) -> str:
    deployment = processes.child("apps/v1", "Deployment", "flow-process")
    assert deployment is not None
    return str(deployment["spec"]["template"]["spec"]["containers"][0]["image"])


@pytest.mark.parametrize("field", ["namespace", "taskQueue"])
def test_namespace_and_task_queue_cannot_change(processes: Processes, field: str) -> None:
    processes.create(replicas=0)
    with pytest.raises(ApiError, match=f"{field} cannot change"):
        processes.patch(temporal={field: "another"})


@pytest.mark.parametrize(
    ("purpose", "age"), [("SLACheck", "--max-age"), ("TimeoutSweep", "--max-age"), ("Cleanup", "--closed-for")]
)
def test_schedules_become_cron_jobs_that_run(processes: Processes, purpose: str, age: str) -> None:
    """The job of a schedule is started as the controller would start it; it finds Temporal and ends well."""
    when = {"schedule": "*/5 * * * *", "timeZone": "Europe/Berlin"}
    schedule = {"name": "sweep", "purpose": purpose, **when, "args": [age, "PT4H"]}
    processes.create(schedules=[schedule], replicas=0)
    processes.ready(timeout=60)
    cron = until("the CronJob", lambda: processes.child("batch/v1", "CronJob", "flow-process-sweep"))
    assert cron["spec"]["timeZone"] == "Europe/Berlin"
    template = cron["spec"]["jobTemplate"]["spec"]
    assert template["template"]["spec"]["containers"][0]["args"] == ["job", purpose, age, "PT4H"]
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "by-hand", "namespace": processes.namespace}}
    processes.kube.create({**job, "spec": template})
    processes.kube.wait_condition("batch/v1", "Job", "by-hand", "Complete", processes.namespace, timeout=40)
    processes.patch(schedules=[])
    processes.kube.wait_gone("batch/v1", "CronJob", "flow-process-sweep", processes.namespace, timeout=30)
