"""Plans and statuses of the cases in `golden/`, readable as files: what every branch does."""

from __future__ import annotations

import pytest
from domain_golden import GOLDEN

import domain_operator
from ameide_dev.testing.conformance import check_status, check_transitions, reasons_named_in
from ameide_shared import rollout, status, tenancy
from ameide_shared.compile import acceptance
from ameide_shared.reasons import Reason
from domain_operator.spec import DatabaseStatus

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


def test_check_tells_all_that_settings_forbid_at_once() -> None:
    """What only the cluster can tell is for the status alone."""
    assert sorted(GOLDEN.checked("refused-several")) == [
        ("spec.db.migrationJobImage", "ImageNotAllowed"),
        ("spec.db.migrationJobImage", "ImageNotAllowed"),
        ("spec.security.networkProfile", "InvalidSpec"),
    ]


def test_every_field_of_the_database_in_status_is_written_in_some_case() -> None:
    """The CRD promises none that nobody fills."""
    promised = {field.alias or name for name, field in DatabaseStatus.model_fields.items()}
    assert {key for name in GOLDEN.names() for key in GOLDEN.load(name).status().get("db", {})} == promised


def test_every_reason_of_a_condition_is_reached_by_a_case() -> None:
    """Reasons that only Events bear, or resources with a definition, are the exception."""
    named = reasons_named_in(domain_operator, acceptance, rollout, status, tenancy)
    told = {condition["reason"] for name in GOLDEN.names() for condition in GOLDEN.load(name).status()["conditions"]}
    exempt = {Reason.DataRetained, Reason.DataLeftBehind, Reason.ApplyFailed, Reason.TenantMismatch}
    assert {reason.value for reason in named - exempt - told} == set()
