"""Deletion: the workload first, so that no session is left; then the data is kept or dropped; the finalizer last.

Kept data stays claimed by the objects that remain. Dropped means: the schema by its owner, then, if nothing else
lives in it, the database, then the roles. What cannot be cleaned up in time is left behind and named in an Event.
"""

from __future__ import annotations

from datetime import timedelta

from ameide_shared.builders.identity import is_owned
from ameide_shared.jobs import job_of
from ameide_shared.kube.resources import (
    CNPG_DATABASE,
    CNPG_DATABASE_ROLE,
    DEPLOYMENT,
    HORIZONTAL_POD_AUTOSCALER,
    JOB,
    POD,
    SECRET,
    Manifest,
    key_of,
)
from ameide_shared.plan import Action, Delete, Notify, Plan
from ameide_shared.reasons import Reason
from ameide_shared.stages import Stage, State
from ameide_shared.status import parse_time
from domain_operator.plan import provisioner
from domain_operator.plan.binding import Binding
from domain_operator.plan.context import Context
from domain_operator.plan.dropping import drop_data
from domain_operator.plan.endings import FINALIZER, finished, owned, step


def plan_deletion(ctx: Context, binding: Binding | None) -> Plan:
    """The next step of deletion. Every step waits for the one before it to be seen done."""
    if FINALIZER not in (ctx.manifest["metadata"].get("finalizers") or ()):
        # Ours is done; somebody else's finalizer, or foreground deletion of its children, still holds it.
        return Plan((), (Stage("", State.PROGRESSING, Reason.Deleting, "nothing is left to do for the operator"),))
    since = parse_time(ctx.manifest["metadata"]["deletionTimestamp"])
    deadline = since + timedelta(seconds=ctx.settings.deletion_timeout)
    drop = provisioner.job_name(ctx, binding, "drop") if binding is not None else ""
    workload = _workload(ctx, drop)
    if workload:
        return step("the workload is being stopped", workload, deadline)
    if _pods_left(ctx, drop) and ctx.now < deadline:
        return step("pods are still ending", [], deadline, ctx.now)
    retain = ctx.spec.db is None or ctx.spec.db.deletion_policy == "Retain"
    if binding is None or not binding.provisioned or retain:
        return finished(ctx.primitive, ctx.observed, _retained(ctx, binding))
    if ctx.now >= deadline:
        return finished(ctx.primitive, ctx.observed, _left_behind(ctx, binding))
    return drop_data(ctx, binding, deadline)


def _workload(ctx: Context, drop: str) -> list[Action]:
    """Everything that starts pods, in the Domain's own namespace; the Job named `drop` comes later and stays."""
    return [
        Delete(resource, key_of(live), live["metadata"]["uid"], "the Domain is being deleted")
        for resource in (HORIZONTAL_POD_AUTOSCALER, DEPLOYMENT, JOB)
        for live in ctx.observed.objects.list(resource, ctx.primitive.namespace)
        if is_owned(ctx.primitive, live)
        and not live["metadata"].get("deletionTimestamp")
        and live["metadata"]["name"] != drop
    ]


def _pods_left(ctx: Context, drop: str) -> bool:
    return any(
        job_of(pod) != drop and (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")
        for pod in ctx.observed.objects.list(POD, ctx.primitive.namespace)
    )


def _retained(ctx: Context, binding: Binding | None) -> Notify | None:
    if binding is None or not binding.provisioned or not _foreign(ctx, binding):
        return None
    return Notify(
        "Normal",
        Reason.DataRetained,
        f"database {binding.database}, schema {binding.schema} on Cluster {binding.cluster} are kept "
        f"(deletionPolicy: Retain); a Domain {ctx.primitive.namespace}/{ctx.primitive.name} can have them again",
    )


def _left_behind(ctx: Context, binding: Binding) -> Notify:
    left = ", ".join(f"{live['kind']} {key_of(live)}" for live in _foreign(ctx, binding)) or "nothing in the cluster"
    return Notify(
        "Warning",
        Reason.DataLeftBehind,
        f"after {ctx.settings.deletion_timeout:g} s the data of database {binding.database}, schema {binding.schema} "
        f"on Cluster {binding.cluster} could not be dropped; left behind: {left}",
    )


def _foreign(ctx: Context, binding: Binding) -> list[Manifest]:
    return [live for resource in (CNPG_DATABASE, CNPG_DATABASE_ROLE, SECRET) for live in owned(ctx, resource, binding)]


__all__ = ["FINALIZER", "plan_deletion"]
