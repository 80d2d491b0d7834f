"""Migrations before rollout: one Job per (image, migrator, binding), whose success opens the way for the pod template.

What has been migrated is remembered by the released revision (annotation `ameide.io/migration-key`), not by Jobs,
which come and go (`attempts`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Final

from ameide_shared import vocabulary as v
from ameide_shared.builders.job import job
from ameide_shared.builders.pod import Extras, job_template, one_shot_container
from ameide_shared.kube.resources import JOB, Manifest, key_of
from ameide_shared.plan import Action, Call, Delete, Ensure
from ameide_shared.reasons import Reason
from ameide_shared.redact import scrub, tail
from ameide_shared.revisions import Revision
from ameide_shared.stages import Stage, State, blocked, done
from ameide_shared.workload import JobPhase, JobState, job_state
from domain_operator.plan import sql
from domain_operator.plan.attempts import (
    ANNOTATION_IMAGE,
    ANNOTATION_KEY,
    MIGRATE,
    is_overtaken,
    job_name,
    jobs_of,
    running_job,
    running_pod,
    surplus,
)
from domain_operator.plan.binding import Binding, connection_env, flyway_env
from domain_operator.plan.context import Context
from domain_operator.plan.told import PODS_LAG_SECONDS, awaiting_log, facts_of, pods_are_behind, recorded, told_of
from domain_operator.spec import Migrations

MIGRATION_SUCCEEDED: Final = "MigrationSucceeded"
LOOK: Final = "look for migrations of before"


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
    jobs = jobs_of(ctx)
    name = job_name(ctx, key, current)
    prune = surplus(ctx, jobs, keep=name)
    if current is not None and (current.annotations or {}).get(ANNOTATION_KEY) == key:
        facts, stage = told_of(ctx, jobs, key, done(MIGRATION_SUCCEEDED, Reason.MigrationComplete))
        return Migration(stage, key, True, actions=prune, facts=facts)
    seen = any((revision.annotations or {}).get(ANNOTATION_KEY) == key for revision in revisions)
    if seen and migrations_of(ctx).on_rollback == "Skip":
        stage = done(
            MIGRATION_SUCCEEDED,
            Reason.MigrationSkipped,
            "rolled back to an image whose migration has run before, and spec.db.migrations.onRollback is Skip",
        )
        return Migration(stage, key, True, actions=prune, facts=recorded(ctx))
    live = next((job for job in jobs if job["metadata"]["name"] == name), None)
    overtaken = live is not None and is_overtaken(jobs, live)
    if not database.done and (live is None or overtaken or job_state(live, ()).phase is not JobPhase.SUCCEEDED):
        return Migration(blocked(MIGRATION_SUCCEEDED, database), key, facts=recorded(ctx))
    running = running_job(jobs, besides=name)
    if live is None or running is not None:
        return _begin(ctx, migration_job(ctx, binding, name, key), key, running or running_pod(ctx), prune)
    if overtaken:
        return _make_way(ctx, live, key)
    return _follow(ctx, live, key, prune)


def _begin(ctx: Context, wanted: Manifest, key: str, running: str | None, prune: tuple[Action, ...]) -> Migration:
    """Create the Job, once it is certain that nothing else migrates the schema."""
    what = f"Job {wanted['metadata']['name']}"
    if running is not None:
        stage = Stage(
            MIGRATION_SUCCEEDED,
            State.PROGRESSING,
            Reason.MigrationPending,
            f"waits for the running migration {running}; two migrations of one schema never run together",
            object=running,
        )
        return Migration(stage, key, actions=prune, facts=recorded(ctx))
    if not ctx.observed.past_known:
        look = Call(LOOK, {}, "another replica may have begun one")
        stage = _running(what, f"migration {what} is about to run")
        return Migration(stage, key, actions=(look,), facts=recorded(ctx))
    create = Ensure(wanted, f"migrate to {ctx.spec.image}", create_only=True)
    stage = _running(what, f"migration {what} is running")
    return Migration(stage, key, actions=(create, *prune), facts=recorded(ctx))


def _make_way(ctx: Context, live: Manifest, key: str) -> Migration:
    """Remove the Job of the first time, and nothing else: were the other migration's pruned, it would count again."""
    what = f"Job {live['metadata']['name']}"
    stage = Stage(
        MIGRATION_SUCCEEDED,
        State.PROGRESSING,
        Reason.MigrationPending,
        f"another migration has run since {what}, which makes way for a new one",
        object=what,
    )
    away = Delete(JOB, key_of(live), live["metadata"]["uid"], "asked for again after another migration")
    return Migration(stage, key, actions=(away,), facts=recorded(ctx))


def _follow(ctx: Context, live: Manifest, key: str, prune: tuple[Action, ...]) -> Migration:
    """How the Job stands."""
    name = live["metadata"]["name"]
    what = f"Job {name}"
    state = job_state(live, ctx.observed.pods_of_job(name))
    if state.phase is JobPhase.SUCCEEDED and not pods_are_behind(ctx, live):
        stage = awaiting_log(ctx, live, state, done(MIGRATION_SUCCEEDED, Reason.MigrationComplete))
        return Migration(stage, key, True, actions=prune, facts=facts_of(ctx, live, state))
    if state.phase is not JobPhase.FAILED:
        if state.cause is None:
            stage = _running(what, f"migration {what} is running")
            if state.phase is JobPhase.SUCCEEDED:
                stage = replace(stage, retry_at=ctx.now + timedelta(seconds=PODS_LAG_SECONDS))
            return Migration(stage, key, facts=recorded(ctx))
        stage = _running(what, f"migration {what} cannot proceed: {state.cause.message}", state.cause.remedy)
        return Migration(stage, key, facts=recorded(ctx))
    return Migration(_failed(ctx, what, name, state), key, failed=True, actions=prune, facts=recorded(ctx))


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
