"""The policy in force: a file (a mounted ConfigMap, say) that is looked at again and again.

A new policy that is broken does not replace the one before; that it is broken, and since when, is told until it is
mended. Without any policy nothing is allowed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from agent_operator.policy.loading import MAX_BYTES, PolicyError, parse
from agent_operator.policy.state import PolicyFault, PolicyState

__all__ = ["PolicyFault", "PolicySource", "PolicyState"]

logger = logging.getLogger(__name__)

_SHOWN: Final = 5
"""Faults that a message quotes; the log has all."""


class PolicySource:
    """Reads the file every `poll_seconds`, and calls `on_change` when policy or fault have become others.

    Reads the content rather than the file's times: a ConfigMap's volume swaps directories, and editors keep times.
    """

    def __init__(
        self,
        path: Path,
        *,
        poll_seconds: float = 5.0,
        on_change: Callable[[PolicyState], None] = lambda _: None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._path = path
        self._poll_seconds = poll_seconds
        self._on_change = on_change
        self._now = now
        self._read: bytes | OSError | None = None
        self.state = PolicyState()

    async def run(self) -> None:
        """Follow the file until cancelled."""
        while True:
            await self.refresh()
            await asyncio.sleep(self._poll_seconds)

    async def refresh(self) -> PolicyState:
        """Look at the file now."""
        content = await asyncio.to_thread(self._content)
        if not _same(content, self._read):
            self._read = content
            self._take(content)
        return self.state

    def _content(self) -> bytes | OSError:
        try:
            with self._path.open("rb") as file:
                return file.read(MAX_BYTES + 1)
        except OSError as error:
            return error

    def _take(self, content: bytes | OSError) -> None:
        before = self.state
        try:
            self.state = self._judged(content)
        except _UnusableError as error:
            since = before.fault.since if before.fault is not None else self._now()
            self.state = replace(before, fault=PolicyFault(error.message, error.remedy, since))
            kept = "the policy before it stays in force" if before.policy is not None else "nothing is allowed"
            logger.error("policy %s: %s; %s", self._path, error.full, kept)
        if _essence(self.state) != _essence(before):
            try:
                self._on_change(self.state)
            except Exception:  # whatever a listener does, the file is followed further
                logger.exception("policy %s: its change could not be told", self._path)

    def _judged(self, content: bytes | OSError) -> PolicyState:
        """The state with the policy that the content holds. Raises _UnusableError."""
        if isinstance(content, OSError):
            raise _UnusableError(f"cannot be read: {content.strerror or content}", f"put the policy at {self._path}")
        try:
            policy = parse(content.decode())
        except UnicodeDecodeError as error:
            raise _UnusableError(f"is not UTF-8 at byte {error.start}", "save it as UTF-8") from None
        except PolicyError as error:
            lines = [str(problem) for problem in error.problems]
            more = f" (and {len(lines) - _SHOWN} more)" if len(lines) > _SHOWN else ""
            shown = "; ".join(lines[:_SHOWN]) + more
            raise _UnusableError(f"is not valid: {shown}", "mend the policy's text", "; ".join(lines)) from None
        if self.state.policy is not None and self.state.policy.digest == policy.digest:
            return replace(self.state, fault=None)
        logger.info("policy %s is in force, digest %s", self._path, policy.digest)
        return PolicyState(policy, self._now())


class _UnusableError(Exception):
    """Content that holds no policy; `full` names every fault."""

    def __init__(self, message: str, remedy: str, full: str = "") -> None:
        super().__init__(message)
        self.message, self.remedy, self.full = message, remedy, full or message


def _same(one: bytes | OSError | None, other: bytes | OSError | None) -> bool:
    if isinstance(one, OSError) and isinstance(other, OSError):
        return one.errno == other.errno
    return one == other


def _essence(state: PolicyState) -> tuple[str, str]:
    """What users of the policy react to."""
    return state.policy.digest if state.policy else "", state.fault.message if state.fault else ""
