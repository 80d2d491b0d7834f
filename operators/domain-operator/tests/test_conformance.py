"""Every golden case's status, held against the rules that programs rely on. See conformance.py."""

from __future__ import annotations

from datetime import timedelta

import pytest
from conformance import (
    by_type,
    check_conditions,
    check_fixpoint,
    check_kstatus,
    check_ready,
    check_schema,
    check_secrets,
)
from golden_cases import Case, cases, load
from harness import merged

from ameide_shared.reasons import Reason
from ameide_shared.status import stamp

every_case = pytest.mark.parametrize("name", cases())


@every_case
def test_generation_is_stamped_and_conditions_are_complete(name: str) -> None:
    case = load(name)
    check_conditions(case, case.status())


@every_case
def test_ready_is_the_sum_and_the_blocker_its_negative(name: str) -> None:
    case = load(name)
    check_ready(case, case.status())


@every_case
def test_tools_that_wait_judge_it_rightly(name: str) -> None:
    case = load(name)
    check_kstatus(case, case.status())


@every_case
def test_nothing_looks_like_a_secret(name: str) -> None:
    check_secrets(load(name).status())


@every_case
def test_the_schema_accepts_it_and_prunes_nothing(name: str) -> None:
    check_schema(load(name).status())


@every_case
def test_the_fold_over_its_own_output_changes_nothing(name: str) -> None:
    case = load(name)
    check_fixpoint(case, case.status())


@every_case
def test_transition_times_move_only_with_the_status(name: str) -> None:
    """Every condition had the opposite status an hour ago, or the same: only the former get a new time."""
    case = load(name)
    status, then = case.status(), stamp(case.now - timedelta(hours=1))
    for old in ("True", "False", "Unknown"):
        before = [{**condition, "status": old, "lastTransitionTime": then} for condition in status["conditions"]]
        previous = merged(case.domain.get("status") or {}, {"conditions": before})
        after = Case({**case.domain, "status": previous}, case.observed, case.settings, case.now)
        for kind, condition in by_type(after.status()).items():
            moved = condition["status"] != old
            if kind in by_type(status):
                assert condition["lastTransitionTime"] == (stamp(case.now) if moved else then)


def test_every_reason_of_a_condition_is_reached_by_a_case() -> None:
    """Reasons that only converge, the reconciler or an Event can give are the exception."""
    told = {condition["reason"] for name in cases() for condition in load(name).status()["conditions"]}
    events = {"DataRetained", "DataLeftBehind"}
    converge = {"ChildConflict", "ApplyFailed", "QuotaExceeded"}
    reconciler = {"ReconcileTimeout", "InternalError"}
    unused = {"Succeeded", "Converging", "TenantMismatch"}  # the other kinds'
    assert {reason.value for reason in Reason} - told == events | converge | reconciler | unused
