"""The status of a Domain, folded from the stages of its plan. Pure: nothing here reads, writes or waits."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from ameide_shared.kube.resources import DEPLOYMENT, Manifest
from ameide_shared.plan import Ensure, EnsureSecret, Outcome, Plan
from ameide_shared.reasons import Reason
from ameide_shared.stages import Stage
from ameide_shared.status import Condition, child_entry, compose, failure_stage, paused_condition
from ameide_shared.workload import workload_state
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
    previous: Mapping[str, Any] = manifest.get("status") or {}
    deleting = bool(manifest["metadata"].get("deletionTimestamp"))
    extra = [] if deleting else [_migration_failed(plan)]
    fields = (
        {key: previous[key] for key in ("revision", "db", "canary", "workload") if key in previous}
        if deleting
        else _fields(manifest, observed, plan, previous)
    )
    return compose(manifest, stages, now, more_conditions=[*extra, *paused_condition(manifest)], fields=fields)


def _fields(manifest: Manifest, observed: Observed, plan: Plan, previous: Mapping[str, Any]) -> dict[str, Any]:
    namespace, child = manifest["metadata"]["namespace"], plan.facts["child"]
    deployment = observed.objects.get(DEPLOYMENT, namespace, child)
    state = workload_state(deployment, observed.pods(), name=child)
    if "revision" not in plan.facts:  # the spec could not be compiled: what runs is all that can be said
        kept = {key: previous[key] for key in ("revision", "db", "canary", "endpoints", "children") if key in previous}
        return {**kept, "workload": state.as_status() if deployment is not None else None}
    host = f"{child}.{namespace}.svc"
    return {
        "revision": {key: value for key, value in plan.facts["revision"].items() if value},
        "workload": state.as_status() if deployment is not None else None,
        "endpoints": {"http": f"http://{host}:{_HTTP_PORT}", "grpc": f"{host}:{_GRPC_PORT}"},
        "db": _db(plan.facts["binding"], plan.facts["migration"]),
        "canary": dict(plan.facts["canary"]),
        "children": _children(observed, plan),
    }


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


def _children(observed: Observed, plan: Plan) -> list[dict[str, Any]]:
    """What the plan asks for, and how the cluster has it."""
    entries = [
        child_entry(action.manifest, observed.objects.get(action.resource, action.key.namespace, action.key.name))
        for action in plan.actions
        if isinstance(action, (Ensure, EnsureSecret))
    ]
    return sorted(entries, key=lambda entry: (entry["kind"], entry["namespace"], entry["name"]))


def _migration_failed(plan: Plan) -> Condition:
    """The negative of MigrationSucceeded, for those who wait for a failure."""
    stage: Stage | None = next((stage for stage in plan.stages if stage.condition == MIGRATION_SUCCEEDED), None)
    if plan.facts.get("migrationFailed") and stage is not None:
        return Condition(MIGRATION_FAILED, "True", Reason.MigrationFailed, stage.message)
    return Condition(MIGRATION_FAILED, "False", Reason.NoFailure)
