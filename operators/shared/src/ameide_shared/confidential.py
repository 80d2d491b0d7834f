"""The secret values of the resource at hand, kept out of whatever is told of it: of its own Secrets, and no other's.

Containers and servers say what they like, passwords too. So the values of a resource's Secrets are learned before
anything that others wrote is looked at, in each process anew. Those of other resources are not searched for: what is
redacted in the words of somebody's container would tell that a guess was right.
"""

from __future__ import annotations

import base64
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any, Final, TypeVar

from ameide_shared.redact import SHORTEST_SECRET, forms, replaced

_LONGEST: Final = 8192
"""Characters of a value that is searched for: no text that is told has more."""
_PAST: Final = 256
"""How many values are remembered that a resource's Secrets no longer hold."""

T = TypeVar("T")


class Confidential:
    """What one resource's Secrets hold, and what they held since this process looks after it."""

    __slots__ = ("_forms", "_held", "_met", "_past", "_values")

    def __init__(self) -> None:
        self._held: dict[tuple[str, str], tuple[Mapping[str, Any], tuple[str, ...]]] = {}  # by namespace and name
        self._met: set[tuple[str, str]] = set()
        self._past: dict[str, None] = {}
        self._values: frozenset[str] = frozenset()
        self._forms: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def begin(self) -> None:
        """Look anew: what was not met since the last time is no longer held, but remembered."""
        gone = self._held.keys() - self._met
        for name in gone:
            self._remember(self._held.pop(name)[1])
        self._met.clear()
        if gone:
            self._renew()

    def learn(self, secret: Mapping[str, Any], keys: Collection[str] | None = None) -> None:
        """Take in the values of a Secret, all of them or those of some keys. An object that was met before is known."""
        metadata = secret["metadata"]
        name = (metadata.get("namespace") or "", metadata["name"])
        self._met.add(name)
        known = self._held.get(name)
        if known is not None and known[0] is secret:
            return
        values = tuple(_values(secret, keys))
        self._held[name] = (secret, values)
        if known is None or known[1] != values:
            self._remember(known[1] if known is not None else ())
            self._renew()

    def add(self, value: str) -> None:
        """Take in a value that is in no Secret that was read."""
        if value not in self._values and len(value) >= SHORTEST_SECRET:
            self._remember((value,))
            self._renew()

    def clean(self, value: T) -> T:
        """Plain data without these values in any text of it, fingerprints in their place; itself where it is clean."""
        if not self._forms:
            return value
        texts: list[str] = []
        _collect((value,), texts)
        together = "\0".join(texts)
        if not any(form in together for form in self._forms):
            return value
        cleaned: T = self._cleaned(value)
        return cleaned

    def _cleaned(self, value: Any) -> Any:
        match value:
            case str():
                return replaced(value, self._values)
            case dict():
                return {key: self._cleaned(item) for key, item in value.items()}
            case list() | tuple():
                return [self._cleaned(item) for item in value]
            case _:
                return value

    def _remember(self, values: tuple[str, ...]) -> None:
        for value in values:
            self._past.pop(value, None)
            self._past[value] = None
        while len(self._past) > _PAST:
            del self._past[next(iter(self._past))]

    def _renew(self) -> None:
        self._values = frozenset([*self._past, *(value for _, values in self._held.values() for value in values)])
        self._forms = tuple(form for value in self._values for form in forms(value))


_AT_HAND: ContextVar[Confidential | None] = ContextVar("confidential", default=None)


def at_hand() -> Confidential | None:
    """What must not be told of the resource that this task works on; None where it works on none."""
    return _AT_HAND.get()


def take_up(confidential: Confidential | None) -> None:
    """This task works on a resource from now on: what it logs, records and reports shows none of these values."""
    _AT_HAND.set(confidential)


def keep(value: str) -> None:
    """A value that belongs to the resource at hand and is in no Secret of its that was read: to come, or elsewhere."""
    confidential = _AT_HAND.get()
    if confidential is not None:
        confidential.add(value)


def cleaned(value: T) -> T:
    """Plain data without the secret values of the resource at hand in any text of it."""
    confidential = _AT_HAND.get()
    return confidential.clean(value) if confidential is not None else value


def quiet(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    """An object without these values in its status, where its controller or its containers speak; itself if clean."""
    status = manifest.get("status")
    if not status:
        return manifest
    clean = cleaned(status)
    return manifest if clean is status else {**manifest, "status": clean}


def quieted(objects: Iterable[Mapping[str, Any]], keys: Collection[str] | None) -> list[Mapping[str, Any]]:
    """Objects that were read for one resource, quiet. The values of the Secrets among them are taken up for it."""
    found, confidential = list(objects), Confidential()
    for each in found:
        if each["kind"] == "Secret":
            confidential.learn(each, keys)
    take_up(confidential)
    return [quiet(each) for each in found]


def _values(secret: Mapping[str, Any], keys: Collection[str] | None) -> Iterator[str]:
    """The values of a Secret that can be searched for."""
    held: Mapping[str, str] = secret.get("data") or {}
    plain: Mapping[str, str] = secret.get("stringData") or {}
    texts = [(key, base64.b64decode(value).decode(errors="replace")) for key, value in held.items()]
    for key, text in (*texts, *plain.items()):
        value = text.strip()  # files end in a newline, and what was read from one is told without it
        if (keys is None or key in keys) and SHORTEST_SECRET <= len(value) <= _LONGEST:
            yield value


def _collect(values: Iterable[Any], texts: list[str]) -> None:
    """The texts within plain data. Each reconcile comes by here, so that scalars cost no call."""
    for value in values:
        kind = type(value)
        if kind is str:
            texts.append(value)
        elif kind is dict:
            _collect(value.values(), texts)
        elif kind is list or kind is tuple:
            _collect(value, texts)
