"""How users log in: the client in Keycloak, its Secret, and the gateway's policy."""

from __future__ import annotations

from typing import Any, Final

from ameide_shared.builders.identity import child_metadata, is_owned
from ameide_shared.builders.networkpolicy import endpoint_egress
from ameide_shared.compile.surroundings import unwanted
from ameide_shared.kube.resources import HTTP_ROUTE, SECRET, SECURITY_POLICY
from ameide_shared.plan import Action, Call, Ensure, EnsureSecret
from ameide_shared.reasons import Reason
from ameide_shared.stages import Stage, State, done
from uisurface_operator.keycloak.errors import Failure
from uisurface_operator.keycloak.observation import Fault
from uisurface_operator.plan.context import Context, Unread, is_there
from uisurface_operator.plan.standing import refused, verdicts
from uisurface_operator.target import APPLICATION, GATEWAY, GATEWAY_LOGOUT, PUBLIC, base_path, callback_url

AUTH_CONFIGURED: Final = "AuthConfigured"
ENSURE_CLIENT: Final = "EnsureKeycloakClient"
DELETE_CLIENT: Final = "DeleteKeycloakClient"
SECRET_KEY: Final = "client-secret"  # noqa: S105 - the name of a key, which Envoy Gateway prescribes
_PROVIDER: Final = "keycloak"
_OPEN: Final = "Open"

REASONS: Final = {
    Failure.UNAVAILABLE: Reason.KeycloakUnavailable,
    Failure.REALM_NOT_FOUND: Reason.KeycloakRefused,
    Failure.CREDENTIALS_REFUSED: Reason.KeycloakRefused,
    Failure.PERMISSION_DENIED: Reason.KeycloakRefused,
    Failure.NOT_OURS: Reason.ClientConflict,
    Failure.SCOPE_NOT_FOUND: Reason.ScopeNotFound,
}
"""What a status calls what goes wrong with Keycloak."""


def mode_refusal(ctx: Context) -> Stage | None:
    """Why this login does not go with how hosts are routed, or None."""
    if ctx.mode != GATEWAY or ctx.settings.routing.kind == "HTTPRoute":
        return None
    return Stage(
        "",
        State.STALLED,
        Reason.AuthModeNotSupported,
        "spec.auth.mode: surfaces are routed by Ingresses here, which cannot log users in",
        remedy="set spec.auth.mode: Application, or have routing.kind: HTTPRoute set in the operator's settings",
    )


def connection_refusal(ctx: Context) -> Stage | None:
    """Why settings have no Keycloak to log users in at, or None."""
    if ctx.mode == PUBLIC or ctx.connection is not None:
        return None
    name = ctx.spec.auth.connection
    return Stage(
        AUTH_CONFIGURED,
        State.STALLED,
        Reason.KeycloakConnectionUnknown,
        f"spec.auth.connection: namespace {ctx.primitive.namespace} has no Keycloak connection {name!r}",
        remedy="use one that it has, or have it added to keycloak.connections of the operator's settings",
    )


def has_secret(ctx: Context) -> bool:
    """Whether the Secret with the client's secret is there, and ours."""
    found = ctx.observed.objects.get(SECRET, ctx.primitive.namespace, ctx.secret_name)
    return found is not None and is_owned(ctx.primitive, found) and SECRET_KEY in (found.get("digests") or {})


def secret_digest(ctx: Context) -> str:
    """What pods consume of the Secret: a new one rolls them. Empty where none is mounted."""
    found = ctx.observed.objects.get(SECRET, ctx.primitive.namespace, ctx.secret_name)
    return str(((found or {}).get("digests") or {}).get(SECRET_KEY, ""))[:10]


def leaving_actions(ctx: Context, *, others_gone: bool) -> list[Action]:
    """The client and the Secret of a surface that is public now go, once no pod and no policy needs them."""
    if ctx.mode != PUBLIC or not others_gone:
        return []
    recorded = (ctx.manifest.get("status") or {}).get("auth") or {}
    gone = unwanted(ctx, SECRET, "the surface is public", keep=_foreign_secrets(ctx))
    if recorded.get("clientId") and ctx.connection is not None:
        return [call(ctx, DELETE_CLIENT, "the surface is public"), *gone]
    return gone


def client_actions(ctx: Context) -> list[Action]:
    """The client as it shall be."""
    seen = ctx.client
    if ctx.mode == PUBLIC or ctx.connection is None:
        return []
    if seen.checked_at is None or seen.in_place or seen.fault is not None:
        return []
    what = f"not as wanted: {', '.join(seen.drift)}" if seen.drift else "it does not exist"
    return [call(ctx, ENSURE_CLIENT, what)]


def secret_actions(ctx: Context) -> list[Action]:
    """The client's secret in a Secret. Where that is somebody else's, no policy and no route is begun with it; those
    that are there stay, and let nobody in that has to log in.
    """
    seen = ctx.client
    if ctx.mode == PUBLIC or ctx.connection is None or seen.secret is None or not seen.exists:
        return []
    manifest = {
        "apiVersion": SECRET.api_version,
        "kind": SECRET.kind,
        "metadata": child_metadata(ctx.primitive, ctx.secret_name),
        "type": "Opaque",
    }
    first = ctx.mode == GATEWAY and not is_there(ctx, HTTP_ROUTE)
    return [EnsureSecret(manifest, {SECRET_KEY: seen.secret}, "secret of the client in Keycloak", required=first)]


def _foreign_secrets(ctx: Context) -> frozenset[str]:
    """Secrets of the surface that are not the client's."""
    names = (each["metadata"]["name"] for each in ctx.observed.objects.list(SECRET, ctx.primitive.namespace))
    return frozenset(name for name in names if name != ctx.secret_name)


def call(ctx: Context, operation: str, reason: str, *, required: bool = False) -> Call:
    """Something to be done with the client; whoever does it computes the client from the resource and settings."""
    target = ctx.target
    return Call(
        operation,
        {"connection": target.connection, "client": target.client.client_id},
        reason,
        required=required,
    )


def policy_actions(ctx: Context, *, others_gone: bool) -> list[Action]:
    """The gateway's policy, before the route. One that is no longer wanted goes when `others_gone`: when no pod is left
    that relies on it.
    """
    if ctx.mode != GATEWAY:
        return unwanted(ctx, SECURITY_POLICY, f"users log in by mode {ctx.mode}") if others_gone else []
    if SECURITY_POLICY not in ctx.observed.apis or ctx.connection is None or not _has_way_in(ctx):
        return []
    return [Ensure(_security_policy(ctx), "login at the gateway", required=True)]


def way_is_guarded(ctx: Context) -> bool:
    """Whether a route may be made: in mode Gateway only where the policy before it can be, and has its Secret; or where
    settings say that surfaces shall rather be open than away.

    A policy whose Secret is missing answers 500, so that a route that is there stays.
    """
    if ctx.mode != GATEWAY:
        return True
    if ctx.connection is None:
        return False
    if SECURITY_POLICY not in ctx.observed.apis:
        return policy_is_waived(ctx)
    return _has_way_in(ctx)


def _has_way_in(ctx: Context) -> bool:
    """Whether there is a route, or a Secret with which one can be begun, or will be one before that in this plan."""
    routed = ctx.observed.objects.get(HTTP_ROUTE, ctx.primitive.namespace, ctx.primitive.child_name) is not None
    return routed or has_secret(ctx) or (ctx.client.secret is not None and bool(ctx.client.exists))


def has_policy(ctx: Context | Unread) -> bool:
    """Whether the gateway has the surface's own policy."""
    if SECURITY_POLICY not in ctx.observed.apis:
        return False  # whatever a cache may remember
    return is_there(ctx, SECURITY_POLICY)


def policy_is_waived(ctx: Context | Unread) -> bool:
    """Whether the cluster has no policies, and settings say that surfaces shall rather be open than away."""
    return SECURITY_POLICY not in ctx.observed.apis and ctx.settings.routing.without_policy == _OPEN


def egress(ctx: Context) -> list[dict[str, Any]]:
    """The way to Keycloak for apps that log users in themselves, where a NetworkPolicy can express it."""
    if ctx.mode != APPLICATION or ctx.connection is None:
        return []
    urls = dict.fromkeys([ctx.connection.url, ctx.connection.public_url or ctx.connection.url])
    ways = (endpoint_egress(url, ctx.primitive.namespace, pod_ports=(8080, 8443)) for url in urls)
    return [way for way in ways if way is not None]


def auth_stage(ctx: Context) -> Stage:
    """Whether all of the login is in place."""
    if ctx.mode == PUBLIC:
        return done(AUTH_CONFIGURED, Reason.NotRequired, "the surface is public")
    unknown = connection_refusal(ctx)
    if unknown is not None:
        return unknown
    if ctx.mode == GATEWAY and SECURITY_POLICY not in ctx.observed.apis:
        then = (
            "by routing.withoutPolicy the route is open to everybody"
            if policy_is_waived(ctx)
            else "without it there is no route"
        )
        missing = f"the cluster has no SecurityPolicy ({SECURITY_POLICY.api_version})"
        return Stage(
            AUTH_CONFIGURED,
            State.WAITING,
            Reason.APINotInstalled,
            f"{missing}, so the gateway can log nobody in; {then}",
            remedy="install Envoy Gateway, or set spec.auth.mode: Application",
        )
    seen, client = ctx.client, f"client {ctx.target.client.client_id}"
    if seen.fault is not None and not seen.in_place:
        return _faulty(ctx, seen.fault, client)
    if seen.checked_at is None and not seen.in_place:
        return _pending(f"Keycloak has yet to be asked for {client}", client)
    if not seen.in_place:
        return _pending(f"{client} is being made as wanted in Keycloak", client)
    if not has_secret(ctx):
        return _pending(f"Secret {ctx.secret_name} is being made", f"Secret {ctx.secret_name}")
    if ctx.mode == GATEWAY:
        stage = _policy_stage(ctx)
        if stage is not None:
            return stage
    if seen.fault is not None:
        return done(AUTH_CONFIGURED, REASONS[seen.fault.reason], seen.fault.message, degraded=True)
    return done(AUTH_CONFIGURED, Reason.AuthConfigured)


def _pending(message: str, what: str) -> Stage:
    return Stage(AUTH_CONFIGURED, State.PROGRESSING, Reason.AuthPending, message, object=what)


def _faulty(ctx: Context, fault: Fault, client: str) -> Stage:
    return Stage(
        AUTH_CONFIGURED,
        State.FAILED,  # Keycloak is looked at again and again: whatever is mended there is noticed
        REASONS[fault.reason],
        fault.message,
        object=f"Keycloak {client}",
        remedy=fault.remedy,
        retry_at=ctx.client.next_at,
    )


def _policy_stage(ctx: Context) -> Stage | None:
    """What the gateway has against the policy, or still lacks; None where it is accepted."""
    name = ctx.primitive.child_name
    what = f"SecurityPolicy {name}"
    live = ctx.observed.objects.get(SECURITY_POLICY, ctx.primitive.namespace, name)
    if live is None:
        return _pending(f"{what} is being made", what)
    told = verdicts(live, "ancestors", ("Accepted",))
    wrong = refused(told)
    if wrong is not None:
        return Stage(
            AUTH_CONFIGURED,
            State.FAILED,
            Reason.AuthPolicyRejected,
            f"{what} is refused: {wrong}",
            object=what,
            remedy="mend what the message names: most often the issuer or an endpoint of the Keycloak connection",
        )
    if not told:
        return _pending(f"no gateway has judged {what} yet; it does so once the route is there", what)
    return None


def _security_policy(ctx: Context) -> dict[str, Any]:
    connection, client = ctx.connection, ctx.target.client
    assert connection is not None, "asked for only where there is one"
    spec: dict[str, Any] = {
        "targetRefs": [{"group": HTTP_ROUTE.group, "kind": HTTP_ROUTE.kind, "name": ctx.primitive.child_name}],
        "oidc": {
            "provider": {
                "issuer": connection.issuer,
                "authorizationEndpoint": f"{connection.login_url}/auth",
                "tokenEndpoint": f"{connection.backchannel_url}/token",
            },
            "clientID": client.client_id,
            "clientSecret": {"name": ctx.secret_name},
            "redirectURL": callback_url(ctx.surface, ctx.settings),
            "logoutPath": f"{base_path(ctx.surface)}{GATEWAY_LOGOUT}",
            "scopes": ["openid", *ctx.spec.auth.scopes],
            "forwardAccessToken": True,
        },
        "jwt": {
            "providers": [
                {
                    "name": _PROVIDER,
                    "issuer": connection.issuer,
                    "audiences": list(client.audiences or (client.client_id,)),
                    "remoteJWKS": {"uri": f"{connection.backchannel_url}/certs"},
                }
            ]
        },
    }
    if ctx.spec.auth.scopes:
        principal = {"jwt": {"provider": _PROVIDER, "scopes": list(ctx.spec.auth.scopes)}}
        rules = [{"name": "required-scopes", "action": "Allow", "principal": principal}]
        spec["authorization"] = {"defaultAction": "Deny", "rules": rules}
    return {
        "apiVersion": SECURITY_POLICY.api_version,
        "kind": SECURITY_POLICY.kind,
        "metadata": child_metadata(ctx.primitive),
        "spec": spec,
    }
