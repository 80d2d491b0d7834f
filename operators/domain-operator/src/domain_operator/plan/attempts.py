"""The Jobs of a Domain's migrations: which one is the target's, which still run, which are too many.

A Job's name says what asks for it and nothing else: migration, retry annotation, and the number of the revision that
it starts from, so that a rollback to an image runs its migrator anew, while a restarted operator finds the Job it had
begun. A Job that another migration has run after counts no more: asked for again, it makes way for one of its own name.

No migration is begun twice because somebody knew too little: whoever asks for the same means the same Job, whichever
others are there or were removed, so that the API server refuses a second one; and who has not been there from the
beginning asks what is there before beginning one (`domain_operator.past`). What is left: a Job that is removed after
its success and before the release that remembers it is run again. Nothing knows of it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Final

from ameide_shared import vocabulary as v
from ameide_shared.builders.identity import bounded_name, is_owned
from ameide_shared.kube.resources import JOB, Manifest, key_of
from ameide_shared.plan import Action, Delete
from ameide_shared.revisions import Revision
from ameide_shared.workload import JobPhase, job_state
from domain_operator.plan.context import Context

ANNOTATION_KEY: Final = "ameide.io/migration-key"
ANNOTATION_IMAGE: Final = "ameide.io/image"
MIGRATE: Final = "migrate"
"""Name of the container that migrates."""


def job_name(ctx: Context, key: str, current: Revision | None) -> str:
    """The name of the Job that migrates to `key`; `current` was released last."""
    start = str(current.number) if current else "0"
    identity = json.dumps([key, ctx.annotation(v.ANNOTATION_RETRY_MIGRATION), start])
    return bounded_name(ctx.primitive.name, f"-migrate-{hashlib.sha256(identity.encode()).hexdigest()[:8]}")


def is_overtaken(jobs: Sequence[Manifest], job: Manifest) -> bool:
    """Whether a migration of something else was begun after this Job: the schema is not any more as it left it."""
    own = job["metadata"]
    return any(
        other["metadata"]["annotations"][ANNOTATION_KEY] != own["annotations"][ANNOTATION_KEY]
        and (other["metadata"].get("creationTimestamp") or "") > (own.get("creationTimestamp") or "")
        for other in jobs
    )


def jobs_of(ctx: Context) -> list[Manifest]:
    """The migration Jobs of this Domain, oldest first; a namesake's leftover is none."""
    jobs = [
        job
        for job in ctx.observed.objects.list(JOB, ctx.primitive.namespace)
        if ANNOTATION_KEY in (job["metadata"].get("annotations") or {}) and is_owned(ctx.primitive, job)
    ]
    return sorted(jobs, key=lambda job: (job["metadata"].get("creationTimestamp") or "", job["metadata"]["name"]))


def running_job(jobs: Sequence[Manifest], besides: str) -> str | None:
    """A migration Job that has not ended, if there is another."""
    for other in jobs:
        name = other["metadata"]["name"]
        if name != besides and job_state(other, ()).phase is JobPhase.RUNNING:
            return f"Job {name}"
    return None


def running_pod(ctx: Context) -> str | None:
    """A migration's pod whose Job is gone: deleted without it, or faster than the pod could end."""
    for pod in ctx.observed.pods():
        containers = (pod.get("spec") or {}).get("containers") or ()
        migrates = pod["metadata"]["namespace"] == ctx.primitive.namespace and any(
            container["name"] == MIGRATE for container in containers
        )
        if migrates and (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed"):
            return f"Pod {pod['metadata']['name']}"
    return None


def surplus(ctx: Context, jobs: Sequence[Manifest], keep: str) -> tuple[Action, ...]:
    """Finished Jobs beyond the history limit go, oldest first."""
    finished = [
        job
        for job in jobs
        if job["metadata"]["name"] != keep
        and job_state(job, ()).phase is not JobPhase.RUNNING
        and not job["metadata"].get("deletionTimestamp")
    ]
    surplus = finished[: -ctx.settings.history.jobs]
    return tuple(Delete(JOB, key_of(job), job["metadata"]["uid"], "beyond the history limit") for job in surplus)
