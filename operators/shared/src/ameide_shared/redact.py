"""Keep secret values out of text that people see: fingerprints in place of values, and scrubbed log tails.

`scrub` is the last line of defence for text that others wrote (termination messages, logs, error answers). What we
write ourselves never holds a secret in the first place.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final
from urllib.parse import quote

REDACTED: Final = "<redacted>"

SHORTEST_SECRET: Final = 4
"""Known values shorter than this are not searched for: they would blot out ordinary words."""

_SENSITIVE: Final = (
    r"(?:pass(?:word|wd|phrase)?|pgpassword|pwd|secret|token|api[-_]?key|access[-_]?key|private[-_]?key|credentials?)"
)

_PATTERNS: Final[tuple[tuple[re.Pattern[str], str], ...]] = (
    # Whole PEM blocks of private keys, also where the tail is cut off.
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), REDACTED),
    # scheme://user:password@host; greedy to the last @, since unencoded passwords may hold one.
    (re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s/:@'\"]*:)[^\s'\"]+(?=@)", re.IGNORECASE), rf"\1{REDACTED}"),
    # Authorization headers, and bare bearer tokens.
    (
        re.compile(r"(\b(?:proxy-)?authorization[\"']?\s*[:=]\s*[\"']?)(?:\w+\s+)?[^\s\"',;]+", re.IGNORECASE),
        rf"\1{REDACTED}",
    ),
    (re.compile(r"(\bbearer\s+)[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE), rf"\1{REDACTED}"),
    # JSON Web Tokens wherever they stand.
    (re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*"), REDACTED),
    # SQL: PASSWORD 'text', IDENTIFIED BY 'text'.
    (
        re.compile(r"(\b(?:password|identified\s+by)\s+)(?:'(?:[^']|'')*'?|\$\$.*?\$\$)", re.IGNORECASE),
        rf"\1{REDACTED}",
    ),
    # key=value, "key": "value", --key value, with quotes or without; the key may have a prefix such as DB_.
    (
        re.compile(
            rf"((?:(?<![A-Za-z0-9])|[A-Za-z0-9]+[-_.]){_SENSITIVE}[\"']?\s*(?:=>|[:=])\s*)"
            r"(?:\"(?:[^\"\\]|\\.)*\"?|'(?:[^'\\]|\\.)*'?|(?!<redacted)[^\s,;&\"')}\]]+)",
            re.IGNORECASE,
        ),
        rf"\1{REDACTED}",
    ),
)


def fingerprint(value: str | bytes) -> str:
    """What stands for a secret value everywhere: `<redacted sha256:` and the first 8 hex digits of its digest `>`."""
    data = value.encode() if isinstance(value, str) else value
    return f"<redacted sha256:{hashlib.sha256(data).hexdigest()[:8]}>"


def scrub(text: str, secrets: Iterable[str] = ()) -> str:
    """Text without known secret values (also percent-encoded ones) and without what looks like a credential.

    Known values become fingerprints, so that two places that held the same one can still be compared.
    """
    text = replaced(text, secrets)
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def replaced(text: str, secrets: Iterable[str]) -> str:
    """Text with a fingerprint in the place of each of these values."""
    # Thousands may be known, and hardly ever is one there.
    held = {secret for secret in secrets if len(secret) >= SHORTEST_SECRET and any(f in text for f in forms(secret))}
    for secret in sorted(held, key=len, reverse=True):  # the longest first: one may contain another
        for form in forms(secret):
            text = text.replace(form, fingerprint(secret))
    return text


@lru_cache(maxsize=8192)
def forms(secret: str) -> tuple[str, ...]:
    """A secret as it stands in text: as it is, and percent-encoded in a URI."""
    return tuple({secret, quote(secret, safe="")})


def tail(text: str, lines: int = 3, limit: int = 400) -> str:
    """The last non-empty lines of a text on one line, joined by ` | `, at most `limit` characters from the end."""
    kept = [line.strip() for line in text.splitlines() if line.strip()][-lines:]
    joined = " | ".join(kept)
    return joined if len(joined) <= limit else "…" + joined[-(limit - 1) :]
