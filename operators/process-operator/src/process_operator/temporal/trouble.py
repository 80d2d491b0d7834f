"""From errors to what users are told of them, and the wait for a server that is away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final

from process_operator.temporal.errors import (
    ConnectionUnknown,
    NamespaceNotFound,
    TemporalBusy,
    TemporalDenied,
    TemporalError,
    TemporalUnreachable,
)
from process_operator.temporal.model import Problem, ProblemKind

_BACKOFF_FIRST: Final = 0.25
_BACKOFF_CAP: Final = 1.5  # so that a server that is back is noticed within two seconds
_LASTING_CAP: Final = 10.0  # refused credentials do not become better by themselves

_KINDS: Final[dict[type[TemporalError], ProblemKind]] = {
    TemporalUnreachable: ProblemKind.Unreachable,
    TemporalBusy: ProblemKind.Busy,
    TemporalDenied: ProblemKind.Denied,
    NamespaceNotFound: ProblemKind.NamespaceMissing,
    ConnectionUnknown: ProblemKind.ConnectionUnknown,
}


def problem_of(error: TemporalError, before: Problem | None, now: datetime) -> Problem:
    """What users are told of an error; since `before` if that was of the same kind, else since now."""
    kind = _KINDS.get(type(error), ProblemKind.Rejected)
    since = before.since if before is not None and before.kind is kind else now
    return Problem(kind, str(error), error.remedy, since)


async def until_it_works(
    ask: Callable[[], Awaitable[object]],
    failed: Callable[[TemporalError], None],
    uniform: Callable[[float, float], float],
) -> None:
    """Ask, at once and then in steps of a backoff with jitter, until that raises no TemporalError; `failed` is told of
    each."""
    failures = 0
    while True:
        try:
            await ask()
        except TemporalError as error:
            cap = _BACKOFF_CAP if error.transient else _LASTING_CAP
            wait = uniform(0.75, 1.0) * min(cap, _BACKOFF_FIRST * 2 ** min(failures, 10))
            failures += 1
            failed(error)
            await asyncio.sleep(wait)
        else:
            return
