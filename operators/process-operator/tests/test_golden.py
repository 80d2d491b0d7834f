"""Plans and statuses of the cases in `golden/`, readable as files: what every branch does."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from process_golden import GOLDEN

import process_operator
from ameide_dev.testing import properties
from ameide_dev.testing.conformance import check_status, check_transitions, reasons_named_in
from ameide_shared import rollout, status, tenancy
from ameide_shared.compile import acceptance
from ameide_shared.plan import Call, Delete, Ensure, Failure, Outcome
from ameide_shared.reasons import Reason
from ameide_shared.transformation.model import Definition
from process_operator.documents import LONG_AGO
from process_operator.status import status as process_status

every_case = pytest.mark.parametrize("name", GOLDEN.names())


@every_case
def test_plan_and_status_are_as_written_down(name: str) -> None:
    GOLDEN.compare(name)


@every_case
def test_a_case_opens_with_its_purpose(name: str) -> None:
    GOLDEN.check_purpose(name)


@every_case
def test_programs_may_rely_on_the_status(name: str) -> None:
    check_status(GOLDEN.load(name))


@every_case
def test_transition_times_move_only_with_the_status(name: str) -> None:
    check_transitions(GOLDEN.load(name))


@every_case
def test_actions_are_in_order_and_touch_only_what_is_its_own(name: str) -> None:
    case = GOLDEN.load(name)
    properties.check_determinism(case)
    properties.check_actions(case)
    properties.check_children(case)
    uid, objects = case.resource["metadata"]["uid"], case.objects
    for action in case.plan().actions:
        if isinstance(action, Delete):
            live = objects.get(action.resource, action.key.namespace, action.key.name)
            assert live is not None
            assert [owner["uid"] for owner in live["metadata"]["ownerReferences"]] == [uid]


def test_a_definition_that_no_config_map_could_hold_is_told_with_its_size() -> None:
    """By itself, since a file of that size is no golden case."""
    extensions = {
        "$type": "bpmn:ExtensionElements",
        "values": [
            {"$type": "ameide:Binding", "target": "domain/sales", "operation": "Do"},
            {"$type": "ameide:Input", "name": "text", "value": f'"{"x" * 900}"'},
        ],
    }
    tasks = [{"$type": "bpmn:ServiceTask", "id": f"step-{n}", "extensionElements": extensions} for n in range(950)]
    ids = ["start", *(task["id"] for task in tasks), "end"]
    flows = [
        {"$type": "bpmn:SequenceFlow", "id": f"flow-{n}", "sourceRef": source, "targetRef": target}
        for n, (source, target) in enumerate(pairwise(ids))
    ]
    ends = [{"$type": "bpmn:StartEvent", "id": "start"}, {"$type": "bpmn:EndEvent", "id": "end"}]
    root = {"$type": "bpmn:Process", "id": "large", "isExecutable": True, "flowElements": [*ends, *tasks, *flows]}
    source = {"$type": "bpmn:Definitions", "id": "definitions", "rootElements": [root]}
    case = GOLDEN.load("create-full")
    large = Definition("L2O_v3", "t123", 5, source, "", LONG_AGO, "sha256:large")
    case = replace(
        case, observed=replace(case.observed, definition=replace(case.observed.definition, definition=large))
    )
    check_status(case)
    blocker = case.status()["blocker"]
    assert blocker["reason"] == Reason.DefinitionTooLarge, blocker["message"]
    assert "bytes" in blocker["message"]


@pytest.mark.parametrize("name", ["delete-drain-start", "delete-away"])
def test_what_temporal_refuses_while_a_process_goes_is_told_with_the_deadline(name: str) -> None:
    """Whether or not it has been seen by looking that Temporal is away; other failures are told before."""
    case = GOLDEN.load(name)
    plan = case.plan()
    call = next(action for action in plan.actions if isinstance(action, Call))
    flag = next(action for action in plan.actions if isinstance(action, Ensure))
    away = Failure(call, Reason.TemporalUnreachable, "Temporal does not answer", "see the server")
    denied = Failure(flag, Reason.ApplyFailed, "the API server refused it", "grant it")

    def blocker(*failures: Failure) -> dict[str, str]:
        told = process_status(case.resource, case.observed, plan, Outcome(failures=failures), case.now)
        found: dict[str, str] = told["blocker"]
        return found

    told = blocker(away)
    assert (told["reason"], told["object"].split()[:2]) == ("DeletionBlocked", ["task", "queue"])
    assert told["remedy"].endswith("open workflows are left behind")
    assert told["message"] == (away.message if name == "delete-drain-start" else plan.stages[0].message)
    assert blocker(denied, away)["reason"] == "ApplyFailed"


def test_check_tells_all_that_settings_forbid_at_once() -> None:
    """What only the cluster can tell is for the status alone."""
    assert sorted(GOLDEN.checked("refused-several")) == [
        ("spec.definitionRef.tenantId", "TenantMismatch"),
        ("spec.image", "ImageNotAllowed"),
        ("spec.image", "ImageNotAllowed"),
        ("spec.temporal.connection", "TemporalConnectionUnknown"),
    ]


def test_every_reason_of_a_condition_is_reached_by_a_case() -> None:
    """Exempt is what only Events bear or failures of writing say, what has a test of its own, and a text for typing."""
    named = reasons_named_in(process_operator, acceptance, rollout, status, tenancy)
    told = {condition["reason"] for name in GOLDEN.names() for condition in GOLDEN.load(name).status()["conditions"]}
    exempt = {Reason.WorkflowsLeftBehind, Reason.ApplyFailed, Reason.DefinitionTooLarge, Reason.Converging}
    assert {reason.value for reason in named - exempt - told} == set()
