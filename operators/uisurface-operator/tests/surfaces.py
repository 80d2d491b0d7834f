"""UISurfaces as the tests on the local platform write them, the operator that they are for, and what is around it."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ameide_dev.client import KubeClient
from ameide_dev.keycloak_realm import Realm
from ameide_dev.testing.resources import Resources
from ameide_dev.testing.subject import Subject

SUBJECT = Subject("uisurface")
GATEWAY = "edge"
GATEWAYS = "surface-gateways"
"""Name and namespace of the Gateway that routes attach to."""
APP = "ghcr.io/ameide/shop-ui:1.0.0"
"""Pods of this image are only played: Ready at once."""
CHILD = "shop-ui"
SECRET = "shop-ui-oidc"


@dataclass(frozen=True, slots=True)
class Around:
    """What the operator knows besides the cluster: a realm in Keycloak with a service account for it."""

    realm: Realm
    url: str
    ca_file: Path
    account: str
    secret_file: Path

    def settings(self, **connection: str) -> dict[str, str]:
        """`AMEIDE_*` variables; `connection` is laid over the connection to the realm."""
        known = {
            "url": self.url,
            "realm": self.realm.name,
            "clientId": self.account,
            "clientSecretFile": str(self.secret_file),
            "caFile": str(self.ca_file),
        }
        return {
            "AMEIDE_KEYCLOAK__CONNECTIONS": json.dumps({"default": known | connection}),
            "AMEIDE_KEYCLOAK__CHECK_SECONDS": "2",
            "AMEIDE_ROUTING__GATEWAY__NAME": GATEWAY,
            "AMEIDE_ROUTING__GATEWAY__NAMESPACE": GATEWAYS,
        }


def made_around(realm: Realm, url: str, ca_file: Path, directory: Path) -> Around:
    """A service account in a realm, with its secret in a file."""
    account = f"operator-{secrets.token_hex(3)}"
    file = directory / "secret"
    file.write_text(realm.add_service_client(account))
    return Around(realm, url, ca_file, account, file)


class Surfaces(Resources):
    """UISurfaces of one namespace; the least one is at a host of that namespace's own."""

    kind = "UISurface"
    name = "shop"
    spec = {"image": APP, "resources": {"cpu": "50m", "memory": "64Mi"}}  # noqa: RUF012 - never changed

    def __init__(self, kube: KubeClient, namespace: str, around: Around) -> None:
        super().__init__(kube, namespace)
        self.around = around

    @property
    def host(self) -> str:
        """A host that no other test asks for."""
        return f"{self.namespace}.example.com"

    def manifest(self, name: str | None = None, **spec: Any) -> dict[str, Any]:
        """A valid UISurface; `spec` is merged over the least one."""
        return super().manifest(name, **{"host": self.host, **spec})

    def live(self, version: str, kind: str, name: str = CHILD) -> dict[str, Any] | None:
        """An object of the namespace, None where it is not there."""
        return self.kube.find(version, kind, name, self.namespace)

    def route(self, name: str = CHILD) -> dict[str, Any] | None:
        """The HTTPRoute."""
        return self.live("gateway.networking.k8s.io/v1", "HTTPRoute", name)

    def policy(self, name: str = CHILD) -> dict[str, Any] | None:
        """The SecurityPolicy."""
        return self.live("gateway.envoyproxy.io/v1alpha1", "SecurityPolicy", name)

    def deployment(self) -> dict[str, Any]:
        """The Deployment."""
        return self.kube.get("apps/v1", "Deployment", CHILD, self.namespace)

    def client(self, name: str = "shop") -> dict[str, Any] | None:
        """The client as Keycloak's administrator sees it."""
        return self.around.realm.client(f"{self.namespace}.{name}")

    def secret(self) -> str | None:
        """The client's secret as the cluster has it."""
        found = self.live("v1", "Secret", SECRET)
        return base64.b64decode(found["data"]["client-secret"]).decode() if found else None

    def conditions(self, name: str | None = None) -> Mapping[str, tuple[str, str]]:
        """Status and reason of each condition."""
        told = self.get(name).get("status", {}).get("conditions", ())
        return {each["type"]: (each["status"], each["reason"]) for each in told}
