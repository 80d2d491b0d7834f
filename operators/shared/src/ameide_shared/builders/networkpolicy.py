"""The NetworkPolicy of a resource: its profile, DNS, and the peers that its own spec implies.

It covers every pod of the resource: stable, canary, migration and CronJob pods.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_address, ip_network
from typing import Any, Final
from urllib.parse import urlsplit

from ameide_shared import vocabulary as names
from ameide_shared.builders.identity import Primitive, all_pods_selector, child_metadata
from ameide_shared.builders.network import (
    BUILT_IN_PROFILES,
    DEFAULT_DNS,
    NetworkPeer,
    NetworkPort,
    NetworkProfile,
    NetworkRule,
    exceptions,
    parse_profiles,
    profile_problem,
)
from ameide_shared.kube.resources import NETWORK_POLICY

__all__ = [
    "BUILT_IN_PROFILES",
    "DEFAULT_DNS",
    "NetworkProfile",
    "database_egress",
    "endpoint_egress",
    "network_policy",
    "parse_profiles",
    "primitive_egress",
    "profile_problem",
    "rule_egress",
]

_NAMESPACE_NAME: Final = "kubernetes.io/metadata.name"
_DNS_PORTS: Final = (
    # Policies see the port of the pod behind the Service: CoreDNS listens on 53, on OpenShift on 5353.
    NetworkPort(port=53, protocol="UDP"),
    NetworkPort(port=53, protocol="TCP"),
    NetworkPort(port=5353, protocol="UDP"),
    NetworkPort(port=5353, protocol="TCP"),
)

Rule = Mapping[str, Any]
"""A rule as the API spells it: `to` or `from`, and `ports`."""


def network_policy(
    primitive: Primitive,
    profile: NetworkProfile,
    ports: Sequence[int],
    *,
    extra_egress: Sequence[Rule] = (),
    extra_ingress: Sequence[Rule] = (),
    dns: Sequence[NetworkPeer] = DEFAULT_DNS,
) -> dict[str, Any]:
    """The NetworkPolicy. `ports` are those that the pods serve (ingress rules without ports mean these)."""
    own = [NetworkPort(port=port) for port in ports]
    ingress = [_rule("from", rule.peers, rule.ports or own, primitive) for rule in profile.ingress if rule.ports or own]
    egress = [_rule("to", dns, _DNS_PORTS, primitive)]
    egress += [_rule("to", rule.peers, rule.ports, primitive) for rule in profile.egress]
    spec: dict[str, Any] = {
        "podSelector": all_pods_selector(primitive),
        "policyTypes": ["Ingress", "Egress"],
        "egress": [*egress, *map(dict, extra_egress)],
    }
    ingress += map(dict, extra_ingress)
    if ingress:
        spec["ingress"] = ingress
    return {
        "apiVersion": NETWORK_POLICY.api_version,
        "kind": NETWORK_POLICY.kind,
        "metadata": child_metadata(primitive),
        "spec": spec,
    }


def database_egress(cluster_namespace: str, cluster: str, port: int = 5432) -> dict[str, Any]:
    """To the instances of a CloudNativePG Cluster, found by the label that its operator gives them."""
    return _pods_egress(cluster_namespace, {"cnpg.io/cluster": cluster}, [port])


def primitive_egress(primitive: str, name: str, namespace: str, ports: Sequence[int] = (8080, 50051)) -> dict[str, Any]:
    """To the serving pods of another resource: a declared dependency. `primitive` is `domain`, `agent`, …"""
    return _pods_egress(namespace, {names.LABEL_PRIMITIVE: primitive, names.LABEL_NAME: name}, ports)


OTLP_PORTS: Final = (4317, 4318)


def endpoint_egress(url: str, namespace: str, *, pod_ports: Sequence[int] = OTLP_PORTS) -> dict[str, Any] | None:
    """To an endpoint of our settings, such as the telemetry collector; `namespace` is the resource's own.

    A cluster Service (`name`, `name.namespace`, `name.namespace.svc…`) permits the pods of that namespace on the port
    and on `pod_ports` (OTLP's own): a policy sees the pods' port, which may not be the Service's. An address permits
    that address. None for another host name, which a NetworkPolicy cannot express: the profile names its CIDR or
    egress gateway.
    """
    parts = urlsplit(url if "://" in url else f"//{url}")
    host = parts.hostname or ""
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 4317)
    try:
        address = ip_address(host)
    except ValueError:
        labels = host.rstrip(".").split(".")
        if not host or not (len(labels) <= 2 or labels[2:3] == ["svc"]):
            return None
        where = labels[1] if len(labels) > 1 else namespace
        ports = [_port(NetworkPort(port=number)) for number in sorted({port, *pod_ports})]
        return {"to": [{"namespaceSelector": {"matchLabels": {_NAMESPACE_NAME: where}}}], "ports": ports}
    block = str(ip_network(address))
    return {"to": [{"ipBlock": {"cidr": block}}], "ports": [_port(NetworkPort(port=port))]}


def rule_egress(rule: NetworkRule, primitive: Primitive) -> dict[str, Any]:
    """An egress rule given as data, such as a model provider's."""
    return _rule("to", rule.peers, rule.ports, primitive)


def _pods_egress(namespace: str, labels: Mapping[str, str], ports: Sequence[int]) -> dict[str, Any]:
    return {
        "to": [
            {
                "namespaceSelector": {"matchLabels": {_NAMESPACE_NAME: namespace}},
                "podSelector": {"matchLabels": dict(labels)},
            }
        ],
        "ports": [_port(NetworkPort(port=port)) for port in ports],
    }


def _rule(
    direction: str, peers: Sequence[NetworkPeer], ports: Sequence[NetworkPort], primitive: Primitive
) -> dict[str, Any]:
    rule: dict[str, Any] = {direction: [_peer(peer, primitive) for peer in peers]}
    if ports:
        rule["ports"] = [_port(port) for port in ports]
    return rule


def _port(port: NetworkPort) -> dict[str, Any]:
    entry: dict[str, Any] = {"protocol": port.protocol, "port": port.port}
    if port.end_port is not None:
        entry["endPort"] = port.end_port
    return entry


def _peer(peer: NetworkPeer, primitive: Primitive) -> dict[str, Any]:
    if peer.network is not None:
        block: dict[str, Any] = {"cidr": str(peer.network)}
        excepted = exceptions(peer.network)
        return {"ipBlock": block | {"except": excepted} if excepted else block}
    result: dict[str, Any] = {}
    where = _namespace_selector(peer, primitive)
    if where is not None:
        result["namespaceSelector"] = where
    pods = _pod_selector(peer)
    if pods or where is None:  # a peer without a namespace selector means pods of the policy's own namespace
        result["podSelector"] = pods
    return result


def _pod_selector(peer: NetworkPeer) -> dict[str, Any]:
    selector: dict[str, Any] = {}
    if peer.pod_labels:
        selector["matchLabels"] = dict(peer.pod_labels)
    if peer.tiers:
        selector["matchExpressions"] = [{"key": names.LABEL_TIER, "operator": "In", "values": list(peer.tiers)}]
    return selector


def _namespace_selector(peer: NetworkPeer, primitive: Primitive) -> dict[str, Any] | None:
    """None for the resource's own namespace, which is also what Tenant means where the tenant is not known."""
    if peer.namespace_labels or peer.namespace_names:
        selector: dict[str, Any] = {}
        if peer.namespace_labels:
            selector["matchLabels"] = dict(peer.namespace_labels)
        if peer.namespace_names:
            selector["matchExpressions"] = [
                {"key": _NAMESPACE_NAME, "operator": "In", "values": list(peer.namespace_names)}
            ]
        return selector
    if peer.namespaces == "Any":
        return {}
    if peer.namespaces == "Tenant" and primitive.tenant_id:
        return {"matchLabels": {names.LABEL_TENANT: primitive.tenant_id}}
    return None
