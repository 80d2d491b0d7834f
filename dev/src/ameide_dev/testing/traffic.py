"""What operators asked of the API server, by its own audit log."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ameide_dev.platform import Platform

_WRITES = ("create", "update", "patch", "delete", "deletecollection")
_STREAMS = ("watch", "list")


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: `resource` with its subresource, as in `domains/status`."""

    verb: str
    resource: str
    namespace: str
    name: str
    code: int

    @property
    def writes(self) -> bool:
        return self.verb in _WRITES

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}"


def asked(platform: Platform, user: str, after: int, about: str = "") -> list[Asked]:
    """The requests of a user since an audit position, in order; Events, watches, lists and Leases are left out.

    about: only what concerns this namespace: what lies in it, and what bears its name as a prefix elsewhere.
    """
    return [
        one for one in _all(platform, user, after) if one.verb not in _STREAMS and (not about or _concerns(one, about))
    ]


def listed(platform: Platform, user: str, after: int) -> Counter[str]:
    """How often a user listed each kind since an audit position."""
    return Counter(one.resource for one in _all(platform, user, after) if one.verb == "list")


def counted(requests: list[Asked]) -> dict[str, int]:
    """How many requests of each sort, such as {"create deployments": 1}."""
    return dict(Counter(str(one) for one in requests))


def _all(platform: Platform, user: str, after: int) -> Iterator[Asked]:
    for event in platform.control_plane.audit_events(user=user, after=after):
        ref: dict[str, Any] = event.get("objectRef") or {}
        resource = ref.get("resource", event["requestURI"])
        if resource in ("events", "leases"):
            continue
        if ref.get("subresource"):
            resource = f"{resource}/{ref['subresource']}"
        yield Asked(
            event["verb"], resource, ref.get("namespace", ""), ref.get("name", ""), event["responseStatus"]["code"]
        )


def _concerns(one: Asked, namespace: str) -> bool:
    return one.namespace == namespace or one.name == namespace or one.name.startswith(f"{namespace}-")


def settled(platform: Platform, user: str, after: int, *, quiet: float = 6.0, timeout: float = 60.0) -> None:
    """Return once a user has asked for nothing for so many seconds: what status may put off is written by then."""
    deadline = time.monotonic() + timeout
    last, since = -1, time.monotonic()
    while time.monotonic() < since + quiet:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{user} still asks for something after {timeout:.0f} s")
        count = len(asked(platform, user, after))
        if count != last:
            last, since = count, time.monotonic()
        time.sleep(0.3)
