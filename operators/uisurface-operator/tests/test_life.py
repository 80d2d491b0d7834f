"""A UISurface's life on the local platform, with a real Keycloak: from creation through changes to deletion."""

from __future__ import annotations

import json
from typing import Any

import pytest
from surfaces import SECRET, Surfaces

from ameide_dev.client import ApiError
from ameide_dev.operators import OperatorProcess
from ameide_dev.testing.subject import OWN, StartOperator
from ameide_dev.testing.waiting import never, until

CONDITIONS = ("Ready", "DependenciesReady", "AuthConfigured", "RoutingReady", "WorkloadReady")


def test_created_surface_becomes_ready_with_all_that_is_promised(surfaces: Surfaces) -> None:
    surfaces.create(auth={"scopes": ["orders:write"]}, features={"flags": {"beta": True}}, pathPrefix="/shop")
    ready = surfaces.ready()
    status = ready["status"]
    held = surfaces.conditions()
    assert {name: held[name][0] for name in CONDITIONS} == dict.fromkeys(CONDITIONS, "True")
    assert "blocker" not in status
    assert status["endpoints"]["url"] == f"https://{surfaces.host}/shop/"
    assert status["auth"] == {
        "mode": "Gateway",
        "connection": "default",
        "clientId": f"{surfaces.namespace}.shop",
        "scopes": ["orders:write"],
    }
    client, policy, route = surfaces.client(), surfaces.policy(), surfaces.route()
    assert client is not None
    assert policy is not None
    assert route is not None
    assert client["redirectUris"] == [f"https://{surfaces.host}/shop/oauth2/callback"]
    assert client["attributes"]["pkce.code.challenge.method"] == "S256"
    assert surfaces.around.realm.scope("orders:write") is not None
    assert surfaces.around.realm.role("orders:write") is not None
    assert surfaces.secret() == client["secret"]
    assert policy["spec"]["oidc"]["clientSecret"]["name"] == SECRET
    assert policy["spec"]["authorization"]["rules"][0]["principal"]["jwt"]["scopes"] == ["orders:write"]
    assert route["spec"]["hostnames"] == [surfaces.host]
    flags = next(
        each["configMap"]["name"]
        for each in surfaces.deployment()["spec"]["template"]["spec"]["volumes"]
        if each["name"] == "flags"
    )
    stored = surfaces.live("v1", "ConfigMap", flags)
    assert stored is not None
    assert json.loads(stored["data"]["flags.json"]) == {"flags": {"beta": True}, "variants": {}}


def test_an_app_that_logs_users_in_has_its_secret_as_a_file(surfaces: Surfaces) -> None:
    surfaces.create(auth={"mode": "Application"})
    surfaces.ready()
    container = surfaces.deployment()["spec"]["template"]["spec"]["containers"][0]
    env = {each["name"]: each.get("value") for each in container["env"]}
    assert env["OIDC_CLIENT_ID"] == f"{surfaces.namespace}.shop"
    assert env["OIDC_CLIENT_SECRET_FILE"] == "/etc/ameide/oidc/client-secret"
    assert env["OIDC_ISSUER"] == f"{surfaces.around.url}/realms/{surfaces.around.realm.name}"
    client = surfaces.client()
    assert client is not None
    assert client["redirectUris"] == [f"https://{surfaces.host}/auth/callback"]
    assert surfaces.policy() is None


def test_a_public_surface_needs_no_keycloak(surfaces: Surfaces) -> None:
    surfaces.create(auth={"public": True})
    surfaces.ready()
    assert surfaces.client() is None
    assert surfaces.secret() is None
    assert surfaces.policy() is None


def test_drift_in_keycloak_is_repaired(surfaces: Surfaces) -> None:
    surfaces.create()
    surfaces.ready()
    client = surfaces.client()
    assert client is not None
    surfaces.around.realm.send("PUT", "clients", client["id"], body={"redirectUris": ["https://evil.example/*"]})

    def repaired() -> bool:
        found = surfaces.client()
        return found is not None and found["redirectUris"] == [f"https://{surfaces.host}/oauth2/callback"]

    until("the redirect URI is ours again", repaired, 20)


def test_the_younger_of_two_waits_and_takes_over(surfaces: Surfaces) -> None:
    surfaces.create(auth={"public": True})
    surfaces.ready()
    surfaces.create("late", auth={"public": True})
    surfaces.until("RoutingReady", "False", reason="RouteConflict", name="late")
    assert f"{surfaces.namespace}/shop" in surfaces.get("late")["status"]["blocker"]["message"]
    assert surfaces.route("late-ui") is None
    surfaces.delete()
    surfaces.ready("late")
    assert surfaces.route("late-ui") is not None


def test_a_dependency_holds_back_the_first_start_only(surfaces: Surfaces) -> None:
    surfaces.create(auth={"public": True}, dependencies={"domains": ["orders"]})
    surfaces.until("DependenciesReady", "False", reason="DependencyNotFound")
    never("a Deployment", lambda: surfaces.live("apps/v1", "Deployment") is not None, 1)
    metadata = {"name": "orders", "namespace": surfaces.namespace}
    spec = {"image": "ghcr.io/ameide/orders-domain:1.0.0"}
    made = surfaces.kube.create({"apiVersion": "ameide.io/v1", "kind": "Domain", "metadata": metadata, "spec": spec})
    condition = {
        "type": "Ready",
        "status": "True",
        "reason": "AllResourcesHealthy",
        "message": "",
        "observedGeneration": made["metadata"]["generation"],
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    surfaces.kube.patch_status("ameide.io/v1", "Domain", "orders", {"conditions": [condition]}, surfaces.namespace)
    surfaces.ready()


def test_deletion_takes_the_client_and_its_scopes_along(surfaces: Surfaces) -> None:
    surfaces.create(auth={"scopes": [f"{surfaces.namespace}:read"]})
    surfaces.ready()
    assert surfaces.around.realm.scope(f"{surfaces.namespace}:read") is not None
    surfaces.delete()
    surfaces.wait_gone()
    assert surfaces.client() is None
    assert surfaces.around.realm.scope(f"{surfaces.namespace}:read") is None


def test_a_client_of_somebody_else_is_not_touched(surfaces: Surfaces) -> None:
    theirs = {"clientId": f"{surfaces.namespace}.shop", "redirectUris": ["https://theirs.example/"]}
    surfaces.around.realm.send("POST", "clients", body=theirs)
    surfaces.create()
    surfaces.until("AuthConfigured", "False", reason="ClientConflict")
    assert surfaces.route() is None
    client = surfaces.client()
    assert client is not None
    assert client["redirectUris"] == ["https://theirs.example/"]


def test_keycloak_that_is_away_is_told_and_nothing_is_routed(
    surfaces: Surfaces, start_operator: StartOperator, make_namespace: Any
) -> None:
    own_namespace = make_namespace(prefix=OWN)
    own = Surfaces(surfaces.kube, own_namespace, surfaces.around)
    start_operator(own_namespace, **surfaces.around.settings(url="https://127.0.0.1:9", timeout="2"))
    own.create()
    own.until("AuthConfigured", "False", reason="KeycloakUnavailable")
    assert own.route() is None


def test_secrets_are_nowhere_but_in_the_secret(surfaces: Surfaces, operator: OperatorProcess) -> None:
    """Not in status, log, metrics or Events, nor in any child that others may read, after a rotation too."""
    surfaces.create(auth={"mode": "Application"})
    surfaces.ready()
    first = surfaces.secret()
    surfaces.annotate(rotate_secret="1")
    until("another secret", lambda: surfaces.secret() != first)
    told = [json.dumps(surfaces.ready()), operator.logs, operator.metrics()]
    for api, kind in (
        ("apps/v1", "ControllerRevision"),
        ("apps/v1", "Deployment"),
        ("v1", "ConfigMap"),
        ("v1", "Event"),
        ("v1", "Pod"),
    ):
        found = surfaces.kube.list(api, kind, surfaces.namespace)
        assert found, kind
        told.append(json.dumps(found))
    account = surfaces.around.secret_file.read_text()
    for secret in (first, surfaces.secret(), account):
        assert secret
        assert [text for text in told if secret in text] == []


def test_the_api_server_refuses_what_cannot_be(surfaces: Surfaces) -> None:
    with pytest.raises(ApiError, match="a public surface has neither a mode nor scopes"):
        surfaces.create(auth={"public": True, "scopes": ["a:b"]})
