"""What is known of a surface's client in Keycloak: plain data, for plans and statuses."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from uisurface_operator.keycloak.errors import Failure
from uisurface_operator.keycloak.model import ClientSpec

_KEEPS: Final = (Failure.UNAVAILABLE, Failure.CREDENTIALS_REFUSED, Failure.PERMISSION_DENIED)
"""With these faults nothing is known to have changed in the realm."""


@dataclass(frozen=True, slots=True)
class Target:
    """A client that a surface wants, and the connection (a name in settings) to the realm where it wants it."""

    connection: str
    client: ClientSpec


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a connection or a client, fit for a status. `terminal`: it does not mend by itself."""

    reason: Failure
    message: str
    remedy: str
    since: datetime
    terminal: bool


@dataclass(frozen=True, slots=True)
class Observation:
    """What is known of a client. `exists` is None until it was looked at.

    `drift` names what was not as wanted at the last look; `checked_at` is when that was. With a fault, the rest is what
    was known before. `next_at` is when it is looked at, or the connection probed, again.
    """

    exists: bool | None = None
    drift: tuple[str, ...] = ()
    id: str = ""
    secret: str | None = field(default=None, repr=False)
    fault: Fault | None = None
    checked_at: datetime | None = None
    next_at: datetime | None = None

    @property
    def in_place(self) -> bool:
        """Whether the client is as wanted, as far as is known; a server that is away for a while does not change it."""
        return bool(self.exists) and not self.drift and (self.fault is None or self.fault.reason in _KEEPS)

    def matters(self) -> tuple[object, ...]:
        """What a status shows: where it differs, somebody has to be told."""
        fault = self.fault
        told = (fault.reason, fault.message) if fault else None
        return (self.exists, self.drift, self.id, self.secret, told)
