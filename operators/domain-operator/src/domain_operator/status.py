"""The status of a Domain, folded from the stages of its plan. Pure: nothing here reads, writes or waits."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from ameide_shared.builders.inputs import BACKEND
from ameide_shared.compile.status import common_fields
from ameide_shared.kube.resources import Manifest
from ameide_shared.plan import Outcome, Plan
from ameide_shared.reasons import Reason
from ameide_shared.stages import Stage
from ameide_shared.status import Condition, compose, failure_stage, paused_condition
from domain_operator.observed import Observed
from domain_operator.plan.binding import Binding
from domain_operator.plan.migration import MIGRATION_SUCCEEDED

MIGRATION_FAILED: Final = "MigrationFailed"
_HTTP_PORT: Final = 8080
_GRPC_PORT: Final = 50051


def status(manifest: Manifest, observed: Observed, plan: Plan, outcome: Outcome, now: datetime) -> dict[str, Any]:
    """The whole status; what the plan could not see anew is carried over from the previous one."""
    failures = tuple(failure_stage(failure, now) for failure in outcome.failures)
    stages = (*failures, *plan.stages)
    deleting = bool(manifest["metadata"].get("deletionTimestamp"))
    extra = [] if deleting else [_migration_failed(plan)]
    own = {"db": _db(plan.facts.get("binding"), plan.facts.get("migration") or {})}
    fields = common_fields(manifest, observed, plan, outcome, BACKEND, own)
    return compose(manifest, stages, now, more_conditions=[*extra, *paused_condition(manifest)], fields=fields)


def _db(binding: Binding | None, migration: Mapping[str, Any]) -> dict[str, Any] | None:
    if binding is None:
        return None
    return {
        "clusterRef": str(binding.cluster),
        "database": binding.database,
        "schema": binding.schema,
        "secretName": binding.app_secret,
        **migration,
    }


def _migration_failed(plan: Plan) -> Condition:
    """The negative of MigrationSucceeded, for those who wait for a failure."""
    stage: Stage | None = next((stage for stage in plan.stages if stage.condition == MIGRATION_SUCCEEDED), None)
    if plan.facts.get("migrationFailed") and stage is not None:
        return Condition(MIGRATION_FAILED, "True", Reason.MigrationFailed, stage.message)
    return Condition(MIGRATION_FAILED, "False", Reason.NoFailure)
