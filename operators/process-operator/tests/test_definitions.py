"""Definitions: new versions, bad ones, pins, an API that fails, and workflows that stay on what they began with."""

from __future__ import annotations

import pytest
from processes import TENANT, Processes, finish, open_workflow, run

from ameide_dev.testing.waiting import until

UNBOUND = {"$type": "bpmn:ServiceTask", "id": "forgotten", "name": "Nobody bound it"}


def version_of(processes: Processes) -> int:
    """The version that all ready pods run."""
    return int(processes.get()["status"].get("definition", {}).get("version", 0))


def test_open_workflow_ends_on_its_own_definition(processes: Processes) -> None:
    """A new version rolls the workers; what was started before is replayed on the old one, which goes after it."""
    server = processes.around.temporal
    processes.create()
    processes.ready(timeout=60)
    (old,) = processes.definitions()
    workflow = run(open_workflow(server, processes.queue()))
    before = processes.uids()

    assert processes.publish(2) == 2
    until("all pods run version 2", lambda: version_of(processes) == 2 and not processes.uids() & before, timeout=60)
    processes.ready(timeout=60)
    # A worker that is going may still take the first task of a workflow, which then stays on its definition.
    until("the old worker has ended", lambda: len(processes.kube.list("v1", "Pod", processes.namespace)) == 1)
    assert old in processes.definitions()
    newer = run(open_workflow(server, processes.queue()))
    assert run(finish(server, workflow)) == {"edition": 1}
    assert run(finish(server, newer)) == {"edition": 2}


def test_invalid_version_keeps_the_old_one_and_names_its_faults(processes: Processes) -> None:
    processes.create(replicas=0)
    processes.ready(timeout=60)
    (kept,) = processes.definitions()
    processes.publish(2, extra=UNBOUND)
    process = processes.until("DefinitionResolved", "False", reason="DefinitionInvalid", timeout=30)
    assert "forgotten" in process["status"]["blocker"]["message"]
    assert process["status"]["definition"]["available"]["version"] == 2
    assert processes.definitions() == [kept]
    processes.publish(3)
    processes.ready(timeout=60)


def test_first_definition_that_is_invalid_starts_nothing(processes: Processes) -> None:
    processes.publish(2, extra=UNBOUND)
    processes.create(replicas=0)
    process = processes.until("DefinitionResolved", "False", reason="DefinitionInvalid", timeout=30)
    assert "forgotten" in process["status"]["blocker"]["message"]
    assert processes.child("apps/v1", "Deployment", "flow-process") is None


def test_missing_definition_is_waited_for(processes: Processes) -> None:
    processes.around.transformation.remove("process", TENANT, processes.definition_id)
    processes.create(replicas=0)
    process = processes.until("DefinitionResolved", "False", reason="DefinitionNotFound", timeout=30)
    assert processes.definition_id in process["status"]["blocker"]["message"]
    processes.publish()
    processes.ready(timeout=60)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [("unavailable", "TransformationUnavailable"), ("unauthorized", "TransformationRefused")],
)
def test_failing_api_leaves_what_is_served(processes: Processes, fault: str, reason: str) -> None:
    """What runs goes on, Ready and Degraded; when the API is back, so is everything."""
    processes.create(replicas=0)
    processes.ready(timeout=60)
    api = processes.around.transformation
    api.fault(fault, only=processes.definition_id)
    try:
        process = processes.until("Degraded", reason=reason, timeout=60)
    finally:
        api.fault(None)
    ready = next(each for each in process["status"]["conditions"] if each["type"] == "Ready")
    assert ready["status"] == "True"
    processes.until("Degraded", "False", timeout=60)


def test_pinned_version_stays(processes: Processes) -> None:
    processes.create(replicas=0, definitionRef={"version": 1})
    processes.ready(timeout=60)
    kept = processes.definitions()
    processes.publish(2)
    processes.create("newest", replicas=0)
    process = processes.ready("newest", timeout=60)
    assert process["status"]["definition"]["available"]["version"] == 2
    process = processes.ready()
    assert process["status"]["definition"]["available"]["version"] == 1
    assert set(kept) <= set(processes.definitions())


def test_pinned_checksum_must_be_met(processes: Processes) -> None:
    processes.create(replicas=0, definitionRef={"checksum": f"sha256:{'0' * 64}"})
    process = processes.until("DefinitionResolved", "False", reason="DefinitionMismatch", timeout=30)
    assert processes.child("apps/v1", "Deployment", "flow-process") is None
    right = process["status"]["definition"]["available"]["checksum"]
    processes.patch(definitionRef={"checksum": right})
    processes.ready(timeout=60)


def test_superseded_definition_goes_with_its_last_user(processes: Processes) -> None:
    """No pod and no open workflow runs on the first one any more."""
    processes.create(replicas=0)
    processes.ready(timeout=60)
    (old,) = processes.definitions()
    processes.publish(2)
    until("the second definition is kept", lambda: set(processes.definitions()) - {old}, timeout=30)
    until("the first one is dropped", lambda: old not in processes.definitions(), timeout=120)
