"""The compiler's entrance: what it reads is JSON of bounded depth, with text and numbers that can be written again."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from process_operator.bpmn.problems import Problems

MAX_LEVELS: Final = 64
"""Levels of JSON in a definition: about thirty sub-processes within each other."""
_MAX_NUMBER: Final = 10**15
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def is_plain(definition: Any, problems: Problems) -> bool:
    """Whether this is JSON of bounded depth, so that nothing that follows can go too deep or fail to encode it."""
    level: list[Any] = [definition]
    for _ in range(MAX_LEVELS):
        fault = next((found for item in level if (found := _fault_of(item))), "")
        if fault:
            problems.add("", "", fault, "send JSON in UTF-8, with numbers below 10^15")
            return False
        level = [part for item in level for part in _parts(item)]
        if not level:
            return True
    problems.add(
        "", "", f"is nested deeper than {MAX_LEVELS} levels", "call processes instead of nesting sub-processes"
    )
    return False


def _fault_of(item: Any) -> str:
    match item:
        case Mapping():
            return next((fault for key in item if (fault := _fault_of(key) or _not_text(key))), "")
        case str():
            return "holds text that is not Unicode" if _SURROGATE.search(item) else ""
        case bool() | None | list():
            return ""
        case int() | float():
            return "" if abs(item) < _MAX_NUMBER else "holds a number that is too large"
    return f"holds a {type(item).__name__}, which is not JSON"


def _not_text(key: object) -> str:
    return "" if isinstance(key, str) else "has a key that is not text"


def _parts(item: Any) -> Iterable[Any]:
    if isinstance(item, Mapping):
        return item.values()
    return item if isinstance(item, list) else ()
