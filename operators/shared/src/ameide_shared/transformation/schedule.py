"""What the watcher knows of each reference, and which of them is to be looked for when."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from ameide_shared.kube.resources import ObjectKey
from ameide_shared.transformation.model import Definition, FetchProblem, Reference

UNKNOWN: Final = (None, None)
"""What is significant of an entry before its first answer."""


@dataclass(slots=True, eq=False)
class Entry:
    """All that is known of one reference. `due` is on the watcher's clock; None while it is held back or under way."""

    reference: Reference
    users: set[ObjectKey] = field(default_factory=set)
    definition: Definition | None = None
    error: FetchProblem | None = None
    refused: bool = False
    failures: int = 0
    due: float | None = None
    phase: float | None = None  # the time of the last regular look; the next is one interval later
    task: asyncio.Task[None] | None = None

    @property
    def known(self) -> bool:
        """Whether there was an answer, be it an error."""
        return self.definition is not None or self.error is not None

    @property
    def significant(self) -> tuple[object, object]:
        """What its users act upon: content and error, without times."""
        definition, error = self.definition, self.error
        return (
            (definition.version, definition.digest) if definition else None,
            (error.reason, error.message) if error else None,
        )


class Schedule:
    """Entries by the time at which they are due; each has one time, the last that it was given."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Entry]] = []
        self._serial = itertools.count()

    def put(self, entry: Entry, due: float) -> None:
        """Look for an entry at that time and at no other."""
        entry.due = due
        heapq.heappush(self._heap, (due, next(self._serial), entry))

    def take(self, now: float) -> Iterator[Entry]:
        """Take out what is due, the longest due first."""
        while self._heap and self._heap[0][0] <= now:
            due, _, entry = heapq.heappop(self._heap)
            if entry.due == due:  # else it was given another time since, or taken out
                entry.due = None
                yield entry

    def next(self) -> float | None:
        """The earliest time at which something may be due."""
        return self._heap[0][0] if self._heap else None

    def __iter__(self) -> Iterator[Entry]:
        """Entries that have a time, roughly by it."""
        return (entry for due, _, entry in self._heap if entry.due == due)
