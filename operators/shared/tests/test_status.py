"""Status as a fold over stages: conditions, blocker, times, patches. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ameide_shared.kstatus import Verdict, judge
from ameide_shared.plan import AddFinalizer, Ensure, Failure
from ameide_shared.reasons import Reason
from ameide_shared.stages import Stage, State, blocked, done, first_blocker
from ameide_shared.status import (
    Condition,
    blocker_of,
    child_entry,
    compose,
    conditions_of,
    dated,
    failure_stage,
    joined,
    parse_time,
    paused_condition,
    shorten,
    significant,
    stamp,
    status_patch,
)

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
RESOURCE: dict[str, Any] = {"metadata": {"name": "orders", "generation": 3}}


def stage(state: State, condition: str = "", **fields: Any) -> Stage:
    return Stage(condition, state, Reason.ApplyFailed, "it is so", **fields)


def told(stages: list[Stage]) -> dict[str, Condition]:
    return {condition.type: condition for condition in conditions_of(stages)}


@pytest.mark.parametrize("states", list(product(State, repeat=2)), ids=lambda states: "-".join(s.value for s in states))
def test_every_pair_of_states_is_judged_as_the_worse_of_the_two(states: tuple[State, State]) -> None:
    """Ready only if both are done; Stalled if one is stuck, else Reconciling: never both, nor one of them at rest."""
    stages = [stage(state, f"Stage{number}") for number, state in enumerate(states)]
    status = compose(RESOURCE, stages, NOW)
    found = {condition["type"]: condition["status"] for condition in status["conditions"]}
    ready, stuck = all(s is State.DONE for s in states), State.STALLED in states
    assert (found["Ready"] == "True") is ready
    assert ("Stalled" in found, "Reconciling" in found) == (stuck, not stuck and not ready)
    assert (found["Degraded"] == "True") is bool({State.FAILED, State.STALLED} & set(states))
    assert (found["Progressing"] == "True") is bool({State.PROGRESSING, State.WAITING} & set(states))
    for number, state in enumerate(states):
        wanted = {State.DONE: "True", State.BLOCKED: "Unknown"}.get(state, "False")
        assert found[f"Stage{number}"] == wanted
    wanted_verdict = Verdict.FAILED if stuck else Verdict.CURRENT if ready else Verdict.IN_PROGRESS
    assert judge({**RESOURCE, "status": status}).verdict is wanted_verdict


def test_the_first_stage_in_the_way_gives_ready_its_reason_and_remedy() -> None:
    stages = [done("A", Reason.AsExpected), stage(State.WAITING, "B", remedy="do this"), stage(State.STALLED, "C")]
    ready = told(stages)["Ready"]
    assert (ready.status, ready.message) == ("False", "it is so; do this")
    blocker = blocker_of(stages, None, NOW)
    assert blocker == {
        "reason": "ApplyFailed",
        "message": "it is so",
        "remedy": "do this",
        "since": "2026-03-01T12:00:00Z",
    }


def test_a_stage_that_serves_less_than_asked_for_is_ready_and_degraded() -> None:
    found = told([done("A", Reason.Available, "half of it", degraded=True)])
    assert (found["Ready"].status, found["Degraded"].status) == ("True", "True")


def test_no_stages_at_all_are_ready() -> None:
    assert told([])["Ready"].status == "True"
    assert first_blocker(()) is None


def test_a_blocked_stage_names_what_it_waits_for() -> None:
    assert blocked("C", stage(State.FAILED, "B")).message == "waits for B: it is so"
    assert blocked("C", stage(State.FAILED)).message == "waits for ApplyFailed: it is so"


def test_transition_times_move_only_with_the_status() -> None:
    first = dated([Condition("Ready", "False", Reason.ApplyFailed, "one")], [], 1, NOW)
    later = NOW + timedelta(minutes=1)
    same = dated([Condition("Ready", "False", Reason.ChildConflict, "two")], first, 2, later)
    assert same[0]["lastTransitionTime"] == stamp(NOW)
    assert (same[0]["reason"], same[0]["observedGeneration"]) == ("ChildConflict", 2)
    moved = dated([Condition("Ready", "True", Reason.AllResourcesHealthy)], same, 2, later)
    assert moved[0]["lastTransitionTime"] == stamp(later)


def test_blocker_keeps_its_time_while_reason_and_object_stay() -> None:
    before = blocker_of([stage(State.FAILED, object="Job a")], None, NOW)
    later = NOW + timedelta(minutes=1)
    same = blocker_of([stage(State.FAILED, object="Job a", retry_at=later)], before, later)
    assert same is not None
    assert (same["since"], same["retryAt"]) == (stamp(NOW), stamp(later))
    other = blocker_of([stage(State.FAILED, object="Job b")], before, later)
    assert other is not None
    assert other["since"] == stamp(later)
    assert blocker_of([], before, later) is None


@pytest.mark.parametrize(
    ("annotations", "status"),
    [(None, None), ({}, None), ({"ameide.io/paused": "false"}, None), ({"ameide.io/paused": "true"}, "True")]
    + [({"ameide.io/paused": value}, "False") for value in ("yes", "True", "")],
)
def test_paused_is_told_and_so_is_a_value_without_effect(annotations: Any, status: str | None) -> None:
    found = paused_condition({"metadata": {"annotations": annotations}})
    assert [condition.status for condition in found] == ([] if status is None else [status])
    assert all("ameide.io/paused" in condition.message for condition in found)


def test_failures_become_stages_and_know_when_they_are_tried_again() -> None:
    action = Ensure({"kind": "Service", "apiVersion": "v1", "metadata": {"name": "orders"}}, "why")
    terminal = failure_stage(Failure(action, "QuotaExceeded", "no room", "raise it", terminal=True), NOW)
    assert terminal == Stage("", State.STALLED, Reason.QuotaExceeded, "no room", "Service orders", "raise it")
    transient = failure_stage(Failure(AddFinalizer("f", "why"), "Unheard", "busy", retry_after=2.0), NOW)
    assert (transient.state, transient.reason, transient.object) == (State.FAILED, Reason.ApplyFailed, "")
    assert transient.retry_at == NOW + timedelta(seconds=2)


def says(condition: str, status: str) -> dict[str, Any]:
    return {"metadata": {}, "status": {"conditions": [{"type": condition, "status": status}]}}


WANTED = {"apiVersion": "v1", "kind": "X", "metadata": {"name": "a", "namespace": "shop"}}


@pytest.mark.parametrize(
    ("kind", "live", "reason"),
    [
        ("Service", None, "NotFound"),
        ("Service", {"metadata": {"deletionTimestamp": "now"}}, "Terminating"),
        ("Service", {"metadata": {}}, ""),
        ("Deployment", says("Available", "True"), ""),
        ("Deployment", says("Available", "False"), "AvailableFalse"),
        ("Job", {"metadata": {}}, "Running"),
        ("Job", says("Complete", "True"), ""),
        ("Database", {"metadata": {}, "status": {"applied": False}}, "NotApplied"),
        ("Database", {"metadata": {}, "status": {"applied": True}}, ""),
    ],
)
def test_children_are_ready_or_say_why_not(kind: str, live: Any, reason: str) -> None:
    entry = child_entry({**WANTED, "kind": kind}, live)
    assert (entry["ready"], entry.get("reason", "")) == (not reason, reason)


def test_compose_leaves_out_what_is_empty_and_keeps_what_is_false() -> None:
    status = compose(RESOURCE, [], NOW, fields={"db": None, "canary": {}, "children": [], "count": 0, "flag": False})
    assert set(status) == {"observedGeneration", "conditions", "count", "flag"}
    assert status["observedGeneration"] == 3


def test_counters_and_messages_are_minor_reasons_and_generations_are_not() -> None:
    status = compose(RESOURCE, [stage(State.WAITING)], NOW, fields={"workload": {"readyReplicas": 1}})
    counted = status | {"workload": {"readyReplicas": 2}}
    assert significant(counted) == significant(status)
    assert significant(status | {"observedGeneration": 4}) != significant(status)
    assert significant(status | {"grants": {"published": "sha256:1"}}) != significant(status)
    assert significant(compose(RESOURCE, [], NOW)) != significant(status)


def test_messages_are_cut_where_the_limit_is() -> None:
    assert shorten("a" * 1024) == "a" * 1024
    assert shorten("a" * 1025) == "a" * 1023 + "…"


@given(st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(2500, 1, 1)))
def test_times_survive_being_written(moment: datetime) -> None:
    aware = moment.replace(tzinfo=UTC, microsecond=0)
    assert parse_time(stamp(aware)) == aware


_json = st.recursive(
    st.integers() | st.text(max_size=3) | st.booleans(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
_statuses = st.dictionaries(st.sampled_from(["db", "blocker", "children", "count"]), _json)


@given(_statuses, _statuses)
def test_the_merge_patch_leads_from_any_status_to_any_other(before: dict[str, Any], after: dict[str, Any]) -> None:
    patch = status_patch(before, after)
    assert merge_patched(before, patch) == after
    assert status_patch(after, after) == {}


def merge_patched(target: Any, patch: Any) -> Any:
    """RFC 7386, word by word: what the API server does."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge_patched(result.get(key), value)
    return result


def test_what_fits_together_is_joined_whole_and_once() -> None:
    assert joined(["a: one", "", "b: two", "a: one"]) == "a: one; b: two"
    assert joined([]) == ""


def test_short_texts_leave_their_room_to_the_long_ones() -> None:
    text = joined(["x" * 50, "short", "y" * 50], 61)
    assert text == f"{'x' * 25}…; short; {'y' * 25}…"


@given(st.lists(st.text("abc", min_size=1, max_size=300), min_size=1, max_size=8), st.integers(100, 400))
def test_joined_texts_keep_the_limit_and_each_is_heard(texts: list[str], limit: int) -> None:
    text = joined(texts, limit)
    parts = text.split("; ")
    assert len(text) <= limit
    assert len(parts) == len(set(texts))
    share = limit // len(parts) - 2
    for part, whole in zip(parts, dict.fromkeys(texts), strict=True):
        assert part == whole or (part.endswith("…") and whole.startswith(part[:-1]) and len(part) >= share)
