"""What every part of the plan is given: the parsed resource, what was observed, the settings and the time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ameide_shared.builders.identity import Primitive, is_owned
from ameide_shared.compile.dependencies import Reference, references_of
from ameide_shared.kube.resources import AGENT, DOMAIN, PROCESS, Manifest, ResourceType
from uisurface_operator import target
from uisurface_operator.keycloak.observation import Observation, Target
from uisurface_operator.keycloak.settings import KeycloakConnectionSettings
from uisurface_operator.observed import Observed
from uisurface_operator.settings import UISurfaceSettings
from uisurface_operator.spec import UISurface, UISurfaceSpec


@dataclass(frozen=True, slots=True)
class Context:
    """The arguments of a plan, together. `manifest` is the resource as the API server has it."""

    manifest: Manifest
    surface: UISurface
    primitive: Primitive
    observed: Observed
    settings: UISurfaceSettings
    now: datetime

    @property
    def spec(self) -> UISurfaceSpec:
        return self.surface.spec

    @property
    def mode(self) -> str:
        """How users log in: Gateway, Application or Public."""
        return target.mode(self.surface, self.settings)

    @property
    def target(self) -> Target:
        """The client in Keycloak."""
        return target.target_of(self.surface, self.settings)

    @property
    def client(self) -> Observation:
        """What is known of that client."""
        return self.observed.client

    @property
    def connection(self) -> KeycloakConnectionSettings | None:
        """The connection that the spec names; None if settings have none of that name for the namespace."""
        found = self.settings.keycloak.connection(self.spec.auth.connection)
        return found if found is not None and found.permits(self.primitive.namespace) else None

    @property
    def url(self) -> str:
        """The URL that browsers begin with."""
        return target.base_url(self.surface, self.settings) + "/"

    @property
    def secret_name(self) -> str:
        """The Secret with the client's secret."""
        return f"{self.primitive.child_name}-oidc"


@dataclass(frozen=True, slots=True)
class Unread:
    """The same of a resource whose spec cannot be read."""

    manifest: Manifest
    primitive: Primitive
    observed: Observed
    settings: UISurfaceSettings
    now: datetime


def is_there(ctx: Context | Unread, resource: ResourceType) -> bool:
    """Whether the surface has its own object of a type, named as it is, and is not losing it."""
    live = ctx.observed.objects.get(resource, ctx.primitive.namespace, ctx.primitive.child_name)
    return live is not None and is_owned(ctx.primitive, live) and not live["metadata"].get("deletionTimestamp")


def references(spec: UISurfaceSpec, namespace: str) -> list[Reference]:
    """What spec.dependencies refers to, in order."""
    wanted = spec.dependencies
    groups = ((DOMAIN, "domains", wanted.domains), (PROCESS, "processes", wanted.processes))
    return references_of((*groups, (AGENT, "agents", wanted.agents)), namespace)
