"""`provisioning: Job`: a one-shot Job beside the Cluster makes roles and schema with the superuser's Secret.

For databases that several Domains share, and for clusters without CloudNativePG's declarative APIs. The script is
fixed, names reach it as environment variables and are quoted by psql; migrations never see the superuser.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

from ameide_shared import vocabulary as v
from ameide_shared.builders.identity import foreign_name
from ameide_shared.builders.job import job
from ameide_shared.builders.pod import one_shot_template
from ameide_shared.compile.context import Part
from ameide_shared.kube.resources import JOB, SECRET, Manifest, key_of
from ameide_shared.plan import Action, Delete, Ensure
from ameide_shared.reasons import Reason
from ameide_shared.stages import Stage, State, done
from ameide_shared.workload import JobPhase, job_state
from domain_operator.plan import sql
from domain_operator.plan.binding import DB_READY, PORT, Binding
from domain_operator.plan.cluster import superuser_of
from domain_operator.plan.context import Context

_TOKEN: Final = 6
"""Hex digits at the end of a Job's name that tell those of one verb apart."""


def plan_provisioning(ctx: Context, binding: Binding, cluster: Manifest) -> Part:
    """Run the Job of this binding once; a rotated password is a new Job."""
    refusal = superuser_problem(binding, cluster)
    if refusal is not None:
        return Part(refusal)
    sources = binding.made.app, binding.made.owner
    secrets = [ctx.observed.objects.get(SECRET, binding.cluster.namespace, name) for name in sources]
    passwords = [(secret or {}).get("digests", {}).get("password", "") for secret in secrets]
    if not all(passwords):
        return Part(_provisioning("", "the passwords of the roles are being made"))
    # The passwords are part of the name: whatever else changes them, the database must be told.
    name = job_name(ctx, binding, "provision", *passwords, ctx.annotation(v.ANNOTATION_RETRY_MIGRATION))
    busy = _running_job(ctx, binding, besides=name)
    if busy is not None:
        return Part(_provisioning(busy, "is still making roles and schema"))
    manifest = superuser_job(ctx, binding, name, sql.PROVISION, sources)
    live = ctx.observed.objects.get(JOB, binding.cluster.namespace, name)
    actions: tuple[Action, ...] = (Ensure(manifest, "make roles and schema", create_only=True),)
    actions += _older_jobs(ctx, binding, keep=name)
    what = f"Job {binding.cluster.namespace}/{name}"
    if live is None:
        return Part(_provisioning(what, "is about to make roles and schema"), actions)
    state = job_state(live, ctx.observed.pods_of_job(name))
    if state.phase is JobPhase.SUCCEEDED:
        return Part(done(DB_READY, Reason.DatabaseReady), actions)
    if state.phase is JobPhase.RUNNING:
        cause = f": {state.cause.message}" if state.cause else ""
        return Part(_provisioning(what, f"is making roles and schema{cause}"), actions)
    taken = "DatabaseNameTaken" in state.message
    return Part(
        Stage(
            DB_READY,
            State.STALLED,
            Reason.DatabaseNameTaken if taken else Reason.DatabaseRefused,
            f"{what} failed: {state.message}",
            object=what,
            remedy="mend what the message names, then set the annotation ameide.io/retry-migration to a new value",
        ),
        actions,
    )


def superuser_problem(binding: Binding, cluster: Manifest | None) -> Stage | None:
    """Whether the Cluster keeps its superuser Secret to itself."""
    if cluster is not None and (cluster.get("spec") or {}).get("enableSuperuserAccess") is True:
        return None
    return Stage(
        DB_READY,
        State.WAITING,
        Reason.SuperuserAccessDisabled,
        f"spec.db.provisioning: Job needs the superuser Secret of Cluster {binding.cluster}, which has none",
        object=f"Cluster {binding.cluster}",
        remedy="set spec.enableSuperuserAccess: true on the Cluster",
    )


def job_name(ctx: Context, binding: Binding, verb: str, *tokens: str) -> str:
    """A Job's name: one per binding and tokens, in the Cluster's namespace."""
    identity = json.dumps([binding.database, binding.schema, binding.role, ctx.primitive.uid, *tokens])
    return foreign_name(ctx.primitive, f"-{verb}-{hashlib.sha256(identity.encode()).hexdigest()[:_TOKEN]}")


def jobs_of(ctx: Context, binding: Binding, verb: str) -> list[Manifest]:
    """The Jobs of a verb, of whichever tokens; those that are going left out."""
    there = ctx.observed.objects.list(JOB, binding.cluster.namespace)
    stem = job_name(ctx, binding, verb)[:-_TOKEN] if there else ""
    return [
        live
        for live in there
        if live["metadata"]["name"][:-_TOKEN] == stem and not live["metadata"].get("deletionTimestamp")
    ]


def claim(ctx: Context) -> str:
    """The comment on roles and schema that says whose they are; it outlives the Domain with its data."""
    return f"ameide.io/owner={ctx.primitive.namespace}/{ctx.primitive.name}"


def superuser_job(
    ctx: Context, binding: Binding, name: str, script: str, passwords: tuple[str, str] | None = None
) -> dict[str, Any]:
    """A Job in the Cluster's namespace that runs a fixed script as the superuser.

    `passwords`: the Secrets with the passwords of application and owner, for the script that sets them.
    """
    env = [
        *_connection(ctx, binding, "postgres", superuser_of(ctx, binding.cluster)),
        *_names(binding),
        {"name": "DB_SCHEMA", "value": binding.schema},
        {"name": "AMEIDE_CLAIM", "value": claim(ctx)},
    ]
    if passwords is not None:
        app, owner = passwords
        env += [
            _reference("AMEIDE_APP_PASSWORD", app, "password"),
            _reference("AMEIDE_OWNER_PASSWORD", owner, "password"),
        ]
    return _job(ctx, binding, name, sql.shell(script), env, retries=2)


def drop_job(ctx: Context, binding: Binding, name: str) -> dict[str, Any]:
    """A Job in the Cluster's namespace that drops the schema as its owner, and reports what else is in the database."""
    env = [
        *_connection(ctx, binding, binding.database, binding.made.owner),
        {"name": "DB_SCHEMA", "value": binding.schema},
        {"name": "AMEIDE_APP_ROLE", "value": binding.role},
        _reference("AMEIDE_APP_PASSWORD", binding.made.app, "password", optional=True),
    ]
    return _job(ctx, binding, name, sql.drop_shell(), env, retries=0)


def names_job(ctx: Context, binding: Binding, name: str, database: str, secret: str) -> dict[str, Any]:
    """A Job in the Cluster's namespace that fails where a database or role of the binding's names exists.

    `secret` is that of the Cluster's own application, which may log in to `database`, and need not do more.
    """
    env = [
        *_connection(ctx, binding, database, secret),
        *_names(binding),
    ]
    return _job(ctx, binding, name, sql.shell(sql.FREE_NAMES), env, retries=2)


def _names(binding: Binding) -> list[Mapping[str, Any]]:
    return [
        {"name": "AMEIDE_APP_ROLE", "value": binding.role},
        {"name": "AMEIDE_OWNER_ROLE", "value": binding.owner},
        {"name": "AMEIDE_DATABASE", "value": binding.database},
    ]


def _connection(ctx: Context, binding: Binding, database: str, secret: str) -> list[Mapping[str, Any]]:
    return [
        {"name": "PGHOST", "value": binding.host},
        {"name": "PGPORT", "value": str(PORT)},
        {"name": "PGDATABASE", "value": database},
        {"name": "PGSSLMODE", "value": ctx.settings.database.ssl_mode},
        _reference("PGUSER", secret, "username"),
        _reference("PGPASSWORD", secret, "password"),
    ]


def _job(
    ctx: Context, binding: Binding, name: str, command: list[str], env: list[Mapping[str, Any]], *, retries: int
) -> dict[str, Any]:
    template = one_shot_template(
        ctx.primitive,
        name="provision",
        image=ctx.settings.database.client_image,
        command=command,
        env=env,
        defaults=ctx.settings.pods,
        namespace=binding.cluster.namespace,
    )
    return job(
        ctx.primitive,
        name,
        template,
        backoff_limit=retries,
        deadline_seconds=int(ctx.settings.database.provision_timeout),
        namespace=binding.cluster.namespace,
    )


def _reference(variable: str, secret: str, key: str, *, optional: bool = False) -> Mapping[str, Any]:
    reference: dict[str, Any] = {"name": secret, "key": key} | ({"optional": True} if optional else {})
    return {"name": variable, "valueFrom": {"secretKeyRef": reference}}


def _provisioning(what: str, message: str) -> Stage:
    text = f"{what} {message}" if what else message
    return Stage(DB_READY, State.PROGRESSING, Reason.DatabaseProvisioning, text, object=what)


def _running_job(ctx: Context, binding: Binding, besides: str) -> str | None:
    """A provisioning Job of this Domain that has not ended: two would race for the roles' passwords."""
    for other in ctx.observed.objects.list(JOB, binding.cluster.namespace):
        name = other["metadata"]["name"]
        if (
            name != besides
            and v.LABEL_OWNER_NAME in (other["metadata"].get("labels") or {})
            and job_state(other, ()).phase is JobPhase.RUNNING
        ):
            return f"Job {binding.cluster.namespace}/{name}"
    return None


def _older_jobs(ctx: Context, binding: Binding, keep: str) -> tuple[Delete, ...]:
    """Jobs of earlier rotations that have ended."""
    return tuple(
        Delete(JOB, key_of(job), job["metadata"]["uid"], "a newer Job has taken its place")
        for job in ctx.observed.objects.list(JOB, binding.cluster.namespace)
        if job["metadata"]["name"] != keep
        and v.LABEL_OWNER_NAME in (job["metadata"].get("labels") or {})
        and job_state(job, ()).phase is not JobPhase.RUNNING
        and not job["metadata"].get("deletionTimestamp")
    )
