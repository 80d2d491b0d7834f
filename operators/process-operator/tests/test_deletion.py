"""Deletion with workflows that are really open: drained, cancelled, terminated, abandoned, or left behind."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from processes import (
    FLOW,
    TEMPORAL_NAMESPACE,
    TENANT,
    Around,
    Processes,
    finish,
    open_workflow,
    outcome,
    run,
    start,
)
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleIntervalSpec,
    ScheduleSpec,
    WorkflowFailureError,
)

from ameide_dev.client import KubeClient
from ameide_dev.pytest_plugin import NamespaceMaker
from ameide_dev.temporal import TemporalServer
from ameide_dev.testing.subject import StartOperator
from ameide_dev.testing.waiting import until

GONE = 60.0
HOUR = timedelta(hours=1)


def deletion(processes: Processes) -> dict[str, object]:
    """What status says of the deletion."""
    told: dict[str, object] = processes.get().get("status", {}).get("deletion") or {}
    return told


def test_drain_waits_for_open_workflows_and_refuses_new_ones(processes: Processes) -> None:
    """Temporal Schedules of the queue rest; a new workflow fails in its first task; the open one ends by itself."""
    server, queue = processes.around.temporal, processes.queue()
    processes.create(deletion={"policy": "Drain", "timeoutSeconds": 600})
    processes.ready(timeout=60)
    workflow = run(open_workflow(server, queue))
    schedule = run(scheduled(server, queue))
    pods = processes.uids()

    processes.delete()
    until("one open workflow", lambda: deletion(processes).get("openWorkflows") == 1, timeout=30)
    until("the schedules rest", lambda: deletion(processes).get("schedulesPaused") is True, timeout=30)
    assert run(rests(server, schedule))
    until("the drain flag", lambda: processes.child("v1", "ConfigMap", "flow-process-drain"), timeout=30)
    assert "Drain" in run(refusal(server, queue))
    assert processes.uids() == pods

    assert run(finish(server, workflow)) == {"edition": 1}
    processes.wait_gone(timeout=GONE)
    until("the workers are gone", lambda: not processes.uids())


async def scheduled(server: TemporalServer, queue: str) -> str:
    """A Temporal Schedule that starts a workflow on the queue each hour; its id."""
    client = await Client.connect(server.address, namespace=TEMPORAL_NAMESPACE)
    name = f"hourly-{queue}"
    action = ScheduleActionStartWorkflow(FLOW, args=[{}, {"tenant": TENANT}], id=f"{name}-run", task_queue=queue)
    every = ScheduleSpec(intervals=[ScheduleIntervalSpec(every=HOUR)])
    await client.create_schedule(name, Schedule(action=action, spec=every))
    return name


async def rests(server: TemporalServer, name: str) -> bool:
    """Whether a Schedule is paused."""
    client = await Client.connect(server.address, namespace=TEMPORAL_NAMESPACE)
    return (await client.get_schedule_handle(name).describe()).schedule.state.paused


async def refusal(server: TemporalServer, queue: str) -> str:
    """Start workflows until one is refused, for the flag reaches the pods some time later; with which words."""
    while True:
        handle = await start(server, queue)
        try:
            async with asyncio.timeout(3):
                await handle.result()
        except WorkflowFailureError as error:
            return repr(error.cause)
        except TimeoutError:
            await handle.terminate()


@pytest.mark.parametrize(("policy", "state"), [("Cancel", "CANCELED"), ("Terminate", "TERMINATED")])
def test_open_workflows_are_closed_by_policy(processes: Processes, policy: str, state: str) -> None:
    server = processes.around.temporal
    processes.create(deletion={"policy": policy, "timeoutSeconds": 600})
    processes.ready(timeout=60)
    workflow = run(open_workflow(server, processes.queue()))
    processes.delete(wait=GONE)
    assert run(outcome(server, workflow)) == state


def test_abandon_leaves_open_workflows_as_they_are(processes: Processes) -> None:
    server = processes.around.temporal
    processes.create(deletion={"policy": "Abandon"})
    processes.ready(timeout=60)
    assert not processes.get()["metadata"].get("finalizers")
    workflow = run(open_workflow(server, processes.queue()))
    processes.delete(wait=20)
    assert run(outcome(server, workflow)) == "RUNNING"


def test_what_is_left_behind_after_the_timeout_is_told(processes: Processes) -> None:
    server = processes.around.temporal
    processes.create(deletion={"policy": "Drain", "timeoutSeconds": 4})
    processes.ready(timeout=60)
    workflow = run(open_workflow(server, processes.queue()))
    processes.delete(wait=GONE)
    (message,) = processes.wait_event("WorkflowsLeftBehind")
    assert "1 workflows" in message
    assert run(outcome(server, workflow)) == "RUNNING"


def test_deletion_ends_although_temporal_is_down(
    kube: KubeClient, make_namespace: NamespaceMaker, own_around: Around, start_operator: StartOperator
) -> None:
    """It says what is in the way, and lets go after the timeout with an Event."""
    processes = Processes(kube, make_namespace("own-gone"), own_around)
    processes.publish()
    start_operator("own-gone", **own_around.settings())
    processes.create(replicas=0, deletion={"timeoutSeconds": 12})
    processes.ready(timeout=60)
    own_around.temporal.kill()
    processes.delete()
    told = processes.until("Ready", "False", reason="DeletionBlocked", timeout=30)["status"]["blocker"]
    assert processes.queue() in told["object"]
    assert "open workflows are left behind" in told["remedy"]
    processes.wait_gone(timeout=GONE)
    assert "unknown number" in processes.wait_event("WorkflowsLeftBehind")[0]


def test_process_that_never_had_its_queue_touches_nothing_of_it(processes: Processes) -> None:
    """The loser of a task queue goes at once; workflows of the winner stay open."""
    server = processes.around.temporal
    processes.create("winner")
    processes.ready("winner", timeout=60)
    workflow = run(open_workflow(server, processes.queue("winner")))
    processes.create(
        "loser", temporal={"taskQueue": processes.queue("winner")}, deletion={"policy": "Terminate"}, replicas=0
    )
    processes.until("TemporalReady", "False", reason="TaskQueueConflict", name="loser", timeout=30)
    processes.delete("loser", wait=20)
    assert run(outcome(server, workflow)) == "RUNNING"
    assert run(finish(server, workflow)) == {"edition": 1}
