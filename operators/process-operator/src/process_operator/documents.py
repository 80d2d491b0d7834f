"""What systems outside the cluster know, as documents beside the manifests that `render --observed` and tests read.

A `ProcessDefinition` stands for an answer of the Transformation service, a `TaskQueue` for what Temporal says:

    apiVersion: transformation.ameide.io/v1
    kind: ProcessDefinition
    metadata: {namespace: sales, name: l2o}       # of the Process that they are for
    spec: {id: L2O_v3, tenantId: t123, version: 4, definition: {$type: bpmn:Definitions, …}}
    error: {reason: TransformationUnavailable, message: …, remedy: …}     # instead of spec, or beside it

    apiVersion: temporal.ameide.io/v1
    kind: TaskQueue
    metadata: {namespace: sales, name: l2o}
    status: {reachable: true, namespaceState: Registered, pollers: [l2o-process-1], backlog: 0, open: 3, …}
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ameide_shared.kube.resources import PROCESS_DEFINITION, TASK_QUEUE, Manifest, ResourceType, resource_of
from ameide_shared.snapshot import Snapshot
from ameide_shared.status import parse_time
from ameide_shared.transformation.documents import LONG_AGO, definition_of
from ameide_shared.transformation.model import Observation as DefinitionObservation
from process_operator.observed import Observed
from process_operator.temporal.model import (
    Namespace,
    NamespaceState,
    OpenWorkflows,
    Poller,
    Problem,
    ProblemKind,
    SchedulesPaused,
    Target,
    TaskQueue,
    Usage,
)
from process_operator.temporal.model import Observation as TemporalObservation


def observed(objects: Iterable[Manifest], apis: frozenset[ResourceType]) -> Observed:
    """What a plan is given, from manifests and documents."""
    objects = list(objects)
    documents = {resource_of(each): each for each in objects}
    definition, queue = documents.get(PROCESS_DEFINITION), documents.get(TASK_QUEUE)
    status: Mapping[str, Any] = (queue or {}).get("status") or {}
    return Observed(
        Snapshot(objects),
        apis,
        definition=DefinitionObservation() if definition is None else definition_of(definition),
        temporal=None if queue is None else task_queue_of(status),
        schedules=SchedulesPaused() if status.get("schedulesPaused") else None,
    )


def task_queue_of(status: Mapping[str, Any]) -> TemporalObservation:
    """What a TaskQueue says that Temporal told."""
    at = parse_time(str(status["checkedAt"])) if "checkedAt" in status else LONG_AGO
    queue = open_ = usage = problem = namespace = None
    if "namespaceState" in status:
        namespace = Namespace(status.get("namespace", ""), NamespaceState(status["namespaceState"]))
    if "pollers" in status:
        pollers = tuple(Poller(name, at, workflows=True, activities=True) for name in status["pollers"])
        queue = TaskQueue(pollers, workflow_backlog=status.get("backlog", 0))
    if "open" in status:
        since = parse_time(str(status["zeroSince"])) if "zeroSince" in status else None
        open_ = OpenWorkflows(status["open"], at, since)
    if "usage" in status:
        usage = Usage(frozenset(status["usage"]), status.get("usageComplete", True), 0, at)
    if "problem" in status:
        told = status["problem"]
        problem = Problem(ProblemKind(told["kind"]), told["message"], told.get("remedy", ""), at)
    target = Target("default", status.get("namespace", ""), "")
    return TemporalObservation(target, status.get("reachable"), at, namespace, queue, open_, usage, problem)
