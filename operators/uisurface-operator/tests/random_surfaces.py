"""Any UISurface in any cluster, with anything that Keycloak may say, for the properties of plan and status."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from surface_golden import GOLDEN

from ameide_dev.testing.resources import merged
from ameide_dev.testing.world import Case
from uisurface_operator.main import DEFINITION
from uisurface_operator.settings import UISurfaceSettings

_CONNECTION = {
    "url": "https://login.ameide.com",
    "realm": "ameide",
    "client_id": "operator",
    "client_secret_file": "/var/run/keycloak/secret",
}
_REASONS = (
    "KeycloakUnavailable",
    "RealmNotFound",
    "CredentialsRefused",
    "PermissionDenied",
    "NotOurs",
    "ScopeNotFound",
)
_AUTHS = (
    {},
    {"public": True},
    {"mode": "Gateway", "scopes": ["l2o:read"]},
    {"mode": "Application", "scopes": ["orders:write"]},
)


def _specs(*, sane: bool) -> st.SearchStrategy[dict[str, Any]]:
    """Parts of specs over the least one; sane ones refer to nothing that is not there."""
    names = st.lists(st.sampled_from(["orders"] if sane else ["orders", "billing", "risk/scoring"]), unique=True)
    return st.fixed_dictionaries(
        {},
        optional={
            "pathPrefix": st.sampled_from(["/", "/shop", "/a/b"]),
            "auth": st.sampled_from(_AUTHS),
            "dependencies": st.fixed_dictionaries({}, optional={"domains": names}),
            "features": st.fixed_dictionaries(
                {},
                optional={
                    "flags": st.dictionaries(st.sampled_from(["beta", "dark"]), st.booleans()),
                    "delivery": st.sampled_from(["Roll", "Live"]),
                },
            ),
            "replicas": st.integers(0, 3),
            "autoscaling": st.just({"maxReplicas": 3}),
            "security": st.sampled_from([{}, {} if sane else {"networkProfile": "nowhere"}]),
            "rollout": st.sampled_from([{}, {"canary": not sane}]),
        },
    )


def _settings(kind: str, *, connected: bool) -> UISurfaceSettings:
    told: dict[str, Any] = {"routing": {"kind": kind}}
    if connected:
        told["keycloak"] = {"connections": {"default": _CONNECTION}}
    return UISurfaceSettings(**told)


@st.composite
def _clients(draw: st.DrawFn) -> dict[str, Any]:
    exists = draw(st.sampled_from([None, True, False]))
    told: dict[str, Any] = {"base": "client", "status": {"exists": exists, "secret": "a-secret" if exists else None}}
    if draw(st.booleans()):
        told["status"]["drift"] = ["redirectUris"]
    if draw(st.booleans()):
        reason = draw(st.sampled_from(_REASONS))
        told["error"] = {"reason": reason, "message": f"Keycloak says {reason}", "remedy": "see whether it is well"}
    return told


@st.composite
def surfaces_in_clusters(draw: st.DrawFn) -> Case:
    """A UISurface that may have run before, whose spec, cluster and Keycloak may be anything since."""
    settings = _settings(draw(st.sampled_from(["HTTPRoute", "Ingress"])), connected=draw(st.booleans()))
    apis = frozenset(api for api in DEFINITION.apis if draw(st.booleans()))
    resource = merged(GOLDEN.based({"base": "surface"}), {"spec": draw(_specs(sane=False))})
    world = GOLDEN.world(resource, settings, apis=apis)
    world.add(GOLDEN.based({"base": base}) for base in ("namespace", "client", "domain"))
    if draw(st.booleans()):
        world.settle({})
    more = [{"base": "rival"}] if draw(st.booleans()) else []
    world.add(GOLDEN.based(manifest) for manifest in (draw(_clients()), *more))
    if draw(st.booleans()):
        world.resource = merged(world.resource, {"metadata": {"generation": 2}, "spec": draw(_specs(sane=False))})
    return Case(DEFINITION, world.resource, world.observed(), settings)


@st.composite
def routed_surfaces(draw: st.DrawFn) -> Case:
    """A UISurface that had all that it needs, which has lost some of it since, and whose spec may be another one."""
    settings = _settings("HTTPRoute", connected=True)
    resource = merged(GOLDEN.based({"base": "surface"}), {"spec": draw(_specs(sane=True))})
    world = GOLDEN.world(resource, settings)
    world.add(GOLDEN.based({"base": base}) for base in ("namespace", "client", "domain"))
    world.settle({})
    lost = draw(st.sets(st.sampled_from(["SecurityPolicy", "NetworkPolicy", "Deployment", "Secret"])))
    world.objects = {name: it for name, it in world.objects.items() if name.partition(" ")[0] not in lost}
    world.add([GOLDEN.based(draw(_clients()))])
    specs = st.one_of(_specs(sane=False), st.just({"host": "*.cannot.be.read"}))
    world.resource = merged(world.resource, {"metadata": {"generation": 2}, "spec": draw(specs)})
    later = _settings("HTTPRoute", connected=draw(st.booleans()))
    return Case(DEFINITION, world.resource, world.observed(), later)


@st.composite
def sane_clusters(draw: st.DrawFn, *, deleting: bool = False) -> Case:
    """A UISurface with everything there that it needs."""
    settings = _settings("HTTPRoute", connected=True)
    resource = merged(GOLDEN.based({"base": "surface"}), {"spec": draw(_specs(sane=True))})
    world = GOLDEN.world(resource, settings)
    world.add(GOLDEN.based({"base": base}) for base in ("namespace", "client", "domain"))
    if deleting:
        if draw(st.booleans()):
            world.settle({})
        world.resource = merged(world.resource, {"metadata": {"deletionTimestamp": "2026-03-01T11:59:00Z"}})
    return Case(DEFINITION, world.resource, world.observed(), settings)
