"""Reads ISO 8601 durations, instants and repeating intervals, and counts with them, months included."""

from __future__ import annotations

import calendar
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

_DURATION = re.compile(
    r"P(?=.)(?:(?P<years>\d+)Y)?(?:(?P<months>\d+)M)?(?:(?P<weeks>\d+)W)?(?:(?P<days>\d+)D)?"
    r"(?:T(?=.)(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+(?:[.,]\d+)?)S)?)?"
)


class TimeError(ValueError):
    """A text is no time of the kind expected; the message quotes it."""


@dataclass(frozen=True, slots=True)
class Duration:
    """Calendar months first, then an exact span."""

    span: timedelta
    months: int = 0

    def after(self, start: datetime) -> datetime:
        """The instant this much later; the day is cut to the length of the month arrived at."""
        month = start.month - 1 + self.months
        year, month = start.year + month // 12, month % 12 + 1
        day = min(start.day, calendar.monthrange(year, month)[1])
        return start.replace(year=year, month=month, day=day) + self.span


@dataclass(frozen=True, slots=True)
class Cycle:
    """A repeating interval; `repetitions` is None when it goes on for ever."""

    interval: Duration
    repetitions: int | None
    start: datetime | None = None


def duration(text: str) -> Duration:
    """Read a duration such as `PT1H30M` or `P1M`. Raises TimeError."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise TimeError(f"{text!r} is no ISO 8601 duration such as PT30M")
    part = {name: Decimal((value or "0").replace(",", ".")) for name, value in match.groupdict().items()}
    days = part["weeks"] * 7 + part["days"]
    seconds = ((days * 24 + part["hours"]) * 60 + part["minutes"]) * 60 + part["seconds"]
    try:
        return Duration(timedelta(milliseconds=int(seconds * 1000)), int(part["years"] * 12 + part["months"]))
    except OverflowError as error:
        raise TimeError(f"{text!r} is longer than any timer can be") from error


def instant(text: str) -> datetime:
    """Read a date and time; without an offset it is UTC. Raises TimeError."""
    try:
        parsed = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise TimeError(f"{text!r} is no ISO 8601 date and time such as 2026-11-30T12:00:00Z") from error
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def cycle(text: str) -> Cycle:
    """Read a repeating interval such as `R3/PT10M` or `R/2026-01-01T00:00:00Z/P1D`. Raises TimeError."""
    head, *rest = text.strip().split("/")
    count = head[1:]
    if not head.startswith("R") or (count and not count.isdigit()) or len(rest) not in (1, 2):
        raise TimeError(f"{text!r} is no ISO 8601 repeating interval such as R3/PT10M")
    start = instant(rest[0]) if len(rest) == 2 else None
    return Cycle(duration(rest[-1]), int(count) if count else None, start)


@dataclass(frozen=True, slots=True)
class Plan:
    """When a timer fires: first at `first`, then `more` times (None: for ever) every `interval`."""

    first: datetime
    interval: Duration | None = None
    more: int | None = 0


def plan(timer: Mapping[str, Any], text: str | None, now: datetime) -> Plan:
    """When a timer of the table fires. `text` is the value of its expression, for a timer that has one.

    Raises TimeError when that text is no time of the timer's kind.
    """
    match timer["kind"]:
        case "date":
            return Plan(instant(timer["at"] if text is None else text))
        case "duration":
            return Plan((_interval(timer) if text is None else duration(text)).after(now))
        case _:
            repeating = (
                cycle(text)
                if text is not None
                else Cycle(
                    _interval(timer),
                    timer.get("repetitions"),
                    instant(timer["start"]) if "start" in timer else None,
                )
            )
            first = repeating.start or repeating.interval.after(now)
            more = None if repeating.repetitions is None else max(repeating.repetitions - 1, 0)
            return Plan(first, repeating.interval, more)


def _interval(timer: Mapping[str, Any]) -> Duration:
    return Duration(timedelta(milliseconds=timer.get("milliseconds", 0)), timer.get("months", 0))
