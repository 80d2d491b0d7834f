"""How often a server that is away is asked, and what is told of errors."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from process_operator.temporal import trouble
from process_operator.temporal.channel import AlreadyThere, NotThere
from process_operator.temporal.errors import (
    ConnectionUnknown,
    NamespaceNotFound,
    TemporalBusy,
    TemporalDenied,
    TemporalError,
    TemporalRejected,
    TemporalUnreachable,
)
from process_operator.temporal.model import ProblemKind
from process_operator.temporal.trouble import problem_of, until_it_works

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("error", "steps", "most"),
    [(TemporalUnreachable, [0.25, 0.5, 1.0, 1.5], 1.5), (TemporalDenied, [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 10.0], 10.0)],
)
async def test_the_waits_grow_to_a_bound(
    error: type[TemporalError], steps: list[float], most: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    asked = 0

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    async def ask() -> None:
        nonlocal asked
        asked += 1
        if asked <= 40:
            raise error("no")

    monkeypatch.setattr(asyncio, "sleep", sleep)
    told: list[TemporalError] = []
    await until_it_works(ask, told.append, lambda _low, high: high)
    assert waits[: len(steps)] == steps
    assert max(waits) == most
    assert len(waits) == len(told) == 40


async def test_other_errors_are_not_swallowed() -> None:
    async def ask() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await until_it_works(ask, lambda _: None, lambda low, _high: low)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (TemporalUnreachable, ProblemKind.Unreachable),
        (TemporalBusy, ProblemKind.Busy),
        (TemporalDenied, ProblemKind.Denied),
        (NamespaceNotFound, ProblemKind.NamespaceMissing),
        (ConnectionUnknown, ProblemKind.ConnectionUnknown),
        (TemporalRejected, ProblemKind.Rejected),
        (NotThere, ProblemKind.Rejected),
        (AlreadyThere, ProblemKind.Rejected),
    ],
)
def test_every_error_has_a_kind(error: type[TemporalError], kind: ProblemKind) -> None:
    assert problem_of(error("what", "mend it"), None, NOW).kind is kind


def test_a_problem_keeps_its_beginning_while_it_is_of_one_kind() -> None:
    first = problem_of(TemporalUnreachable("refused"), None, NOW)
    later = problem_of(TemporalUnreachable("no answer"), first, NOW + timedelta(seconds=9))
    other = problem_of(TemporalBusy("limit"), later, NOW + timedelta(seconds=12))
    assert (later.since, later.message) == (NOW, "no answer")
    assert other.since == NOW + timedelta(seconds=12)


def test_errors_of_the_module_are_all_known() -> None:
    known = set(trouble._KINDS) | {TemporalRejected, NotThere, AlreadyThere}
    assert set(TemporalError.__subclasses__()) == known
