"""The comparison is pure: what it makes of nothing it then finds in order, and whatever else differs it names."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uisurface_operator.keycloak.diff import diff_client, diff_scope, own_scopes, wanted_scopes
from uisurface_operator.keycloak.errors import NotOurs
from uisurface_operator.keycloak.model import (
    OWNER,
    ClientSpec,
    LiveClient,
    LiveScope,
    ScopeSpec,
    client_id,
    owner_marker,
)
from uisurface_operator.keycloak.operations import (
    AttachScope,
    CreateClient,
    CreateScope,
    DetachScope,
    MapRole,
    RotateSecret,
    UnmapRoles,
    UpdateClient,
)
from uisurface_operator.keycloak.settings import KeycloakSettings

RULES = KeycloakSettings(existing_scopes=("phone", "ext-*"))
WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=12)
URIS = st.lists(WORDS, max_size=4).map(tuple)
SCOPES = st.lists(WORDS, max_size=3, unique=True).map(lambda names: tuple(ScopeSpec(name) for name in names))
SPECS = st.builds(
    ClientSpec,
    client_id=WORDS,
    owner=WORDS,
    redirect_uris=URIS,
    post_logout_redirect_uris=URIS,
    web_origins=URIS,
    confidential=st.booleans(),
    scopes=SCOPES,
    optional_scopes=SCOPES,
    audiences=st.lists(WORDS, max_size=3).map(tuple),
    name=st.just("") | WORDS,
    description=st.just("") | WORDS,
    home_url=st.just("") | WORDS,
    rotation=st.just("") | WORDS,
)


def as_made(spec: ClientSpec) -> LiveClient:
    """The client as Keycloak would have it after it was made for `spec`."""
    [made] = diff_client(spec, RULES, None)
    assert isinstance(made, CreateClient)
    body: dict[str, Any] = {**made.body, "id": "c1"}
    body["protocolMappers"] = [{**mapper, "id": mapper["name"]} for mapper in body["protocolMappers"]]
    if spec.confidential:
        body["secret"] = "s3cr3t-value"
    return LiveClient("c1", body)


@given(SPECS)
def test_what_was_made_is_as_wanted(spec: ClientSpec) -> None:
    assert diff_client(spec, RULES, as_made(spec)) == ()


@given(SPECS, st.data())
def test_a_field_that_differs_is_written_and_nothing_else(spec: ClientSpec, data: st.DataObject) -> None:
    live = as_made(spec)
    fields = [name for name, value in live.representation.items() if isinstance(value, bool)]
    name = data.draw(st.sampled_from(sorted(fields)))
    changed = LiveClient("c1", {**live.representation, name: not live.representation[name]})
    operations = diff_client(spec, RULES, changed)
    [update] = [step for step in operations if isinstance(step, UpdateClient)]
    assert update.body == {name: live.representation[name]}
    assert update.fields == (name,)
    assert len(operations) == 1


@given(SPECS, WORDS)
def test_a_client_with_another_marker_is_refused_whatever_is_wanted(spec: ClientSpec, owner: str) -> None:
    live = as_made(spec)
    if owner == spec.owner:
        owner += "x"
    for attributes in ({OWNER: owner}, {}, None):
        with pytest.raises(NotOurs):
            diff_client(spec, RULES, LiveClient("c1", {**live.representation, "attributes": attributes}))


@given(SPECS, SPECS)
def test_scopes_are_brought_from_any_to_any_without_standing_in_both_lists(old: ClientSpec, new: ClientSpec) -> None:
    live = as_made(old)
    has = {
        False: set(live.representation["defaultClientScopes"]),
        True: set(live.representation["optionalClientScopes"]),
    }
    live = LiveClient("c1", {**live.representation, "attributes": {OWNER: new.owner}})
    for step in diff_client(new, RULES, live):
        if isinstance(step, DetachScope):
            has[step.optional].remove(step.name)
        elif isinstance(step, AttachScope):
            assert step.name not in has[False] | has[True]
            has[step.optional].add(step.name)
    default, optional = wanted_scopes(new, RULES)
    assert (has[False], has[True]) == (set(default), set(optional))


@given(SPECS)
def test_base_and_existing_scopes_are_not_ours_to_make(spec: ClientSpec) -> None:
    names = {scope.name for scope in own_scopes(spec, RULES)}
    assert not names & set(RULES.base_scopes)
    assert "phone" not in names
    assert not any(name.startswith("ext-") for name in names)


def test_fields_that_we_do_not_own_are_not_compared() -> None:
    spec = ClientSpec("shop.web", "default/shop/web", ("https://a.example/cb",))
    live = as_made(spec)
    theirs = {
        "alwaysDisplayInConsole": True,
        "attributes": {**live.representation["attributes"], "access.token.lifespan": "60", "realm_client": "false"},
        "protocolMappers": [*live.representation["protocolMappers"], {"id": "x", "name": "department"}],
        "authenticationFlowBindingOverrides": {"browser": "f1"},
    }
    assert diff_client(spec, RULES, LiveClient("c1", {**live.representation, **theirs})) == ()


def test_a_rotation_comes_before_its_record_and_a_public_client_has_none() -> None:
    spec = ClientSpec("shop.web", "default/shop/web", (), rotation="2")
    live = as_made(ClientSpec("shop.web", "default/shop/web", (), rotation="1"))
    steps = diff_client(spec, RULES, live)
    assert [type(step) for step in steps] == [RotateSecret, UpdateClient]
    public = ClientSpec("shop.web", "default/shop/web", (), confidential=False, rotation="2")
    steps = diff_client(public, RULES, as_made(ClientSpec("shop.web", "default/shop/web", (), confidential=False)))
    assert [type(step) for step in steps] == [UpdateClient]


def test_a_scope_is_made_whole_and_repaired_in_parts() -> None:
    scope = ScopeSpec("l2o:read")
    [made] = diff_scope(scope, RULES, None)
    assert isinstance(made, CreateScope)
    good = LiveScope("s1", {**made.body, "id": "s1"}, {"l2o:read": "r1"})
    assert diff_scope(scope, RULES, good) == ()
    open_to_all = LiveScope("s1", good.representation, {})
    assert diff_scope(scope, RULES, open_to_all) == (MapRole("s1", scope),)
    wider = LiveScope("s1", good.representation, {"l2o:read": "r1", "everyone": "r2"})
    assert diff_scope(scope, RULES, wider) == (UnmapRoles("s1", "l2o:read", {"everyone": "r2"}),)
    for attributes in ({}, {OWNER: "another-cluster"}):
        with pytest.raises(NotOurs):
            diff_scope(scope, RULES, LiveScope("s1", {**made.body, "attributes": attributes}, {"l2o:read": "r1"}))


def test_names_of_two_surfaces_never_meet() -> None:
    assert client_id(RULES, "a-b", "c") != client_id(RULES, "a", "b-c")
    assert owner_marker(RULES, "a", "b") == "default/a/b"
    assert client_id(KeycloakSettings(client_id_prefix="eu1."), "a", "b") == "eu1.a.b"
