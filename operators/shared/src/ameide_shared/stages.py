"""Stages: what stands between a resource and Ready, in order, as plain data.

A plan ends with one Stage per question it asked ("is the database there?", "did the migration succeed?").
Status is a fold over them: the first stage that is not done is the blocker.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from ameide_shared.reasons import Reason
from ameide_shared.spec.problems import Problem


class State(Enum):
    """How a stage stands. Only DONE lets the resource be Ready."""

    DONE = "done"
    PROGRESSING = "progressing"  # we, or a controller below us, are at work; it will move by itself
    WAITING = "waiting"  # somebody else's object is missing or not ready; its event wakes us
    FAILED = "failed"  # something broke; it is retried, or may heal by itself
    STALLED = "stalled"  # cannot heal by itself: needs a change of the spec, an annotation or a policy
    BLOCKED = "blocked"  # depends on an earlier stage that is not done


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage's verdict.

    `condition` is the condition type that reports it; empty for a stage that only Ready reports.
    `object` names what is in the way as `Kind namespace/name` or `Kind name`; `remedy` says who can do what about it.
    `retry_at` is when the operator itself looks again.
    """

    condition: str
    state: State
    reason: Reason
    message: str
    object: str = ""
    remedy: str = ""
    retry_at: datetime | None = None
    problems: tuple[Problem, ...] = ()  # what `message` sums up, field by field, where it is more than one thing
    parts: tuple[Stage, ...] = ()  # the verdicts that it sums up, where they are more than one
    degraded: bool = False  # done, or working on it, but less than asked for is being served

    @property
    def done(self) -> bool:
        return self.state is State.DONE

    @property
    def reasons(self) -> frozenset[Reason]:
        """Its reason, and those of the verdicts that it sums up."""
        return frozenset((self.reason, *(part.reason for part in self.parts)))


def done(condition: str, reason: Reason, message: str = "", *, degraded: bool = False) -> Stage:
    """A stage that stands in nobody's way."""
    return Stage(condition, State.DONE, reason, message, degraded=degraded)


def blocked(condition: str, by: Stage) -> Stage:
    """A stage that cannot be judged before an earlier one is done."""
    what = by.condition or by.reason.value
    return Stage(condition, State.BLOCKED, Reason.Blocked, f"waits for {what}: {by.message}")


def awaits(stages: Iterable[Stage], reasons: AbstractSet[Reason]) -> bool:
    """Whether one of these reasons is among those that keep stages from being done."""
    return any(not stage.done and not reasons.isdisjoint(stage.reasons) for stage in stages)


def first_blocker(stages: tuple[Stage, ...]) -> Stage | None:
    """The first stage that is not done, or None."""
    return next((stage for stage in stages if not stage.done), None)
