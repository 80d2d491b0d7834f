"""The one-shot commands that a Process's schedules run: they look over its workflows and report, or act.

Each writes one JSON line per workflow found and a last one that sums up.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from temporalio.api.common.v1 import WorkflowExecution as ExecutionId
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest
from temporalio.client import Client, WorkflowExecution
from temporalio.service import RPCError, RPCStatusCode

from process_worker.config import Config
from process_worker.times import Duration, TimeError, duration

FOUND = 4
"""Exit code of SLACheck with --fail when workflows are late."""


def parser(commands: argparse.ArgumentParser) -> None:
    """Add the purposes and their arguments."""
    purposes = commands.add_subparsers(dest="purpose", required=True, metavar="PURPOSE")
    sla = purposes.add_parser("SLACheck", help="list open workflows older than an age")
    sla.add_argument("--max-age", type=_duration, required=True, help="ISO 8601 duration, such as PT4H")
    sla.add_argument("--message", help="send this message to each, for an event of the process to catch")
    sla.add_argument("--fail", action="store_true", help=f"exit with code {FOUND} when there are any")
    sweep = purposes.add_parser("TimeoutSweep", help="end open workflows older than an age")
    sweep.add_argument("--max-age", type=_duration, required=True, help="ISO 8601 duration, such as P7D")
    sweep.add_argument("--action", choices=("report", "cancel", "terminate"), default="cancel")
    clean = purposes.add_parser("Cleanup", help="delete the histories of workflows that ended long ago")
    clean.add_argument("--closed-for", type=_duration, required=True, help="ISO 8601 duration, such as P30D")
    clean.add_argument("--delete", action="store_true", help="delete them; without it they are only listed")
    for each in (sla, sweep, clean):
        each.add_argument("--limit", type=int, default=1000, help="at most so many in one run (1000)")


def _duration(text: str) -> Duration:
    try:
        return duration(text)
    except TimeError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


async def run(client: Client, config: Config, args: argparse.Namespace) -> int:
    """Run one purpose; returns the exit code. Raises RPCError when Temporal refuses."""
    now = datetime.now(UTC)
    match args.purpose:
        case "SLACheck":
            query, age = _open(config), args.max_age
        case "TimeoutSweep":
            query, age = _open(config), args.max_age
        case _:
            query, age = _closed(config), args.closed_for
    before = _ago(now, age)
    # The oldest ones are what is asked for; the server compares, so that nothing else is listed.
    field = "CloseTime" if args.purpose == "Cleanup" else "StartTime"
    query += f" AND {field} < {_quoted(before.isoformat().replace('+00:00', 'Z'))}"
    found = acted = 0
    async for execution in _limited(client.list_workflows(query), args.limit):
        found += 1
        done = await _act(client, execution, args)
        acted += done is not None
        since = execution.close_time if args.purpose == "Cleanup" else execution.start_time
        _say(
            workflowId=execution.id,
            runId=execution.run_id,
            process=execution.workflow_type,
            since=since.isoformat() if since else None,
            action=done,
        )
    _say(purpose=args.purpose, taskQueue=config.task_queue, before=before.isoformat(), found=found, acted=acted)
    return FOUND if found and getattr(args, "fail", False) else 0


async def _act(client: Client, execution: WorkflowExecution, args: argparse.Namespace) -> str | None:
    handle = client.get_workflow_handle(execution.id, run_id=execution.run_id)
    with suppress(_GoneError):
        if args.purpose == "SLACheck" and args.message:
            await _unless_gone(handle.signal("message", {"name": args.message, "payload": {"startedBefore": True}}))
            return "message"
        if args.purpose == "TimeoutSweep" and args.action == "cancel":
            await _unless_gone(handle.cancel())
            return "cancel"
        if args.purpose == "TimeoutSweep" and args.action == "terminate":
            await _unless_gone(handle.terminate(reason="TimeoutSweep: older than allowed"))
            return "terminate"
        if args.purpose == "Cleanup" and args.delete:
            target = ExecutionId(workflow_id=execution.id, run_id=execution.run_id)
            request = DeleteWorkflowExecutionRequest(namespace=client.namespace, workflow_execution=target)
            await _unless_gone(client.workflow_service.delete_workflow_execution(request))
            return "delete"
    return None


class _GoneError(Exception):
    """The workflow has ended, or been deleted, since it was listed."""


async def _unless_gone(request: Any) -> None:
    try:
        await request
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            raise _GoneError from error
        raise


async def _limited(executions: AsyncIterator[WorkflowExecution], limit: int) -> AsyncIterator[WorkflowExecution]:
    left = limit
    async for execution in executions:
        if left <= 0:
            return
        left -= 1
        yield execution


def _ago(now: datetime, age: Duration) -> datetime:
    return Duration(-age.span, -age.months).after(now)


def _open(config: Config) -> str:
    return f"TaskQueue = {_quoted(config.task_queue)} AND ExecutionStatus = 'Running'"


def _closed(config: Config) -> str:
    return f"TaskQueue = {_quoted(config.task_queue)} AND ExecutionStatus != 'Running'"


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _say(**fields: Any) -> None:
    sys.stdout.write(json.dumps({name: value for name, value in fields.items() if value is not None}) + "\n")


def arguments(line: Sequence[str]) -> argparse.Namespace:
    """The arguments of one purpose."""
    commands = argparse.ArgumentParser("process-worker job")
    parser(commands)
    return commands.parse_args(line)
