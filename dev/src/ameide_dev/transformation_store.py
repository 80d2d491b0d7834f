"""Definitions of the Transformation API's stand-in, as files that people can read and edit.

`FOLDER/TENANT/process-definitions/ID/VERSION.json` holds what the API sends: id, tenantId, version and definition.
Names are percent-encoded; one that would be too long for a file system is replaced by its digest.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

Kind = Literal["process", "agent"]
Key = tuple[Kind, str, str]
"""Kind, tenant and id of a definition."""

COLLECTIONS: Mapping[str, Kind] = {"process-definitions": "process", "agent-definitions": "agent"}
_LONGEST_NAME = 200


class StoreError(Exception):
    """A file of the store does not hold what its path says."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One version of a definition as it is sent."""

    version: int
    body: bytes

    @property
    def etag(self) -> str:
        """A strong ETag: the quoted digest of the body."""
        return f'"{hashlib.sha256(self.body).hexdigest()[:32]}"'


class DefinitionStore:
    """Reads the files for each question, so that what a person puts there is found."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()

    def put(self, kind: Kind, tenant: str, name: str, definition: Mapping[str, Any], version: int | None = None) -> int:
        """Add a version, the next one unless it is given; its number."""
        with self._lock:
            folder = self._folder_of((kind, tenant, name))
            folder.mkdir(parents=True, exist_ok=True)
            number = version or max(self._versions(folder), default=0) + 1
            content = {"id": name, "tenantId": tenant, "version": number, "definition": definition}
            # Renamed into place: a server in another thread or process never reads half a file.
            handle, temporary = tempfile.mkstemp(dir=folder, prefix=".", suffix=".tmp")
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(content, file, indent=2)
            Path(temporary).replace(folder / f"{number}.json")
        return number

    def remove(self, kind: Kind, tenant: str, name: str, version: int | None = None) -> None:
        """Remove one version of a definition, or all of them; no error if there is none."""
        with self._lock:
            folder = self._folder_of((kind, tenant, name))
            if version is None:
                shutil.rmtree(folder, ignore_errors=True)
            else:
                (folder / f"{version}.json").unlink(missing_ok=True)

    def get(self, key: Key, version: int | None = None) -> Stored | None:
        """A version, the newest unless it is given; None if there is none. Raises StoreError."""
        folder = self._folder_of(key)
        found = self._versions(folder)
        number = version if version is not None else max(found, default=0)
        if number not in found:
            return None
        path = folder / f"{number}.json"
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise StoreError(f"{path} cannot be read as JSON: {error}") from error
        _, tenant, name = key
        for member, wanted in (("id", name), ("tenantId", tenant), ("version", number)):
            if not isinstance(content, dict) or content.get(member) != wanted:
                raise StoreError(f"{path}: expected {member} to be {wanted!r}, as the path says")
        return Stored(number, json.dumps(content, separators=(",", ":")).encode())

    def _folder_of(self, key: Key) -> Path:
        kind, tenant, name = key
        return self.folder / _file_name(tenant) / f"{kind}-definitions" / _file_name(name)

    @staticmethod
    def _versions(folder: Path) -> set[int]:
        if not folder.is_dir():
            return set()
        return {int(path.stem) for path in folder.glob("*.json") if path.stem.isascii() and path.stem.isdigit()}


def _file_name(text: str) -> str:
    encoded = quote(text, safe="").replace(".", "%2E")  # no hidden files, and none that mean a folder
    if len(encoded) <= _LONGEST_NAME:
        return encoded
    return f"sha256-{hashlib.sha256(text.encode()).hexdigest()}"
