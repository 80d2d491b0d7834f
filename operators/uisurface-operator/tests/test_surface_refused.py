"""Surfaces whose spec is refused: what runs stays guarded as it was, whoever deletes the guards, or has no route."""

from __future__ import annotations

from typing import Any

import pytest
from surfaces import CHILD, Surfaces

from ameide_dev.testing.resources import content
from ameide_dev.testing.waiting import until

REFUSED: dict[str, Any] = {"security": {"networkProfile": "nowhere"}}
MENDED: dict[str, Any] = {"security": {"networkProfile": "frontend"}}


@pytest.fixture
def refused(surfaces: Surfaces) -> Surfaces:
    """A surface that ran with a scope; the spec that is refused since asks for none."""
    surfaces.create(auth={"scopes": ["orders:read"]})
    surfaces.ready()
    surfaces.patch(auth={"scopes": []}, **REFUSED)
    surfaces.until("Ready", "False", reason="InvalidSpec")
    return surfaces


def border(surfaces: Surfaces) -> dict[str, Any]:
    return surfaces.live("networking.k8s.io/v1", "NetworkPolicy") or {}


def test_policy_comes_back_as_it_was_while_the_spec_is_refused(refused: Surfaces) -> None:
    """Deleted or changed; the scopes are those of the spec that was accepted. Then the spec is mended, and holds."""
    policy = refused.policy()
    assert policy is not None
    wanted = content(policy)
    assert wanted["spec"]["authorization"]["rules"][0]["principal"]["jwt"]["scopes"] == ["orders:read"]
    api, kind = policy["apiVersion"], policy["kind"]

    refused.kube.delete(api, kind, CHILD, refused.namespace)
    until(
        "the policy is made anew", lambda: (refused.policy() or policy)["metadata"]["uid"] != policy["metadata"]["uid"]
    )
    assert content(refused.policy() or {}) == wanted

    refused.kube.merge_patch(
        api, kind, CHILD, {"spec": {"authorization": {"defaultAction": "Allow"}}}, refused.namespace
    )
    until("the policy is set back", lambda: content(refused.policy() or {}) == wanted)
    assert refused.route() is not None
    assert refused.conditions()["Ready"] == ("False", "InvalidSpec")

    refused.patch(**MENDED)
    refused.ready()
    assert "authorization" not in (refused.policy() or {})["spec"]


def test_border_comes_back_closed_where_the_refused_profile_cannot_be_used(refused: Surfaces) -> None:
    before = border(refused)
    refused.kube.delete("networking.k8s.io/v1", "NetworkPolicy", CHILD, refused.namespace)
    until("there is a NetworkPolicy again", lambda: bool(border(refused)))
    spec = border(refused)["spec"]
    assert spec["podSelector"] == before["spec"]["podSelector"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in spec, "nobody gets to the pods"
    refused.patch(**MENDED)
    refused.ready()
    assert content(border(refused)) == content(before)


def test_route_goes_where_nothing_tells_how_the_policy_was(refused: Surfaces) -> None:
    """Status of an operator that did not record scopes yet, or that somebody else wrote."""
    refused.kube.merge_patch(
        "ameide.io/v1",
        "UISurface",
        "shop",
        {"status": {"auth": {"scopes": None}}},
        refused.namespace,
        subresource="status",
    )
    policy = refused.policy()
    assert policy is not None
    refused.kube.delete(policy["apiVersion"], policy["kind"], CHILD, refused.namespace)
    until("there is no route without its policy", lambda: refused.route() is None)
    assert refused.policy() is None
    refused.patch(**MENDED)
    refused.ready()
    assert refused.route() is not None
