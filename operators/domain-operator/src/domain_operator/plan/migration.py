"""Migrations before rollout: one Job per (image, migrator, binding), whose success opens the way for the pod template.

What has been migrated is remembered by the released revision (annotation `ameide.io/migration-key`), not by Jobs,
which come and go. A Job's name also holds the number of the revision it starts from, so that a rollback to an image
runs its migrator anew, while a restarted operator finds the Job it had begun.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Final

from ameide_shared import vocabulary as v
from ameide_shared.builders.identity import bounded_name, is_owned
from ameide_shared.builders.job import job
from ameide_shared.builders.pod import Extras, job_template, one_shot_container
from ameide_shared.kube.resources import JOB, Manifest, key_of
from ameide_shared.plan import Action, Delete, Ensure
from ameide_shared.reasons import Reason
from ameide_shared.redact import scrub, tail
from ameide_shared.revisions import Revision
from ameide_shared.stages import Stage, State, blocked, done
from ameide_shared.status import parse_time
from ameide_shared.workload import JobPhase, JobState, job_state
from domain_operator.plan import sql
from domain_operator.plan.binding import Binding, connection_env, flyway_env
from domain_operator.plan.context import Context
from domain_operator.spec import Migrations

MIGRATION_SUCCEEDED: Final = "MigrationSucceeded"
ANNOTATION_KEY: Final = "ameide.io/migration-key"
ANNOTATION_IMAGE: Final = "ameide.io/image"
MIGRATE: Final = "migrate"
"""Name of the container that migrates."""
_PODS_LAG_SECONDS: Final = 5.0
_VERSION_IN_LOG: Final = (
    re.compile(
        r"now at version v?(?P<version>[\w.]+)"
    ),  # Flyway: Successfully applied … to schema …, now at version v7
    re.compile(r"[Cc]urrent version of schema [^:]*: (?P<version>[\w.]+)"),  # Flyway, nothing to do
    re.compile(r"migrationVersion[\"']?\s*[:=]\s*[\"']?(?P<version>[\w.]+)"),
)


@dataclass(frozen=True, slots=True)
class Migration:
    """How the migration of the target stands. `passed`: the pod template may move on; `key` goes onto its revision."""

    stage: Stage
    key: str = ""
    passed: bool = False
    failed: bool = False
    actions: tuple[Action, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)


def migration_key(ctx: Context, binding: Binding) -> str:
    """The digest (10 hex digits) of what a migration depends on: image, migrator and binding."""
    db = ctx.spec.db
    migrations = migrations_of(ctx)
    identity = [
        ctx.spec.image,
        db.migration_job_image if db else None,
        list(migrations.command or ()),
        list(migrations.args or ()),
        str(binding.cluster),
        binding.database,
        binding.schema,
        binding.owner_secret,
    ]
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:10]


def migrations_of(ctx: Context) -> Migrations:
    """`spec.db.migrations`, or its defaults."""
    return (ctx.spec.db.migrations if ctx.spec.db else None) or Migrations()


def plan_migration(ctx: Context, binding: Binding, database: Stage, revisions: Sequence[Revision]) -> Migration:
    """Whether the target's migration is done, and the Job that does it."""
    key = migration_key(ctx, binding)
    current = revisions[-1] if revisions else None
    prune = _prune(ctx, keep=job_name(ctx, key, current))
    if current is not None and (current.annotations or {}).get(ANNOTATION_KEY) == key:
        stage = done(MIGRATION_SUCCEEDED, Reason.MigrationComplete)
        return Migration(stage, key, True, actions=prune, facts=_recorded(ctx) or _told_by_jobs(ctx, key))
    seen = any((revision.annotations or {}).get(ANNOTATION_KEY) == key for revision in revisions)
    if seen and migrations_of(ctx).on_rollback == "Skip":
        stage = done(
            MIGRATION_SUCCEEDED,
            Reason.MigrationSkipped,
            "rolled back to an image whose migration has run before, and spec.db.migrations.onRollback is Skip",
        )
        return Migration(stage, key, True, actions=prune, facts=_recorded(ctx))
    if not database.done and not _has_succeeded(ctx, job_name(ctx, key, current)):
        return Migration(blocked(MIGRATION_SUCCEEDED, database), key, facts=_recorded(ctx))
    return _run(ctx, binding, key, current, prune)


def _run(ctx: Context, binding: Binding, key: str, current: Revision | None, prune: tuple[Action, ...]) -> Migration:
    name = job_name(ctx, key, current)
    live = _job(ctx, name)
    what = f"Job {name}"
    running = _running_job(ctx, name)
    if live is None or running is not None:
        running = running or _running_pod(ctx)
        if running is not None:
            stage = Stage(
                MIGRATION_SUCCEEDED,
                State.PROGRESSING,
                Reason.MigrationPending,
                f"waits for the running migration {running}; two migrations of one schema never run together",
                object=running,
            )
            return Migration(stage, key, actions=prune, facts=_recorded(ctx))
        stage = _running(what, f"migration Job {name} is running")
        create = Ensure(migration_job(ctx, binding, name, key), f"migrate to {ctx.spec.image}", create_only=True)
        return Migration(stage, key, actions=(create, *prune), facts=_recorded(ctx))
    state = job_state(live, ctx.observed.pods_of_job(name))
    if state.phase is JobPhase.SUCCEEDED and not pods_are_behind(ctx, live):
        facts = _facts(ctx, live, state)
        return Migration(done(MIGRATION_SUCCEEDED, Reason.MigrationComplete), key, True, actions=prune, facts=facts)
    if state.phase is not JobPhase.FAILED:
        if state.cause is None:
            stage = _running(what, f"migration Job {name} is running")
            if state.phase is JobPhase.SUCCEEDED:
                stage = replace(stage, retry_at=ctx.now + timedelta(seconds=_PODS_LAG_SECONDS))
            return Migration(stage, key, facts=_recorded(ctx))
        stage = _running(what, f"migration Job {name} cannot proceed: {state.cause.message}", state.cause.remedy)
        return Migration(stage, key, facts=_recorded(ctx))
    return Migration(_failed(ctx, what, name, state), key, failed=True, actions=prune, facts=_recorded(ctx))


def _running(what: str, message: str, remedy: str = "") -> Stage:
    return Stage(MIGRATION_SUCCEEDED, State.PROGRESSING, Reason.MigrationRunning, message, object=what, remedy=remedy)


def _failed(ctx: Context, what: str, name: str, state: JobState) -> Stage:
    error = tail(scrub(state.message), 12, 700) or state.reason
    return Stage(
        MIGRATION_SUCCEEDED,
        State.STALLED,
        Reason.MigrationFailed,
        f"migration Job {name} failed: {error}",
        object=what,
        remedy=f"mend the migration and change spec.image or spec.db.migrationJobImage, or set the annotation "
        f"{v.ANNOTATION_RETRY_MIGRATION} to a new value",
    )


def job_name(ctx: Context, key: str, current: Revision | None) -> str:
    """The name of the target's Job: stable over restarts, new for a new start of the same migration.

    A migration starts anew after a release, and after another migration has been run in between.
    """
    start = str(current.number) if current else "0"
    others = [job for job in jobs_of(ctx) if job["metadata"]["annotations"][ANNOTATION_KEY] != key]
    after = others[-1]["metadata"].get("uid", "") if others else ""
    identity = json.dumps([key, ctx.annotation(v.ANNOTATION_RETRY_MIGRATION), start, after])
    return bounded_name(ctx.primitive.name, f"-migrate-{hashlib.sha256(identity.encode()).hexdigest()[:8]}")


def migration_job(ctx: Context, binding: Binding, name: str, key: str) -> dict[str, Any]:
    """The Job: where the operator made the roles, the owner first grants the app its rights, then it migrates."""
    db, migrations = ctx.spec.db, migrations_of(ctx)
    connection = connection_env(binding, binding.owner_secret)
    grants: tuple[dict[str, Any], ...] = ()
    if binding.provisioned:
        grants = (
            one_shot_container(
                "grants",
                ctx.settings.database.client_image,
                command=sql.shell(sql.GRANTS),
                env=[
                    *connection,
                    {"name": "PGSSLMODE", "value": ctx.settings.database.ssl_mode},
                    {"name": "AMEIDE_APP_ROLE", "value": binding.role},
                ],
            ),
        )
    template = job_template(
        ctx.primitive,
        ctx.spec,
        name=MIGRATE,
        image=(db.migration_job_image if db else None) or ctx.spec.image,
        defaults=ctx.settings.pods,
        otlp_endpoint=ctx.settings.otel.endpoint,
        extras=Extras(
            env=(*connection, *flyway_env(binding), {"name": "AMEIDE_DOMAIN_IMAGE", "value": ctx.spec.image}),
            command=tuple(migrations.command or ()),
            args=tuple(migrations.args or ()),
            init_containers=grants,
        ),
    )
    return job(
        ctx.primitive,
        name,
        template,
        backoff_limit=migrations.backoff_limit,
        deadline_seconds=migrations.timeout_seconds,
        annotations={ANNOTATION_KEY: key, ANNOTATION_IMAGE: ctx.spec.image},
    )


def jobs_of(ctx: Context) -> list[Manifest]:
    """The migration Jobs of this Domain, oldest first."""
    jobs = [
        job
        for job in ctx.observed.objects.list(JOB, ctx.primitive.namespace)
        if ANNOTATION_KEY in (job["metadata"].get("annotations") or {}) and is_owned(ctx.primitive, job)
    ]
    return sorted(jobs, key=lambda job: (job["metadata"].get("creationTimestamp") or "", job["metadata"]["name"]))


def _job(ctx: Context, name: str) -> Manifest | None:
    """A migration Job of ours by name; a namesake's leftover is none."""
    return next((job for job in jobs_of(ctx) if job["metadata"]["name"] == name), None)


def _has_succeeded(ctx: Context, name: str) -> bool:
    live = _job(ctx, name)
    return live is not None and job_state(live, ()).phase is JobPhase.SUCCEEDED


def _running_job(ctx: Context, besides: str) -> str | None:
    for other in jobs_of(ctx):
        name = other["metadata"]["name"]
        if name != besides and job_state(other, ()).phase is JobPhase.RUNNING:
            return f"Job {name}"
    return None


def _running_pod(ctx: Context) -> str | None:
    """A migration's pod whose Job is gone: deleted without it, or faster than the pod could end."""
    for pod in ctx.observed.pods():
        containers = (pod.get("spec") or {}).get("containers") or ()
        migrates = pod["metadata"]["namespace"] == ctx.primitive.namespace and any(
            container["name"] == MIGRATE for container in containers
        )
        if migrates and (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed"):
            return f"Pod {pod['metadata']['name']}"
    return None


def _prune(ctx: Context, keep: str) -> tuple[Action, ...]:
    """Finished Jobs beyond the history limit go, oldest first."""
    finished = [
        job
        for job in jobs_of(ctx)
        if job["metadata"]["name"] != keep
        and job_state(job, ()).phase is not JobPhase.RUNNING
        and not job["metadata"].get("deletionTimestamp")
    ]
    surplus = finished[: -ctx.settings.history.jobs]
    return tuple(Delete(JOB, key_of(job), job["metadata"]["uid"], "beyond the history limit") for job in surplus)


# --- what the migration told ----------------------------------------------------------------------------------------


def _recorded(ctx: Context) -> dict[str, Any]:
    """What status already says of the last migration."""
    db = (ctx.manifest.get("status") or {}).get("db") or {}
    return {key: db[key] for key in ("migrationVersion", "migratedImage", "lastMigrationTime") if key in db}


def pods_are_behind(ctx: Context, job: Manifest) -> bool:
    """Whether the Job's end was seen before that of its pod, which tells the version: two watches, no order.

    Not waited for longer than a few seconds; the pod may have been deleted, and its event lost.
    """
    completed = (job.get("status") or {}).get("completionTime")
    if not completed or (ctx.now - parse_time(completed)).total_seconds() > _PODS_LAG_SECONDS:
        return False
    phases = [(pod.get("status") or {}).get("phase") for pod in ctx.observed.pods_of_job(job["metadata"]["name"])]
    return bool(phases) and "Succeeded" not in phases


def _told_by_jobs(ctx: Context, key: str) -> dict[str, Any]:
    """What the newest Job of this migration told, where status does not say it any more."""
    for live in reversed(jobs_of(ctx)):
        state = job_state(live, ctx.observed.pods_of_job(live["metadata"]["name"]))
        if live["metadata"]["annotations"][ANNOTATION_KEY] == key and state.phase is JobPhase.SUCCEEDED:
            return _facts(ctx, live, state)
    return {}


def _facts(ctx: Context, live: Manifest, state: JobState) -> dict[str, Any]:
    name = live["metadata"]["name"]
    image = (live["metadata"].get("annotations") or {}).get(ANNOTATION_IMAGE, ctx.spec.image)
    version = version_in(state.termination, ctx.observed.logs.get(name, ""))
    recorded = _recorded(ctx)
    if not version and recorded.get("migratedImage") == image:
        version = recorded.get("migrationVersion", "")
    facts = {
        "migrationVersion": version,
        "migratedImage": image,
        "lastMigrationTime": (live.get("status") or {}).get("completionTime"),
    }
    return {key: value for key, value in facts.items() if value}


def version_in(termination: str, log: str) -> str:
    """The schema version that a migrator reported: in its termination message (JSON), else in its log."""
    try:
        message = json.loads(termination) if termination else None
    except ValueError:
        message = None
    if isinstance(message, dict) and "migrationVersion" in message:
        return str(message["migrationVersion"])[:64]
    for text in (termination, log):
        for pattern in _VERSION_IN_LOG:
            found = pattern.search(text)
            if found:
                return found["version"].rstrip(".")[:64]
    return ""
