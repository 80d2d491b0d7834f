"""Who is due when: one time per item, the earliest first."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class Agenda(Generic[K]):
    """Items with a time each; times are seconds of whatever clock the caller has."""

    def __init__(self) -> None:
        self._due: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []  # may hold times that _due no longer does
        self._sequence = itertools.count()

    def __len__(self) -> int:
        return len(self._due)

    def put(self, item: K, at: float) -> None:
        """Set the item's time, in place of the one it had."""
        self._due[item] = at
        heapq.heappush(self._heap, (at, next(self._sequence), item))

    def due(self, item: K) -> float | None:
        """The item's time, if it has one."""
        return self._due.get(item)

    def drop(self, item: K) -> None:
        """The item has no time any more."""
        self._due.pop(item, None)

    def first(self) -> float | None:
        """The earliest time; None if there is none."""
        while self._heap:
            at, _, item = self._heap[0]
            if self._due.get(item) == at:
                return at
            heapq.heappop(self._heap)
        return None

    def take(self, now: float) -> K | None:
        """The earliest item whose time has come, which then has none; None if there is none."""
        at = self.first()
        if at is None or at > now:
            return None
        _, _, item = heapq.heappop(self._heap)
        del self._due[item]
        return item
