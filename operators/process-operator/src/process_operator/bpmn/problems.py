"""What is wrong with a definition, where, and what to do about it; all of it is found before anything is refused."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

MAX_SHOWN: Final = 20
"""Problems in the text of an InvalidDefinition, and names in that of a problem; the object holds all problems."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault. `element_id` is the BPMN id of the element, or of the nearest one around it that has an id.

    `path` leads there from the definition's root, as in `rootElements[0].flowElements[3].conditionExpression`.
    """

    element_id: str
    path: str
    message: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.element_id or self.path or 'definition'}: {self.message}; {self.remedy}"


class InvalidDefinition(ValueError):  # noqa: N818 - named for what it says of the definition, as InvalidSpec is
    """A definition cannot be compiled; `problems` lists every fault that was found, in the order of the document."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        shown = [str(problem) for problem in self.problems[:MAX_SHOWN]]
        more = len(self.problems) - MAX_SHOWN
        super().__init__("\n".join([*shown, f"and {more} more"] if more > 0 else shown))


@dataclass(slots=True)
class Problems:
    """Collects faults, and warnings about what is legal but probably not meant. Each is kept once."""

    _faults: dict[Problem, None] = field(default_factory=dict)
    _warnings: dict[Problem, None] = field(default_factory=dict)

    @property
    def faults(self) -> tuple[Problem, ...]:
        return tuple(sorted(self._faults, key=_place))

    @property
    def warnings(self) -> tuple[Problem, ...]:
        return tuple(sorted(self._warnings, key=_place))

    def add(self, element_id: str, path: str, message: str, remedy: str) -> None:
        """Note a fault, for which the definition will be refused."""
        self._faults.setdefault(Problem(element_id, path, message, remedy))

    def warn(self, element_id: str, path: str, message: str, remedy: str) -> None:
        """Note something that does not keep the definition from being compiled."""
        self._warnings.setdefault(Problem(element_id, path, message, remedy))

    def refuse_if_any(self) -> None:
        """Raise InvalidDefinition if there is a fault."""
        if self._faults:
            raise InvalidDefinition(self.faults)


def listed(names: Sequence[str]) -> str:
    """Names for a message, the first of them if there are many."""
    more = len(names) - MAX_SHOWN
    return ", ".join([*names[:MAX_SHOWN], f"{more} more"] if more > 0 else names)


def _place(problem: Problem) -> list[str | int]:
    """Where a problem stands in the document: its path, with numbers compared as numbers."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", problem.path)]
