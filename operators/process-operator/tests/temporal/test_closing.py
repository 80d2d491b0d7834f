"""A queue is brought to rest: schedules paused, really running workflows cancelled or terminated, once per uid."""

from datetime import timedelta

import pytest
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleIntervalSpec,
    ScheduleSpec,
    ScheduleState,
    WorkflowExecutionStatus,
    WorkflowFailureError,
)
from temporalio.exceptions import CancelledError

from process_operator.temporal.closing import close_open, describe_batch, pause_schedules, start_batch
from process_operator.temporal.gateway import TemporalGateway
from process_operator.temporal.model import Batch, BatchOperation, BatchState, SchedulesPaused, Target

from .conftest import Calls, Waiting, until, worker

NOTE = "paused by the Process sales/l2o, which is being deleted"


async def schedule(client: Client, name: str, queue: str, *, paused: bool = False) -> None:
    await client.create_schedule(
        name,
        Schedule(
            action=ScheduleActionStartWorkflow("Waiting", id=f"{name}-run", task_queue=queue),
            spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=timedelta(hours=6))]),
            state=ScheduleState(paused=paused, note="by a person" if paused else ""),
        ),
    )


async def listed(client: Client) -> int:
    return len([entry async for entry in await client.list_schedules()])


async def test_schedules_of_the_queue_are_paused_and_no_others(
    gateway: TemporalGateway, target: Target, client: Client, calls: Calls
) -> None:
    await schedule(client, "nightly", target.queue)
    await schedule(client, "hourly", target.queue)
    await schedule(client, "resting", target.queue, paused=True)
    await schedule(client, "foreign", "another-tq")

    async def all_listed() -> bool:
        return await listed(client) == 4

    await until(all_listed)
    done = await pause_schedules(gateway, target, NOTE)
    assert set(done.paused) == {"nightly", "hourly"}
    assert (done.already, done.failed, done.complete) == (("resting",), (), True)
    state = (await client.get_schedule_handle("nightly").describe()).schedule.state
    assert (state.paused, state.note) == (True, NOTE)
    # What a person paused keeps its note, and what is another queue's goes on.
    assert (await client.get_schedule_handle("resting").describe()).schedule.state.note == "by a person"
    assert not (await client.get_schedule_handle("foreign").describe()).schedule.state.paused
    calls.clear()
    again = await pause_schedules(gateway, target, NOTE)
    assert (again.paused, set(again.already)) == ((), {"nightly", "hourly", "resting"})
    assert not any(method == "PatchSchedule" for method, _ in calls)


async def test_a_namespace_without_schedules_has_nothing_to_pause(gateway: TemporalGateway, target: Target) -> None:
    assert await pause_schedules(gateway, target, NOTE) == SchedulesPaused()


async def open_count(gateway: TemporalGateway, target: Target, number: int) -> bool:
    return (await gateway.count_open(target)).count == number


@pytest.mark.parametrize("operation", list(BatchOperation))
async def test_open_workflows_are_cancelled_or_terminated(
    gateway: TemporalGateway, target: Target, client: Client, operation: BatchOperation
) -> None:
    async with worker(client):
        handles = [await client.start_workflow(Waiting.run, id=f"w{n}", task_queue=target.queue) for n in range(3)]
        other = await client.start_workflow("Waiting", id="other", task_queue="another-tq")
        await until(lambda: open_count(gateway, target, 3))
        begun = await close_open(gateway, target, operation, "uid-1", "the Process is deleted")
        assert (begun.job_id, begun.state) == ("uid-1", BatchState.Running)
        for handle in handles:
            with pytest.raises(WorkflowFailureError) as caught:
                await handle.result()
            assert isinstance(caught.value.cause, CancelledError) is (operation is BatchOperation.Cancel)
        await until(lambda: open_count(gateway, target, 0))
        assert (await other.describe()).status is WorkflowExecutionStatus.RUNNING

        async def over() -> bool:
            found = await describe_batch(gateway, target, "uid-1")
            return found is not None and found.state is BatchState.Completed

        await until(over)
    ended = await describe_batch(gateway, target, "uid-1")
    assert ended is not None
    assert (ended.total, ended.done, ended.failed) == (3, 3, 0)
    assert ended.closed_at is not None


async def test_a_batch_operation_is_started_once_per_id(
    gateway: TemporalGateway, target: Target, client: Client, calls: Calls
) -> None:
    await client.start_workflow("Waiting", id="w", task_queue=target.queue)
    await until(lambda: open_count(gateway, target, 1))
    for _ in range(3):
        found = await start_batch(gateway, target, BatchOperation.Terminate, "uid-2", "the Process is deleted")
        assert found.job_id == "uid-2"
    assert calls["StartBatchOperation", "OK"] == 1
    assert sum(count for (method, _), count in calls.items() if method == "StartBatchOperation") == 1


async def test_workflows_that_came_after_a_batch_get_another_one_later(
    gateway: TemporalGateway, target: Target, client: Client
) -> None:
    async def close(again_after: float) -> Batch:
        return await close_open(gateway, target, BatchOperation.Terminate, "uid-3", "deleted", again_after=again_after)

    async def ended(job_id: str) -> bool:
        found = await describe_batch(gateway, target, job_id)
        return found is not None and found.state is BatchState.Completed

    await client.start_workflow("Waiting", id="early", task_queue=target.queue)
    await until(lambda: open_count(gateway, target, 1))
    await close(30)
    await until(lambda: ended("uid-3"))
    await client.start_workflow("Waiting", id="late", task_queue=target.queue)
    await until(lambda: open_count(gateway, target, 1))
    assert (await close(30)).job_id == "uid-3"  # not yet: cancelled workflows need their time
    second = await close(0)
    assert (second.job_id, second.state) == ("uid-3-2", BatchState.Running)
    await until(lambda: open_count(gateway, target, 0))


async def test_a_batch_operation_that_does_not_exist_is_none(gateway: TemporalGateway, target: Target) -> None:
    assert await describe_batch(gateway, target, "never") is None
