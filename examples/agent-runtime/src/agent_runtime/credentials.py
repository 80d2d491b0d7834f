"""Reads credentials where the grants say they are, each time anew, and keeps their values out of every text."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from agent_runtime.grants import Grants

_SHORTEST: Final = 4
_PAIRS: Final = (("client-id", "client-secret"), ("username", "password"))
_PRIVATE: Final = (
    (re.compile(r"\b[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+"), "<email>"),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*"), "<token>"),
    (re.compile(r"(\bbearer\s+)\S{8,}", re.IGNORECASE), r"\1<token>"),
    (
        re.compile(
            r"(\b[\w-]*(?:password|passwd|passphrase|secret|token|api[_-]?key|pin)\b[\"']?(?:\s*[:=]|\s+is)\s*)"
            r"(?:\"[^\"]*\"?|'[^']*'?|[^\s,;]+)",
            re.IGNORECASE,
        ),
        r"\1<secret>",
    ),
    # Keys of an API; then numbers of accounts, cards and telephones, however they are grouped.
    (re.compile(r"\b(?=[A-Za-z_-]*\d)(?=[0-9_-]*[A-Za-z])[A-Za-z0-9_-]{24,}\b"), "<token>"),
    (re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b"), "<number>"),
    (re.compile(r"\+?\d(?:[ ()./-]{0,2}\d){6,}"), "<number>"),
)


class CredentialError(Exception):
    """A credential cannot be used; the message names it and its file or variable, never a value."""


class Credentials:
    """Where values are read, and which have been: those are what `scrub` removes."""

    def __init__(self, root: str = "", env: Mapping[str, str] = os.environ) -> None:
        """`root`: what the files' paths lie below, where the container has no file system of its own."""
        self._root = root
        self._env = env
        self._seen: set[str] = set()

    def header(self, grants: Grants, names: Iterable[str]) -> dict[str, str]:
        """The Authorization header that credentials amount to; none where there are none. Raises CredentialError.

        A single value is a bearer token. client-id with client-secret, or username with password, are sent as Basic.
        """
        wanted = tuple(names)
        if not wanted:
            return {}
        if len(wanted) > 1:
            raise CredentialError(f"{', '.join(wanted)} are to go with one call, and this runtime can send only one")
        values = self._values(grants, wanted[0])
        if len(values) == 1:
            return {"authorization": f"Bearer {next(iter(values.values()))}"}
        for user, password in _PAIRS:
            if values.keys() == {user, password}:
                pair = base64.b64encode(f"{values[user]}:{values[password]}".encode()).decode()
                self._seen.add(pair)
                return {"authorization": f"Basic {pair}"}
        raise CredentialError(
            f"credential {wanted[0]} has the values {', '.join(sorted(values))}; this runtime can send a single value, "
            + " or ".join(" with ".join(pair) for pair in _PAIRS)
        )

    def scrub(self, text: str) -> str:
        """The text without any value that has been read so far."""
        for value in sorted(self._seen, key=len, reverse=True):  # the longest first: one may contain another
            if value in text:
                text = text.replace(value, f"<redacted sha256:{hashlib.sha256(value.encode()).hexdigest()[:8]}>")
        return text

    def _values(self, grants: Grants, name: str) -> dict[str, str]:
        if name not in grants.credentials:
            raise CredentialError(f"credential {name} is not among the credentials that are granted")
        found = {}
        for value in grants.credentials[name]:
            where = self._root + value.file if value.file else f"${value.env}"
            try:
                text = Path(where).read_text("utf-8").strip() if value.file else self._env.get(value.env, "").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise CredentialError(
                    f"credential {name}: its value {value.key} cannot be read from {where}: "
                    f"{getattr(error, 'strerror', None) or 'it is no text'}"
                ) from None
            if not text:
                raise CredentialError(f"credential {name}: its value {value.key} is empty in {where}")
            if not text.isprintable() or not text.isascii():
                raise CredentialError(f"credential {name}: its value {value.key} in {where} fits no HTTP header")
            # A client's id or a user's name is no secret, and would only make texts unreadable.
            if len(text) >= _SHORTEST and value.key not in ("client-id", "username"):
                self._seen.add(text)
            found[value.key] = text
        return found


def private_parts_removed(text: str) -> str:
    """A prompt without what looks like a person's or a system's own: addresses, numbers, tokens, passwords."""
    for pattern, replacement in _PRIVATE:
        text = pattern.sub(replacement, text)
    return text
