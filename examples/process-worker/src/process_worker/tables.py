"""The binding tables that this worker has: every retained definition by its checksum, and which one is current.

Tables never change under a checksum, so that workflow code may read them here without harm to its replay.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

Table = Mapping[str, Any]
Element = Mapping[str, Any]

FORMAT_VERSION = 1
FILE = "table.json"

log = logging.getLogger(__name__)


class TableError(Exception):
    """A binding table is missing or cannot be used; the message names the file or checksum and the remedy."""


class Tables:
    """The definitions found in one folder: `<folder>/<any name>/table.json`, known by the checksum of their bytes."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._tables: dict[str, Table] = {}
        self.current = ""

    def load(self, folder: Path, current: str) -> None:
        """Read all definitions; `current` (`sha256:…`) is the one of new workflows. Raises TableError."""
        self._folder = folder
        self._read()
        self.get(current)
        self.current = current

    def add(self, content: bytes) -> str:
        """Take in one table; return its checksum. Raises TableError."""
        checksum = f"sha256:{hashlib.sha256(content).hexdigest()}"
        try:
            table = json.loads(content)
            version = table["formatVersion"]
        except (ValueError, KeyError, TypeError) as error:
            raise TableError(f"definition {checksum} is no binding table: {error!r}") from error
        if version != FORMAT_VERSION:
            raise TableError(
                f"definition {checksum} has formatVersion {version}, this worker executes {FORMAT_VERSION}; "
                "use a worker image that knows it"
            )
        self._tables[checksum] = table
        return checksum

    def get(self, checksum: str) -> Table:
        """The table with this checksum, looked for once more on disk when it is new. Raises TableError."""
        if checksum not in self._tables and self._folder is not None:
            self._read()
        try:
            return self._tables[checksum]
        except KeyError:
            known = ", ".join(sorted(self._tables)) or "none"
            raise TableError(
                f"definition {checksum} is not mounted below {self._folder} (found: {known}); "
                "a definition must stay mounted until no open workflow uses it"
            ) from None

    def checksums(self) -> list[str]:
        """The checksums of all definitions held, sorted."""
        return sorted(self._tables)

    def _read(self) -> None:
        if self._folder is None:
            return
        for path in sorted(self._folder.glob(f"*/{FILE}")):
            try:
                self.add(path.read_bytes())
            except (OSError, TableError) as error:
                # One bad file must not keep the others from serving; what needs it says so by itself.
                log.error("%s is left out: %s", path, error)


TABLES = Tables()
"""The definitions of this process."""


def starts(table: Table, scope: str) -> list[str]:
    """The ids of the start events of a scope."""
    return list(table["scopes"][scope]["start"])


def events(table: Table) -> Iterator[Mapping[str, Any]]:
    """Every event definition and received message of the table, as events."""
    for element in table["elements"].values():
        if "event" in element:
            yield element["event"]
        if "message" in element:
            yield {"kind": "message", "message": element["message"]}


def signal_names(table: Table) -> frozenset[str]:
    """The names of all BPMN signals that the process knows."""
    return frozenset(event["signal"] for event in events(table) if event["kind"] == "signal")


def message_names(table: Table) -> frozenset[str]:
    """The names of all messages that the process can receive."""
    return frozenset(event["message"]["name"] for event in events(table) if "message" in event)
