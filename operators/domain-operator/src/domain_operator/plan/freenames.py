"""Are the names that a Domain asks for free in PostgreSQL itself?

CloudNativePG takes over a database or role that bears a name already, whoever made it. `names` knows those that an
object stands for; what was made by hand only PostgreSQL knows. So a Job looks, once, before the first object is made.
"""

from __future__ import annotations

from typing import Final

from ameide_shared import vocabulary as v
from ameide_shared.compile.context import Part
from ameide_shared.kube.resources import JOB, Manifest, key_of
from ameide_shared.plan import Action, Delete, Ensure
from ameide_shared.reasons import Reason
from ameide_shared.stages import Stage, State, done
from ameide_shared.workload import JobPhase, JobState, job_state
from domain_operator.plan import provisioner
from domain_operator.plan.binding import DB_READY, Binding
from domain_operator.plan.cluster import application_of
from domain_operator.plan.context import Context

_TAKEN: Final = "DatabaseNameTaken: "
"""What the Job's own errors begin with."""


def names_are_free(ctx: Context, binding: Binding, cluster: Manifest, *, claimed: bool) -> Part:
    """Done where nothing bears the names, or this Domain has `claimed` them; else how the Job that looks stands.

    It has claimed them by objects of its own, from the first one on. A provisioning Job (`provisioning: Job`) looks by
    itself.
    """
    free = done(DB_READY, Reason.DatabaseReady)
    if binding.provisioning != "Database":
        return Part(free)
    if claimed:
        looked = provisioner.jobs_of(ctx, binding, "names")
        return Part(
            free, tuple(Delete(JOB, key_of(job), job["metadata"]["uid"], "the names are ours now") for job in looked)
        )
    if not ctx.settings.database.check_names:
        return Part(free)
    name = provisioner.job_name(ctx, binding, "names", ctx.annotation(v.ANNOTATION_RETRY_MIGRATION))
    manifest = provisioner.names_job(ctx, binding, name, *application_of(cluster))
    create: tuple[Action, ...] = (Ensure(manifest, "look for what was made by hand", create_only=True),)
    live = ctx.observed.objects.get(JOB, binding.cluster.namespace, name)
    state = job_state(live, ctx.observed.pods_of_job(name)) if live is not None else JobState(JobPhase.RUNNING)
    if state.phase is JobPhase.SUCCEEDED:
        return Part(free)
    what = f"Job {binding.cluster.namespace}/{name}"
    told = state.message if state.phase is JobPhase.FAILED else state.cause.message if state.cause else ""
    if _TAKEN in told:
        return Part(_taken(binding, what, told), create)
    if state.phase is JobPhase.FAILED:
        return Part(_unknown(binding, what, told), create)
    message = ": ".join(filter(None, (f"{what} is looking whether the names are free", told)))
    return Part(Stage(DB_READY, State.PROGRESSING, Reason.DatabaseProvisioning, message, object=what), create)


def _taken(binding: Binding, what: str, told: str) -> Stage:
    found = told.partition(_TAKEN)[2].partition("\n")[0].strip()
    return Stage(
        DB_READY,
        State.STALLED,
        Reason.DatabaseNameTaken,
        f"on Cluster {binding.cluster} {found}, and is not taken over (asked for: database {binding.database!r}, roles "
        f"{binding.owner!r} and {binding.role!r})",
        object=what,
        remedy="create the Domain anew with other names in spec.db (they cannot be changed), or free the name and set "
        "the annotation ameide.io/retry-migration to a new value",
    )


def _unknown(binding: Binding, what: str, told: str) -> Stage:
    return Stage(
        DB_READY,
        State.STALLED,
        Reason.DatabaseRefused,
        f"{what} could not look whether the names are free on Cluster {binding.cluster}: {told}",
        object=what,
        remedy="mend what the message names, then set the annotation ameide.io/retry-migration to a new value; where a "
        "Cluster has no Secret of its own application, the operator's setting database.checkNames: false does without",
    )
