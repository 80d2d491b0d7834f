"""Expressions and times: by example, and with anything at all."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from process_operator.bpmn.expression import parse_expression
from process_worker.expressions import evaluate
from process_worker.joins import complete, reachable_from
from process_worker.times import Duration, TimeError, cycle, duration, instant, plan
from process_worker.variables import Variables

VALUES = {
    "n": 7,
    "x": 0.1,
    "text": "book",
    "items": [1, 2, 3],
    "orders": [{"id": 1}, {"id": 2}],
    "order": {"total": 12.5, "lines": {"first": "pen"}},
    "yes": True,
    "nothing": None,
}

EXAMPLES = [
    ("1 + 2 * 3", 7),
    ("x + 0.2", 0.3),
    ("n / 2", 3.5),
    ("n / 0", None),
    ("-n", -7),
    ('text + "s"', "books"),
    ("text + 1", None),
    ("order.total * 2", 25),
    ("order.lines.first", "pen"),
    ("order.nothing.at.all", None),
    ("orders.id", [1, 2]),
    ("items[1]", 1),
    ("items[-1]", 3),
    ("items[9]", None),
    ('n > 5 and text = "book"', True),
    ("n = 7.0", True),
    ("n = text", None),
    ("missing = null", True),
    ("n = null", False),
    ("missing > 1", None),
    ("missing > 1 or yes", True),
    ("missing > 1 and n < 0", False),
    ("not(yes)", False),
    ("not(n)", None),
    ("n between 1 and 7", True),
    ("n in [1, 7]", True),
    ('if n > 5 then "big" else "small"', "big"),
    ("if missing then 1 else 2", 2),
    ("count(items)", 3),
    ("sum(items)", 6),
    ("sum([])", None),
    ("max(items)", 3),
    ("min(text)", None),
    ("floor(x)", 0),
    ("ceiling(x)", 1),
    ("round(2.345, 2)", 2.34),
    ("modulo(-7, 3)", 2),
    ("string(x)", "0.1"),
    ('number("12.50")', 12.5),
    ('number("twelve")', None),
    ("string length(text)", 4),
    ("upper case(text)", "BOOK"),
    ('contains(text, "oo")', True),
    ('starts with(text, "b")', True),
    ("list contains(orders.id, 2)", True),
    ("append(items, 4)", [1, 2, 3, 4]),
    ("concatenate(items, [9])", [1, 2, 3, 9]),
    ("is defined(nothing)", False),
    ('get value(order, "total")', 12.5),
    ('split("a,b", ",")', ["a", "b"]),
    ('string join(["a", "b"], "-")', "a-b"),
    ("{a: n, b: [text]}", {"a": 7, "b": ["book"]}),
]


@pytest.mark.parametrize(("text", "value"), EXAMPLES, ids=[text for text, _ in EXAMPLES])
def test_expressions(text: str, value: Any) -> None:
    tree = parse_expression(text).model_dump(mode="json", exclude_none=True)
    result = evaluate(tree, VALUES)
    assert result == value
    assert type(result) is type(value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from([text for text, _ in EXAMPLES]), st.dictionaries(st.sampled_from(sorted(VALUES)), json_values))
def test_expressions_never_fail_and_always_give_the_same(text: str, values: dict[str, Any]) -> None:
    tree = parse_expression(text).model_dump(mode="json", exclude_none=True)
    assert evaluate(tree, values) == evaluate(tree, values)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("PT1H30M", Duration(timedelta(minutes=90))),
        ("P1W2D", Duration(timedelta(days=9))),
        ("P1Y2M3D", Duration(timedelta(days=3), 14)),
        ("PT0.25S", Duration(timedelta(milliseconds=250))),
    ],
)
def test_durations(text: str, expected: Duration) -> None:
    assert duration(text) == expected


@pytest.mark.parametrize("text", ["", "P", "PT", "1H", "PT1X", "P1M2Y", "soon", "P999999999999D"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(TimeError, match=r"no ISO 8601 duration|longer than"):
        duration(text)


def test_months_are_cut_to_their_length() -> None:
    assert duration("P1M").after(datetime(2026, 1, 31, tzinfo=UTC)) == datetime(2026, 2, 28, tzinfo=UTC)
    assert duration("P13M").after(datetime(2026, 12, 1, tzinfo=UTC)) == datetime(2028, 1, 1, tzinfo=UTC)


def test_cycles_and_instants() -> None:
    assert cycle("R3/PT1M").repetitions == 3
    assert cycle("R/PT1M").repetitions is None
    assert cycle("R2/2026-01-01T00:00:00Z/P1D").start == datetime(2026, 1, 1, tzinfo=UTC)
    assert instant("2026-01-01T01:00:00+01:00") == datetime(2026, 1, 1, tzinfo=UTC)
    for text in ("R3", "3/PT1M", "R3/x/y/z", "Rx/PT1M"):
        with pytest.raises(TimeError):
            cycle(text)


def test_plans_of_timers() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert plan({"kind": "duration", "milliseconds": 1500}, None, now).first == now + timedelta(seconds=1.5)
    assert plan({"kind": "date", "at": "2026-02-01T00:00:00Z"}, None, now).first == datetime(2026, 2, 1, tzinfo=UTC)
    repeated = plan({"kind": "cycle", "milliseconds": 1000, "repetitions": 3}, None, now)
    assert (repeated.first, repeated.more) == (now + timedelta(seconds=1), 2)
    assert plan({"kind": "cycle"}, "R/PT5S", now).more is None


@given(st.text(max_size=12))
def test_any_text_is_a_time_or_refused(text: str) -> None:
    for kind in ("date", "duration", "cycle"):
        with suppress(TimeError):
            assert plan({"kind": kind}, text, datetime(2026, 1, 1, tzinfo=UTC)).first.tzinfo


def test_variables_are_written_where_they_are_known() -> None:
    process = Variables({"a": 1})
    instance = Variables({"item": 5}, below=process)
    for name, value in (("a", 2), ("item", 6), ("new", 3)):
        instance.set(name, value)
    assert dict(process.values) == {"a": 2, "new": 3}
    assert dict(instance.values) == {"a": 2, "new": 3, "item": 6}
    then = process.snapshot()
    process.set("a", 9)
    assert then.values["a"] == 2
    Variables(below=then).set("undone", True)
    assert process.values["undone"]
    assert then.values["undone"]


def test_an_inclusive_join_looks_for_tokens_that_can_still_come() -> None:
    flows = {"f": ("s", "a"), "g": ("s", "b"), "h": ("a", "j"), "i": ("b", "j"), "k": ("j", "e"), "l": ("e", "a")}
    names = ("s", "a", "b", "j", "e")
    elements = {
        name: {"id": name, "incoming": [flow for flow, (_, target) in flows.items() if target == name]}
        for name in names
    }
    table = {
        "elements": elements,
        "flows": {flow: {"id": flow, "source": source, "target": target} for flow, (source, target) in flows.items()},
    }
    reach = {flow: reachable_from(table, flow) for flow in ("h", "i")}
    assert reach == {"h": {"a", "s", "e"}, "i": {"b", "s"}}
    assert complete({"h": 1, "i": 1}, reach, ["s"])
    assert not complete({"h": 1}, reach, ["b"])
    assert complete({"h": 1}, reach, ["a"])
    assert complete({"h": 1}, reach, ["e"])  # leads back to the flow that is filled already
    assert complete({"h": 1}, reach, ["s"])  # so does this one, which is undecided
    assert not complete({}, reach, [])
