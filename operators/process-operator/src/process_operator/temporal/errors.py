# ruff: noqa: N818 - these are the names of states that a server tells of, like NotFound
"""What can go wrong with Temporal, as few kinds as callers tell apart.

TemporalError
├── TemporalUnreachable   no connection, or no answer in time: worth another try, workers are left alone
├── TemporalBusy          it answered that it cannot do it now: worth another try
├── TemporalDenied        our credentials, or none, do not suffice, or their files cannot be used
├── NamespaceNotFound     there is no such namespace
├── TemporalRejected      it will never do what was asked: a wrong argument, or a server that is too old
└── ConnectionUnknown     the operator's settings have no connection of that name
"""

from __future__ import annotations

from typing import ClassVar


class TemporalError(Exception):
    """Temporal was asked in vain. `remedy` says what to do about it; `transient` whether asking again may help."""

    transient: ClassVar[bool] = False

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy


class TemporalUnreachable(TemporalError):
    """No connection, or no answer in time."""

    transient = True


class TemporalBusy(TemporalError):
    """It answered, but cannot do it now: a limit is reached, or one of its parts is failing."""

    transient = True


class TemporalDenied(TemporalError):
    """Our credentials do not suffice, or their files cannot be used."""


class NamespaceNotFound(TemporalError):
    """There is no such namespace."""


class TemporalRejected(TemporalError):
    """Temporal will never do what was asked."""


class ConnectionUnknown(TemporalError):
    """The operator's settings have no connection of that name."""
