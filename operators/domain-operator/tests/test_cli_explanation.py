"""What `explain` tells, from what a cluster may say: pure, with the words for people as an example beside it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ameide_shared.cli.explanation import Found, explanation
from ameide_shared.cli.gather import Gathered
from ameide_shared.cli.narrative import narrative
from domain_operator.main import DEFINITION

GOLDEN = Path(__file__).parent / "test_cli_golden"
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
FRESH, OLD = "2026-01-02T03:04:00.000000Z", "2026-01-01T00:00:00.000000Z"


def condition(type_: str, status: str, reason: str, message: str = "") -> dict[str, str]:
    return {
        "type": type_,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": "2026-01-02T02:04:05Z",
    }


def domain(status: Mapping[str, Any] | None = None, **metadata: Any) -> dict[str, Any]:
    meta = {"namespace": "shop", "name": "orders", "uid": "u1", "generation": 2, **metadata}
    return {"apiVersion": "ameide.io/v1", "kind": "Domain", "metadata": meta, "spec": {}, "status": dict(status or {})}


def lease(renewed: str, holder: str = "pod-1") -> dict[str, Any]:
    spec = {"holderIdentity": holder, "renewTime": renewed, "leaseDurationSeconds": 15}
    return {"metadata": {"namespace": "ameide-system", "name": "domain-operator"}, "spec": spec}


def found(resource: Mapping[str, Any], *objects: Mapping[str, Any], **more: Any) -> Found:
    return Found(
        resource, Gathered(resource, objects, frozenset()), **{"computed": {}, "leases": [lease(FRESH)], **more}
    )


READY = {"observedGeneration": 2, "conditions": [condition("Ready", "True", "AllResourcesHealthy")]}
MESSAGE = "migration Job orders-migrate-1 failed: ERROR: relation exists"
FAILED = {
    "observedGeneration": 2,
    "conditions": [
        condition("Ready", "False", "MigrationFailed", MESSAGE),
        condition("Progressing", "False", "MigrationFailed"),
        condition("Degraded", "True", "MigrationFailed", MESSAGE),
        condition("DBReady", "True", "DatabaseReady"),
        condition("MigrationSucceeded", "False", "MigrationFailed", MESSAGE),
        condition("WorkloadReady", "Unknown", "Blocked", f"waits for MigrationSucceeded: {MESSAGE}"),
        condition("MigrationFailed", "False", "NoFailure"),
    ],
    "blocker": {
        "reason": "MigrationFailed",
        "object": "Job orders-migrate-1",
        "message": MESSAGE,
        "remedy": "mend the migration",
        "since": "2026-01-02T02:04:05Z",
    },
    "children": [
        {"apiVersion": "apps/v1", "kind": "Deployment", "namespace": "shop", "name": "orders-domain", "ready": False},
        {"apiVersion": "v1", "kind": "Service", "namespace": "shop", "name": "orders-domain", "ready": True},
    ],
}
SERVICE = {"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "shop", "name": "orders-domain"}}
EVENT = {
    "metadata": {"name": "orders.1"},
    "type": "Warning",
    "reason": "MigrationFailed",
    "note": "could not log in: password=hunter22",
    "eventTime": "2026-01-02T03:00:00.000000Z",
    "regarding": {"kind": "Domain", "name": "orders"},
    "series": {"count": 3, "lastObservedTime": "2026-01-02T03:03:05.000000Z"},
}


def test_a_failed_migration_is_told_from_the_blocker_down() -> None:
    told = explanation(DEFINITION, found(domain(FAILED), SERVICE, events=[EVENT]), NOW)
    words = narrative(told, NOW).plain + "\n"
    for path, text in (
        (GOLDEN / "failed.explain.json", json.dumps(told, indent=2) + "\n"),
        (GOLDEN / "failed.explain.txt", words),
    ):
        if os.environ.get("UPDATE_GOLDEN"):
            path.write_text(text, encoding="utf-8")
        assert path.read_text(encoding="utf-8") == text
    assert "hunter22" not in words


def test_the_object_that_the_blocker_names_is_told_of() -> None:
    status = {"conditions": [{"type": "Failed", "status": "True", "reason": "DeadlineExceeded"}]}
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"namespace": "shop", "name": "orders-migrate-1"}}
    older = {**job, "metadata": {"namespace": "shop", "name": "orders-migrate-0"}, "status": status}
    told = explanation(DEFINITION, found(domain(FAILED), {**job, "status": status}, older), NOW)
    jobs = [child for child in told["children"] if child["kind"] == "Job"]
    assert [(child["name"], child["reason"]) for child in jobs] == [("orders-migrate-1", "DeadlineExceeded")]
    assert jobs[0]["cause"] == "did not finish in time"


def test_what_is_well_and_has_something_to_say_is_told() -> None:
    """Not what sums up, what is bad news, or what was not asked for: that is said elsewhere, or nothing to know."""
    conditions = [
        condition("Ready", "True", "AllResourcesHealthy", "all is well"),
        condition("Degraded", "True", "TransformationUnavailable", "it is away"),
        condition("DefinitionResolved", "True", "DefinitionReady", "it can be run; a gateway neither splits nor joins"),
        condition("DependenciesReady", "True", "NotRequired", "spec.dependencies is empty"),
        condition("PolicyViolation", "True", "PolicyViolation", "the policy forbids it"),
        condition("WorkloadReady", "True", "Available"),
    ]
    told = explanation(DEFINITION, found(domain({"observedGeneration": 2, "conditions": conditions})), NOW)
    assert told["advice"] == ["DefinitionResolved: it can be run; a gateway neither splits nor joins"]
    assert "a gateway neither splits nor joins" in narrative(told, NOW).plain


def test_ready_is_ready() -> None:
    told = explanation(DEFINITION, found(domain(READY), leases=[]), NOW)
    assert (told["ready"], told["blocker"], told["chain"], told["advice"]) == (True, None, [], [])
    assert narrative(told, NOW).plain == "Domain shop/orders is Ready: AllResourcesHealthy"


def test_the_status_of_an_older_generation_is_no_proof() -> None:
    old = {**READY, "observedGeneration": 1}
    computed = {**FAILED, "observedGeneration": 2}
    told = explanation(DEFINITION, found(domain(old), computed=computed), NOW)
    assert (told["ready"], told["source"], told["observedGeneration"]) == (False, "plan", 1)
    assert told["advice"][0] == "the operator has not seen its last change yet"
    assert told["blocker"]["since"] == "", "the times of a plan made just now mean nothing"
    unread = explanation(DEFINITION, found(domain(old)), NOW)
    assert (unread["ready"], unread["source"]) == (False, "status")


@pytest.mark.parametrize(
    ("leases", "running", "advice"),
    [
        ([lease(FRESH)], True, "domain-operator is running (pod-1 in ameide-system)"),
        ([lease(OLD), lease(FRESH, "pod-2")], True, "domain-operator is running (pod-2 in ameide-system)"),
        ([lease(OLD)], False, f"no domain-operator holds its Lease since {OLD}"),
        ([lease(FRESH, "")], False, "no domain-operator holds its Lease since"),
        ([], False, "no domain-operator holds its Lease: start the operator"),
        (None, None, "whether domain-operator runs is not known"),
    ],
)
def test_whether_the_operator_runs(leases: list[Any] | None, running: bool | None, advice: str) -> None:
    told = explanation(DEFINITION, found(domain(), leases=leases), NOW)
    assert told["operator"]["running"] is running
    assert told["advice"][0] == "the operator has not seen it yet"
    assert told["advice"][1].startswith(advice)
    assert told["reason"] == "NotSeen"


def test_pausing_and_missing_rights_are_said() -> None:
    resource = domain(READY, annotations={"ameide.io/paused": "true"})
    told = explanation(DEFINITION, found(resource, forbidden="secrets is forbidden"), NOW)
    assert told["paused"]
    assert [line.split(":")[0] for line in told["advice"]] == [
        "the annotation ameide.io/paused is true",
        "children could not be read, so that only the status speaks",
    ]
