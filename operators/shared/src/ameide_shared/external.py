"""What goes wrong with systems outside the cluster, in words that a status can carry."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from ameide_shared.kube.resources import Manifest
from ameide_shared.plan import Call
from ameide_shared.reasons import Reason


class ExternalError(Exception):
    """A system outside the cluster could not do what it was asked.

    `terminal`: the same request would be refused again. `retry_after` (seconds): when it may be tried again.
    """

    def __init__(
        self,
        reason: Reason,
        message: str,
        *,
        remedy: str = "",
        terminal: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.remedy = remedy
        self.terminal = terminal
        self.retry_after = retry_after


Hand = Callable[[Manifest, Call], Awaitable[bool]]
"""Does a Call for a resource; whether it changed anything. Raises ExternalError."""

Hands = Mapping[str, Hand]
"""By the operation of a Call."""
