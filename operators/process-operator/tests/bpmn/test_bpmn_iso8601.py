"""Durations, dates and cycles of ISO 8601."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from process_operator.bpmn.iso8601 import (
    Cycle,
    Duration,
    TimeFormatError,
    parse_cycle,
    parse_date,
    parse_duration,
)


@pytest.mark.parametrize(
    ("text", "months", "milliseconds"),
    [
        ("PT30S", 0, 30_000),
        ("PT0.5S", 0, 500),
        ("PT1.25S", 0, 1_250),
        ("PT90M", 0, 5_400_000),
        ("P1DT12H", 0, 129_600_000),
        ("P2W", 0, 1_209_600_000),
        ("P1Y2M", 14, 0),
        ("P3M", 3, 0),
        ("PT3M", 0, 180_000),
        (" PT0S ", 0, 0),
    ],
)
def test_a_duration_is_months_and_milliseconds(text: str, months: int, milliseconds: int) -> None:
    assert parse_duration(text) == Duration(months, milliseconds)


@given(st.integers(0, 99), st.integers(0, 99), st.integers(0, 99), st.integers(0, 99), st.integers(0, 999))
def test_every_part_of_a_duration_counts(days: int, hours: int, minutes: int, seconds: int, fraction: int) -> None:
    parsed = parse_duration(f"P{days}DT{hours}H{minutes}M{seconds}.{fraction:03}S")
    assert parsed.milliseconds == (((days * 24 + hours) * 60 + minutes) * 60 + seconds) * 1000 + fraction


@pytest.mark.parametrize(
    "text", ["", "P", "PT", "P1DT", "1 hour", "PT1H30", "-PT1S", "P1S", "PT1D", "PT\u0661S", "PT1.1234S"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(TimeFormatError, match="no ISO 8601 duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-30T12:00:00Z", "2026-11-30T12:00:00Z"),
        ("2026-12-24T18:00:00+01:00", "2026-12-24T17:00:00Z"),
        ("2026-11-30T12:00Z", "2026-11-30T12:00:00Z"),
        ("2026-11-30T12:00:00.999Z", "2026-11-30T12:00:00Z"),
    ],
)
def test_a_date_is_brought_to_utc(text: str, moment: str) -> None:
    assert parse_date(text) == moment


@pytest.mark.parametrize(
    "text", ["", "tomorrow", "2026-11-30", "2026-11-30T12:00:00", "2026-02-30T00:00:00Z", "0001-01-01T00:00:00+14:00"]
)
def test_a_date_without_offset_or_that_does_not_exist_is_refused(text: str) -> None:
    with pytest.raises(TimeFormatError, match="with an offset"):
        parse_date(text)


@pytest.mark.parametrize(
    ("text", "cycle"),
    [
        ("R3/PT10M", Cycle(Duration(0, 600_000), 3, None)),
        ("R/P1D", Cycle(Duration(0, 86_400_000), None, None)),
        ("R5/2026-11-30T13:00:00+01:00/P1M", Cycle(Duration(1, 0), 5, "2026-11-30T12:00:00Z")),
    ],
)
def test_a_cycle_has_an_interval_a_count_and_perhaps_a_start(text: str, cycle: Cycle) -> None:
    assert parse_cycle(text) == cycle


@pytest.mark.parametrize("text", ["", "R3", "PT10M", "R/PT0S", "R0/PT1S", "0 9 * * *", "R-1/PT1S", "R/P1D/P1D"])
def test_what_is_no_cycle_is_refused(text: str) -> None:
    with pytest.raises(TimeFormatError):
        parse_cycle(text)


@given(st.text(max_size=30))
def test_any_text_is_a_time_or_refused_with_the_text_in_the_message(text: str) -> None:
    for parse in (parse_duration, parse_date, parse_cycle):
        message = ""
        try:
            parse(text)
        except TimeFormatError as refusal:
            message = str(refusal)
        assert not message or message.startswith(repr(text))
