"""Whether the Transformation API as a whole is down, so that one question tries it and not one per definition."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Final

from ameide_shared.transformation.answers import LONGEST_WAIT
from ameide_shared.transformation.errors import TransformationError, TransformationUnavailable
from ameide_shared.transformation.model import Reference

_SILENT_ENOUGH: Final = 2  # definitions in a row without an answer: one may be at fault itself, two are not
_FIRST_SECONDS: Final = 1.0
_PROBE_SECONDS: Final = 30.0  # one question of the whole operator, so it may be asked more often than at a definition


@dataclass(slots=True)
class Outage:
    """What recent answers, or their absence, say of the API. Times are on the watcher's clock, in seconds."""

    chance: Random
    error: TransformationUnavailable | None = None
    """Why it is held to be down; None while it is not."""
    next_probe: float = 0.0
    confirmed: bool = False
    """A second question failed, too: until then, it may have been a moment's trouble."""
    silent: set[Reference] = field(default_factory=set)
    """What was asked for since the last answer, without one."""
    _failures: int = 0

    def answered(self) -> None:
        """An answer came: there is no outage, or none any more."""
        self.error = None
        self.confirmed = False
        self._failures = 0
        self.silent.clear()

    def failed(self, reference: Reference, error: TransformationError, now: float, *, probe: bool) -> bool:
        """A question failed; `probe`: one that tried whether the outage is over. True if the API is down."""
        if not isinstance(error, TransformationUnavailable):
            return False
        if error.silent:
            self.silent.add(reference)
        if self.error is None and not error.for_all and len(self.silent) < _SILENT_ENOUGH:
            return False
        known = self.error is not None
        self.error = error
        if known and not probe:
            return True  # it was on its way when the outage was found, and says nothing new
        self.confirmed = known
        self._failures += 1
        wait = backoff(self._failures, _PROBE_SECONDS, self.chance)
        self.next_probe = now + max(wait, error.retry_after or 0.0)
        return True


def backoff(failures: int, most: float, chance: Random) -> float:
    """Seconds to wait after so many failures in a row: doubling from one second, half of it left to chance."""
    return min(most, LONGEST_WAIT, _FIRST_SECONDS * 2.0 ** min(failures - 1, 16)) * chance.uniform(0.5, 1.0)
