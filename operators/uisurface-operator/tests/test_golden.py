"""Plans and statuses of the cases in `golden/`, readable as files: what every branch does."""

from __future__ import annotations

import pytest
from surface_golden import GOLDEN
from surface_properties import check_route_is_guarded

import uisurface_operator
from ameide_dev.testing import properties
from ameide_dev.testing.conformance import check_status, check_transitions, reasons_named_in
from ameide_shared import rollout, status, tenancy
from ameide_shared.compile import acceptance, dependencies
from ameide_shared.kube.resources import DEPLOYMENT, HTTP_ROUTE, SECRET, SECURITY_POLICY
from ameide_shared.plan import Call, Delete, Ensure, EnsureSecret, Failure, Outcome
from ameide_shared.reasons import Reason
from uisurface_operator.status import status as surface_status

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


@every_case
def test_nobody_gets_past_the_login(name: str) -> None:
    """Where users log in at the gateway, the policy is written before the route, and without it the route is not.

    Unless settings say that it shall be open where there are no policies at all.
    """
    case = GOLDEN.load(name)
    if case.settings.routing.without_policy == "Open":
        return
    wanted = [action for action in case.plan().actions if isinstance(action, Ensure)]
    routes = [place for place, action in enumerate(wanted) if action.resource is HTTP_ROUTE]
    policies = [place for place, action in enumerate(wanted) if action.resource is SECURITY_POLICY]
    auth = case.status().get("auth") or {}
    if routes and auth.get("mode") == "Gateway":
        assert policies[0] < routes[0]
        assert wanted[policies[0]].required


@every_case
def test_a_route_is_not_left_without_its_policy(name: str) -> None:
    """Whatever is wrong with the spec: the policy is ensured, or the route goes, or users never logged in by it."""
    check_route_is_guarded(GOLDEN.load(name))


def test_without_the_policy_api_there_is_no_route_unless_settings_say_so() -> None:
    """And either way it is not Ready, and says that nobody can be logged in."""
    for name, routes in (("policy-api-missing", 0), ("policy-api-missing-open", 1)):
        case = GOLDEN.load(name)
        written = [action for action in case.plan().actions if isinstance(action, Ensure)]
        assert len([action for action in written if action.resource is HTTP_ROUTE]) == routes
        told = {each["type"]: (each["status"], each["reason"]) for each in case.status()["conditions"]}
        assert told["AuthConfigured"] == told["Ready"] == ("False", "APINotInstalled")


def test_the_secret_is_written_before_the_policy_that_names_it() -> None:
    actions = GOLDEN.load("create-full").plan().actions
    secret = next(place for place, action in enumerate(actions) if isinstance(action, EnsureSecret))
    policy = next(
        place
        for place, action in enumerate(actions)
        if isinstance(action, Ensure) and action.resource is SECURITY_POLICY
    )
    assert secret < policy


def test_the_gateway_guards_until_no_pod_relies_on_it() -> None:
    """An app that is to log users in by itself is guarded until all its pods do."""
    moving, moved = GOLDEN.load("mode-to-application"), GOLDEN.load("mode-to-application-done")
    assert not [a for a in moving.plan().actions if isinstance(a, Delete) and a.resource is SECURITY_POLICY]
    assert [a for a in moved.plan().actions if isinstance(a, Delete) and a.resource is SECURITY_POLICY]


def test_an_app_that_logs_users_in_does_not_start_without_its_secret() -> None:
    actions = GOLDEN.load("create-application").plan().actions
    assert not [action for action in actions if isinstance(action, Ensure) and action.resource is DEPLOYMENT]


def test_a_client_that_could_not_be_removed_is_remembered() -> None:
    """Else the client of a surface that became public would be left in Keycloak for good."""
    case = GOLDEN.load("mode-to-public-done")
    plan = case.plan()
    call = next(action for action in plan.actions if isinstance(action, Call))
    failure = Failure(call, Reason.KeycloakUnavailable, "Keycloak is away", "see whether it is well")
    failed = surface_status(case.resource, case.observed, plan, Outcome(failures=(failure,)), case.now)
    gone = surface_status(case.resource, case.observed, plan, Outcome(), case.now)
    assert failed["auth"] == {"mode": "Public", "connection": "default", "clientId": "sales.shop"}
    assert gone["auth"] == {"mode": "Public"}
    assert [a.key.name for a in plan.actions if isinstance(a, Delete) and a.resource is SECRET] == ["shop-ui-oidc"]


def test_a_secret_of_somebody_else_is_told_where_the_login_stands() -> None:
    """What waits for the login waits for that; what is not written for another reason is told beside it."""
    case = GOLDEN.load("create-full")
    plan = case.plan()
    secret = next(action for action in plan.actions if isinstance(action, EnsureSecret))
    account = next(action for action in plan.actions if isinstance(action, Ensure))
    assert secret.required, "nothing is begun without it"
    theirs = Failure(secret, Reason.ChildConflict, "Secret sales/shop-ui-oidc exists and belongs to nobody", "mend it")
    told = surface_status(case.resource, case.observed, plan, Outcome(failures=(theirs,)), case.now)
    conditions = {each["type"]: (each["reason"], each["message"]) for each in told["conditions"]}
    assert conditions["Ready"] == conditions["AuthConfigured"]
    assert conditions["AuthConfigured"][0] == "ChildConflict"
    assert conditions["AuthConfigured"][1].endswith("until then nobody can log in")
    assert conditions["RoutingReady"] == ("Blocked", f"waits for AuthConfigured: {theirs.message}")
    assert told["blocker"]["object"] == "Secret shop-ui-oidc"

    denied = Failure(account, Reason.ApplyFailed, "the API server refused it")
    told = surface_status(case.resource, case.observed, plan, Outcome(failures=(theirs, denied)), case.now)
    assert told["blocker"]["reason"] == "ApplyFailed"
    assert conditions["AuthConfigured"] in [(each["reason"], each["message"]) for each in told["conditions"]]


def test_check_tells_all_that_settings_forbid_at_once() -> None:
    """What only the cluster can tell is for the status alone."""
    assert sorted(GOLDEN.checked("refused-several")) == [
        ("spec.auth.connection", "KeycloakConnectionUnknown"),
        ("spec.host", "HostNotPermitted"),
        ("spec.image", "ImageNotAllowed"),
        ("spec.security.networkProfile", "InvalidSpec"),
    ]


def test_every_reason_of_a_condition_is_reached_by_a_case() -> None:
    """Exempt is what only Events bear or failures of writing and calling say."""
    named = reasons_named_in(uisurface_operator, acceptance, dependencies, rollout, status, tenancy)
    told = {condition["reason"] for name in GOLDEN.names() for condition in GOLDEN.load(name).status()["conditions"]}
    exempt = {
        Reason.ApplyFailed,
        Reason.ChildConflict,
        Reason.Converging,
        Reason.ClientLeftBehind,
        Reason.TenantMismatch,
    }
    assert {reason.value for reason in named - exempt - told} == set()
