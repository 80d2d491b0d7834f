"""Short ways to write the resources of one kind and to look at them, for tests on the local platform."""

from __future__ import annotations

import base64
import copy
from collections.abc import Mapping
from typing import Any, ClassVar

from ameide_dev.client import KubeClient, condition_of

API = "ameide.io/v1"


class Resources:
    """Resources of one kind in one namespace: made from a base, changed, read and waited for.

    A kind is a subclass that says which, what a resource is called where a test does not care, and the least spec
    that is valid.
    """

    kind: ClassVar[str]
    name: ClassVar[str]
    spec: ClassVar[Mapping[str, Any]]

    def __init__(self, kube: KubeClient, namespace: str) -> None:
        self.kube = kube
        self.namespace = namespace

    def manifest(self, name: str | None = None, **spec: Any) -> dict[str, Any]:
        """A valid resource; `spec` is merged over the least one."""
        base: dict[str, Any] = {
            "apiVersion": API,
            "kind": self.kind,
            "metadata": {"name": name or self.name, "namespace": self.namespace},
            "spec": dict(self.spec),
        }
        return merged(base, {"spec": spec})

    def create(
        self, name: str | None = None, *, annotations: Mapping[str, str] | None = None, **spec: Any
    ) -> dict[str, Any]:
        """Create `manifest(name, **spec)`, with these annotations."""
        manifest = self.manifest(name, **spec)
        if annotations:
            manifest["metadata"]["annotations"] = dict(annotations)
        return self.kube.create(manifest)

    def patch(self, name: str | None = None, **spec: Any) -> dict[str, Any]:
        """Merge into the spec, as a GitOps controller's change would."""
        return self.kube.merge_patch(API, self.kind, name or self.name, {"spec": spec}, self.namespace)

    def annotate(self, name: str | None = None, **annotations: str | None) -> None:
        """Annotations by the part of their name behind `ameide.io/`, with _ for -."""
        values = {f"ameide.io/{key.replace('_', '-')}": value for key, value in annotations.items()}
        patch = {"metadata": {"annotations": values}}
        self.kube.merge_patch(API, self.kind, name or self.name, patch, self.namespace)

    def get(self, name: str | None = None) -> dict[str, Any]:
        """Read one. Raises NotFoundError."""
        return self.kube.get(API, self.kind, name or self.name, self.namespace)

    def condition(self, kind: str, name: str | None = None) -> Mapping[str, Any]:
        """A condition as it is, {} where there is none."""
        return condition_of(self.get(name), kind) or {}

    def is_ready(self, name: str | None = None) -> bool:
        """Whether one says at this moment that it is Ready."""
        return self.condition("Ready", name).get("status") == "True"

    def delete(self, name: str | None = None, *, wait: float | None = None) -> None:
        """Delete one, and wait up to so many seconds until it is gone."""
        self.kube.delete(API, self.kind, name or self.name, self.namespace, wait=wait)

    def wait_gone(self, name: str | None = None, *, timeout: float = 30.0) -> None:
        """Wait until it is gone. Raises WaitTimeoutError."""
        self.kube.wait_gone(API, self.kind, name or self.name, self.namespace, timeout=timeout)

    def child(self, api_version: str, kind: str, name: str) -> dict[str, Any] | None:
        """An object of the namespace, None where there is none."""
        return self.kube.find(api_version, kind, name, self.namespace)

    def until(
        self,
        condition: str,
        status: str = "True",
        *,
        reason: str | None = None,
        name: str | None = None,
        timeout: float = 30,
    ) -> dict[str, Any]:
        """Wait until a condition of the current generation has this status (and reason). Raises WaitTimeoutError."""
        return self.kube.wait_condition(
            API,
            self.kind,
            name or self.name,
            condition,
            self.namespace,
            status=status,
            reason=reason,
            timeout=timeout,
        )

    def ready(self, name: str | None = None, timeout: float = 30) -> dict[str, Any]:
        """Wait until it is Ready."""
        return self.until("Ready", name=name, timeout=timeout)


def secret_values(kube: KubeClient, namespace: str, name: str) -> dict[str, str]:
    """The decoded values of a Secret."""
    data = kube.get("v1", "Secret", name, namespace).get("data") or {}
    return {key: base64.b64decode(value).decode() for key, value in data.items()}


def content(child: Mapping[str, Any]) -> dict[str, Any]:
    """What an operator has written of a child, without the books that the API server and controllers keep."""
    metadata = {key: child["metadata"].get(key) for key in ("name", "labels", "ownerReferences")}
    annotations = child["metadata"].get("annotations") or {}
    ours = {name: value for name, value in annotations.items() if name.partition("/")[0].endswith("ameide.io")}
    parts = {key: child.get(key) for key in ("spec", "data", "automountServiceAccountToken")}
    return {**parts, "metadata": {**metadata, "annotations": ours}}


def merged(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON merge patch (RFC 7386), applied to a copy."""
    result: dict[str, Any] = copy.deepcopy(dict(base))
    for key, value in change.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping):
            there = result.get(key)
            result[key] = merged(there if isinstance(there, dict) else {}, value)
        else:
            result[key] = copy.deepcopy(value)
    return result
