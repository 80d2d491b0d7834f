"""The kstatus rules, in their order."""

from __future__ import annotations

from typing import Any

import pytest

from ameide_shared.kstatus import Judgement, Verdict, judge


def resource(
    *, generation: int = 2, observed: int | None = 2, deleting: bool = False, **conditions: str
) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": "orders", "generation": generation}
    if deleting:
        metadata["deletionTimestamp"] = "2026-03-01T12:00:00Z"
    status: dict[str, Any] = {
        "conditions": [{"type": kind, "status": value, "message": f"{kind} says"} for kind, value in conditions.items()]
    }
    if observed is not None:
        status["observedGeneration"] = observed
    return {"metadata": metadata, "status": status}


@pytest.mark.parametrize(
    ("given", "verdict"),
    [
        (resource(deleting=True, Ready="True", Stalled="True"), Verdict.TERMINATING),
        (resource(observed=1, Ready="True"), Verdict.IN_PROGRESS),
        (resource(observed=-1), Verdict.IN_PROGRESS),
        (resource(Ready="False", Reconciling="True", Stalled="True"), Verdict.IN_PROGRESS),
        (resource(Ready="True", Stalled="True"), Verdict.FAILED),
        (resource(Ready="False", Stalled="False", Reconciling="Unknown"), Verdict.IN_PROGRESS),
        (resource(Ready="Unknown"), Verdict.IN_PROGRESS),
        (resource(Ready="True", Reconciling="False"), Verdict.CURRENT),
        (resource(observed=None, Ready="True"), Verdict.CURRENT),
        ({"metadata": {"name": "orders", "generation": 1}}, Verdict.CURRENT),
    ],
)
def test_rules_apply_in_order(given: dict[str, Any], verdict: Verdict) -> None:
    assert judge(given).verdict is verdict


def test_the_message_is_that_of_the_condition_that_decides() -> None:
    assert judge(resource(Ready="False", Stalled="True")) == Judgement(Verdict.FAILED, "Stalled says")
