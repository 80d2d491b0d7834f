"""May the workers have their task queue, and is it there: connection, namespace, rivals, and who polls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from ameide_shared.builders.networkpolicy import endpoint_egress
from ameide_shared.compile.context import Part, age
from ameide_shared.kube.resources import PROCESS, Manifest, key_of
from ameide_shared.plan import Call
from ameide_shared.reasons import Reason
from ameide_shared.stages import Stage, State, done
from process_operator.plan.context import Context
from process_operator.temporal.model import Namespace, NamespaceState, Problem, ProblemKind

TEMPORAL_READY: Final = "TemporalReady"
REGISTER_NAMESPACE: Final = "register the Temporal namespace"
GRPC_PORT: Final = 7233

_REASONS: Final[Mapping[ProblemKind, tuple[State, Reason]]] = {
    ProblemKind.Unreachable: (State.FAILED, Reason.TemporalUnreachable),
    ProblemKind.Busy: (State.FAILED, Reason.TemporalUnreachable),
    ProblemKind.Denied: (State.FAILED, Reason.TemporalDenied),
    ProblemKind.NamespaceMissing: (State.WAITING, Reason.NamespaceNotFound),
    ProblemKind.Rejected: (State.STALLED, Reason.TemporalDenied),
    ProblemKind.ConnectionUnknown: (State.STALLED, Reason.TemporalConnectionUnknown),
}


def claim_refusal(ctx: Context) -> Stage | None:
    """Why the Process may not have its task queue at all, or None: then not even workers that run may go on to more."""
    return settings_refusal(ctx) or rival_refusal(ctx)


def settings_refusal(ctx: Context) -> Stage | None:
    """Why settings keep the Process from the connection or the namespace that it names, or None."""
    temporal = ctx.spec.temporal
    if ctx.connection is None:
        known = ", ".join(sorted(ctx.settings.temporal.connections)) or "none"
        return Stage(
            TEMPORAL_READY,
            State.STALLED,
            Reason.TemporalConnectionUnknown,
            f"spec.temporal.connection: the operator's settings have no connection {temporal.connection!r}; "
            f"there is: {known}",
            remedy=f"use one that there is, or have temporal.connections.{temporal.connection} added to the settings",
        )
    tenant = ctx.primitive.tenant_id or ctx.spec.definition_ref.tenant_id
    if not ctx.settings.temporal.permits(temporal.connection, tenant, temporal.namespace):
        return Stage(
            TEMPORAL_READY,
            State.STALLED,
            Reason.NamespaceNotPermitted,
            f"spec.temporal.namespace: tenant {tenant!r} may not use namespace {temporal.namespace!r} of connection "
            f"{temporal.connection!r}",
            remedy="use one that the tenant may use, or have the connection's namespaces changed in the settings",
        )
    return None


def rival_refusal(ctx: Context) -> Stage | None:
    """Who has the task queue already, or None."""
    temporal, rival = ctx.spec.temporal, older_rival(ctx)
    if rival is None:
        return None
    return Stage(
        TEMPORAL_READY,
        State.STALLED,
        Reason.TaskQueueConflict,
        f"task queue {temporal.task_queue!r} of namespace {temporal.namespace!r} belongs to Process {key_of(rival)}, "
        "which is older",
        object=f"Process {key_of(rival)}",
        remedy="create the Process anew with another spec.temporal.taskQueue, or delete the other one",
    )


def older_rival(ctx: Context) -> Manifest | None:
    """The oldest other Process that wants the same task queue and was there before; None if there is none."""
    mine = age(ctx.manifest)
    rivals = [
        other
        for other in ctx.observed.objects.list(PROCESS)
        if key_of(other) != key_of(ctx.manifest) and queue_of(other) == queue_of(ctx.manifest) and age(other) < mine
    ]
    return min(rivals, key=age, default=None)


def queue_of(manifest: Manifest) -> tuple[str, str, str]:
    """(connection, namespace, queue) of a raw Process; by it rivals are found."""
    temporal = (manifest.get("spec") or {}).get("temporal") or {}
    return (
        str(temporal.get("connection") or "default"),
        str(temporal.get("namespace") or ""),
        str(temporal.get("taskQueue") or ""),
    )


def temporal_part(ctx: Context) -> Part:
    """Whether the server answers and the namespace is there; it is registered where settings say so."""
    seen = ctx.observed.temporal
    what = f"Temporal namespace {ctx.spec.temporal.namespace}"
    if seen is None or (seen.problem is None and seen.namespace is None):
        return Part(Stage(TEMPORAL_READY, State.PROGRESSING, Reason.TemporalChecking, "Temporal is being asked"))
    missing = seen.namespace is not None and seen.namespace.state is NamespaceState.Missing
    if missing or (seen.problem is not None and seen.problem.kind is ProblemKind.NamespaceMissing):
        return _missing(ctx, what)
    if seen.problem is not None:
        return Part(_trouble(seen.problem, what))
    assert seen.namespace is not None, "that case was the first"
    return Part(_namespace(seen.namespace, what))


def egress(ctx: Context) -> list[dict[str, Any]]:
    """The way to Temporal, where a NetworkPolicy can say it: a Service of the cluster, or an address."""
    if ctx.connection is None:
        return []
    way = endpoint_egress(ctx.connection.address, ctx.primitive.namespace, pod_ports=(GRPC_PORT,))
    return [way] if way is not None else []


def polling(ctx: Context, pods: Sequence[Manifest]) -> bool | None:
    """Whether these pods poll the task queue for workflows; None while Temporal cannot tell.

    A pod is told by its name at the end of a poller's identity. Workers that call themselves otherwise cannot be told
    apart: then there must be as many of them as pods.
    """
    seen = ctx.observed.temporal
    if seen is None or not seen.reachable or seen.problem is not None or seen.queue is None:
        return None
    pollers = [poller for poller in seen.queue.pollers if poller.workflows]
    everybody = [pod["metadata"]["name"] for pod in ctx.observed.pods()]
    if any(poller.of_pod(name) for poller in pollers for name in everybody):
        return all(any(poller.of_pod(pod["metadata"]["name"]) for poller in pollers) for pod in pods)
    return len(pollers) >= max(1, len(everybody))


def _missing(ctx: Context, what: str) -> Part:
    name, connection = ctx.spec.temporal.namespace, ctx.spec.temporal.connection
    if ctx.connection is not None and ctx.connection.register_namespaces:
        register = Call(
            REGISTER_NAMESPACE,
            {"connection": connection, "namespace": name, "description": f"registered for {ctx.primitive}"},
            "settings have missing namespaces registered",
        )
        message = f"namespace {name!r} is being registered"
        stage = Stage(TEMPORAL_READY, State.PROGRESSING, Reason.NamespaceRegistering, message, object=what)
        return Part(stage, (register,))
    return Part(
        Stage(
            TEMPORAL_READY,
            State.WAITING,
            Reason.NamespaceNotFound,
            f"connection {connection!r} has no namespace {name!r}",
            object=what,
            remedy=f"create it (temporal operator namespace create -n {name}), or set registerNamespaces of the "
            "connection in the settings",
        )
    )


def _trouble(problem: Problem, what: str) -> Stage:
    state, reason = _REASONS[problem.kind]
    return Stage(TEMPORAL_READY, state, reason, problem.message, object=what, remedy=problem.remedy)


def _namespace(namespace: Namespace, what: str) -> Stage:
    if namespace.state is NamespaceState.Deleted:
        return Stage(
            TEMPORAL_READY,
            State.FAILED,
            Reason.NamespaceDeleted,
            f"namespace {namespace.name!r} is deleted in Temporal",
            object=what,
            remedy="create it anew once Temporal has removed it, or create a Process for another namespace",
        )
    message = f"namespace {namespace.name!r} is deprecated" if namespace.state is NamespaceState.Deprecated else ""
    return done(TEMPORAL_READY, Reason.TemporalReady, message)
