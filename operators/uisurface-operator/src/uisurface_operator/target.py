"""Where a surface is, how its users log in, and the client that this takes in Keycloak. Pure."""

from __future__ import annotations

from hashlib import sha256
from typing import Final

from ameide_shared.vocabulary import ANNOTATION_ROTATE_SECRET
from uisurface_operator.keycloak.model import ClientSpec, ScopeSpec, client_id, owner_marker
from uisurface_operator.keycloak.observation import Target
from uisurface_operator.settings import UISurfaceSettings
from uisurface_operator.spec import UISurface

GATEWAY_CALLBACK: Final = "/oauth2/callback"
GATEWAY_LOGOUT: Final = "/oauth2/logout"
PUBLIC: Final = "Public"
GATEWAY: Final = "Gateway"
APPLICATION: Final = "Application"


def origin(surface: UISurface, settings: UISurfaceSettings) -> str:
    """Scheme, host and port, as browsers name the origin."""
    port = f":{settings.routing.port}" if settings.routing.port else ""
    return f"{settings.routing.scheme}://{surface.spec.host}{port}"


def base_path(surface: UISurface) -> str:
    """The path that the surface is under, empty for the root."""
    return surface.spec.path_prefix.rstrip("/")


def base_url(surface: UISurface, settings: UISurfaceSettings) -> str:
    """The URL that everything of the surface begins with, without a trailing slash."""
    return origin(surface, settings) + base_path(surface)


def mode(surface: UISurface, settings: UISurfaceSettings) -> str:
    """How users log in: Gateway, Application or Public."""
    auth = surface.spec.auth
    if auth.public:
        return PUBLIC
    return auth.mode or (GATEWAY if settings.routing.kind == "HTTPRoute" else APPLICATION)


def callback_url(surface: UISurface, settings: UISurfaceSettings) -> str:
    """Where Keycloak sends users back to after the login."""
    gateway = mode(surface, settings) == GATEWAY
    return base_url(surface, settings) + (GATEWAY_CALLBACK if gateway else surface.spec.auth.callback_path)


def target_of(surface: UISurface, settings: UISurfaceSettings) -> Target:
    """The client that the surface has in Keycloak, and the connection to where."""
    namespace, name = surface.namespace, surface.name
    base = base_url(surface, settings)
    client = ClientSpec(
        client_id=client_id(settings.keycloak, namespace, name),
        owner=owner_marker(settings.keycloak, namespace, name),
        redirect_uris=(callback_url(surface, settings),),
        post_logout_redirect_uris=(f"{base}/",),
        web_origins=(origin(surface, settings),),
        scopes=tuple(ScopeSpec(scope) for scope in surface.spec.auth.scopes),
        name=f"{namespace}/{name}",
        home_url=f"{base}/",
        rotation=_rotation(surface),
    )
    return Target(surface.spec.auth.connection, client)


def _rotation(surface: UISurface) -> str:
    """What the client records of the wish for a new secret: no more of what the author wrote than tells it apart."""
    wish = surface.annotations.get(ANNOTATION_ROTATE_SECRET, "")
    return sha256(wish.encode()).hexdigest()[:16] if wish else ""
