"""Spans, points and cycles of time in ISO 8601, as timers and timeouts are written in definitions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

_DURATION: Final = re.compile(
    r"P(?:(?P<years>\d{1,3})Y)?(?:(?P<months>\d{1,4})M)?(?:(?P<weeks>\d{1,4})W)?(?:(?P<days>\d{1,5})D)?"
    r"(?:T(?:(?P<hours>\d{1,6})H)?(?:(?P<minutes>\d{1,7})M)?(?:(?P<seconds>\d{1,9})(?:\.(?P<fraction>\d{1,3}))?S)?)?",
    re.ASCII,
)
_CYCLE: Final = re.compile(r"R(?P<count>\d{0,6})(?:/(?P<start>[^/P][^/]*))?/(?P<interval>P[^/]*)", re.ASCII)


class TimeFormatError(ValueError):
    """A text is not the ISO 8601 that is expected; the message quotes it and says what is."""


@dataclass(frozen=True, slots=True)
class Duration:
    """A span of time: calendar months, whose length depends on when they are counted, and milliseconds."""

    months: int
    milliseconds: int

    @property
    def is_zero(self) -> bool:
        return not self.months and not self.milliseconds


@dataclass(frozen=True, slots=True)
class Cycle:
    """A repeated span of time; `repetitions` is None without end, `start` None for "from now on"."""

    interval: Duration
    repetitions: int | None
    start: str | None


def parse_duration(text: str) -> Duration:
    """A duration such as `PT30S`, `P1DT12H` or `P3M`. Raises TimeFormatError."""
    found = _DURATION.fullmatch(text.strip())
    if found is None or text.strip() == "P" or text.strip().endswith("T"):
        raise TimeFormatError(f"{text!r} is no ISO 8601 duration such as PT30S, PT5M, P1DT12H")
    parts = {name: int(value or 0) for name, value in found.groupdict().items() if name != "fraction"}
    seconds = (
        (parts["weeks"] * 7 + parts["days"]) * 86_400
        + parts["hours"] * 3_600
        + parts["minutes"] * 60
        + parts["seconds"]
    )
    milliseconds = int((found["fraction"] or "").ljust(3, "0"))
    return Duration(parts["years"] * 12 + parts["months"], seconds * 1_000 + milliseconds)


def parse_date(text: str) -> str:
    """A point in time with its offset, such as `2026-11-30T12:00:00Z`, in UTC to the second. Raises TimeFormatError."""
    try:
        moment = datetime.fromisoformat(text.strip())
        if moment.tzinfo is None:
            raise ValueError("no offset")
        return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ").rjust(20, "0")
    except (ValueError, OverflowError) as error:
        raise TimeFormatError(f"{text!r} is no ISO 8601 time with an offset such as 2026-11-30T12:00:00Z") from error


def parse_cycle(text: str) -> Cycle:
    """A cycle such as `R3/PT10M`, `R/P1D` or `R/2026-11-30T12:00:00Z/P1D`. Raises TimeFormatError."""
    found = _CYCLE.fullmatch(text.strip())
    if found is None:
        raise TimeFormatError(f"{text!r} is no ISO 8601 cycle such as R3/PT10M or R/P1D")
    interval = parse_duration(found["interval"])
    if interval.is_zero:
        raise TimeFormatError(f"{text!r} repeats without time in between")
    repetitions = int(found["count"]) if found["count"] else None
    if repetitions == 0:
        raise TimeFormatError(f"{text!r} repeats zero times")
    return Cycle(interval, repetitions, parse_date(found["start"]) if found["start"] else None)
