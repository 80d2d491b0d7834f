"""What is to be done so that a client and its scopes are as a surface wants them; pure.

Only fields named here are compared and written: what else people set on a client (themes, login flows, lifetimes of
tokens) is theirs. Scopes are all ours to say: one more attached is one more power in the tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from uisurface_operator.keycloak.errors import NotOurs
from uisurface_operator.keycloak.model import (
    OWNER,
    ROTATION,
    ClientSpec,
    LiveClient,
    LiveScope,
    RuleSettings,
    ScopeSpec,
    may_attach,
)
from uisurface_operator.keycloak.operations import (
    AttachScope,
    ClientOperation,
    CreateClient,
    CreateScope,
    DetachScope,
    MapRole,
    RemoveMapper,
    RotateSecret,
    ScopeOperation,
    UnmapRoles,
    UpdateClient,
    UpdateScope,
    WriteMapper,
)

_AUDIENCE_MAPPER: Final = "oidc-audience-mapper"
_OUR_MAPPER: Final = "ameide-audience: "
_UNORDERED: Final = frozenset({"redirectUris", "webOrigins"})
_FIXED: Final[Mapping[str, Any]] = {
    "enabled": True,
    "protocol": "openid-connect",
    "clientAuthenticatorType": "client-secret",
    "bearerOnly": False,
    "consentRequired": False,
    "standardFlowEnabled": True,
    "implicitFlowEnabled": False,
    "directAccessGrantsEnabled": False,
    "serviceAccountsEnabled": False,
    "fullScopeAllowed": False,  # else tokens carry every role of the user, whatever the client's scopes
}
_FIXED_ATTRIBUTES: Final[Mapping[str, str]] = {
    "pkce.code.challenge.method": "S256",
    "oauth2.device.authorization.grant.enabled": "false",
    "oidc.ciba.grant.enabled": "false",
    "standard.token.exchange.enabled": "false",
}
_ABSENT: Final = ("", "false", None)
"""Attributes with these values are as good as not there, which is how Keycloak stores some of them."""
_SCOPE_ATTRIBUTES: Final[Mapping[str, str]] = {
    "include.in.token.scope": "true",
    "display.on.consent.screen": "false",
}


# --- clients --------------------------------------------------------------------------------------------------------


def diff_client(spec: ClientSpec, rules: RuleSettings, live: LiveClient | None) -> tuple[ClientOperation, ...]:
    """The operations, in order, that make `live` what `spec` wants. Raises NotOurs for a client of somebody else's."""
    if live is None:
        return (CreateClient(_whole_client(spec, rules)),)
    if live.owner != spec.owner:
        holder = f"marked as {live.owner!r}" if live.owner else "without our marker"
        raise NotOurs(
            f"client {spec.client_id} exists in Keycloak, {holder}, and is not taken over",
            f"delete that client, or set its attribute {OWNER} to {spec.owner!r} if it is this surface's",
            live.owner,
        )
    return tuple(_changes(spec, rules, live))


def own_scopes(spec: ClientSpec, rules: RuleSettings) -> tuple[ScopeSpec, ...]:
    """The scopes of a client that are ours to make: all but those that settings say exist."""
    foreign = set(rules.base_scopes)
    return tuple(
        scope
        for scope in (*spec.scopes, *spec.optional_scopes)
        if scope.name not in foreign and not may_attach(rules, scope.name)
    )


def wanted_scopes(spec: ClientSpec, rules: RuleSettings) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the scopes that a client has by default, and on request; sorted."""
    default = {*rules.base_scopes, *(scope.name for scope in spec.scopes)}
    optional = {scope.name for scope in spec.optional_scopes} - default
    return tuple(sorted(default)), tuple(sorted(optional))


def _changes(spec: ClientSpec, rules: RuleSettings, live: LiveClient) -> Iterator[ClientOperation]:
    found = live.representation
    body = {name: value for name, value in _fields(spec).items() if not _same(name, value, found.get(name))}
    differing = tuple(body)
    if "redirectUris" in body:  # written alone, they would have Keycloak make up web origins where there are none
        body["webOrigins"] = _fields(spec)["webOrigins"]
    known = found.get("attributes") or {}
    attributes = {
        name: value for name, value in _attributes(spec).items() if not _same_attribute(value, known.get(name))
    }
    rotate = bool(spec.rotation) and known.get(ROTATION) != spec.rotation
    if spec.confidential and not found.get("publicClient") and (rotate or not found.get("secret")):
        # Before it is recorded: whoever is stopped in between makes it anew once more, and not never.
        yield RotateSecret()
    if spec.rotation and rotate:
        attributes[ROTATION] = spec.rotation
    if body or attributes:
        fields = (*differing, *(f"attribute {name}" for name in attributes))
        yield UpdateClient(body | ({"attributes": attributes} if attributes else {}), fields)
    yield from _mapper_changes(spec, found.get("protocolMappers") or ())
    default, optional = wanted_scopes(spec, rules)
    has = {False: found.get("defaultClientScopes") or (), True: found.get("optionalClientScopes") or ()}
    wants = {False: default, True: optional}
    for kind in (False, True):  # first away: a scope cannot be attached in both ways
        yield from (DetachScope(name, kind) for name in sorted(has[kind]) if name not in wants[kind])
    for kind in (False, True):
        yield from (AttachScope(name, kind) for name in wants[kind] if name not in has[kind])


def _whole_client(spec: ClientSpec, rules: RuleSettings) -> dict[str, Any]:
    default, optional = wanted_scopes(spec, rules)
    attributes = {name: value for name, value in _attributes(spec).items() if value not in _ABSENT}
    if spec.rotation:
        attributes[ROTATION] = spec.rotation
    return {
        "clientId": spec.client_id,
        **_fields(spec),
        "attributes": attributes,
        "protocolMappers": _mappers(spec),
        "defaultClientScopes": list(default),
        "optionalClientScopes": list(optional),
    }


def _fields(spec: ClientSpec) -> dict[str, Any]:
    return {
        **_FIXED,
        "publicClient": not spec.confidential,
        "name": spec.name,
        "description": spec.description,
        "baseUrl": spec.home_url,
        "redirectUris": sorted(set(spec.redirect_uris)),
        "webOrigins": sorted(set(spec.web_origins)),
    }


def _attributes(spec: ClientSpec) -> dict[str, str]:
    # "-" stands for none at all; an empty value would stand for the redirect URIs.
    uris = "##".join(sorted(set(spec.post_logout_redirect_uris))) or "-"
    return {OWNER: spec.owner, **_FIXED_ATTRIBUTES, "post.logout.redirect.uris": uris}


def _same(name: str, wanted: Any, found: Any) -> bool:
    if name in _UNORDERED:
        return bool(sorted(found or ()) == wanted)
    return bool((found or "") == wanted) if isinstance(wanted, str) else bool(found) is wanted


def _same_attribute(wanted: str, found: str | None) -> bool:
    return wanted == found or (wanted in _ABSENT and found in _ABSENT)


def _mappers(spec: ClientSpec) -> list[dict[str, Any]]:
    return [
        {
            "name": f"{_OUR_MAPPER}{audience}",
            "protocol": "openid-connect",
            "protocolMapper": _AUDIENCE_MAPPER,
            "config": {
                "included.custom.audience": audience,
                "access.token.claim": "true",
                "introspection.token.claim": "true",
                "id.token.claim": "false",
            },
        }
        for audience in sorted(set(spec.audiences or (spec.client_id,)))
    ]


def _mapper_changes(spec: ClientSpec, live: Any) -> Iterator[ClientOperation]:
    ours = {mapper["name"]: mapper for mapper in live if str(mapper.get("name")).startswith(_OUR_MAPPER)}
    for body in _mappers(spec):
        found = ours.pop(body["name"], None)
        if found is None:
            yield WriteMapper(body)
            continue
        config = found.get("config") or {}
        same = all(_same_attribute(value, config.get(name)) for name, value in body["config"].items())
        if not same or found.get("protocolMapper") != _AUDIENCE_MAPPER or config.get("included.client.audience"):
            yield WriteMapper({**body, "id": found["id"]}, str(found["id"]))
    for name, mapper in sorted(ours.items()):
        yield RemoveMapper(str(mapper["id"]), name)


# --- scopes ---------------------------------------------------------------------------------------------------------


def diff_scope(scope: ScopeSpec, rules: RuleSettings, live: LiveScope | None) -> tuple[ScopeOperation, ...]:
    """The operations that make a client scope of ours what it shall be. Raises NotOurs for one of somebody else's.

    The roles of `live` must be known.
    """
    body: dict[str, Any] = {
        "name": scope.name,
        "description": scope.description,
        "protocol": "openid-connect",
        "attributes": {**_SCOPE_ATTRIBUTES, OWNER: rules.cluster_id},
    }
    if live is None:
        return (CreateScope(scope, body),)
    if live.owner != rules.cluster_id:
        holder = f"marked as {live.owner!r}" if live.owner else "without our marker"
        raise NotOurs(
            f"client scope {scope.name} exists in Keycloak, {holder}, and is not taken over",
            "ask for another scope, have the operator's settings list it (keycloak.existingScopes), or set its "
            f"attribute {OWNER} to {rules.cluster_id!r}",
            live.owner,
        )
    operations: list[ScopeOperation] = []
    found, known = live.representation, live.representation.get("attributes") or {}
    # Surfaces that share a scope may describe it differently: the first one's words stay.
    wrong = ["protocol"] if found.get("protocol") != body["protocol"] else []
    wrong += [f"attribute {name}" for name, value in body["attributes"].items() if known.get(name) != value]
    if wrong:
        kept = {"description": found.get("description") or ""}
        operations.append(UpdateScope(live.id, body | kept, tuple(f"scope {scope.name}: {what}" for what in wrong)))
    roles = live.roles or {}
    if scope.name not in roles:
        operations.append(MapRole(live.id, scope))
    extra = {name: identifier for name, identifier in roles.items() if name != scope.name}
    if extra:
        operations.append(UnmapRoles(live.id, scope.name, extra))
    return tuple(operations)
