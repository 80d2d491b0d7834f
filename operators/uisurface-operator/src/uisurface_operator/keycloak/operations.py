"""What can be done to a client or its scopes, one request each (but for those that make a role): plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from uisurface_operator.keycloak.model import ScopeSpec


@dataclass(frozen=True, slots=True)
class CreateClient:
    """Make the client, with scopes and mappers; whoever does it adds the secret."""

    body: Mapping[str, Any]
    fields: tuple[str, ...] = ("client",)


@dataclass(frozen=True, slots=True)
class UpdateClient:
    """Write fields of the client; others stay as they are."""

    body: Mapping[str, Any]
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RotateSecret:
    """Have a new secret made."""

    fields: tuple[str, ...] = ("secret",)


@dataclass(frozen=True, slots=True)
class AttachScope:
    """Add a scope to the client, by default or on request."""

    name: str
    optional: bool

    @property
    def fields(self) -> tuple[str, ...]:
        return (f"scope {self.name}",)


@dataclass(frozen=True, slots=True)
class DetachScope:
    """Take a scope away from the client."""

    name: str
    optional: bool

    @property
    def fields(self) -> tuple[str, ...]:
        return (f"scope {self.name}",)


@dataclass(frozen=True, slots=True)
class WriteMapper:
    """Add a protocol mapper to the client, or (with an id) change it."""

    body: Mapping[str, Any]
    id: str = ""

    @property
    def fields(self) -> tuple[str, ...]:
        return (f"mapper {self.body['name']}",)


@dataclass(frozen=True, slots=True)
class RemoveMapper:
    """Remove a protocol mapper from the client."""

    id: str
    name: str

    @property
    def fields(self) -> tuple[str, ...]:
        return (f"mapper {self.name}",)


@dataclass(frozen=True, slots=True)
class CreateScope:
    """Make a client scope with its role; it must not be attached to a client before the role is mapped."""

    scope: ScopeSpec
    body: Mapping[str, Any]

    @property
    def fields(self) -> tuple[str, ...]:
        return (f"scope {self.scope.name}",)


@dataclass(frozen=True, slots=True)
class UpdateScope:
    """Write fields of a client scope."""

    id: str
    body: Mapping[str, Any]
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MapRole:
    """Map a scope's realm role to it, making the role if need be."""

    id: str
    scope: ScopeSpec

    @property
    def fields(self) -> tuple[str, ...]:
        return (f"role of scope {self.scope.name}",)


@dataclass(frozen=True, slots=True)
class UnmapRoles:
    """Remove realm roles from a scope's mappings: whoever has one of them would get the scope. `roles`: name to id."""

    id: str
    scope: str
    roles: Mapping[str, str] = field(default_factory=dict)

    @property
    def fields(self) -> tuple[str, ...]:
        return (f"roles of scope {self.scope}",)


ClientOperation = CreateClient | UpdateClient | RotateSecret | AttachScope | DetachScope | WriteMapper | RemoveMapper
ScopeOperation = CreateScope | UpdateScope | MapRole | UnmapRoles
