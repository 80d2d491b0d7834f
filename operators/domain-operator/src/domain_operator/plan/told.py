"""What a migration told of itself: version, image and time, from its Job, its pod and the pod's log."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from ameide_shared.kube.resources import Manifest
from ameide_shared.stages import Stage
from ameide_shared.status import parse_time
from ameide_shared.workload import JobPhase, JobState, job_state
from domain_operator.plan.attempts import ANNOTATION_IMAGE, ANNOTATION_KEY
from domain_operator.plan.context import Context

PODS_LAG_SECONDS: Final = 5.0
LOG_PATIENCE_SECONDS: Final = 300.0
"""How long after a migration's end its log is asked for, where it cannot be read; then its version stays unknown."""
_LOG_AGAIN_SECONDS: Final = 10.0
_VERSION_IN_LOG: Final = (
    re.compile(
        r"now at version v?(?P<version>[\w.]+)"
    ),  # Flyway: Successfully applied … to schema …, now at version v7
    re.compile(r"[Cc]urrent version of schema [^:]*: (?P<version>[\w.]+)"),  # Flyway, nothing to do
    re.compile(r"migrationVersion[\"']?\s*[:=]\s*[\"']?(?P<version>[\w.]+)"),
)


def recorded(ctx: Context) -> dict[str, Any]:
    """What status already says of the last migration."""
    db = (ctx.manifest.get("status") or {}).get("db") or {}
    return {key: db[key] for key in ("migrationVersion", "migratedImage", "lastMigrationTime") if key in db}


def pods_are_behind(ctx: Context, job: Manifest) -> bool:
    """Whether the Job's end was seen before that of its pod, which tells the version: two watches, no order.

    Not waited for longer than a few seconds; the pod may have been deleted, and its event lost.
    """
    completed = (job.get("status") or {}).get("completionTime")
    if not completed or (ctx.now - parse_time(completed)).total_seconds() > PODS_LAG_SECONDS:
        return False
    phases = [(pod.get("status") or {}).get("phase") for pod in ctx.observed.pods_of_job(job["metadata"]["name"])]
    return bool(phases) and "Succeeded" not in phases


def told_of(ctx: Context, jobs: Sequence[Manifest], key: str, stage: Stage) -> tuple[Mapping[str, Any], Stage]:
    """What status shall say of this migration, done and released; and its stage, with a time if more is to come.

    Status remembers. What it does not say (any more), the newest Job that succeeded tells.
    """
    known = recorded(ctx)
    if "migrationVersion" in known:
        return known, stage
    for live in reversed(jobs):
        state = job_state(live, ctx.observed.pods_of_job(live["metadata"]["name"]))
        if live["metadata"]["annotations"][ANNOTATION_KEY] == key and state.phase is JobPhase.SUCCEEDED:
            found = facts_of(ctx, live, state)
            if known and known.get("migratedImage") != found["migratedImage"]:
                return known, stage
            return found | known, awaiting_log(ctx, live, state, stage)
    return known, stage


def awaiting_log(ctx: Context, live: Manifest, state: JobState, stage: Stage) -> Stage:
    """The stage of a Job that succeeded: looked at again soon if its log is still to be read."""
    name, completed = live["metadata"]["name"], (live.get("status") or {}).get("completionTime")
    silent = not state.termination and has_ended(ctx.observed.pods_of_job(name))
    if not silent or name in ctx.observed.logs or not completed:
        return stage
    if (ctx.now - parse_time(completed)).total_seconds() > LOG_PATIENCE_SECONDS:
        return stage
    return replace(stage, retry_at=ctx.now + timedelta(seconds=_LOG_AGAIN_SECONDS))


def has_ended(pods: Iterable[Manifest]) -> bool:
    """Whether a pod that succeeded is seen: its Job's end may be seen before it."""
    return any((pod.get("status") or {}).get("phase") == "Succeeded" for pod in pods)


def facts_of(ctx: Context, live: Manifest, state: JobState) -> dict[str, Any]:
    """What a Job that succeeded told, as status has it."""
    name = live["metadata"]["name"]
    image = (live["metadata"].get("annotations") or {}).get(ANNOTATION_IMAGE, ctx.spec.image)
    version = version_in(state.termination, ctx.observed.logs.get(name, ""))
    before = recorded(ctx)
    if not version and before.get("migratedImage") == image:
        version = before.get("migrationVersion", "")
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
