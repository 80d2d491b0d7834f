"""Settings of the UISurface operator: those of every operator, how hosts are routed, and Keycloak."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Annotated, Literal

from pydantic import Field

from ameide_shared.settings import OperatorSettings, Section, Words
from uisurface_operator.keycloak.settings import KeycloakSettings


class GatewaySettings(Section):
    """The Gateway that routes attach to (Gateway API)."""

    name: str = Field("ameide", description="Name of the Gateway.")
    namespace: str = Field("gateway", description="Its namespace; empty for that of each surface.")
    listener: str = Field("", description="Name of the listener (sectionName). Empty: all that take the host.")


class IngressSettings(Section):
    """How Ingresses are made."""

    class_name: str = Field("", description="IngressClass. Empty: the cluster's default.")
    tls_secret: str = Field(
        "", description="Secret with the certificate, {name} filled in. Empty: no TLS section in the Ingress."
    )
    annotations: dict[str, str] = Field(default_factory=dict, description="Annotations, such as cert-manager's.")
    require_address: bool = Field(True, description="Ready only when the controller has written an address.")


class RoutingSettings(Section):
    """How browsers reach surfaces."""

    kind: Literal["HTTPRoute", "Ingress"] = Field("HTTPRoute", description="HTTPRoute (Gateway API) or Ingress.")
    scheme: Literal["https", "http"] = Field("https", description="Scheme of the URLs that browsers use.")
    port: Annotated[int, Field(ge=0, le=65535)] = Field(
        0, description="Port of the URLs that browsers use; 0 for the scheme's own."
    )
    without_policy: Literal["Closed", "Open"] = Field(
        "Closed",
        description="What becomes of surfaces whose users log in at the gateway where the cluster has no SecurityPolicy"
        " (Envoy Gateway). Closed: they have no route; Open: a route without a login, and are not Ready.",
    )
    gateway: GatewaySettings = Field(default_factory=GatewaySettings)
    ingress: IngressSettings = Field(default_factory=IngressSettings)
    hosts: dict[str, Words] = Field(
        default_factory=dict,
        description="Table of globs over hosts to globs over the namespaces that alone may claim them.",
    )

    def permits(self, host: str, namespace: str) -> bool:
        """Whether a namespace may claim a host: where globs bind it, one of them must name the namespace."""
        bound = [places for glob, places in self.hosts.items() if fnmatchcase(host, glob)]
        return not bound or any(fnmatchcase(namespace, place) for places in bound for place in places)

    def is_bound(self, host: str) -> bool:
        """Whether settings bind a host to namespaces; one that is not belongs to the namespace that had it first."""
        return any(fnmatchcase(host, glob) for glob in self.hosts)


class AppSettings(Section):
    """What surfaces' pods have."""

    cache_path: str = Field("/app/.next/cache", description="Directory that is writable for the app's cache.")


class UISurfaceSettings(OperatorSettings):
    """`AMEIDE_*` settings of the UISurface operator."""

    routing: RoutingSettings = Field(default_factory=RoutingSettings)
    keycloak: KeycloakSettings = Field(default_factory=KeycloakSettings)
    app: AppSettings = Field(default_factory=AppSettings)
