"""Children that others change or delete, children that are somebody else's, and surfaces that are paused."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from surfaces import APP, CHILD, SECRET, Surfaces

from ameide_dev.testing.waiting import never, until

GATEWAY_API = "gateway.networking.k8s.io/v1"
POLICY_API = "gateway.envoyproxy.io/v1alpha1"
FULL: dict[str, Any] = {
    "replicas": 2,
    "autoscaling": {"minReplicas": 2, "maxReplicas": 3},
    "resources": {"cpu": "50m", "memory": "64Mi"},
}
CHILDREN = (
    ("v1", "ServiceAccount", CHILD),
    ("v1", "Service", CHILD),
    ("v1", "Secret", SECRET),
    ("networking.k8s.io/v1", "NetworkPolicy", CHILD),
    ("monitoring.coreos.com/v1", "ServiceMonitor", CHILD),
    ("autoscaling/v2", "HorizontalPodAutoscaler", CHILD),
    ("policy/v1", "PodDisruptionBudget", CHILD),
    (POLICY_API, "SecurityPolicy", CHILD),
    (GATEWAY_API, "HTTPRoute", CHILD),
    ("apps/v1", "Deployment", CHILD),
)
CHANGES: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    ("v1", "ServiceAccount", CHILD, {"automountServiceAccountToken": True}),
    ("v1", "Service", CHILD, {"spec": {"selector": {"ameide.io/name": "another"}}}),
    ("v1", "Secret", SECRET, {"data": {"client-secret": base64.b64encode(b"somebody's own").decode()}}),
    ("networking.k8s.io/v1", "NetworkPolicy", CHILD, {"spec": {"ingress": [{}]}}),
    ("monitoring.coreos.com/v1", "ServiceMonitor", CHILD, {"spec": {"endpoints": [{"port": "other"}]}}),
    ("autoscaling/v2", "HorizontalPodAutoscaler", CHILD, {"spec": {"maxReplicas": 9}}),
    ("policy/v1", "PodDisruptionBudget", CHILD, {"spec": {"maxUnavailable": "50%"}}),
    (POLICY_API, "SecurityPolicy", CHILD, {"spec": {"authorization": {"defaultAction": "Allow"}}}),
    (GATEWAY_API, "HTTPRoute", CHILD, {"spec": {"hostnames": ["evil.example.com"]}}),
    ("apps/v1", "Deployment", CHILD, {"spec": {"template": {"metadata": {"labels": {"ameide.io/tier": "backend"}}}}}),
)


def config_maps(surfaces: Surfaces) -> dict[str, str]:
    """Names and uids of the files that pods read."""
    found = surfaces.kube.list("v1", "ConfigMap", surfaces.namespace)
    return {
        each["metadata"]["name"]: each["metadata"]["uid"]
        for each in found
        if each["metadata"]["name"].startswith(f"{CHILD}-")
    }


def test_every_kind_of_child_comes_back_when_it_is_deleted(surfaces: Surfaces) -> None:
    surfaces.create(auth={"scopes": ["orders:read"]}, **FULL)
    surfaces.ready()
    client = surfaces.client()
    for api, kind, name in CHILDREN:
        live = surfaces.live(api, kind, name)
        assert live is not None, f"{kind} {name}"
        uid = live["metadata"]["uid"]
        surfaces.kube.delete(api, kind, name, surfaces.namespace)

        def another(api: str = api, kind: str = kind, name: str = name, uid: str = uid) -> bool:
            found = surfaces.live(api, kind, name)
            return found is not None and found["metadata"]["uid"] != uid

        until(f"{kind} {name} is made anew", another)
    before = config_maps(surfaces)
    assert len(before) == 2  # flags, SDK configuration
    for name in before:
        surfaces.kube.delete("v1", "ConfigMap", name, surfaces.namespace)
    until("both files are made anew", lambda: {*config_maps(surfaces)} == {*before})
    assert not {*config_maps(surfaces).values()} & {*before.values()}
    surfaces.ready()
    assert client is not None
    assert surfaces.secret() == client["secret"], "the secret is Keycloak's, not a new one"


def test_every_kind_of_child_is_set_back_when_it_is_changed(surfaces: Surfaces) -> None:
    """Whoever may write a SecurityPolicy or a route opens a surface for a moment at most."""
    surfaces.create(auth={"scopes": ["orders:read"]}, **FULL)
    surfaces.ready()
    for api, kind, name, change in CHANGES:
        live = surfaces.live(api, kind, name)
        assert live is not None, f"{kind} {name}"
        changed = surfaces.kube.merge_patch(api, kind, name, change, surfaces.namespace)
        told = [part for part in ("spec", "data", "automountServiceAccountToken") if part in live]
        assert any(changed[part] != live[part] for part in told), f"{kind} {name} was not changed"

        def set_back(api: str = api, kind: str = kind, name: str = name, live: Any = live, told: Any = told) -> bool:
            found = surfaces.live(api, kind, name)
            return found is not None and all(_same(found[part], live[part]) for part in told)

        until(f"{kind} {name} is set back", set_back)
    surfaces.ready()


def _same(found: Any, wanted: Any) -> bool:
    """Whether everything wanted is there; numbers that an autoscaler writes are not looked at."""
    if isinstance(wanted, dict):
        return (
            isinstance(found, dict)
            and {*found} - {"replicas"} <= {*wanted}
            and all(_same(found.get(name), value) for name, value in wanted.items() if name != "replicas")
        )
    return bool(found == wanted)


@pytest.mark.parametrize(
    ("api", "kind", "name", "body"),
    [
        ("v1", "Service", CHILD, {"spec": {"ports": [{"port": 1}]}}),
        ("v1", "Secret", SECRET, {"stringData": {"client-secret": "theirs"}}),
        (
            "networking.k8s.io/v1",
            "NetworkPolicy",
            CHILD,
            {"spec": {"podSelector": {}, "policyTypes": ["Ingress"]}},
        ),
    ],
)
def test_foreign_child_is_never_taken_over(
    surfaces: Surfaces, api: str, kind: str, name: str, body: dict[str, Any]
) -> None:
    metadata = {"name": name, "namespace": surfaces.namespace}
    made = surfaces.kube.create({"apiVersion": api, "kind": kind, "metadata": metadata, **body})
    surfaces.create()
    told = surfaces.until("Ready", "False", reason="ChildConflict")
    assert f"{kind} {surfaces.namespace}/{name}" in told["status"]["blocker"]["message"]

    def written() -> bool:
        live = surfaces.live(api, kind, name)
        return live is None or live["metadata"]["resourceVersion"] != made["metadata"]["resourceVersion"]

    never(f"somebody else's {kind} is written", written, 1)
    if kind == "Secret":
        assert surfaces.conditions()["AuthConfigured"] == ("False", "ChildConflict"), "their secret is not the client's"
        assert surfaces.conditions()["RoutingReady"] == ("Unknown", "Blocked")
        assert "nobody can log in" in told["status"]["blocker"]["remedy"]
        assert (surfaces.policy(), surfaces.route()) == (None, None), "neither is begun without the Secret"
    surfaces.kube.delete(api, kind, name, surfaces.namespace)
    surfaces.ready(timeout=60)


def test_secret_of_somebody_else_in_place_of_ours_opens_nothing(surfaces: Surfaces) -> None:
    """What is there goes on asking for a login, guarded as ever, and says why nobody gets through."""
    surfaces.create(auth={"scopes": ["orders:read"]})
    surfaces.ready()
    route, policy = surfaces.route(), surfaces.policy()
    assert route is not None
    assert policy is not None
    theirs = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": SECRET, "namespace": surfaces.namespace}}
    # Without our labels no watch shows it; the operator meets it when it makes its own anew.
    surfaces.annotate(paused="true")
    surfaces.until("Paused")
    surfaces.kube.delete("v1", "Secret", SECRET, surfaces.namespace)
    surfaces.kube.create({**theirs, "stringData": {"client-secret": "theirs"}})
    surfaces.annotate(paused=None)
    told = surfaces.until("AuthConfigured", "False", reason="ChildConflict")
    blocker = told["status"]["blocker"]
    assert (blocker["reason"], blocker["object"]) == ("ChildConflict", f"Secret {SECRET}")
    assert blocker["remedy"] == ("delete or rename it, and the operator makes its own; until then nobody can log in")
    assert surfaces.secret() == "theirs"

    surfaces.kube.delete(policy["apiVersion"], policy["kind"], CHILD, surfaces.namespace)
    until("the policy is made anew", lambda: surfaces.policy() is not None)
    found = surfaces.route()
    assert found is not None
    assert found["metadata"]["uid"] == route["metadata"]["uid"]

    surfaces.kube.delete("v1", "Secret", SECRET, surfaces.namespace)
    surfaces.ready(timeout=60)
    client = surfaces.client()
    assert client is not None
    assert surfaces.secret() == client["secret"]


def test_paused_surface_is_left_as_it_is_until_it_goes_on(surfaces: Surfaces) -> None:
    """In Keycloak too. It can be deleted all the same."""
    surfaces.create()
    surfaces.ready()
    surfaces.annotate(paused="true")
    surfaces.until("Paused")
    client = surfaces.client()
    assert client is not None
    theirs = ["https://theirs.example/"]
    surfaces.around.realm.send("PUT", "clients", client["id"], body={"redirectUris": theirs})
    surfaces.patch(image="ghcr.io/ameide/shop-ui:2.0.0")
    surfaces.kube.delete("v1", "Service", CHILD, surfaces.namespace)

    def touched() -> bool:
        found = surfaces.client()
        image = surfaces.deployment()["spec"]["template"]["spec"]["containers"][0]["image"]
        service = surfaces.live("v1", "Service")
        return service is not None or image != APP or found is None or found["redirectUris"] != theirs

    never("anything is written", touched, 5)
    surfaces.annotate(paused=None)
    surfaces.ready()
    until("the client is repaired", lambda: (surfaces.client() or {}).get("redirectUris") == client["redirectUris"])
    surfaces.annotate(paused="true")
    surfaces.until("Paused")
    surfaces.delete()
    surfaces.wait_gone()
    assert surfaces.client() is None
