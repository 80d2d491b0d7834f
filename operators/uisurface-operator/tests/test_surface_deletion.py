"""Deleting UISurfaces on the local platform while Keycloak is away, and while it is not."""

from __future__ import annotations

from typing import Any

from surfaces import Surfaces

from ameide_dev.testing.subject import OWN, StartOperator
from ameide_dev.testing.waiting import never, until

KINDS = (
    ("apps/v1", "ControllerRevision"),
    ("apps/v1", "Deployment"),
    ("apps/v1", "ReplicaSet"),
    ("gateway.envoyproxy.io/v1alpha1", "SecurityPolicy"),
    ("gateway.networking.k8s.io/v1", "HTTPRoute"),
    ("monitoring.coreos.com/v1", "ServiceMonitor"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
    ("policy/v1", "PodDisruptionBudget"),
    ("v1", "ConfigMap"),
    ("v1", "Pod"),
    ("v1", "Secret"),
    ("v1", "Service"),
    ("v1", "ServiceAccount"),
)
AWAY = "https://127.0.0.1:9"
"""Nothing listens there."""


def test_a_keycloak_that_is_away_holds_deletion_up_but_not_for_ever(
    surfaces: Surfaces, start_operator: StartOperator, make_namespace: Any
) -> None:
    """The route goes at once; the client is left behind by name after the deletion timeout."""
    namespace = make_namespace(prefix=OWN)
    own = Surfaces(surfaces.kube, namespace, surfaces.around)
    first = start_operator(namespace, **surfaces.around.settings())
    own.create()
    own.ready()
    first.stop()
    settings = {**surfaces.around.settings(url=AWAY, timeout="2"), "AMEIDE_DELETION_TIMEOUT": "6"}
    start_operator(namespace, **settings)
    own.delete()
    until("the route is gone", lambda: own.route() is None)
    never(
        "the surface is gone before its time",
        lambda: own.kube.find("ameide.io/v1", "UISurface", "shop", namespace) is None,
        2,
    )
    own.wait_gone(timeout=40)
    assert own.client() is not None
    told = [
        event.get("note") or event.get("message", "")
        for event in own.kube.list("v1", "Event", namespace)
        if event.get("reason") == "ClientLeftBehind"
    ]
    assert any(f"{namespace}.shop" in note for note in told)


def test_a_surface_that_becomes_public_gives_its_client_back(surfaces: Surfaces) -> None:
    surfaces.create()
    surfaces.ready()
    assert surfaces.client() is not None
    surfaces.patch(auth={"public": True})
    until("the client is gone", lambda: surfaces.client() is None)
    until("the policy and the Secret are gone", lambda: surfaces.policy() is None and surfaces.secret() is None)
    assert surfaces.ready()["status"]["auth"] == {"mode": "Public"}
    assert surfaces.route() is not None


def test_a_login_comes_back_when_it_is_no_longer_public(surfaces: Surfaces) -> None:
    surfaces.create(auth={"public": True})
    surfaces.ready()
    surfaces.patch(auth={"public": False})
    until("the policy is there", lambda: surfaces.policy() is not None)
    surfaces.ready()
    client = surfaces.client()
    assert client is not None
    assert surfaces.secret() == client["secret"]


def test_deleting_leaves_nothing_in_the_cluster_or_in_keycloak(surfaces: Surfaces) -> None:
    """Everything that a surface with all its parts has made is gone, and nothing of others is."""
    realm = surfaces.around.realm
    mine = f"{surfaces.namespace}:write"

    def in_keycloak() -> dict[str, set[str]]:
        return {
            "clients": {each["clientId"] for each in realm.get("clients")},
            "scopes": {each["name"] for each in realm.get("client-scopes")},
            "roles": {each["name"] for each in realm.get("roles")},
        }

    def in_the_cluster() -> set[tuple[str, str]]:
        return {
            (each["kind"], each["metadata"]["name"])
            for api, kind in KINDS
            for each in surfaces.kube.list(api, kind, surfaces.namespace)
        }

    theirs, empty = in_keycloak(), in_the_cluster()
    surfaces.create(auth={"scopes": [mine]}, replicas=2, features={"flags": {"beta": True}})
    surfaces.ready()
    made = in_the_cluster() - empty
    assert {kind for kind, _ in made} == {kind for _, kind in KINDS}, "each kind of child is among what is looked for"
    assert {name: found - theirs[name] for name, found in in_keycloak().items()} == {
        "clients": {f"{surfaces.namespace}.shop"},
        "scopes": {mine},
        "roles": {mine},
    }
    surfaces.delete()
    surfaces.wait_gone()
    assert {name: {each for each in found if surfaces.namespace in each} for name, found in in_keycloak().items()} == {
        "clients": set(),
        "scopes": set(),
        "roles": set(),
    }
    until("the garbage collector has taken the children", lambda: in_the_cluster() == empty)
