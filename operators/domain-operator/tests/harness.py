"""Short ways to write Domains and to look at them, for the tests on the local platform."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from typing import Any

from ameide_dev.client import KubeClient
from ameide_dev.operators import OperatorProcess

API = "ameide.io/v1"
CLIENT_IMAGE = "ghcr.io/ameide/hostnode-postgres:18"
StartOperator = Callable[..., OperatorProcess]
"""`start_operator(namespace, **settings)`; see the fixture of that name."""
OWN = "own-"
"""Namespaces with this prefix are left alone by the shared operator: their tests run one of their own."""


class Domains:
    """Domains of one namespace: made from a base manifest, read and waited for."""

    def __init__(self, kube: KubeClient, namespace: str) -> None:
        self.kube = kube
        self.namespace = namespace

    def manifest(self, name: str = "orders", **spec: Any) -> dict[str, Any]:
        """A valid Domain without a database; `spec` is merged over it."""
        base: dict[str, Any] = {
            "apiVersion": API,
            "kind": "Domain",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {"image": "ghcr.io/ameide/orders-domain:1.12.3", "resources": {"cpu": "100m", "memory": "64Mi"}},
        }
        return merged(base, {"spec": spec})

    def create(
        self, name: str = "orders", *, annotations: Mapping[str, str] | None = None, **spec: Any
    ) -> dict[str, Any]:
        manifest = self.manifest(name, **spec)
        if annotations:
            manifest["metadata"]["annotations"] = dict(annotations)
        return self.kube.create(manifest)

    def patch(self, name: str = "orders", **spec: Any) -> dict[str, Any]:
        """Merge into the spec, as a GitOps controller's change would."""
        return self.kube.merge_patch(API, "Domain", name, {"spec": spec}, self.namespace)

    def annotate(self, name: str = "orders", **annotations: str | None) -> None:
        """Annotations by the part of their name behind `ameide.io/`, with _ for -."""
        values = {f"ameide.io/{key.replace('_', '-')}": value for key, value in annotations.items()}
        self.kube.merge_patch(API, "Domain", name, {"metadata": {"annotations": values}}, self.namespace)

    def get(self, name: str = "orders") -> dict[str, Any]:
        return self.kube.get(API, "Domain", name, self.namespace)

    def child(self, api_version: str, kind: str, name: str) -> dict[str, Any] | None:
        return self.kube.find(api_version, kind, name, self.namespace)

    def until(
        self,
        condition: str,
        status: str = "True",
        *,
        reason: str | None = None,
        name: str = "orders",
        timeout: float = 30,
    ) -> dict[str, Any]:
        """Wait until a condition of the current generation has this status (and reason)."""

        def reached(domain: dict[str, Any] | None) -> bool:
            if domain is None:
                return False
            found = condition_of(domain, condition)
            return (
                found is not None
                and found["status"] == status
                and (reason is None or found["reason"] == reason)
                and found["observedGeneration"] == domain["metadata"]["generation"]
            )

        return self.kube.wait_for(API, "Domain", name, reached, self.namespace, timeout=timeout)

    def ready(self, name: str = "orders", timeout: float = 30) -> dict[str, Any]:
        return self.until("Ready", name=name, timeout=timeout)


def condition_of(resource: Mapping[str, Any], condition: str) -> dict[str, Any] | None:
    conditions = (resource.get("status") or {}).get("conditions") or ()
    return next((c for c in conditions if c["type"] == condition), None)


def eventually(holds: Callable[[], Any], timeout: float = 10, what: str = "") -> Any:
    """Ask again and again until the answer is true, and return it: for what no single object tells."""
    deadline = time.monotonic() + timeout
    while not (found := holds()):
        assert time.monotonic() < deadline, f"waited {timeout:g} s for {what or holds}"
        time.sleep(0.1)
    return found


def merged(base: dict[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON merge patch (RFC 7386), applied to a copy."""
    result = copy.deepcopy(base)
    for key, value in change.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(result.get(key), dict):
            result[key] = merged(result[key], value)
        else:
            result[key] = copy.deepcopy(value)
    return result
