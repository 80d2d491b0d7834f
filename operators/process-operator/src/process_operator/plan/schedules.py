"""Scheduled jobs of the worker image: a CronJob for each entry of spec.schedules."""

from __future__ import annotations

from typing import Any, Final

from ameide_shared.builders.identity import bounded_name, child_metadata, image_version
from ameide_shared.compile.surroundings import unwanted
from ameide_shared.kube.resources import CRON_JOB
from ameide_shared.plan import Action, Ensure
from ameide_shared.revisions import PodTemplate
from ameide_shared.transformation.children import Resolved
from ameide_shared.vocabulary import TRACK_JOB
from process_operator.plan.context import Context
from process_operator.plan.workers import schedule_template
from process_operator.spec import Schedule

NAME_LIMIT: Final = 52
"""Characters in the name of a CronJob; its Jobs add eleven."""


def schedules(ctx: Context, resolved: Resolved, current: PodTemplate | None) -> list[Action]:
    """The CronJobs that the spec asks for; those that it no longer asks for go."""
    wanted = {name_of(ctx, schedule): schedule for schedule in ctx.spec.schedules}
    return [
        *(
            Ensure(_cron_job(ctx, name, schedule, resolved, current), f"spec.schedules: {schedule.name}")
            for name, schedule in wanted.items()
        ),
        *unwanted(ctx, CRON_JOB, "spec.schedules no longer has it", keep=wanted.keys()),
    ]


def name_of(ctx: Context, schedule: Schedule) -> str:
    """The name of a schedule's CronJob."""
    return bounded_name(ctx.primitive.child_name, f"-{schedule.name}", NAME_LIMIT)


def _cron_job(
    ctx: Context, name: str, schedule: Schedule, resolved: Resolved, current: PodTemplate | None
) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "schedule": schedule.schedule,
        # A sweep that takes longer than its interval must not run into itself.
        "concurrencyPolicy": "Forbid",
        "suspend": schedule.suspend,
        "successfulJobsHistoryLimit": 1,
        "failedJobsHistoryLimit": 3,
        "jobTemplate": {
            "spec": {
                "backoffLimit": 2,
                "activeDeadlineSeconds": schedule.timeout_seconds,
                "template": schedule_template(ctx, resolved, current, schedule),
            }
        },
    }
    if schedule.time_zone is not None:
        spec["timeZone"] = schedule.time_zone
    version = image_version(ctx.spec.image)
    return {
        "apiVersion": CRON_JOB.api_version,
        "kind": CRON_JOB.kind,
        "metadata": child_metadata(ctx.primitive, name, track=TRACK_JOB, version=version),
        "spec": spec,
    }
