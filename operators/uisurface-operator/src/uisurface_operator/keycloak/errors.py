# ruff: noqa: N818 - the names are those of the reasons that conditions carry
"""What goes wrong with Keycloak.

Errors: KeycloakError
        ├── KeycloakUnavailable   it cannot be reached, or cannot answer now: worth another try
        ├── RealmNotFound         it has no such realm
        ├── CredentialsRefused    our service account's id or secret does not suffice
        ├── PermissionDenied      our service account lacks a role
        ├── NotOurs               a client, scope or role of that name belongs to somebody else
        └── ScopeNotFound         a scope that settings name is not in the realm

The first three concern the whole connection, the others one client.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar


class Failure(StrEnum):
    """Why something could not be done; as in status."""

    UNAVAILABLE = "KeycloakUnavailable"
    REALM_NOT_FOUND = "RealmNotFound"
    CREDENTIALS_REFUSED = "CredentialsRefused"
    PERMISSION_DENIED = "PermissionDenied"
    NOT_OURS = "NotOurs"
    SCOPE_NOT_FOUND = "ScopeNotFound"


class KeycloakError(Exception):
    """Keycloak could not be asked, or refused; `message` and `remedy` are fit for a status and hold no secrets.

    `for_all`: whatever else the connection is used for fares no better. `terminal`: it does not mend by itself.
    """

    reason: ClassVar[Failure]
    for_all: ClassVar[bool] = False
    terminal: ClassVar[bool] = True

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


class KeycloakUnavailable(KeycloakError):
    """The server did not answer as it should, and may do so later."""

    reason = Failure.UNAVAILABLE
    for_all = True
    terminal = False


class RealmNotFound(KeycloakError):
    """The realm that settings name does not exist."""

    reason = Failure.REALM_NOT_FOUND
    for_all = True


class CredentialsRefused(KeycloakError):
    """The server does not accept the service account's credentials, or there are none to send."""

    reason = Failure.CREDENTIALS_REFUSED
    for_all = True


class PermissionDenied(KeycloakError):
    """The service account may not do what it has to."""

    reason = Failure.PERMISSION_DENIED


class NotOurs(KeycloakError):
    """Something of the wanted name exists without our marker; it is not touched. `owner`: its marker, if any."""

    reason = Failure.NOT_OURS

    def __init__(self, message: str, remedy: str, owner: str = "") -> None:
        super().__init__(message, remedy)
        self.owner = owner


class ScopeNotFound(KeycloakError):
    """A scope that is not ours to make does not exist."""

    reason = Failure.SCOPE_NOT_FOUND
