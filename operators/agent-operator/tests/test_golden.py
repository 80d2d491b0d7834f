"""Plans and statuses of the cases in `golden/`, readable as files: what every branch does."""

from __future__ import annotations

import pytest
from agent_golden import GOLDEN

import agent_operator
from agent_operator.status import status as agent_status
from ameide_dev.testing import properties
from ameide_dev.testing.conformance import check_status, check_transitions, reasons_named_in
from ameide_shared import rollout, status, tenancy
from ameide_shared.compile import acceptance
from ameide_shared.kube.resources import DEPLOYMENT
from ameide_shared.plan import Call, Ensure, Failure, Outcome
from ameide_shared.reasons import Reason
from ameide_shared.transformation import children

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


def test_quarantine_cuts_egress_and_grants_before_it_takes_the_pods() -> None:
    """In the pass that sees the violation, in this order, and no write of these holds the next one back."""
    actions = GOLDEN.load("tightened-quarantine-service").plan().actions
    border = next(i for i, a in enumerate(actions) if isinstance(a, Ensure) and a.manifest["kind"] == "NetworkPolicy")
    emptied = next(
        i for i, a in enumerate(actions) if isinstance(a, Ensure) and "grants.json" in a.manifest.get("data", {})
    )
    told = next(i for i, a in enumerate(actions) if isinstance(a, Call))
    pods = next(i for i, a in enumerate(actions) if isinstance(a, Ensure) and a.resource is DEPLOYMENT)
    assert border < emptied < told < pods
    network, grants, deployment = actions[border], actions[emptied], actions[pods]
    assert isinstance(network, Ensure)
    assert isinstance(grants, Ensure)
    assert isinstance(deployment, Ensure)
    assert network.manifest["spec"]["egress"] == []
    assert '"tools":[]' in grants.manifest["data"]["grants.json"]
    assert deployment.manifest["spec"]["replicas"] == 0
    assert not network.required
    assert not grants.required


@pytest.mark.parametrize("name", ["violation-create", "violation-change", "canary-forbidden", "definition-role"])
def test_a_violating_revision_gets_no_pod(name: str) -> None:
    case = GOLDEN.load(name)
    image = case.resource["spec"]["image"]
    for action in case.plan().actions:
        if isinstance(action, Ensure) and action.resource is DEPLOYMENT:
            running = action.manifest["spec"]["template"]["spec"]["containers"][0]["image"]
            assert running != image, "the image of the spec that breaks the policy"


def test_grants_that_could_not_be_published_keep_it_from_being_ready() -> None:
    """The stage behind the failure is told too, and what the service knew before stays on record."""
    case = GOLDEN.load("grants-unpublished")
    plan = case.plan()
    call = next(action for action in plan.actions if isinstance(action, Call))
    failure = Failure(call, Reason.GrantsServiceUnavailable, "the grants service is away", "see whether it is well")
    told = agent_status(case.resource, case.observed, plan, Outcome(failures=(failure,)), case.now)
    conditions = {condition["type"]: (condition["status"], condition["reason"]) for condition in told["conditions"]}
    assert conditions["Ready"] == ("False", Reason.GrantsServiceUnavailable)
    assert conditions["GrantsReady"] == ("False", Reason.GrantsServiceUnavailable)
    assert conditions["WorkloadReady"][0] == "True"
    assert "published" not in told["grants"]


def test_grants_count_as_published_only_if_nothing_kept_the_service_from_being_told() -> None:
    """A write before that fails ends the pass, or may have: then it is told again."""
    case = GOLDEN.load("grants-unpublished")
    plan = case.plan()
    call = next(action for action in plan.actions if isinstance(action, Call))
    for action in plan.actions[: plan.actions.index(call)]:
        failure = Failure(action, Reason.ApplyFailed, "the API server is away")
        told = agent_status(case.resource, case.observed, plan, Outcome(failures=(failure,)), case.now)
        assert "published" not in told["grants"], action
    told = agent_status(case.resource, case.observed, plan, Outcome(), case.now)
    assert (told["grants"]["published"], told["grants"]["tenant"]) == (call.arguments["digest"], "t123")


def test_check_tells_all_that_settings_forbid_at_once() -> None:
    """What only the cluster can tell is for the status alone."""
    assert sorted(GOLDEN.checked("refused-several")) == [
        ("spec.image", "ImageNotAllowed"),
        ("spec.image", "ImageNotAllowed"),
        ("spec.security.networkProfile", "InvalidSpec"),
        ("spec.tools.allowed[0]", "PolicyViolation"),
    ]


def test_every_reason_of_a_condition_is_reached_by_a_case() -> None:
    """Exempt is what only Events bear or failures of writing and calling say, and what has a test of its own."""
    named = reasons_named_in(agent_operator, acceptance, children, rollout, status, tenancy)
    told = {condition["reason"] for name in GOLDEN.names() for condition in GOLDEN.load(name).status()["conditions"]}
    exempt = {
        Reason.ApplyFailed,
        Reason.Converging,
        Reason.DefinitionTooLarge,
        Reason.GrantsLeftBehind,
        Reason.GrantsServiceRefused,
        Reason.GrantsServiceUnavailable,
        Reason.ReferenceNotPermitted,  # of a tool: it is pending, which is no trouble
    }
    assert {reason.value for reason in named - exempt - told} == set()
