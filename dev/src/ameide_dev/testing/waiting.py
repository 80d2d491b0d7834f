"""Wait for what no single object tells."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(what: str, holds: Callable[[], T], timeout: float = 30.0) -> T:
    """Ask again and again until the answer is true, and return it.

    Raises TimeoutError, saying what was waited for, after so many seconds.
    """
    deadline = time.monotonic() + timeout
    while not (found := holds()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout:g} s: {what}")
        time.sleep(0.1)
    return found


def never(what: str, holds: Callable[[], object], seconds: float) -> None:
    """Watch for so many seconds that something does not hold."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert not holds(), what
        time.sleep(0.1)
