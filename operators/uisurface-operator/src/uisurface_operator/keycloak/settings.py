"""How the operator reaches Keycloak realms, by the names that resources use for them."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from urllib.parse import quote, urlsplit

from pydantic import ConfigDict, Field, field_validator
from pydantic.alias_generators import to_camel

from ameide_shared.settings import Seconds, Section, Words

DEFAULT_CONNECTION = "default"


class KeycloakConnectionSettings(Section):
    """One realm, and the service account by which the operator works there.

    The service account's client is confidential, and has of the client `realm-management` the roles `manage-clients`
    (clients and client scopes) and `manage-realm` (realm roles behind scopes), and no others.
    """

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    url: str = Field(description="Base URL of the server, such as https://login.ameide.com.")
    realm: str = Field(min_length=1, description="The realm in which clients and scopes are made.")
    client_id: str = Field(min_length=1, description="Client id of the operator's own service account.")
    client_secret_file: Path = Field(description="File with that client's secret; read anew for each token.")
    auth_realm: str = Field("", description="Realm that the service account is in; the same realm where empty.")
    public_url: str = Field("", description="Base URL that browsers and tokens know the server by; url where empty.")
    ca_file: Path | None = Field(None, description="Certificate authorities (PEM) that the server is checked against.")
    timeout: Seconds = Field(10.0, description="Seconds that a request may take, its retries included.")
    namespaces: Words = Field((), description="Globs over the namespaces that may use the connection; empty for all.")

    @field_validator("url", "public_url")
    @classmethod
    def _is_base_url(cls, value: str) -> str:
        if not value:
            return value
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
            raise ValueError("expected http:// or https:// and a host")
        if parts.username is not None or parts.password is not None:
            raise ValueError("must hold no credentials: name the secret's file in clientSecretFile")
        if "?" in value or "#" in value:
            raise ValueError("must have neither query nor fragment")
        return value.rstrip("/")

    @field_validator("url")
    @classmethod
    def _is_set(cls, value: str) -> str:
        if not value:
            raise ValueError("is required, such as https://login.ameide.com")
        return value

    @property
    def issuer(self) -> str:
        """What the realm's tokens name as their issuer."""
        return f"{self.public_url or self.url}/realms/{quote(self.realm, safe='')}"

    @property
    def login_url(self) -> str:
        """Base URL of the realm's OpenID Connect endpoints as browsers reach them."""
        return f"{self.issuer}/protocol/openid-connect"

    @property
    def backchannel_url(self) -> str:
        """Base URL of the same endpoints as the operator reaches them: for what is in the cluster too."""
        return f"{self.url}/realms/{quote(self.realm, safe='')}/protocol/openid-connect"

    def permits(self, namespace: str) -> bool:
        """Whether resources in a namespace may use the connection."""
        return not self.namespaces or any(fnmatchcase(namespace, glob) for glob in self.namespaces)


class KeycloakSettings(Section):
    """Keycloak, where surfaces have their logins."""

    connections: dict[str, KeycloakConnectionSettings] = Field(
        default_factory=dict, description="Table of realms by the name that spec.auth.connection uses; see the docs."
    )
    cluster_id: str = Field(
        "default",
        min_length=1,
        pattern=r"^[A-Za-z0-9._-]+$",
        description="What clients and scopes are marked with as ours; unique among clusters that share a realm.",
    )
    client_id_prefix: str = Field(
        "", pattern=r"^[A-Za-z0-9._-]*$", description="What client ids start with, before <namespace>.<name>."
    )
    base_scopes: Words = Field(
        ("basic", "acr", "profile", "email", "roles", "web-origins"),
        description="Client scopes of the realm that every client has by default; they must exist.",
    )
    existing_scopes: Words = Field(
        (), description="Globs over client scopes that are not ours and may be asked for as they are."
    )
    existing_roles: Words = Field((), description="Globs over realm roles that are not ours and may back our scopes.")
    retain_roles: bool = Field(False, description="Keep a scope's realm role, and who has it, when the scope goes.")
    check_seconds: float = Field(60.0, ge=1, description="Seconds between two looks at each client, to repair drift.")

    def connection(self, name: str = DEFAULT_CONNECTION) -> KeycloakConnectionSettings | None:
        """A connection by name; None if settings have none of that name."""
        return self.connections.get(name)
