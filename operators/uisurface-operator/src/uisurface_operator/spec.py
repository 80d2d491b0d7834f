"""The UISurface: its typed spec and status, and every rule a manifest must meet. The CRD is generated from here."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from ameide_shared.spec import (
    CommonSpec,
    CommonStatus,
    EnvVar,
    Lenient,
    ListType,
    Model,
    ResourceModel,
    Rollout,
    StatusModel,
    list_map,
    matching,
    rule,
    transition_rule,
)
from ameide_shared.spec.common import Security
from ameide_shared.spec.references import Reference
from ameide_shared.spec.rules import every_key, not_matching
from ameide_shared.spec.status import Endpoints
from ameide_shared.spec.types import ProfileName

RESERVED_ENV: Final = "PORT|HOSTNAME|OIDC_[A-Z_]+"
"""Names that the operator sets on a surface's container, besides those of every kind; a regular expression."""
_RESERVED_ENV: Final = re.compile(RESERVED_ENV)

Host = Annotated[
    str,
    Field(min_length=1, max_length=253),
    matching(
        r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)+",
        "is not a full host name",
        "write it in lowercase as in app.ameide.com, without scheme, port, path or '*'",
    ),
    not_matching(
        r"[0-9.]+",
        "is an address",
        "write the name of a host as in app.ameide.com",
    ),
]

PathPrefix = Annotated[
    str,
    Field(min_length=1, max_length=256),
    matching(
        r"/|(/[A-Za-z0-9_~][-A-Za-z0-9_.~]*)+",
        "is not a path that a surface can be under",
        "write / or /segment/segment, segments of letters, digits and -_.~, without a trailing '/'",
    ),
]

Scope = Annotated[
    str,
    Field(min_length=1, max_length=128),
    matching(
        "[A-Za-z0-9_][-A-Za-z0-9_.:/]*",
        "is not the name of a scope",
        "use letters, digits and -_.:/ as in orders:write",
    ),
    not_matching(
        "openid|offline_access",
        "is a scope of the protocol itself",
        "leave openid out, it is always asked for; offline access is not given to surfaces",
    ),
]

ConnectionName = Annotated[
    str,
    Field(min_length=1, max_length=63),
    matching(
        "[a-z0-9]([-a-z0-9]*[a-z0-9])?",
        "is not the name of a connection",
        "use the name of a Keycloak connection in the operator's settings",
    ),
]

CallbackPath = Annotated[
    str,
    Field(min_length=2, max_length=256),
    matching(
        r"(/[A-Za-z0-9_~][-A-Za-z0-9_.~]*)+",
        "is not a path",
        "write /segment/segment, segments of letters, digits and -_.~, without a trailing '/'",
    ),
]

FlagText = Annotated[str, Field(max_length=1024)]
_FLAG: Final = "[A-Za-z][A-Za-z0-9_.-]{0,62}"
_FLAG_CHECK: Final = every_key(
    _FLAG, "is not the name of a flag", "use letters, digits and -_., at most 63, beginning with a letter"
)


class UISurfaceEnvVar(EnvVar):
    """An environment variable of the app."""


@rule(
    UISurfaceEnvVar,
    cel=f"!self.name.matches('^({RESERVED_ENV})$')",
    message="this environment variable says where the app listens and how users log in, and is set by the operator:"
    " PORT, HOSTNAME and OIDC_* are reserved",
    remedy="rename the variable",
    field=".name",
    reason="FieldValueForbidden",
)
def _env_is_not_ours(variable: UISurfaceEnvVar) -> bool:
    return _RESERVED_ENV.fullmatch(variable.name) is None


class Auth(Model):
    """Who may use the surface, and how they log in."""

    mode: Literal["Gateway", "Application"] | None = Field(
        default=None,
        description="Gateway: the gateway logs users in and lets no request without the scopes through; Application:"
        " the app does it itself. Default: Gateway with a Gateway API route, Application with an Ingress.",
    )
    public: bool = Field(default=False, description="true: everybody may use it, without a login.")
    scopes: Annotated[tuple[Scope, ...], Lenient, Field(max_length=32), ListType("set")] = Field(
        default=(), description="Scopes that a user must have. Each of ours goes with the realm role of its name."
    )
    connection: ConnectionName = Field(
        default="default", description="Keycloak realm, by its name in the operator's settings."
    )
    callback_path: CallbackPath = Field(
        default="/auth/callback",
        description="With mode Application: where the app takes the login's answer, below pathPrefix.",
    )


@rule(
    Auth,
    cel="!self.public || (!has(self.mode) && (!has(self.scopes) || self.scopes.size() == 0))",
    message="a public surface has neither a mode nor scopes, as nobody logs in",
    remedy="remove mode and scopes, or public",
    field=".public",
)
def _public_is_alone(auth: Auth) -> bool:
    return not auth.public or (auth.mode is None and not auth.scopes)


class Dependencies(Model):
    """What the app calls; its SDK configuration has their addresses. Each is a name, or namespace/name."""

    domains: Annotated[tuple[Reference, ...], Lenient, Field(max_length=64), ListType("set")] = Field(
        default=(), description="Domains."
    )
    processes: Annotated[tuple[Reference, ...], Lenient, Field(max_length=64), ListType("set")] = Field(
        default=(), description="Processes."
    )
    agents: Annotated[tuple[Reference, ...], Lenient, Field(max_length=64), ListType("set")] = Field(
        default=(), description="Agents."
    )


class Features(Model):
    """Feature flags, as a file in the pods."""

    flags: Annotated[dict[str, bool], Field(max_length=256), _FLAG_CHECK] = Field(
        default={}, description="Flags that are on or off."
    )
    variants: Annotated[dict[str, FlagText], Field(max_length=256), _FLAG_CHECK] = Field(
        default={}, description="Flags that are one of several texts."
    )
    delivery: Literal["Roll", "Live"] = Field(
        default="Roll",
        description="Roll: a change starts new pods; Live: the file changes under running pods, which read it anew.",
    )


class UISurfaceSecurity(Security):
    """Identity of the pods, and what they may reach."""

    network_profile: ProfileName = Field(
        default="frontend",
        description="Table of network peers: backend, frontend, isolated, open, or one from the operator's settings.",
    )


class UISurfaceSpec(CommonSpec):
    """What a UISurface shall be: a web app of an image, at a host, with a login, flags and what it calls."""

    env: Annotated[tuple[UISurfaceEnvVar, ...], Lenient, Field(max_length=128), list_map("name")] = Field(
        default=(), description="More environment variables. Names that the operator sets are refused."
    )
    host: Host = Field(description="Host name by which browsers reach it.")
    path_prefix: PathPrefix = Field(default="/", description="Path that it is under; the app sees it in full.")
    auth: Auth = Field(default=Auth(), description="Who may use it, and how they log in.")
    dependencies: Dependencies = Field(default=Dependencies(), description="What the app calls.")
    features: Features = Field(default=Features(), description="Feature flags.")
    security: UISurfaceSecurity = Field(default=UISurfaceSecurity(), description="Identity and network of the pods.")
    rollout: Rollout = Field(default=Rollout(), description="How a new revision replaces the current one.")


@transition_rule(
    UISurfaceSpec,
    cel="(has(self.auth) && has(self.auth.connection) ? self.auth.connection : 'default')"
    " == (has(oldSelf.auth) && has(oldSelf.auth.connection) ? oldSelf.auth.connection : 'default')",
    message="auth.connection cannot change: the client would be left behind in the old realm",
    remedy="set it back; to move to another realm, delete the UISurface and create it anew",
    field=".auth",
)
def _connection_is_fixed(spec: UISurfaceSpec, old: UISurfaceSpec) -> bool:
    return spec.auth.connection == old.auth.connection


class UISurfaceEndpoints(Endpoints):
    """Where it is reached."""

    url: str | None = Field(default=None, description="URL for browsers.")


class ClaimStatus(StatusModel):
    """The host and path that it holds; who holds them keeps them."""

    host: str | None = Field(default=None, description="Host.")
    path_prefix: str | None = Field(default=None, description="Path.")


class AuthStatus(StatusModel):
    """How users log in."""

    mode: str | None = Field(default=None, description="Gateway, Application or Public.")
    connection: str | None = Field(default=None, description="Keycloak connection in which there is a client.")
    client_id: str | None = Field(default=None, description="Id of that client.")
    scopes: Annotated[tuple[str, ...], ListType("atomic")] | None = Field(
        default=None, description="Scopes that a user must have."
    )


class UISurfaceStatus(CommonStatus):
    """What the operator knows of a UISurface."""

    endpoints: UISurfaceEndpoints | None = Field(default=None, description="Where it is reached.")
    claim: ClaimStatus | None = Field(default=None, description="Host and path that it holds.")
    auth: AuthStatus | None = Field(default=None, description="How users log in.")


class UISurface(ResourceModel):
    """A web app at a host: route, login, Keycloak client, feature flags, and what it calls."""

    PLURAL: ClassVar[str] = "uisurfaces"
    COLUMNS: ClassVar[tuple[tuple[str, str], ...]] = (
        ("Host", ".spec.host"),
        ("Auth", ".status.auth.mode"),
    )
    STATUS: ClassVar[type[Model]] = UISurfaceStatus

    kind: Literal["UISurface"] = Field(description="Kind of the object: UISurface.")
    spec: UISurfaceSpec = Field(description="What the UISurface shall be.")
