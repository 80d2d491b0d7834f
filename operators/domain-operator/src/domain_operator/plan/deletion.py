"""Deletion: the workload first, so that no session is left; then the data is kept or dropped; the finalizer last.

Kept data stays claimed by the objects that remain. Dropped means: the schema by its owner, then, if nothing else
lives in it, the database, then the roles. What cannot be cleaned up in time is left behind and named in an Event.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from ameide_shared import vocabulary as v
from ameide_shared.builders.identity import is_owned
from ameide_shared.kube.resources import (
    CNPG_CLUSTER,
    CNPG_DATABASE,
    CNPG_DATABASE_ROLE,
    DEPLOYMENT,
    HORIZONTAL_POD_AUTOSCALER,
    JOB,
    POD,
    SECRET,
    Manifest,
    ResourceType,
    key_of,
)
from ameide_shared.plan import Action, Delete, Ensure, Notify, Plan, RemoveFinalizer
from ameide_shared.reasons import Reason
from ameide_shared.stages import Stage, State
from ameide_shared.status import parse_time
from ameide_shared.workload import JobPhase, JobState, job_state
from domain_operator.plan import provisioner, sql
from domain_operator.plan.binding import Binding
from domain_operator.plan.context import Context
from domain_operator.plan.told import pods_are_behind

FINALIZER: Final = v.finalizer("Domain")
_LOOK_AGAIN_SECONDS: Final = 10.0


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
        return _step("the workload is being stopped", workload, deadline)
    if _pods_left(ctx, drop) and ctx.now < deadline:
        return _step("pods are still ending", [], deadline, ctx.now)
    retain = ctx.spec.db is None or ctx.spec.db.deletion_policy == "Retain"
    if binding is None or not binding.provisioned or retain:
        return _finished(_retained(ctx, binding))
    if ctx.now >= deadline:
        return _finished(_left_behind(ctx, binding))
    return _drop(ctx, binding, deadline)


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
        (pod["metadata"].get("labels") or {}).get("batch.kubernetes.io/job-name", "") != drop
        and (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")
        for pod in ctx.observed.objects.list(POD, ctx.primitive.namespace)
    )


def _drop(ctx: Context, binding: Binding, deadline: datetime) -> Plan:
    """deletionPolicy: Delete."""
    cluster = ctx.observed.objects.get(CNPG_CLUSTER, binding.cluster.namespace, binding.cluster.name)
    if cluster is None:
        message = f"Cluster {binding.cluster} is missing, so its data cannot be dropped"
        return _waiting(ctx, message, f"Cluster {binding.cluster}", deadline)
    if binding.provisioning == "Job":
        return _drop_shared(ctx, binding, deadline)
    database = _owned(ctx, CNPG_DATABASE, binding)
    if any(map(_was_made, database)):
        outcome = _dropped_schema(ctx, binding, deadline)
        if isinstance(outcome, Plan):
            return outcome
        if outcome:
            names = ", ".join(outcome)
            return _finished(
                Notify(
                    "Warning",
                    Reason.DataLeftBehind,
                    f"schema {binding.schema} was dropped; database {binding.database} on Cluster {binding.cluster} "
                    f"stays, because it holds schemas of others: {names}",
                )
            )
    for resource, policy in (
        (CNPG_DATABASE, "databaseReclaimPolicy"),
        (CNPG_DATABASE_ROLE, "databaseRoleReclaimPolicy"),
    ):
        left = _owned(ctx, resource, binding)
        if left:
            actions: list[Action] = []
            for live in left:
                if (live.get("spec") or {}).get(policy) != "delete":
                    actions.append(Ensure(_with_policy(live, policy), "the data is to be dropped with it"))
                if not live["metadata"].get("deletionTimestamp"):
                    uid = live["metadata"]["uid"]
                    actions.append(Delete(resource, key_of(live), uid, "deletionPolicy: Delete"))
            told = "; ".join(filter(None, ((live.get("status") or {}).get("message", "") for live in left)))
            message = f"CloudNativePG is dropping {resource.kind} {', '.join(str(key_of(live)) for live in left)}"
            return _step(f"{message}: {told}" if told else message, actions, deadline, ctx.now)
    return _finished(None, [*_password_secrets(ctx, binding), *_foreign_jobs(ctx, binding)])


def _was_made(database: Manifest) -> bool:
    """Whether CloudNativePG has ever applied a Database: it may hold schemas of others by now."""
    return "observedGeneration" in (database.get("status") or {})


def _with_policy(live: Manifest, policy: str) -> dict[str, Any]:
    """The object as we made it, with another reclaim policy: what apply needs to keep all that we own."""
    metadata = live["metadata"]
    return {
        "apiVersion": live["apiVersion"],
        "kind": live["kind"],
        "metadata": {
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "labels": metadata.get("labels") or {},
            "annotations": {
                key: value
                for key, value in (metadata.get("annotations") or {}).items()
                if key == v.ANNOTATION_OWNER_UID
            },
        },
        "spec": {**live["spec"], policy: "delete"},
    }


def _dropped_schema(ctx: Context, binding: Binding, deadline: datetime) -> Plan | list[str]:
    """Drop the schema as its owner; the schemas of others that live in the database, once that is known.

    The Job runs beside the Cluster: the Domain's own namespace may be going, and then nothing can be made in it.
    """
    name = provisioner.job_name(ctx, binding, "drop")
    live = ctx.observed.objects.get(JOB, binding.cluster.namespace, name)
    what = f"Job {binding.cluster.namespace}/{name}"
    if live is None:
        password = binding.made.owner
        if ctx.observed.objects.get(SECRET, binding.cluster.namespace, password) is None:
            message = (
                f"Secret {binding.cluster.namespace}/{password} is gone, so schema {binding.schema} cannot be dropped"
            )
            return _waiting(ctx, message, what, deadline)
        manifest = provisioner.owner_job(ctx, binding, name, sql.DROP_SCHEMA, password)
        create = Ensure(manifest, "deletionPolicy: Delete", create_only=True)
        return _step(f"{what} is about to drop schema {binding.schema}", [create], deadline, ctx.now)
    state = job_state(live, ctx.observed.pods_of_job(name))
    if state.phase is JobPhase.RUNNING or pods_are_behind(ctx, live):
        return _step(f"{what} is dropping schema {binding.schema}", [], deadline, ctx.now)
    if state.phase is JobPhase.FAILED:
        message = f"{what} could not drop schema {binding.schema}: {state.message}"
        return _waiting(ctx, message, what, deadline, _try_again(ctx, live, state))
    try:
        return [str(name) for name in json.loads(state.termination)["foreignSchemas"]]
    except (ValueError, KeyError, TypeError):
        # When in doubt, nothing of others is dropped: it is asked again.
        message = f"{what} ended, but what it found in database {binding.database} was lost"
        return _waiting(ctx, message, what, deadline, _try_again(ctx, live, state))


def _drop_shared(ctx: Context, binding: Binding, deadline: datetime) -> Plan:
    """In a shared database: a superuser Job drops what bears our claim."""
    told = (ctx.manifest.get("status") or {}).get("db") or {}
    if not _owned(ctx, SECRET, binding) and "lastMigrationTime" not in told:
        return _finished(None, _foreign_jobs(ctx, binding))  # it was refused, so nothing was ever made
    cluster = ctx.observed.objects.get(CNPG_CLUSTER, binding.cluster.namespace, binding.cluster.name)
    refusal = provisioner.superuser_problem(binding, cluster)
    if refusal is not None:
        return _waiting(ctx, refusal.message, refusal.object, deadline)
    name = provisioner.job_name(ctx, binding, "drop")
    live = ctx.observed.objects.get(JOB, binding.cluster.namespace, name)
    what = f"Job {binding.cluster.namespace}/{name}"
    if live is None:
        manifest = provisioner.superuser_job(ctx, binding, name, sql.DROP_SHARED)
        create = Ensure(manifest, "deletionPolicy: Delete", create_only=True)
        return _step(f"{what} is about to drop schema {binding.schema}", [create], deadline, ctx.now)
    state = job_state(live, ctx.observed.pods_of_job(name))
    if state.phase is JobPhase.RUNNING:
        return _step(f"{what} is dropping schema {binding.schema}", [], deadline, ctx.now)
    if state.phase is JobPhase.FAILED:
        message = f"{what} failed: {state.message}"
        return _waiting(ctx, message, what, deadline, _try_again(ctx, live, state))
    return _finished(None, [*_password_secrets(ctx, binding), *_foreign_jobs(ctx, binding)])


# --- how a step ends ------------------------------------------------------------------------------------------------


def _step(message: str, actions: list[Action], deadline: datetime, now: datetime | None = None) -> Plan:
    stage = Stage("", State.PROGRESSING, Reason.Deleting, message)
    wait = _LOOK_AGAIN_SECONDS
    if now is not None and deadline > now:
        wait = min(wait, (deadline - now).total_seconds())
    return Plan(tuple(actions), (stage,), requeue_after=max(wait, 0.5))


def _waiting(ctx: Context, message: str, what: str, deadline: datetime, actions: tuple[Action, ...] = ()) -> Plan:
    stage = Stage(
        "",
        State.FAILED,
        Reason.DeletionBlocked,
        message,
        object=what,
        remedy=f"mend what the message names; at {deadline.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ} the Domain goes and the "
        "data is left behind",
        retry_at=None,
    )
    wait = min(_LOOK_AGAIN_SECONDS, max(0.5, (deadline - ctx.now).total_seconds()))
    return Plan(actions, (stage,), requeue_after=wait)


def _try_again(ctx: Context, live: Manifest, state: JobState) -> tuple[Action, ...]:
    """A failed Job goes after a while, so that the next pass makes it anew: ever more rarely as deletion drags on."""
    since = parse_time(ctx.manifest["metadata"]["deletionTimestamp"])
    pause = max(_LOOK_AGAIN_SECONDS, (ctx.now - since).total_seconds() / 4)
    ended = parse_time(state.finished_at) if state.finished_at else since
    if live["metadata"].get("deletionTimestamp") or (ctx.now - ended).total_seconds() < pause:
        return ()
    return (Delete(JOB, key_of(live), live["metadata"]["uid"], "it failed, and is tried again"),)


def _finished(event: Notify | None, actions: list[Action] | None = None) -> Plan:
    told: tuple[Action, ...] = (event,) if event else ()
    release = RemoveFinalizer(FINALIZER, "nothing outside is left to do")
    stage = Stage("", State.PROGRESSING, Reason.Deleting, "its children are being collected")
    return Plan((*(actions or ()), *told, release), (stage,))


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
    return [live for resource in (CNPG_DATABASE, CNPG_DATABASE_ROLE, SECRET) for live in _owned(ctx, resource, binding)]


def _owned(ctx: Context, resource: ResourceType, binding: Binding) -> list[Manifest]:
    """Objects of this Domain in the Cluster's namespace, by their owner labels."""
    wanted = (ctx.primitive.namespace, ctx.primitive.name, ctx.primitive.primitive)
    found = []
    for live in ctx.observed.objects.list(resource, binding.cluster.namespace):
        labels = live["metadata"].get("labels") or {}
        marks = (labels.get(v.LABEL_OWNER_NAMESPACE), labels.get(v.LABEL_OWNER_NAME), labels.get(v.LABEL_PRIMITIVE))
        if marks == wanted:
            found.append(live)
    return found


def _password_secrets(ctx: Context, binding: Binding) -> list[Action]:
    return [
        Delete(SECRET, key_of(live), live["metadata"]["uid"], "its role is gone")
        for live in _owned(ctx, SECRET, binding)
    ]


def _foreign_jobs(ctx: Context, binding: Binding) -> list[Action]:
    return [
        Delete(JOB, key_of(live), live["metadata"]["uid"], "the Domain is being deleted")
        for live in _owned(ctx, JOB, binding)
    ]
