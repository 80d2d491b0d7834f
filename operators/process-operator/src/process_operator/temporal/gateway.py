"""Ask Temporal: each method is one question, with a typed answer or a TemporalError, and nothing is remembered.

Reconciles do not ask here what the watcher knows: a slow server would hold them up.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

from temporalio.api.enums.v1 import IndexedValueType, TaskQueueType
from temporalio.api.enums.v1 import NamespaceState as ServerNamespaceState
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.api.taskqueue.v1 import TaskQueue as QueueName
from temporalio.api.workflow.v1 import WorkflowExecutionInfo
from temporalio.api.workflowservice.v1 import (
    CountWorkflowExecutionsRequest,
    DescribeNamespaceRequest,
    DescribeTaskQueueRequest,
    DescribeTaskQueueResponse,
    DescribeWorkerDeploymentRequest,
    GetSystemInfoRequest,
    ListWorkflowExecutionsRequest,
    RegisterNamespaceRequest,
)

from process_operator.temporal import queries
from process_operator.temporal.channel import AlreadyThere, Channel, NotThere, OnCall
from process_operator.temporal.errors import ConnectionUnknown, NamespaceNotFound
from process_operator.temporal.model import (
    Namespace,
    NamespaceState,
    OpenWorkflows,
    Target,
    TaskQueue,
    Usage,
    WorkerDeployment,
)
from process_operator.temporal.settings import TemporalSettings
from process_operator.temporal.wire import duration, pollers_of, text_of

_PAGE: Final = 500
_MOST_DEFINITIONS: Final = 50  # that are looked for one after the other by search attribute
_UNVERSIONED: Final = "__unversioned__"
_NAMESPACE_STATES: Final = {
    ServerNamespaceState.NAMESPACE_STATE_REGISTERED: NamespaceState.Registered,
    ServerNamespaceState.NAMESPACE_STATE_DEPRECATED: NamespaceState.Deprecated,
    ServerNamespaceState.NAMESPACE_STATE_DELETED: NamespaceState.Deleted,
}

T = TypeVar("T")


def utc_now() -> datetime:
    """The wall clock; UTC."""
    return datetime.now(UTC)


class TemporalGateway:
    """All connections of the settings. Nothing is dialled before the first question; use it in one event loop."""

    def __init__(
        self,
        settings: TemporalSettings,
        *,
        on_call: OnCall | None = None,
        now: Callable[[], datetime] = utc_now,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings
        self.now = now
        self._channels = {
            name: Channel(name, connection, settings.timeout, on_call=on_call, clock=clock)
            for name, connection in settings.connections.items()
        }
        self._with_attribute: set[tuple[str, str]] = set()  # namespaces that were seen to have it; it is never removed

    def channel(self, connection: str) -> Channel:
        """The connection of that name. Raises ConnectionUnknown."""
        found = self._channels.get(connection)
        if found is None:
            known = ", ".join(sorted(self._channels)) or "none"
            raise ConnectionUnknown(
                f"the operator's settings have no Temporal connection {connection!r}; there is: {known}",
                f"set spec.temporal.connection to one that exists, or add temporal.connections.{connection}",
            )
        return found

    async def ping(self, connection: str, seconds: float | None = None) -> str:
        """Whether the server answers, within `seconds` if that is less than the settings' timeout; its version."""
        answer = await self.channel(connection).call(
            lambda s: s.workflow_service.get_system_info, GetSystemInfoRequest(), seconds=seconds
        )
        return answer.server_version

    async def describe_namespace(self, connection: str, namespace: str) -> Namespace:
        """State and retention; a namespace that does not exist has the state Missing."""
        request = DescribeNamespaceRequest(namespace=namespace)
        try:
            answer = await self.channel(connection).call(lambda s: s.workflow_service.describe_namespace, request)
        except (NamespaceNotFound, NotThere):
            return Namespace(namespace, NamespaceState.Missing)
        state = _NAMESPACE_STATES.get(answer.namespace_info.state, NamespaceState.Unknown)
        kept = answer.config.workflow_execution_retention_ttl
        return Namespace(namespace, state, kept.ToTimedelta() if kept.ByteSize() else None)

    async def register_namespace(self, connection: str, namespace: str, description: str = "") -> bool:
        """Register a namespace with the connection's retention; False if it was there. It takes up to 10 s until all
        parts of the server know it, during which a queue of it may be NamespaceNotFound."""
        channel = self.channel(connection)
        retention = timedelta(days=self.settings.connections[connection].retention_days)
        request = RegisterNamespaceRequest(
            namespace=namespace,
            description=description,
            workflow_execution_retention_period=duration(retention),
        )
        try:
            await channel.call(lambda s: s.workflow_service.register_namespace, request)
        except AlreadyThere:
            return False
        return True

    async def task_queue(self, target: Target) -> TaskQueue:
        """Pollers of the last five minutes and backlog; two requests. A queue that nobody used is empty."""
        first, second = await asyncio.gather(
            self._describe(target, TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW),
            self._describe(target, TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY),
        )
        version = first.versioning_info.current_version
        ages = (r.stats.approximate_backlog_age.ToTimedelta().total_seconds() for r in (first, second))
        return TaskQueue(
            pollers_of(first.pollers, second.pollers),
            first.stats.approximate_backlog_count,
            second.stats.approximate_backlog_count,
            max(ages),
            "" if version == _UNVERSIONED else version,
        )

    async def count_open(self, target: Target) -> OpenWorkflows:
        """How many workflows of the queue are open, as far as visibility has heard. Raises TemporalRejected for names
        that visibility cannot search for, never a wrong zero."""
        request = CountWorkflowExecutionsRequest(namespace=target.namespace, query=queries.open_workflows(target.queue))
        channel = self.channel(target.connection)
        answer = await channel.call(lambda s: s.workflow_service.count_workflow_executions, request)
        now = self.now()
        return OpenWorkflows(answer.count, now, now if answer.count == 0 else None)

    async def definitions_in_use(self, target: Target) -> Usage:
        """The definitions that open workflows run on.

        Where the namespace has the search attribute, each definition costs one request, however many workflows run
        on it; workflows that only have the memo are listed, up to the settings' `scan_limit`.
        """
        now = self.now()
        found: set[str] = set()
        complete, query = True, queries.open_workflows(target.queue)
        if await self._has_attribute(target):
            complete = await self._by_attribute(target, found)
            query = queries.without_checksum(target.queue)
        silent, all_seen = await self._by_memo(target, query, found)
        return Usage(frozenset(found), complete and all_seen and not silent, silent, now)

    async def register_search_attribute(self, connection: str, namespace: str) -> None:
        """Have the namespace index AmeideDefinitionChecksum; no error where it does. Needs an administrator's rights,
        and a server that lets its API do this."""
        request = AddSearchAttributesRequest(
            namespace=namespace,
            search_attributes={queries.CHECKSUM_ATTRIBUTE: IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD},
        )
        try:
            await self.channel(connection).call(lambda s: s.operator_service.add_search_attributes, request)
        except AlreadyThere:
            return

    async def worker_deployment(self, target: Target, name: str) -> WorkerDeployment | None:
        """The Worker Deployment `name` of the target's namespace; None where it has never been heard of."""
        request = DescribeWorkerDeploymentRequest(namespace=target.namespace, deployment_name=name)
        channel = self.channel(target.connection)
        try:
            answer = await channel.call(lambda s: s.workflow_service.describe_worker_deployment, request)
        except NotThere:
            return None
        info = answer.worker_deployment_info
        routing = info.routing_config
        return WorkerDeployment(
            name,
            routing.current_deployment_version.build_id,
            routing.ramping_deployment_version.build_id,
            routing.ramping_version_percentage,
            tuple(sorted(s.deployment_version.build_id for s in info.version_summaries)),
        )

    async def _describe(self, target: Target, kind: TaskQueueType.ValueType) -> DescribeTaskQueueResponse:
        request = DescribeTaskQueueRequest(
            namespace=target.namespace,
            task_queue=QueueName(name=target.queue),
            task_queue_type=kind,
            report_stats=True,
        )
        return await self.channel(target.connection).call(lambda s: s.workflow_service.describe_task_queue, request)

    async def _has_attribute(self, target: Target) -> bool:
        key = (target.connection, target.namespace)
        if key not in self._with_attribute:
            request = ListSearchAttributesRequest(namespace=target.namespace)
            channel = self.channel(target.connection)
            answer = await channel.call(lambda s: s.operator_service.list_search_attributes, request)
            kind = answer.custom_attributes.get(queries.CHECKSUM_ATTRIBUTE)
            if kind != IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD:
                return False
            self._with_attribute.add(key)
        return True

    async def _by_attribute(self, target: Target, found: set[str]) -> bool:
        """Add what the search attribute tells; whether that is all."""
        for _ in range(_MOST_DEFINITIONS):
            page, _token = await self._list(target, queries.with_checksum_besides(target.queue, found))
            if not page:
                return True
            values = (info.search_attributes.indexed_fields.get(queries.CHECKSUM_ATTRIBUTE) for info in page)
            new = {text for value in values if (text := text_of(value))} - found
            if not new:
                return False  # the query names values that the answer does not: better none than a wrong answer
            found |= new
        return False

    async def _by_memo(self, target: Target, query: str, found: set[str]) -> tuple[int, bool]:
        """Add what memos tell; how many workflows had none, and whether all were looked at."""
        silent = seen = 0
        token = b""
        while True:
            page, token = await self._list(target, query, token)
            for info in page:
                text = text_of(info.memo.fields.get(queries.CHECKSUM_MEMO))
                if text:
                    found.add(text)
                else:
                    silent += 1
            seen += len(page)
            if not token:
                return silent, True
            if seen >= self.settings.scan_limit:
                return silent, False

    async def _list(self, target: Target, query: str, token: bytes = b"") -> tuple[list[WorkflowExecutionInfo], bytes]:
        request = ListWorkflowExecutionsRequest(
            namespace=target.namespace, page_size=_PAGE, next_page_token=token, query=query
        )
        channel = self.channel(target.connection)
        answer = await channel.call(lambda s: s.workflow_service.list_workflow_executions, request)
        return list(answer.executions), answer.next_page_token
