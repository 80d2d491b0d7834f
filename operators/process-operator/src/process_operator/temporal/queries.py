"""Temporal visibility queries, in which nothing that an author wrote can mean anything but itself."""

from __future__ import annotations

import re
from collections.abc import Iterable

from process_operator.temporal.errors import TemporalRejected

CHECKSUM_MEMO = "ameide-definition-checksum"
"""Memo in which a workflow keeps the checksum of the definition that it runs."""

CHECKSUM_ATTRIBUTE = "AmeideDefinitionChecksum"
"""Search attribute (Keyword) with the same, where the namespace has it: counting is then cheap."""

# A server over SQLite or PostgreSQL escapes these once more than its database unescapes them, so that the query finds
# nothing and says so without an error: workers would be taken from under open workflows.
_UNQUOTABLE = re.compile(r'[\\"\x00-\x1f\x7f]')
_MAX_LENGTH = 1000  # of the server's own limit on names


def literal(value: str, what: str = "value") -> str:
    """A string literal. Raises TemporalRejected for what no literal can hold on every kind of Temporal store."""
    if found := _UNQUOTABLE.search(value):
        raise TemporalRejected(
            f"{what} {value!r} holds {found[0]!r}, which Temporal's visibility queries cannot search for",
            f"use a {what} without backslashes, double quotes and control characters",
        )
    if not 0 < len(value) <= _MAX_LENGTH:
        raise TemporalRejected(f"{what} has {len(value)} characters", f"use a {what} of 1 to {_MAX_LENGTH} characters")
    return "'" + value.replace("'", "''") + "'"


def open_workflows(queue: str) -> str:
    """The open workflows of a task queue."""
    return f"TaskQueue = {literal(queue, 'task queue')} AND ExecutionStatus = 'Running'"


def with_checksum_besides(queue: str, known: Iterable[str]) -> str:
    """The open workflows whose search attribute names a definition other than the known ones."""
    values = ", ".join(literal(value, "checksum") for value in sorted(known))
    besides = f" AND {CHECKSUM_ATTRIBUTE} NOT IN ({values})" if values else ""
    return f"{open_workflows(queue)} AND {CHECKSUM_ATTRIBUTE} IS NOT NULL{besides}"


def without_checksum(queue: str) -> str:
    """The open workflows that have no such search attribute."""
    return f"{open_workflows(queue)} AND {CHECKSUM_ATTRIBUTE} IS NULL"
