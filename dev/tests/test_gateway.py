"""The stand-in for the gateway controller, with the real CRDs on the real API server; and its rules by themselves."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from ameide_dev import gateway_rules as rules
from ameide_dev.client import KubeClient
from ameide_dev.gateway import ADDRESS, API, POLICY_API, GatewayStandIn
from ameide_dev.pytest_plugin import NamespaceMaker

Object = dict[str, Any]


# --- the rules --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("listener", "route", "expected"),
    [
        ("", [], ["*"]),
        ("*.example.com", [], ["*.example.com"]),
        ("", ["shop.example.com"], ["shop.example.com"]),
        ("shop.example.com", ["shop.example.com"], ["shop.example.com"]),
        ("*.example.com", ["a.b.example.com", "example.com"], ["a.b.example.com"]),
        ("shop.example.com", ["*.example.com"], ["shop.example.com"]),
        ("*.com", ["*.example.com"], ["*.example.com"]),
        ("*.example.com", ["*.com"], ["*.example.com"]),
        ("*.example.com", ["shop.example.org"], []),
        ("shop.example.com", ["cart.example.com"], []),
    ],
)
def test_hostnames_meet(listener: str, route: list[str], expected: list[str]) -> None:
    assert rules.hostnames(listener, route) == expected


def test_allowed_namespaces() -> None:
    def allows(rule: Object | None, namespace: str = "other", **labels: str) -> bool:
        listener = {"allowedRoutes": {"namespaces": rule}} if rule is not None else {}
        return rules.allows_namespace(listener, "edge", namespace, labels)

    assert allows(None, "edge")
    assert not allows(None)  # Same is the default
    assert not allows({"from": "None"}, "edge")
    assert allows({"from": "All"})
    selector = {"matchLabels": {"team": "web"}, "matchExpressions": [{"key": "paused", "operator": "DoesNotExist"}]}
    assert allows({"from": "Selector", "selector": selector}, team="web")
    assert not allows({"from": "Selector", "selector": selector}, team="web", paused="yes")
    assert not allows({"from": "Selector", "selector": selector}, "edge")


def test_expressions_of_selectors() -> None:
    def selects(operator: str, values: list[str], **labels: str) -> bool:
        return rules.selects({"matchExpressions": [{"key": "env", "operator": operator, "values": values}]}, labels)

    assert selects("In", ["a", "b"], env="b")
    assert not selects("In", ["a", "b"])
    assert selects("NotIn", ["a"])
    assert not selects("NotIn", ["a"], env="a")
    assert selects("Exists", [], env="")
    assert not selects("Exists", [])


# --- the controller ---------------------------------------------------------------------------------------------------


class Cluster:
    """What the tests make in one namespace, and what they wait for."""

    def __init__(self, kube: KubeClient, namespace: str) -> None:
        self.kube = kube
        self.namespace = namespace

    def service(self, name: str = "shop", namespace: str = "") -> None:
        metadata = {"name": name, "namespace": namespace or self.namespace}
        self.kube.apply(
            {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": [{"port": 80}]}}
        )

    def route(self, name: str = "shop", *, hostname: str = "shop.example.com", **changes: Any) -> None:
        spec = {
            "parentRefs": [{"name": "web"}],
            "hostnames": [hostname],
            "rules": [{"backendRefs": [{"name": "shop", "port": 80}]}],
        } | changes
        self.apply(API, "HTTPRoute", name, spec)

    def policy(self, name: str = "shop", target: str = "shop", **changes: Any) -> None:
        oidc = {
            "provider": {
                "issuer": "https://id.example.com/realms/t",
                "authorizationEndpoint": "https://id.example.com/auth",
                "tokenEndpoint": "https://id.example.com/token",
            },
            "clientID": "shop",
            "clientSecret": {"name": "oidc"},
            "redirectURL": "https://shop.example.com/oauth2/callback",
        } | changes
        reference = {"group": rules.GROUP, "kind": "HTTPRoute", "name": target}
        self.apply(POLICY_API, "SecurityPolicy", name, {"targetRefs": [reference], "oidc": oidc})

    def secret(self, **values: str) -> None:
        data = {key.replace("_", "-"): base64.b64encode(value.encode()).decode() for key, value in values.items()}
        metadata = {"name": "oidc", "namespace": self.namespace}
        self.kube.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data})

    def apply(self, version: str, kind: str, name: str, spec: Object) -> None:
        metadata = {"name": name, "namespace": self.namespace}
        self.kube.apply({"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec})

    def conditions(self, kind: str, name: str = "shop") -> list[tuple[str, str, str]]:
        """Type, status and reason of the conditions of the only parent or ancestor."""
        version = API if kind == "HTTPRoute" else POLICY_API
        return _conditions(self.kube.get(version, kind, name, self.namespace))

    def until(self, kind: str, expected: str, name: str = "shop") -> Object:
        """Wait until a condition of the only parent or ancestor is `Type=Status Reason`, of this generation."""
        version = API if kind == "HTTPRoute" else POLICY_API

        def holds(item: Object | None) -> bool:
            return item is not None and any(f"{t}={s} {r}" == expected for t, s, r in _conditions(item))

        return self.kube.wait_for(version, kind, name, holds, self.namespace, timeout=10, what=expected)


def _conditions(item: Object) -> list[tuple[str, str, str]]:
    status = item.get("status") or {}
    return [
        (one["type"], one["status"], one["reason"])
        for entry in status.get("parents") or status.get("ancestors") or ()
        for one in entry["conditions"]
        if one["observedGeneration"] == item["metadata"]["generation"]
    ]


@pytest.fixture
def cluster(kube: KubeClient, namespace: str) -> Cluster:
    return Cluster(kube, namespace)


def test_a_route_is_accepted_and_keeps_its_times(gateway: GatewayStandIn, cluster: Cluster) -> None:
    made = gateway.make_gateway(cluster.namespace, "web", hostname="*.example.com")
    assert made["status"]["addresses"] == [{"type": "IPAddress", "value": ADDRESS}]
    cluster.service()
    cluster.route()
    cluster.until("HTTPRoute", "Accepted=True Accepted")
    cluster.until("HTTPRoute", "ResolvedRefs=True ResolvedRefs")
    listed = cluster.kube.wait_for(
        API,
        "Gateway",
        "web",
        lambda item: bool(item and item["status"]["listeners"][0]["attachedRoutes"]),
        cluster.namespace,
    )
    assert listed["status"]["listeners"][0]["supportedKinds"] == [{"group": rules.GROUP, "kind": "HTTPRoute"}]
    before = cluster.kube.get(API, "HTTPRoute", "shop", cluster.namespace)
    cluster.route("other")  # has everything judged anew
    cluster.until("HTTPRoute", "Accepted=True Accepted", "other")
    after = cluster.kube.get(API, "HTTPRoute", "shop", cluster.namespace)
    assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]


def test_routes_are_refused_as_the_listeners_say(gateway: GatewayStandIn, cluster: Cluster) -> None:
    gateway.make_gateway(cluster.namespace, "web", hostname="*.example.com", allowed="Selector", selector={"web": "1"})
    cluster.service()
    cluster.route()
    cluster.until("HTTPRoute", "Accepted=False NotAllowedByListeners")
    cluster.kube.merge_patch("v1", "Namespace", cluster.namespace, {"metadata": {"labels": {"web": "1"}}})
    cluster.until("HTTPRoute", "Accepted=True Accepted")
    cluster.route(hostname="shop.example.org")
    cluster.until("HTTPRoute", "Accepted=False NoMatchingListenerHostname")
    cluster.route(parentRefs=[{"name": "web", "sectionName": "https"}])
    cluster.until("HTTPRoute", "Accepted=False NoMatchingParent")
    cluster.route(parentRefs=[{"name": "elsewhere"}])
    cluster.kube.wait_for(
        API, "HTTPRoute", "shop", lambda item: not (item or {})["status"]["parents"], cluster.namespace, timeout=10
    )


def test_backends_must_be_there_and_be_permitted(
    gateway: GatewayStandIn, cluster: Cluster, make_namespace: NamespaceMaker
) -> None:
    gateway.make_gateway(cluster.namespace, "web")
    cluster.route()
    cluster.until("HTTPRoute", "ResolvedRefs=False BackendNotFound")
    cluster.service()
    cluster.until("HTTPRoute", "ResolvedRefs=True ResolvedRefs")
    other = make_namespace()
    cluster.service(namespace=other)
    cluster.route(rules=[{"backendRefs": [{"name": "shop", "namespace": other, "port": 80}]}])
    cluster.until("HTTPRoute", "ResolvedRefs=False RefNotPermitted")
    origin = {"group": rules.GROUP, "kind": "HTTPRoute", "namespace": cluster.namespace}
    Cluster(cluster.kube, other).apply(
        API, "ReferenceGrant", "shop", {"from": [origin], "to": [{"group": "", "kind": "Service"}]}
    )
    cluster.until("HTTPRoute", "ResolvedRefs=True ResolvedRefs")


def test_policies(gateway: GatewayStandIn, cluster: Cluster) -> None:
    gateway.make_gateway(cluster.namespace, "web")
    cluster.service()
    cluster.route()
    cluster.policy()
    found = cluster.until("SecurityPolicy", "Accepted=False Invalid")
    message = found["status"]["ancestors"][0]["conditions"][0]["message"]
    assert message == f"OIDC: secret {cluster.namespace}/oidc does not exist."
    cluster.secret(client_secret="hidden")
    found = cluster.until("SecurityPolicy", "Accepted=True Accepted")
    assert found["status"]["ancestors"][0]["ancestorRef"]["name"] == "web"
    cluster.policy(redirectURL="https://shop.example.com/")
    found = cluster.until("SecurityPolicy", "Accepted=False Invalid")
    message = found["status"]["ancestors"][0]["conditions"][0]["message"]
    assert message == "OIDC: invalid redirect URL https://shop.example.com/."
    cluster.policy("twice")
    cluster.until("SecurityPolicy", "Accepted=False Conflicted", "twice")


def test_refusals_are_ordered_and_lifted(gateway: GatewayStandIn, cluster: Cluster) -> None:
    gateway.make_gateway(cluster.namespace, "web")
    cluster.service()
    cluster.route()
    cluster.until("HTTPRoute", "Accepted=True Accepted")
    gateway.refuse("HTTPRoute", cluster.namespace, "*", "Accepted", "UnsupportedValue", "no such filter")
    cluster.until("HTTPRoute", "Accepted=False UnsupportedValue")
    gateway.allow("HTTPRoute", cluster.namespace, "*")
    cluster.until("HTTPRoute", "Accepted=True Accepted")
    gateway.set_addresses()
    cluster.kube.wait_condition(API, "Gateway", "web", "Programmed", cluster.namespace, status="False")
    gateway.set_addresses(ADDRESS)
    cluster.kube.wait_condition(API, "Gateway", "web", "Programmed", cluster.namespace)


def test_while_it_is_paused_nothing_is_judged(gateway: GatewayStandIn, cluster: Cluster) -> None:
    gateway.make_gateway(cluster.namespace, "web")
    cluster.service()
    gateway.pause()
    cluster.route()
    cluster.route("other")
    assert cluster.conditions("HTTPRoute") == []
    gateway.resume()
    cluster.until("HTTPRoute", "Accepted=True Accepted")


def test_ingresses_get_an_address(gateway: GatewayStandIn, cluster: Cluster) -> None:
    backend = {"service": {"name": "shop", "port": {"number": 80}}}
    rule = {"host": "shop.example.com", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}
    version = "networking.k8s.io/v1"
    gateway.refuse("Ingress", cluster.namespace, "shop", "", "", "")
    cluster.apply(version, "Ingress", "shop", {"rules": [rule]})
    gateway.allow("Ingress", cluster.namespace, "shop")

    def served(item: Object | None) -> bool:
        balancer = ((item or {}).get("status") or {}).get("loadBalancer") or {}
        return balancer.get("ingress") == [{"ip": ADDRESS}]

    cluster.kube.wait_for(version, "Ingress", "shop", served, cluster.namespace, timeout=10)
    gateway.refuse("Ingress", cluster.namespace, "shop", "", "", "")
    cluster.kube.wait_for(version, "Ingress", "shop", lambda item: not served(item), cluster.namespace, timeout=10)


def test_a_listener_with_tls_needs_its_certificate(gateway: GatewayStandIn, cluster: Cluster) -> None:
    tls = {"mode": "Terminate", "certificateRefs": [{"name": "edge-tls"}]}
    listener = {"name": "https", "port": 443, "protocol": "HTTPS", "tls": tls}
    made = gateway.make_gateway(cluster.namespace, "web", listeners=[listener])
    (status,) = made["status"]["listeners"]
    assert [(one["type"], one["status"], one["reason"]) for one in status["conditions"]] == [
        ("ResolvedRefs", "False", "InvalidCertificateRef"),
        ("Accepted", "True", "Accepted"),
        ("Programmed", "False", "Invalid"),
    ]
