"""Bring a task queue to rest when its Process goes: pause what starts workflows, cancel or terminate those open."""

from __future__ import annotations

import asyncio
from typing import Final

from temporalio.api.batch.v1 import BatchOperationCancellation, BatchOperationTermination
from temporalio.api.enums.v1 import BatchOperationState
from temporalio.api.schedule.v1 import SchedulePatch
from temporalio.api.workflowservice.v1 import (
    DescribeBatchOperationRequest,
    DescribeScheduleRequest,
    ListSchedulesRequest,
    PatchScheduleRequest,
    StartBatchOperationRequest,
)

from process_operator.temporal import queries
from process_operator.temporal.channel import AlreadyThere, NotThere
from process_operator.temporal.errors import TemporalError
from process_operator.temporal.gateway import TemporalGateway
from process_operator.temporal.model import Batch, BatchOperation, BatchState, SchedulesPaused, Target
from process_operator.temporal.wire import moment

_IDENTITY: Final = "ameide-process-operator"
_PAGE: Final = 200
_MOST_SCHEDULES: Final = 10_000
_AT_ONCE: Final = 8
_MOST_ROUNDS: Final = 100
_BATCH_STATES: Final = {
    BatchOperationState.BATCH_OPERATION_STATE_RUNNING: BatchState.Running,
    BatchOperationState.BATCH_OPERATION_STATE_COMPLETED: BatchState.Completed,
    BatchOperationState.BATCH_OPERATION_STATE_FAILED: BatchState.Failed,
}


async def pause_schedules(gateway: TemporalGateway, target: Target, note: str) -> SchedulesPaused:
    """Pause the Temporal Schedules that start workflows on the queue, `note` saying why. They stay paused for ever:
    whoever wants them back unpauses them. Asking again pauses what has come since.

    Raises TemporalError when they cannot be listed.
    """
    ids: list[tuple[str, bool]] = []
    token = b""
    while True:
        request = ListSchedulesRequest(namespace=target.namespace, maximum_page_size=_PAGE, next_page_token=token)
        channel = gateway.channel(target.connection)
        answer = await channel.call(lambda s: s.workflow_service.list_schedules, request)
        ids += [(entry.schedule_id, entry.info.paused) for entry in answer.schedules]
        token = answer.next_page_token
        if not token or len(ids) >= _MOST_SCHEDULES:
            break
    slots = asyncio.Semaphore(_AT_ONCE)

    async def one(schedule_id: str) -> tuple[str, bool | None, str]:
        """The id; True if paused now, False if it was, None if it is of another queue; why it could not be."""
        async with slots:
            try:
                return schedule_id, await _pause(gateway, target, schedule_id, note), ""
            except TemporalError as error:
                return schedule_id, None, str(error)

    results = await asyncio.gather(*(one(schedule_id) for schedule_id, _ in ids))
    return SchedulesPaused(
        tuple(name for name, done, _ in results if done is True),
        tuple(name for name, done, _ in results if done is False),
        tuple((name, why) for name, _, why in results if why),
        not token,
    )


async def _pause(gateway: TemporalGateway, target: Target, schedule_id: str, note: str) -> bool | None:
    """True: paused now; False: it was paused; None: not of this queue, or gone.

    What a listing says of `paused` lags behind, so only the schedule itself is believed.
    """
    channel = gateway.channel(target.connection)
    try:
        request = DescribeScheduleRequest(namespace=target.namespace, schedule_id=schedule_id)
        schedule = (await channel.call(lambda s: s.workflow_service.describe_schedule, request)).schedule
        if schedule.action.start_workflow.task_queue.name != target.queue:
            return None
        if schedule.state.paused:
            return False
        patch = PatchScheduleRequest(
            namespace=target.namespace,
            schedule_id=schedule_id,
            patch=SchedulePatch(pause=note),
            identity=_IDENTITY,
        )
        await channel.call(lambda s: s.workflow_service.patch_schedule, patch)
    except NotThere:
        return None  # deleted meanwhile
    return True


async def describe_batch(gateway: TemporalGateway, target: Target, job_id: str) -> Batch | None:
    """How far a batch operation of the target's namespace is; None if there is none of that id."""
    request = DescribeBatchOperationRequest(namespace=target.namespace, job_id=job_id)
    channel = gateway.channel(target.connection)
    try:
        answer = await channel.call(lambda s: s.workflow_service.describe_batch_operation, request)
    except NotThere:
        return None
    return Batch(
        job_id,
        _BATCH_STATES.get(answer.state, BatchState.Unknown),
        answer.total_operation_count,
        answer.complete_operation_count,
        answer.failure_operation_count,
        moment(answer.close_time) if answer.HasField("close_time") else None,
    )


async def start_batch(
    gateway: TemporalGateway, target: Target, operation: BatchOperation, job_id: str, reason: str
) -> Batch:
    """Cancel or terminate every workflow of the queue that is open now. An operation of that id that exists already
    is returned as it is, whatever its state.

    Raises TemporalBusy while another batch operation runs in the namespace: servers run one at a time by default.
    """
    known = await describe_batch(gateway, target, job_id)
    if known is not None:  # the server would say that it is at its limit rather than that it has this one
        return known
    request = StartBatchOperationRequest(
        namespace=target.namespace,
        visibility_query=queries.open_workflows(target.queue),
        job_id=job_id,
        reason=reason,
    )
    if operation is BatchOperation.Cancel:
        request.cancellation_operation.CopyFrom(BatchOperationCancellation(identity=_IDENTITY))
    else:
        request.termination_operation.CopyFrom(BatchOperationTermination(identity=_IDENTITY))
    try:
        await gateway.channel(target.connection).call(lambda s: s.workflow_service.start_batch_operation, request)
    except AlreadyThere:
        return await describe_batch(gateway, target, job_id) or Batch(job_id, BatchState.Unknown)
    return Batch(job_id, BatchState.Running)


async def close_open(
    gateway: TemporalGateway,
    target: Target,
    operation: BatchOperation,
    uid: str,
    reason: str,
    *,
    again_after: float = 30.0,
) -> Batch:
    """Have the open workflows cancelled or terminated by the batch operation whose id is `uid`, and return the newest.

    Workflows that came after an operation had ended are not in it, and its id cannot be used again: `again_after`
    seconds after its end another one follows (`<uid>-2`, `<uid>-3`, …). So call this again as long as workflows are
    open, and not when none are. Raises TemporalError; TemporalBusy passes.
    """
    newest: Batch | None = None
    for number in range(1, _MOST_ROUNDS + 1):
        job_id = uid if number == 1 else f"{uid}-{number}"
        known = await describe_batch(gateway, target, job_id)
        if known is None:
            ended = newest.closed_at if newest else None
            if newest and ended and (gateway.now() - ended).total_seconds() < again_after:
                return newest
            return await start_batch(gateway, target, operation, job_id, reason)
        if known.state is BatchState.Running:
            return known
        newest = known
    assert newest is not None, "the loop has run"
    return newest
