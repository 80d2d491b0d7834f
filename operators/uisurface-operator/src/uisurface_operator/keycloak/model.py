"""What a surface wants of Keycloak, and what is there: plain data, without I/O.

A client's marker names the cluster (a setting), the namespace and the name of its UISurface, not its uid: a surface
that is deleted while Keycloak is away leaves its client behind, and only a surface of the same place and name takes it
over. Scopes and their roles are shared by the surfaces of a cluster, so theirs names the cluster alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Final, Protocol

OWNER: Final = "ameide.io/owner"
"""The attribute of clients, client scopes and realm roles that says that they are ours."""
ROTATION: Final = "ameide.io/secret-rotation"
"""The attribute of clients that records for which token their secret was last made anew."""

Representation = Mapping[str, Any]
"""An object as the Admin REST API has it in JSON."""


class RuleSettings(Protocol):
    """The part of the settings that decides what is done in a realm."""

    @property
    def cluster_id(self) -> str: ...
    @property
    def client_id_prefix(self) -> str: ...
    @property
    def base_scopes(self) -> tuple[str, ...]: ...
    @property
    def existing_scopes(self) -> tuple[str, ...]: ...
    @property
    def existing_roles(self) -> tuple[str, ...]: ...
    @property
    def retain_roles(self) -> bool: ...


def client_id(settings: RuleSettings, namespace: str, name: str) -> str:
    """The client id of a surface. Neither part can hold a dot, so no two surfaces have the same."""
    return f"{settings.client_id_prefix}{namespace}.{name}"


def owner_marker(settings: RuleSettings, namespace: str, name: str) -> str:
    """The marker of a surface's client."""
    return f"{settings.cluster_id}/{namespace}/{name}"


def may_attach(settings: RuleSettings, scope: str) -> bool:
    """Whether settings let a scope that is not ours be asked for."""
    return any(fnmatchcase(scope, glob) for glob in settings.existing_scopes)


def may_back(settings: RuleSettings, role: str) -> bool:
    """Whether settings let a realm role that is not ours stand behind the scope of its name."""
    return any(fnmatchcase(role, glob) for glob in settings.existing_roles)


@dataclass(frozen=True, slots=True)
class ScopeSpec:
    """A scope that a surface asks for. Users get it in their tokens if they have the realm role of the same name."""

    name: str
    description: str = ""


@dataclass(frozen=True, slots=True)
class ClientSpec:
    """The client of a surface: authorization code flow with PKCE (S256), and nothing else.

    `confidential`: it has a secret. `scopes` are in every token (of users with the role), `optional_scopes` where a
    login asks for them. `audiences` go into the access token's `aud`; none given, the client id does. `rotation`: where
    it differs from what the client records, its secret is made anew; empty never does that.
    """

    client_id: str
    owner: str
    redirect_uris: tuple[str, ...]
    post_logout_redirect_uris: tuple[str, ...] = ()
    web_origins: tuple[str, ...] = ()
    confidential: bool = True
    scopes: tuple[ScopeSpec, ...] = ()
    optional_scopes: tuple[ScopeSpec, ...] = ()
    audiences: tuple[str, ...] = ()
    name: str = ""
    description: str = ""
    home_url: str = ""
    rotation: str = ""


@dataclass(frozen=True, slots=True)
class LiveClient:
    """A client as it is in the realm; its representation holds the secret."""

    id: str
    representation: Representation = field(repr=False)

    @property
    def owner(self) -> str:
        """Its marker; empty if it has none."""
        return str((self.representation.get("attributes") or {}).get(OWNER) or "")

    @property
    def secret(self) -> str | None:
        """Its secret; None for public clients, or if our service account may not see it."""
        found = self.representation.get("secret")
        return str(found) if found and not self.representation.get("publicClient") else None


@dataclass(frozen=True, slots=True)
class LiveScope:
    """A client scope as it is in the realm. `roles`: ids of realm roles in its scope mappings by name; None if they
    were not asked for."""

    id: str
    representation: Representation
    roles: Mapping[str, str] | None = None

    @property
    def owner(self) -> str:
        """Its marker; empty if it has none."""
        return str((self.representation.get("attributes") or {}).get(OWNER) or "")


def role_owner(role: Representation) -> str:
    """The marker of a realm role, whose attributes are lists; empty if it has none."""
    values = (role.get("attributes") or {}).get(OWNER) or ("",)
    return str(values[0])
