"""What a Gateway API controller says of Gateways, HTTPRoutes and SecurityPolicies, as pure functions of the cluster.

The reasons and messages are those of Envoy Gateway 1.9. Conditions come without a `lastTransitionTime`: whoever writes
them knows whether they changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from ameide_dev.informer import Key, key_of

Object = dict[str, Any]

GROUP: Final = "gateway.networking.k8s.io"
POLICY_GROUP: Final = "gateway.envoyproxy.io"
CONTROLLER: Final = "gateway.envoyproxy.io/gatewayclass-controller"
CLIENT_SECRET_KEY: Final = "client-secret"  # noqa: S105 -- the name of a key, not its value


@dataclass(frozen=True, slots=True)
class World:
    """What of the cluster a verdict depends on. `secrets` has the names of the keys of those Secrets that exist."""

    classes: Mapping[str, Object] = field(default_factory=dict)
    gateways: Mapping[Key, Object] = field(default_factory=dict)
    routes: Mapping[Key, Object] = field(default_factory=dict)
    policies: Mapping[Key, Object] = field(default_factory=dict)
    grants: Sequence[Object] = ()
    services: Mapping[Key, Object] = field(default_factory=dict)
    namespaces: Mapping[str, Object] = field(default_factory=dict)
    secrets: Mapping[Key, frozenset[str]] = field(default_factory=dict)

    def managed(self, gateway: Object) -> bool:
        """Whether a Gateway is of a class of this controller."""
        found = self.classes.get(gateway["spec"]["gatewayClassName"])
        return found is not None and found["spec"]["controllerName"] == CONTROLLER


def condition(kind: str, status: bool, reason: str, message: str, generation: int) -> Object:
    """A condition without its time."""
    return {
        "type": kind,
        "status": "True" if status else "False",
        "reason": reason,
        "message": message,
        "observedGeneration": generation,
    }


# --- Gateways -------------------------------------------------------------------------------------------------------


def gateway_status(world: World, gateway: Object, addresses: Sequence[str]) -> Object:
    """The status of a Gateway that this controller manages."""
    generation = gateway["metadata"]["generation"]
    listeners = [_listener_status(world, gateway, listener) for listener in gateway["spec"]["listeners"]]
    if addresses:
        programmed = condition(
            "Programmed",
            True,
            "Programmed",
            "Address assigned to the Gateway, 1/1 envoy replicas available",
            generation,
        )
    else:
        message = "No addresses have been assigned to the Gateway"
        programmed = condition("Programmed", False, "AddressNotAssigned", message, generation)
    return {
        "conditions": [
            condition("Accepted", True, "Accepted", "The Gateway has been scheduled by Envoy Gateway", generation),
            programmed,
        ],
        "addresses": [{"type": "IPAddress", "value": address} for address in addresses],
        "listeners": listeners,
    }


def _listener_status(world: World, gateway: Object, listener: Mapping[str, Any]) -> Object:
    generation = gateway["metadata"]["generation"]
    problem = _certificate_problem(world, gateway, listener)
    if problem is None:
        conditions = [
            condition(
                "Programmed",
                True,
                "Programmed",
                "Sending translated listener configuration to the data plane",
                generation,
            ),
            condition("Accepted", True, "Accepted", "Listener has been successfully translated", generation),
            condition("ResolvedRefs", True, "ResolvedRefs", "Listener references have been resolved", generation),
        ]
    else:
        reason, message = problem
        conditions = [
            condition("ResolvedRefs", False, reason, message, generation),
            condition("Accepted", True, "Accepted", "Listener has been successfully translated", generation),
            condition(
                "Programmed",
                False,
                "Invalid",
                "Listener is invalid, see other Conditions for details.",
                generation,
            ),
        ]
    return {
        "name": listener["name"],
        "attachedRoutes": sum(_attached(world, route, gateway, listener) for route in world.routes.values()),
        "supportedKinds": _supported_kinds(listener),
        "conditions": conditions,
    }


def _supported_kinds(listener: Mapping[str, Any]) -> list[Object]:
    asked = (listener.get("allowedRoutes") or {}).get("kinds")
    kinds = {entry["kind"] for entry in asked if entry.get("group", GROUP) == GROUP} if asked else {"HTTPRoute"}
    return [{"group": GROUP, "kind": "HTTPRoute"}] if "HTTPRoute" in kinds else []


def _certificate_problem(world: World, gateway: Object, listener: Mapping[str, Any]) -> tuple[str, str] | None:
    if listener["protocol"] != "HTTPS":
        return None
    own = gateway["metadata"]["namespace"]
    for index, reference in enumerate((listener.get("tls") or {}).get("certificateRefs") or ()):
        namespace, name = reference.get("namespace", own), reference["name"]
        if not _permitted(world, ("Gateway", GROUP, own), ("Secret", "", namespace, name)):
            return (
                "RefNotPermitted",
                f"certificate refs {index}: Certificate ref to secret {namespace}/{name} not permitted by any "
                "ReferenceGrant.",
            )
        if not {"tls.crt", "tls.key"} <= world.secrets.get((namespace, name), frozenset()):
            return "InvalidCertificateRef", f"certificate refs {index}: Secret {namespace}/{name} does not exist."
    return None


# --- HTTPRoutes -----------------------------------------------------------------------------------------------------


def route_parents(world: World, route: Object) -> list[Object]:
    """`status.parents` of a route: one entry for each parent that is a Gateway of this controller."""
    return [
        {
            "parentRef": reference,
            "controllerName": CONTROLLER,
            "conditions": _parent_conditions(world, route, reference, gateway),
        }
        for reference in route["spec"].get("parentRefs") or ()
        if (gateway := _gateway_of(world, route, reference)) is not None
    ]


def hostnames(listener: str, route: Sequence[str]) -> list[str]:
    """The hostnames at which a listener serves a route; empty if they have none in common."""
    if not route:
        return [listener or "*"]
    return [found for wanted in route if (found := _common(listener, wanted))]


def allows_namespace(listener: Mapping[str, Any], own: str, other: str, labels: Mapping[str, str]) -> bool:
    """Whether a listener of a Gateway in namespace `own` takes routes from namespace `other`, which has `labels`."""
    rule = (listener.get("allowedRoutes") or {}).get("namespaces") or {}
    origin = rule.get("from", "Same")
    if origin == "Selector":
        return selects(rule.get("selector") or {}, labels)
    return origin == "All" or (origin == "Same" and own == other)


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a label selector takes these labels."""
    for key, value in (selector.get("matchLabels") or {}).items():
        if labels.get(key) != value:
            return False
    for rule in selector.get("matchExpressions") or ():
        present, values = labels.get(rule["key"]), rule.get("values") or ()
        holds = {
            "In": present in values,
            "NotIn": present not in values,
            "Exists": present is not None,
            "DoesNotExist": present is None,
        }
        if not holds[rule["operator"]]:
            return False
    return True


def _gateway_of(world: World, route: Object, reference: Mapping[str, Any]) -> Object | None:
    """The Gateway of this controller that a parent reference means."""
    if (reference.get("group", GROUP), reference.get("kind", "Gateway")) != (GROUP, "Gateway"):
        return None
    gateway = world.gateways.get((reference.get("namespace", route["metadata"]["namespace"]), reference["name"]))
    return gateway if gateway is not None and world.managed(gateway) else None


def _named(reference: Mapping[str, Any], listener: Mapping[str, Any]) -> bool:
    section, port = reference.get("sectionName"), reference.get("port")
    return section in (None, listener["name"]) and port in (None, listener["port"])


def _allowed(world: World, route: Object, gateway: Object, listener: Mapping[str, Any]) -> bool:
    namespace = route["metadata"]["namespace"]
    labels = (world.namespaces.get(namespace) or {"metadata": {}})["metadata"].get("labels") or {}
    return (
        listener["protocol"] in ("HTTP", "HTTPS")
        and bool(_supported_kinds(listener))
        and allows_namespace(listener, gateway["metadata"]["namespace"], namespace, labels)
    )


def _attached(world: World, route: Object, gateway: Object, listener: Mapping[str, Any]) -> bool:
    wanted = route["spec"].get("hostnames") or ()
    if not (hostnames(listener.get("hostname", ""), wanted) and _allowed(world, route, gateway, listener)):
        return False
    return any(
        _named(reference, listener)
        and (parent := _gateway_of(world, route, reference))
        and key_of(parent) == key_of(gateway)
        for reference in route["spec"].get("parentRefs") or ()
    )


def _parent_conditions(world: World, route: Object, reference: Mapping[str, Any], gateway: Object) -> list[Object]:
    generation = route["metadata"]["generation"]

    def refused(reason: str, message: str) -> Object:
        return condition("Accepted", False, reason, message, generation)

    named = [listener for listener in gateway["spec"]["listeners"] if _named(reference, listener)]
    if not named:
        return [refused("NoMatchingParent", "No listeners match this parent ref")]
    allowed = [listener for listener in named if _allowed(world, route, gateway, listener)]
    if not allowed:
        message = "No listeners included by this parent ref allowed this attachment."
        return [refused("NotAllowedByListeners", message)]
    wanted = route["spec"].get("hostnames") or ()
    accepted = condition("Accepted", True, "Accepted", "Route is accepted", generation)
    if not any(hostnames(listener.get("hostname", ""), wanted) for listener in allowed):
        message = "There were no hostname intersections between the HTTPRoute and this parent ref's Listener(s)."
        accepted = refused("NoMatchingListenerHostname", message)
    problem = _backend_problem(world, route)
    resolved = condition(
        "ResolvedRefs", True, "ResolvedRefs", "Resolved all the Object references for the Route", generation
    )
    if problem is not None:
        resolved = condition("ResolvedRefs", False, *problem, generation)
    return [accepted, resolved]


def _backend_problem(world: World, route: Object) -> tuple[str, str] | None:
    """Reason and message of the first backend of a route that cannot be used."""
    own = route["metadata"]["namespace"]
    for number, rule in enumerate(route["spec"].get("rules") or ()):
        for index, backend in enumerate(rule.get("backendRefs") or ()):
            where = f"Failed to process route rule {number} backendRef {index}: "
            kind, name = backend.get("kind", "Service"), backend["name"]
            namespace = backend.get("namespace", own)
            if (backend.get("group", ""), kind) != ("", "Service"):
                return "InvalidKind", f"{where}Kind {kind} is not a backend that is supported here."
            if not _permitted(world, ("HTTPRoute", GROUP, own), ("Service", "", namespace, name)):
                message = f"Backend ref to Service {namespace}/{name} not permitted by any ReferenceGrant."
                return "RefNotPermitted", where + message
            service = world.services.get((namespace, name))
            if service is None:
                return "BackendNotFound", f"{where}service {namespace}/{name} not found."
            port = backend.get("port")
            if port not in [entry["port"] for entry in service["spec"].get("ports") or ()]:
                return "PortNotFound", f"{where}TCP Port {port} not found on Service {namespace}/{name}."
    return None


def _permitted(world: World, origin: tuple[str, str, str], to: tuple[str, str, str, str]) -> bool:
    """Whether a reference stays in its namespace or a ReferenceGrant there allows it.

    `origin`: kind, group, namespace; `to`: kind, group, namespace, name.
    """
    from_kind, from_group, from_namespace = origin
    to_kind, to_group, to_namespace, to_name = to
    return from_namespace == to_namespace or any(
        grant["metadata"]["namespace"] == to_namespace
        and any(
            (entry["kind"], entry.get("group", ""), entry["namespace"]) == (from_kind, from_group, from_namespace)
            for entry in grant["spec"]["from"]
        )
        and any(
            (entry["kind"], entry.get("group", "")) == (to_kind, to_group) and entry.get("name", to_name) == to_name
            for entry in grant["spec"]["to"]
        )
        for grant in world.grants
    )


def _common(listener: str, route: str) -> str:
    """The more specific of two hostnames of which one covers the other; empty if neither does."""
    if not listener or listener == route:
        return route
    if _covers(listener, route):
        return route
    return listener if _covers(route, listener) else ""


def _covers(wildcard: str, hostname: str) -> bool:
    """Whether `*.example.com` stands for a hostname, or for a narrower wildcard; at least one label must be there."""
    suffix = wildcard.removeprefix("*")
    return wildcard.startswith("*") and hostname.endswith(suffix) and len(hostname.removeprefix("*")) > len(suffix)


# --- SecurityPolicies -----------------------------------------------------------------------------------------------


def policy_ancestors(world: World, policy: Object) -> list[Object]:
    """`status.ancestors` of a policy: one entry for each Gateway that it takes effect through."""
    generation, namespace = policy["metadata"]["generation"], policy["metadata"]["namespace"]
    ancestors: list[Object] = []
    for target in _targets(policy):
        taken = _earlier(world, policy, target)
        invalid = _policy_problem(world, policy)
        if taken:
            message = f"Unable to target {target['kind']} {target['name']}, another SecurityPolicy has already attached"
            verdict = condition("Accepted", False, "Conflicted", f"{message} to it.", generation)
        elif invalid:
            verdict = condition("Accepted", False, "Invalid", f"{invalid}.", generation)
        else:
            verdict = condition("Accepted", True, "Accepted", "Policy has been accepted.", generation)
        for reference in _ancestor_references(world, namespace, target):
            if all(entry["ancestorRef"] != reference for entry in ancestors):
                ancestors.append(
                    {"ancestorRef": reference, "controllerName": CONTROLLER, "conditions": [dict(verdict)]}
                )
    return ancestors


def secrets_of(policies: Iterable[Object], gateways: Iterable[Object]) -> set[Key]:
    """The Secrets that policies and Gateways name."""
    found: set[Key] = set()
    for policy in policies:
        if secret := (policy["spec"].get("oidc") or {}).get("clientSecret"):
            found.add((secret.get("namespace", policy["metadata"]["namespace"]), secret["name"]))
    for gateway in gateways:
        for listener in gateway["spec"]["listeners"]:
            for reference in (listener.get("tls") or {}).get("certificateRefs") or ():
                found.add((reference.get("namespace", gateway["metadata"]["namespace"]), reference["name"]))
    return found


def _targets(policy: Object) -> list[Mapping[str, Any]]:
    spec = policy["spec"]
    return [*(spec.get("targetRefs") or ()), *([spec["targetRef"]] if spec.get("targetRef") else [])]


def _earlier(world: World, policy: Object, target: Mapping[str, Any]) -> bool:
    """Whether an older policy has the same target."""

    def rank(item: Object) -> tuple[str, Key]:
        return item["metadata"]["creationTimestamp"], key_of(item)

    return any(
        key_of(other)[0] == key_of(policy)[0] and rank(other) < rank(policy) and target in _targets(other)
        for other in world.policies.values()
    )


def _ancestor_references(world: World, namespace: str, target: Mapping[str, Any]) -> list[Object]:
    key = (namespace, target["name"])
    if target["kind"] == "Gateway":
        gateway = world.gateways.get(key)
        if gateway is None or not world.managed(gateway):
            return []
        return [{"group": GROUP, "kind": "Gateway", "namespace": namespace, "name": target["name"]}]
    route = world.routes.get(key) if target["kind"] == "HTTPRoute" else None
    if route is None:
        return []
    return [
        {"group": GROUP, "kind": "Gateway", "namespace": reference.get("namespace", namespace)}
        | {name: reference[name] for name in ("name", "sectionName", "port") if name in reference}
        for reference in route["spec"].get("parentRefs") or ()
        if _gateway_of(world, route, reference) is not None
    ]


def _policy_problem(world: World, policy: Object) -> str:
    """Why a policy cannot be translated; empty if it can."""
    spec = policy["spec"]
    oidc, jwt = spec.get("oidc"), spec.get("jwt")
    if oidc and oidc.get("passThroughAuthHeader") and not jwt:
        return "The OIDC.PassThroughAuthHeader setting must be used in conjunction with JWT settings"
    problem = _oidc_problem(world, policy, oidc) if oidc else ""
    if problem:
        return f"OIDC: {problem}"
    problem = _jwt_problem(jwt) if jwt else ""
    return f"JWT: {problem}" if problem else ""


def _oidc_problem(world: World, policy: Object, oidc: Mapping[str, Any]) -> str:
    own, reference = policy["metadata"]["namespace"], oidc["clientSecret"]
    namespace, name = reference.get("namespace", own), reference["name"]
    if not _permitted(world, ("SecurityPolicy", POLICY_GROUP, own), ("Secret", "", namespace, name)):
        return f"certificate ref to secret {namespace}/{name} not permitted by any ReferenceGrant"
    keys = world.secrets.get((namespace, name))
    if keys is None:
        return f"secret {namespace}/{name} does not exist"
    if CLIENT_SECRET_KEY not in keys:
        return f"client secret not found in secret {namespace}/{name}"
    address = oidc.get("redirectURL")
    if address is not None:
        scheme, _, rest = address.partition("://")
        host, slash, path = rest.partition("/")
        if scheme not in ("http", "https", "%REQ(x-forwarded-proto)%") or not (host and slash and path):
            return f"invalid redirect URL {address}"
    # What is left is the issuer's own: without endpoints in the policy, the real controller asks it for them.
    return ""


def _jwt_problem(jwt: Mapping[str, Any]) -> str:
    seen: set[str] = set()
    for provider in jwt.get("providers") or ():
        name, remote = provider["name"], provider.get("remoteJWKS")
        if name in seen:
            return f"provider name {name} must be unique"
        seen.add(name)
        if remote is not None and urlsplit(remote.get("uri") or "").scheme not in ("http", "https"):
            return f"invalid remote JWKS URI: {remote.get('uri')}"
    return ""
