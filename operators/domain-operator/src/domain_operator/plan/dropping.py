"""`deletionPolicy: Delete`: the schema by its owner, then, if nothing else lives in it, the database, then the roles.

Every step waits for the one before it to be seen done.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from ameide_shared import vocabulary as v
from ameide_shared.kube.resources import (
    CNPG_CLUSTER,
    CNPG_DATABASE,
    CNPG_DATABASE_ROLE,
    JOB,
    SECRET,
    Manifest,
    key_of,
)
from ameide_shared.plan import Action, Delete, Ensure, Notify, Plan
from ameide_shared.reasons import Reason
from ameide_shared.workload import JobPhase, job_state
from domain_operator.plan import provisioner, sql
from domain_operator.plan.binding import Binding
from domain_operator.plan.context import Context
from domain_operator.plan.endings import finished, owned, step, try_again, waiting
from domain_operator.plan.told import pods_are_behind

_IN_USE: Final = "being accessed by other users"
"""Of what PostgreSQL says, and CloudNativePG passes on, where sessions keep a database from being dropped."""


def drop_data(ctx: Context, binding: Binding, deadline: datetime) -> Plan:
    """The next step of dropping."""
    makers = _makers(ctx, binding)
    if makers is not None:
        return step(*makers, deadline, ctx.now)
    cluster = ctx.observed.objects.get(CNPG_CLUSTER, binding.cluster.namespace, binding.cluster.name)
    if cluster is None:
        message = f"Cluster {binding.cluster} is missing, so its data cannot be dropped"
        return waiting(ctx, message, f"Cluster {binding.cluster}", deadline)
    if binding.provisioning == "Job":
        return _drop_shared(ctx, binding, cluster, deadline)
    database = owned(ctx, CNPG_DATABASE, binding)
    if any(map(_was_made, database)):
        outcome = _dropped_schema(ctx, binding, deadline)
        if isinstance(outcome, Plan):
            return outcome
        schemas, sessions = outcome
        if schemas:
            names = ", ".join(schemas)
            return finished(
                ctx.primitive,
                ctx.observed,
                Notify(
                    "Warning",
                    Reason.DataLeftBehind,
                    f"schema {binding.schema} was dropped; database {binding.database} on Cluster {binding.cluster} "
                    f"stays, because it holds schemas of others: {names}",
                ),
            )
        if sessions:
            message = f"database {binding.database} on Cluster {binding.cluster} is held open by {', '.join(sessions)}"
            return _held(ctx, binding, message, deadline)
    for resource, policy in (
        (CNPG_DATABASE, "databaseReclaimPolicy"),
        (CNPG_DATABASE_ROLE, "databaseRoleReclaimPolicy"),
    ):
        left = owned(ctx, resource, binding)
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
            if _IN_USE in told:
                return _held(ctx, binding, f"{message}: {told}", deadline, actions)
            return step(f"{message}: {told}" if told else message, actions, deadline, ctx.now)
    return finished(ctx.primitive, ctx.observed, None, *_password_secrets(ctx, binding))


def _makers(ctx: Context, binding: Binding) -> tuple[str, list[Action]] | None:
    """What still makes roles and schema, or looks for them, and how it ends: beside it, what is dropped comes back.

    A Job at work is waited for, up to its own deadline, so that all it makes bears the claim by which it is dropped.
    One that could not begin goes, and is gone only after its pods.
    """
    drop = provisioner.job_name(ctx, binding, "drop")
    others = [
        job
        for job in owned(ctx, JOB, binding)
        if job["metadata"]["name"] != drop and job_state(job, ()).phase is JobPhase.RUNNING
    ]
    if not others:
        return None
    actions: list[Action] = [
        Delete(JOB, key_of(job), job["metadata"]["uid"], "the data is to be dropped", "Foreground")
        for job in others
        if not job["metadata"].get("deletionTimestamp") and not _is_at_work(ctx, job)
    ]
    return f"Job {', '.join(str(key_of(job)) for job in others)} is to end before the data is dropped", actions


def _is_at_work(ctx: Context, job: Manifest) -> bool:
    pods = ctx.observed.pods_of_job(job["metadata"]["name"])
    return any((pod.get("status") or {}).get("phase") == "Running" for pod in pods)


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


def _held(ctx: Context, binding: Binding, message: str, deadline: datetime, actions: Sequence[Action] = ()) -> Plan:
    """Sessions that are neither the app's nor the owner's keep the database: they are looked for again and again."""
    live = ctx.observed.objects.get(JOB, binding.cluster.namespace, provisioner.job_name(ctx, binding, "drop"))
    again = try_again(ctx, live, job_state(live, ())) if live is not None else ()
    mend = (
        "end these sessions where they come from, or as superuser by pg_terminate_backend(pid); only superusers can "
        "begin new ones"
    )
    what = f"Cluster {binding.cluster}"
    return waiting(ctx, message, what, deadline, (*actions, *again), mend=mend)


def _dropped_schema(ctx: Context, binding: Binding, deadline: datetime) -> Plan | tuple[list[str], list[str]]:
    """Drop the schema as its owner; the schemas and sessions of others in the database, once they are known.

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
            return waiting(ctx, message, what, deadline)
        manifest = provisioner.drop_job(ctx, binding, name)
        create = Ensure(manifest, "deletionPolicy: Delete", create_only=True)
        return step(f"{what} is about to drop schema {binding.schema}", [create], deadline, ctx.now)
    state = job_state(live, ctx.observed.pods_of_job(name))
    if state.phase is JobPhase.RUNNING or pods_are_behind(ctx, live):
        return step(f"{what} is dropping schema {binding.schema}", [], deadline, ctx.now)
    if state.phase is JobPhase.FAILED:
        message = f"{what} could not drop schema {binding.schema}: {state.message}"
        return waiting(ctx, message, what, deadline, try_again(ctx, live, state))
    try:
        found = json.loads(state.termination)
        return [str(name) for name in found["foreignSchemas"]], [str(session) for session in found.get("sessions", ())]
    except (ValueError, KeyError, TypeError, AttributeError):
        # When in doubt, nothing of others is dropped: it is asked again.
        message = f"{what} ended, but what it found in database {binding.database} was lost"
        return waiting(ctx, message, what, deadline, try_again(ctx, live, state))


def _drop_shared(ctx: Context, binding: Binding, cluster: Manifest, deadline: datetime) -> Plan:
    """In a shared database: a superuser Job drops what bears our claim."""
    told = (ctx.manifest.get("status") or {}).get("db") or {}
    if not owned(ctx, SECRET, binding) and "lastMigrationTime" not in told:
        return finished(ctx.primitive, ctx.observed, None)  # it was refused, so nothing was ever made
    refusal = provisioner.superuser_problem(binding, cluster)
    if refusal is not None:
        return waiting(ctx, refusal.message, refusal.object, deadline)
    name = provisioner.job_name(ctx, binding, "drop")
    live = ctx.observed.objects.get(JOB, binding.cluster.namespace, name)
    what = f"Job {binding.cluster.namespace}/{name}"
    if live is None:
        manifest = provisioner.superuser_job(ctx, binding, name, sql.DROP_SHARED)
        create = Ensure(manifest, "deletionPolicy: Delete", create_only=True)
        return step(f"{what} is about to drop schema {binding.schema}", [create], deadline, ctx.now)
    state = job_state(live, ctx.observed.pods_of_job(name))
    if state.phase is JobPhase.RUNNING:
        return step(f"{what} is dropping schema {binding.schema}", [], deadline, ctx.now)
    if state.phase is JobPhase.FAILED:
        message = f"{what} failed: {state.message}"
        return waiting(ctx, message, what, deadline, try_again(ctx, live, state))
    return finished(ctx.primitive, ctx.observed, None, *_password_secrets(ctx, binding))


def _password_secrets(ctx: Context, binding: Binding) -> list[Action]:
    return [
        Delete(SECRET, key_of(live), live["metadata"]["uid"], "its role is gone")
        for live in owned(ctx, SECRET, binding)
    ]
