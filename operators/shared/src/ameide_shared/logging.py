"""Logs: JSON for programs, text for terminals, with the object at hand, and without secrets.

`configure` sets up the root logger once. `bind` adds fields (kind, namespace, name, generation, reconcile id) to every
record of the current task. Secret values of the resource at hand, the operator's own credentials, and what looks like
one are replaced before anything is written.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import IO, Any, Literal

from ameide_shared.confidential import at_hand, cleaned, take_up
from ameide_shared.redact import scrub

FIELDS: ContextVar[dict[str, Any]] = ContextVar("log_fields")
"""Fields of the current task's records; set by `bind`."""

# What these say is of use when debugging them, and noise, or one line per request, otherwise.
_QUIET = {
    "stamina": logging.ERROR,
    "kopf": logging.WARNING,
    "kopf.activities.authentication": logging.ERROR,  # warns of each restart of the watches
    "kopf._core.reactor.observation": logging.ERROR,  # warns of optional APIs that are absent
    "aiohttp.access": logging.WARNING,
    "asyncio": logging.WARNING,
    "httpx": logging.WARNING,
    "httpcore": logging.WARNING,
}
_RECORD_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_SECRETS_KEPT = 4096
_SPARSE_SECONDS = 30.0

_secrets: dict[str, None] = {}


def configure(
    level: str = "info", style: Literal["auto", "json", "text"] = "auto", stream: IO[str] | None = None
) -> None:
    """Send all logs to one stream (stderr unless given), from a level up. Calling it again replaces the set-up."""
    target = stream if stream is not None else sys.stderr
    as_json = style == "json" or (style == "auto" and not target.isatty())
    handler = logging.StreamHandler(target)
    handler.setFormatter(JsonFormatter() if as_json else TextFormatter())
    handler.addFilter(Sparse())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name, least in _QUIET.items():
        logging.getLogger(name).setLevel(logging.NOTSET if root.level <= logging.DEBUG else least)
    logging.captureWarnings(True)


@contextmanager
def bind(**fields: Any) -> Iterator[None]:
    """Add fields to every record that is logged within, in this task and in tasks it starts.

    What is taken up within, see `confidential`, is put down again with it.
    """
    token, before = FIELDS.set(FIELDS.get({}) | fields), at_hand()
    try:
        yield
    finally:
        FIELDS.reset(token)
        take_up(before)


def add_field(name: str, value: Any) -> None:
    """Add a field that became known within a `bind`; it goes when that ends."""
    FIELDS.set(FIELDS.get({}) | {name: value})


def register_secret(secret: str) -> None:
    """Remember a credential of the operator's own: a fingerprint stands for it in every log. The oldest go first.

    Values of a resource's Secrets are no matter of this list: see `confidential`.
    """
    if len(secret) < 4:  # would blot out ordinary words
        return
    _secrets.pop(secret, None)
    _secrets[secret] = None
    while len(_secrets) > _SECRETS_KEPT:
        del _secrets[next(iter(_secrets))]


def known_secrets() -> Collection[str]:
    """The operator's credentials and the values of the resource at hand: to be kept out of whatever others wrote."""
    return {*_secrets, *(at_hand() or ())}


class Sparse(logging.Filter):
    """Lets each of kopf's complaints through once in a while: it has one for each try of each request."""

    def __init__(self) -> None:
        super().__init__()
        self._next: dict[tuple[str, int], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING or not record.name.startswith("kopf."):
            return True
        place = (record.pathname, record.lineno)
        if record.created < self._next.get(place, 0.0):
            return False
        self._next[place] = record.created + _SPARSE_SECONDS
        return True


class JsonFormatter(logging.Formatter):
    """One JSON object per line: time, level, logger, message, then the bound and extra fields, then the error."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields_of(record),
        }
        if record.exc_info and record.exc_info[1] is not None:
            entry["error"] = f"{type(record.exc_info[1]).__name__}: {record.exc_info[1]}"
            entry["traceback"] = "".join(traceback.format_exception(record.exc_info[1]))
        return json.dumps(_clean(entry), ensure_ascii=False, default=str)


class TextFormatter(logging.Formatter):
    """A line for people: time of day, level, object, message, other fields; then the traceback."""

    def format(self, record: logging.LogRecord) -> str:
        fields = _fields_of(record)
        parts = [datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S"), f"{record.levelname:<7}"]
        name = "/".join(str(fields.pop(key)) for key in ("namespace", "name") if fields.get(key))
        kind = str(fields.pop("kind", ""))
        if name or kind:
            parts.append(f"{kind} {name}".strip() + ":")
        parts.append(record.getMessage())
        parts += [f"{key}={value}" for key, value in fields.items() if key not in ("reconcile", "generation")]
        text = " ".join(parts)
        if record.exc_info and record.exc_info[1] is not None:
            text += "\n" + "".join(traceback.format_exception(record.exc_info[1])).rstrip()
        return _scrubbed(text)


def _fields_of(record: logging.LogRecord) -> dict[str, Any]:
    extra = {name: value for name, value in vars(record).items() if name not in _RECORD_ATTRIBUTES}
    return FIELDS.get({}) | {name: value for name, value in extra.items() if not name.startswith("_")}


def _scrubbed(text: str) -> str:
    return scrub(cleaned(text), _secrets)


def _clean(value: Any) -> Any:
    """Scrub every text within a value."""
    match value:
        case str():
            return _scrubbed(value)
        case dict():
            return {key: _clean(item) for key, item in value.items()}
        case list() | tuple():
            return [_clean(item) for item in value]
        case bool() | int() | float() | None:
            return value
        case _:
            return _scrubbed(str(value))
