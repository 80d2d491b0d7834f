"""The Service of a resource: its stable and canary pods, never those of its Jobs."""

from __future__ import annotations

from typing import Any, Final

from ameide_shared.builders.identity import Primitive, child_metadata, selector_labels
from ameide_shared.builders.pod import BACKEND, PodProfile, Port
from ameide_shared.kube.resources import SERVICE

_PROTOCOLS: Final = {"http": "http", "grpc": "kubernetes.io/h2c"}


def service(primitive: Primitive, profile: PodProfile = BACKEND) -> dict[str, Any]:
    """A ClusterIP Service with one port per named port of the pods, under the same number."""
    return {
        "apiVersion": SERVICE.api_version,
        "kind": SERVICE.kind,
        "metadata": child_metadata(primitive),
        "spec": {
            "type": "ClusterIP",
            "selector": selector_labels(primitive),
            "ports": [_port(port) for port in profile.ports],
        },
    }


def endpoints(primitive: Primitive, profile: PodProfile = BACKEND) -> dict[str, str]:
    """`status.endpoints`: the addresses by which other pods of the cluster reach it."""
    host = f"{primitive.child_name}.{primitive.namespace}.svc"
    schemes = {"http": "http://", "grpc": ""}
    return {port.name: f"{schemes.get(port.name, '')}{host}:{port.number}" for port in profile.ports}


def _port(port: Port) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": port.name, "port": port.number, "targetPort": port.name, "protocol": "TCP"}
    if port.name in _PROTOCOLS:
        entry["appProtocol"] = _PROTOCOLS[port.name]
    return entry
