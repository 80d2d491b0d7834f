"""A bearer token in a file that somebody else replaces now and then."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from ameide_shared.logging import register_secret

_TOKEN: Final = re.compile(r"[\x21-\x7e]+")

Stamp = tuple[int, int, int]
"""What tells one content of a file from the next: modification time, inode and size."""


class NoTokenError(Exception):
    """A file that should hold a token holds none; `message` and `remedy` are fit for a status."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.message, self.remedy = message, remedy


class TokenFile:
    """The token in a file, read anew when the file changes; no path means no token.

    `server` and `setting` are for messages: whom the token is for, and the setting that names the file.
    """

    def __init__(self, path: Path | None, server: str, setting: str) -> None:
        self._path = path
        self._server = server
        self._setting = setting
        self._token: str | None = None
        self._stamp: Stamp | None = None

    def changed(self) -> bool:
        """Whether the file is there, and another than when it was last read."""
        return self._path is not None and stamp_of(self._path) not in (None, self._stamp)

    def read(self) -> str | None:
        """The token; None where no file is named. Raises NoTokenError where there is none in it."""
        if self._path is None:
            return None
        stamp = stamp_of(self._path)
        if self._token is not None and stamp == self._stamp:
            return self._token
        self._stamp = stamp
        try:
            token = self._path.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            token, why = "", f"cannot be read ({getattr(error, 'strerror', None) or 'it is not ASCII'})"
        else:
            why = "holds more than a token: spaces or line breaks" if token else "is empty"
        if _TOKEN.fullmatch(token):
            register_secret(token)
            self._token = token
        elif self._token is None:
            raise NoTokenError(
                f"there is no token for {self._server}: {self._path} {why}",
                f"put the token into that file, or correct {self._setting} in the operator's settings",
            )
        # Else the file is in the middle of being replaced: the old token serves until it changes again.
        return self._token


def stamp_of(path: Path) -> Stamp | None:
    """What tells this content of a file from another; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size
