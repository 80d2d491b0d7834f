"""Logins on the local platform with a real Keycloak: who is let in, refusals of policy and server, rotation, repair."""

from __future__ import annotations

import base64
import json
import ssl
from typing import Any

import httpx
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from surface_golden import GOLDEN
from surfaces import CHILD, SECRET, Around, Surfaces, made_around

from ameide_dev.gateway import GatewayStandIn
from ameide_dev.keycloak import KeycloakServer
from ameide_dev.pytest_plugin import NamespaceMaker
from ameide_dev.testing.firstlook import passed_on, secret_of
from ameide_dev.testing.subject import OWN, StartOperator
from ameide_dev.testing.waiting import never, until
from ameide_shared.redact import fingerprint
from uisurface_operator.main import DEFINITION


def decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def passes(policy: dict[str, Any], token: str, around: Around) -> bool:
    """Whether a gateway that enforces the policy lets a request with this token through, as Envoy's filters judge it:
    signature by the provider's keys, issuer, audience, and that a rule allows the scopes."""
    [provider] = policy["spec"]["jwt"]["providers"]
    header, payload, signature = token.split(".")
    claims = json.loads(decoded(payload))
    trusted = ssl.create_default_context(cafile=str(around.ca_file))
    keys = httpx.get(provider["remoteJWKS"]["uri"], verify=trusted, trust_env=False).json()["keys"]
    [key] = [each for each in keys if each["kid"] == json.loads(decoded(header))["kid"]]
    numbers = rsa.RSAPublicNumbers(*(int.from_bytes(decoded(key[name])) for name in ("e", "n")))
    try:
        numbers.public_key().verify(decoded(signature), f"{header}.{payload}".encode(), padding.PKCS1v15(), SHA256())
    except InvalidSignature:
        return False
    audiences = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
    if claims["iss"] != provider["issuer"] or not set(provider["audiences"]) & set(audiences):
        return False
    authorization = policy["spec"].get("authorization")
    if authorization is None:
        return True
    scopes = set(claims["scope"].split())
    allowed = [set(rule["principal"]["jwt"]["scopes"]) <= scopes for rule in authorization["rules"]]
    return any(allowed) or authorization["defaultAction"] == "Allow"


def test_a_user_without_the_scopes_role_is_refused_and_one_with_it_is_let_in(surfaces: Surfaces) -> None:
    """Two users of a real Keycloak, their real tokens, and the policy that the gateway is given."""
    scope, realm = f"{surfaces.namespace}:write", surfaces.around.realm
    surfaces.create(auth={"scopes": [scope]})
    surfaces.ready()
    policy, client, secret = surfaces.policy(), surfaces.client(), surfaces.secret()
    assert policy is not None
    assert client is not None
    with_role, without = f"ada-{surfaces.namespace}", f"bob-{surfaces.namespace}"
    realm.add_user(with_role, "lovelace", [scope])
    realm.add_user(without, "builder")
    [redirect] = client["redirectUris"]
    assert policy["spec"]["oidc"]["redirectURL"] == redirect
    asked = " ".join(policy["spec"]["oidc"]["scopes"])
    tokens = {
        user: realm.tokens(client["clientId"], redirect, user, password, secret=secret, scope=asked)
        for user, password in ((with_role, "lovelace"), (without, "builder"))
    }
    # Tokens name the address at which they were asked for; the policy names the one in the settings.
    issuer = policy["spec"]["jwt"]["providers"][0]["issuer"]
    assert issuer == f"{surfaces.around.url}/realms/{realm.name}"
    policy["spec"]["jwt"]["providers"][0]["issuer"] = realm.issuer
    assert policy["spec"]["oidc"]["forwardAccessToken"] is True
    assert passes(policy, tokens[with_role].access_token, surfaces.around)
    assert not passes(policy, tokens[without].access_token, surfaces.around)
    head, body, signature = tokens[without].access_token.split(".")
    better = json.dumps(json.loads(decoded(body)) | {"scope": f"openid {scope}"}).encode()
    forged = f"{head}.{base64.urlsafe_b64encode(better).rstrip(b'=').decode()}.{signature}"
    assert not passes(policy, forged, surfaces.around)


def test_a_policy_that_the_gateway_refuses_is_told_in_its_words_until_it_takes_it(
    surfaces: Surfaces, gateways: GatewayStandIn
) -> None:
    """The route stays: Envoy answers 500 to what such a policy guards."""
    gateways.refuse("SecurityPolicy", surfaces.namespace, "*", "Accepted", "Invalid", "the issuer cannot be reached")
    surfaces.create()
    told = surfaces.until("AuthConfigured", "False", reason="AuthPolicyRejected")
    assert "Invalid: the issuer cannot be reached" in told["status"]["blocker"]["message"]
    assert surfaces.conditions()["Ready"] == ("False", "AuthPolicyRejected")
    until("the route is there", lambda: surfaces.route() is not None)
    gateways.allow("SecurityPolicy", surfaces.namespace, "*")
    surfaces.ready()
    assert surfaces.conditions()["AuthConfigured"][0] == "True"


def test_the_secret_is_made_anew_once_for_each_value_of_the_annotation(surfaces: Surfaces) -> None:
    """Pods of an app that logs users in by itself roll with it; the annotation's text goes nowhere."""
    surfaces.create(auth={"mode": "Application"})
    surfaces.ready()
    first, template = surfaces.secret(), surfaces.deployment()["spec"]["template"]["metadata"]
    surfaces.annotate(rotate_secret="because of a leak")

    def rotated() -> bool:
        client = surfaces.client()
        return client is not None and surfaces.secret() == client["secret"] != first

    until("Keycloak and the Secret have another one", rotated)
    second = surfaces.secret()
    until("the pods roll", lambda: surfaces.deployment()["spec"]["template"]["metadata"] != template)
    surfaces.ready()
    surfaces.annotate(reconcile_at="now")
    never("it is made anew once more", lambda: surfaces.secret() != second, 5)
    surfaces.annotate(rotate_secret=None)
    never("it is made anew as the annotation goes", lambda: surfaces.secret() != second, 3)
    client = surfaces.client()
    assert client is not None
    assert "leak" not in json.dumps(client)


def test_a_client_that_was_deleted_in_keycloak_is_made_again_with_its_secret(surfaces: Surfaces) -> None:
    surfaces.create()
    surfaces.ready()
    client = surfaces.client()
    assert client is not None
    surfaces.around.realm.send("DELETE", "clients", client["id"])

    def back() -> bool:
        found = surfaces.client()
        return found is not None and found["id"] != client["id"] and surfaces.secret() == found["secret"]

    until("another client, whose secret the cluster has", back)
    surfaces.ready()


def test_a_realm_that_is_missing_is_told_and_used_once_it_is_made(
    surfaces: Surfaces, start_operator: StartOperator, make_namespace: NamespaceMaker, tmp_path: Any
) -> None:
    admin = surfaces.around.realm.admin
    name = f"{surfaces.around.realm.name}-later"
    own = Surfaces(surfaces.kube, make_namespace(prefix=OWN), surfaces.around)
    start_operator(own.namespace, **surfaces.around.settings(realm=name))
    own.create()
    told = own.until("AuthConfigured", "False", reason="KeycloakRefused")
    assert name in told["status"]["blocker"]["message"]
    assert told["status"]["blocker"]["remedy"]
    assert own.route() is None
    realm = admin.create_realm(name)
    try:
        realm.add_service_client(surfaces.around.account, surfaces.around.secret_file.read_text())
        own.ready(timeout=90)
        assert realm.client(f"{own.namespace}.shop") is not None
        own.delete()
        own.wait_gone()
    finally:
        realm.delete()


def test_wrong_credentials_are_told_without_them_and_a_corrected_file_is_taken_up(
    surfaces: Surfaces, start_operator: StartOperator, make_namespace: NamespaceMaker, tmp_path: Any
) -> None:
    file = tmp_path / "secret"
    file.write_text("not-what-it-should-be")
    own = Surfaces(surfaces.kube, make_namespace(prefix=OWN), surfaces.around)
    operator = start_operator(own.namespace, **surfaces.around.settings(clientSecretFile=str(file)))
    own.create()
    told = own.until("AuthConfigured", "False", reason="KeycloakRefused")
    assert "not-what-it-should-be" not in json.dumps(told)
    assert "not-what-it-should-be" not in operator.logs
    file.write_text(surfaces.around.secret_file.read_text())
    own.ready(timeout=90)


def test_a_keycloak_that_goes_down_leaves_what_runs_alone_and_is_used_again_when_it_is_back(
    surfaces: Surfaces,
    start_operator: StartOperator,
    make_namespace: NamespaceMaker,
    tmp_path: Any,
) -> None:
    """Down, then slow: no reconcile waits for it, and drift from meanwhile is repaired afterwards."""
    own = Surfaces(surfaces.kube, make_namespace(prefix=OWN), surfaces.around)
    with KeycloakServer("outage") as server:
        realm = server.admin.create_realm()
        around = made_around(realm, server.https_url, server.ca_file, tmp_path)
        own = Surfaces(surfaces.kube, own.namespace, around)
        start_operator(own.namespace, **around.settings(timeout="5"))
        own.create(auth={"mode": "Application"})
        own.ready()
        client, uid = own.client(), own.deployment()["metadata"]["uid"]
        assert client is not None
        server.stop()
        own.patch(features={"flags": {"beta": True}})
        # What is in place goes on: the app rolls, and the condition tells that nobody has looked lately.
        told = own.until("AuthConfigured", "True", reason="KeycloakUnavailable", timeout=60)
        assert told["metadata"]["generation"] == 2
        own.ready(timeout=60)
        own.create("late", auth={"mode": "Application"}, pathPrefix="/late")
        own.until("AuthConfigured", "False", reason="KeycloakUnavailable", name="late")
        server.start()
        server.wait_ready()
        realm.send("PUT", "clients", client["id"], body={"redirectUris": ["https://evil.example/*"]})
        own.until("AuthConfigured", "True", reason="AuthConfigured", timeout=60)
        own.ready("late", timeout=60)

        def repaired() -> bool:
            found = own.client()
            return found is not None and found["redirectUris"] == client["redirectUris"]

        until("drift is repaired", repaired)
        server.pause()
        own.until("AuthConfigured", "True", reason="KeycloakUnavailable", timeout=60)
        server.resume()
        own.until("AuthConfigured", "True", reason="AuthConfigured", timeout=60)
        assert own.deployment()["metadata"]["uid"] == uid
        assert own.live("v1", "Secret", SECRET) is not None
        for name in ("late", None):
            own.delete(name)
            own.wait_gone(name)
        assert own.client() is None


@pytest.mark.parametrize("kind", ["SecurityPolicy", "HTTPRoute"])
def test_somebody_elses_object_in_the_way_of_the_login_is_never_taken_over(surfaces: Surfaces, kind: str) -> None:
    api = "gateway.envoyproxy.io/v1alpha1" if kind == "SecurityPolicy" else "gateway.networking.k8s.io/v1"
    target = {"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "theirs"}
    spec: dict[str, Any] = (
        {"targetRefs": [target]} if kind == "SecurityPolicy" else {"hostnames": ["theirs.example.com"]}
    )
    metadata = {"name": CHILD, "namespace": surfaces.namespace}
    made = surfaces.kube.create({"apiVersion": api, "kind": kind, "metadata": metadata, "spec": spec})
    surfaces.create()
    told = surfaces.until("Ready", "False", reason="ChildConflict")
    assert f"{kind} {surfaces.namespace}/{CHILD}" in told["status"]["blocker"]["message"]
    live = surfaces.live(api, kind)
    assert live is not None
    assert live["spec"] == made["spec"]
    if kind == "SecurityPolicy":
        never("a route without our policy", lambda: surfaces.route(), 1)
    surfaces.kube.delete(api, kind, CHILD, surfaces.namespace)
    surfaces.ready(timeout=60)


async def test_first_look_of_a_new_process_knows_the_secret_of_this_surfaces_client_alone() -> None:
    """What the app said last is passed on without it; another surface's, which it might guess, is not looked for."""
    surface = GOLDEN.based({"base": "surface"})
    another = {**surface, "metadata": {**surface["metadata"], "name": "another"}}
    heard = await passed_on(
        DEFINITION,
        surface,
        "before secret-of-our-client and secret-of-another after",
        secret_of(surface, SECRET, client_secret="secret-of-our-client"),
        secret_of(another, "another-ui-oidc", client_secret="secret-of-another"),
    )
    assert heard == f"before {fingerprint('secret-of-our-client')} and secret-of-another after"
