"""Scopes and their roles in a real Keycloak: whose tokens have them, whose they are, and when they go."""

from __future__ import annotations

import pytest

from ameide_dev.keycloak_realm import Tokens
from uisurface_operator.keycloak.admin import RealmAdmin
from uisurface_operator.keycloak.errors import NotOurs, ScopeNotFound
from uisurface_operator.keycloak.model import OWNER, ScopeSpec

from .conftest import CALLBACK, Bench, MakeBench, scopes


def login(bench: Bench, user: str, secret: str | None, scope: str = "openid") -> Tokens:
    return bench.realm.tokens("shop.web", CALLBACK, user, "pw", secret=secret, scope=scope)


async def test_a_user_gets_the_scopes_of_the_roles_that_they_have_and_no_others(bench: Bench) -> None:
    made = await bench.admin.ensure(bench.spec(scopes=scopes("l2o:read", "orders:write")))
    bench.realm.add_user("anna", "pw", ["orders:write"])
    bench.realm.add_user("boris", "pw", ["l2o:read", "orders:write"])
    bench.realm.add_user("carla", "pw")
    ours = {"l2o:read", "orders:write"}
    assert login(bench, "anna", made.secret).scopes & ours == {"orders:write"}
    assert login(bench, "boris", made.secret).scopes & ours == ours
    assert login(bench, "carla", made.secret).scopes & ours == set()
    # Asking for it by name is of no help to one who has not the role.
    assert login(bench, "carla", made.secret, "openid l2o:read").scopes & ours == set()


async def test_the_access_token_names_its_audience_and_only_roles_of_its_scopes(bench: Bench) -> None:
    made = await bench.admin.ensure(bench.spec(scopes=scopes("l2o:read"), audiences=("shop.web", "orders")))
    bench.realm.add_role("superuser")
    bench.realm.add_user("anna", "pw", ["l2o:read", "superuser"])
    tokens = login(bench, "anna", made.secret)
    assert {"shop.web", "orders"} <= tokens.audiences
    assert tokens.claims["azp"] == "shop.web"
    assert tokens.claims["iss"] == bench.settings.connections["default"].issuer
    assert tokens.claims["realm_access"]["roles"] == ["l2o:read"]


async def test_a_public_client_logs_in_with_pkce_and_an_optional_scope_comes_when_asked_for(bench: Bench) -> None:
    await bench.admin.ensure(bench.spec(confidential=False, optional_scopes=scopes("l2o:read")))
    assert bench.client()["optionalClientScopes"] == ["l2o:read"]
    bench.realm.add_user("anna", "pw", ["l2o:read"])
    assert "l2o:read" not in login(bench, "anna", None).scopes
    assert "l2o:read" in login(bench, "anna", None, "openid l2o:read").scopes


async def test_making_a_client_with_two_scopes_takes_no_request_too_many(bench: Bench) -> None:
    await bench.admin.ensure(bench.spec(scopes=scopes("l2o:read", "orders:write")))
    one = ["GET /roles/{}", "POST /roles", "GET /roles/{}", "POST /client-scopes", "POST /client-scopes/{}/…"]
    taken = bench.taken()
    assert taken[:2] == ["GET /clients?clientId=shop.web", "GET /client-scopes"]
    assert [line.split("/")[:2] for line in taken[2:-1]] == [line.split("/")[:2] for line in one * 2]
    assert taken[-1] == "POST /clients"


async def test_at_rest_scopes_are_looked_at_once_per_interval_for_all_clients(bench: Bench) -> None:
    specs = [bench.spec(name, scopes=scopes("l2o:read", "orders:write")) for name in ("web", "admin", "shop")]
    for spec in specs:
        await bench.admin.ensure(spec)
    bench.taken()
    for spec in specs:
        assert (await bench.admin.check(spec)).drift == ()
    assert bench.taken() == [f"GET /clients?clientId={spec.client_id}" for spec in specs]


async def test_scopes_are_looked_at_again_when_an_interval_has_passed(make_bench: MakeBench) -> None:
    bench = make_bench()
    await bench.admin.ensure(bench.spec(scopes=scopes("l2o:read")))
    fresh = newcomer(bench)
    bench.taken()
    for _ in range(2):
        await fresh.check(bench.spec(scopes=scopes("l2o:read")))
    scope = bench.realm.scope("l2o:read")
    assert scope is not None
    look = [
        "GET /clients?clientId=shop.web",
        "GET /client-scopes",
        f"GET /client-scopes/{scope['id']}/scope-mappings/realm",
    ]
    assert bench.taken() == [*look, *look]


async def test_a_scope_that_lost_its_role_is_repaired_before_the_interval_is_over(bench: Bench) -> None:
    """Without its role mapping it goes to everybody."""
    spec = bench.spec(scopes=scopes("l2o:read"))
    made = await bench.admin.ensure(spec)
    bench.realm.add_user("carla", "pw")
    scope, role = bench.realm.scope("l2o:read"), bench.realm.role("l2o:read")
    assert scope is not None
    assert role is not None
    bench.realm.send("DELETE", "client-scopes", scope["id"], "scope-mappings", "realm", body=[role])
    assert "l2o:read" in login(bench, "carla", made.secret).scopes
    admin = newcomer(bench)
    assert (await admin.check(spec)).drift == ("role of scope l2o:read",)
    assert (await admin.ensure(spec)).changes == ("role of scope l2o:read",)
    assert "l2o:read" not in login(bench, "carla", made.secret).scopes
    assert (await admin.check(spec)).drift == ()


async def test_drift_of_scopes_is_repaired(bench: Bench) -> None:
    spec = bench.spec(scopes=scopes("l2o:read"))
    await bench.admin.ensure(spec)
    scope = bench.realm.scope("l2o:read")
    assert scope is not None
    bench.realm.add_role("everyone")
    everyone = bench.realm.role("everyone")
    bench.realm.send("POST", "client-scopes", scope["id"], "scope-mappings", "realm", body=[everyone])
    hidden = {**scope, "attributes": {**scope["attributes"], "include.in.token.scope": "false"}}
    bench.realm.send("PUT", "client-scopes", scope["id"], body=hidden)
    admin = newcomer(bench)
    repaired = await admin.ensure(spec)
    assert set(repaired.changes) == {"roles of scope l2o:read", "scope l2o:read: attribute include.in.token.scope"}
    found = bench.realm.scope("l2o:read")
    assert found is not None
    assert found["attributes"]["include.in.token.scope"] == "true"
    mapped = bench.realm.get("client-scopes", scope["id"], "scope-mappings", "realm")
    assert [role["name"] for role in mapped] == ["l2o:read"]


async def test_a_scope_or_role_that_was_deleted_is_made_again(bench: Bench) -> None:
    spec = bench.spec(scopes=scopes("l2o:read"))
    await bench.admin.ensure(spec)
    bench.realm.send("DELETE", "roles", "l2o:read")
    assert (await newcomer(bench).ensure(spec)).changes == ("role of scope l2o:read",)
    scope = bench.realm.scope("l2o:read")
    assert scope is not None
    bench.realm.send("DELETE", "client-scopes", scope["id"])
    assert (await newcomer(bench).check(spec)).drift == ("scope l2o:read",) * 2
    await newcomer(bench).ensure(spec)
    assert "l2o:read" in bench.client()["defaultClientScopes"]
    assert bench.realm.role("l2o:read") is not None


async def test_a_scope_more_or_less_on_the_client_is_repaired(bench: Bench) -> None:
    spec = bench.spec(scopes=scopes("l2o:read"))
    client = (await bench.admin.ensure(spec)).id
    phone, basic, ours = (bench.realm.scope(name) for name in ("phone", "basic", "l2o:read"))
    assert phone is not None
    assert basic is not None
    assert ours is not None
    bench.realm.send("PUT", "clients", client, "default-client-scopes", phone["id"])
    bench.realm.send("DELETE", "clients", client, "default-client-scopes", basic["id"])
    bench.realm.send("DELETE", "clients", client, "default-client-scopes", ours["id"])
    bench.realm.send("PUT", "clients", client, "optional-client-scopes", ours["id"])
    repaired = await bench.admin.ensure(spec)
    assert set(repaired.changes) == {"scope phone", "scope basic", "scope l2o:read"}
    assert set(bench.client()["defaultClientScopes"]) == {*bench.settings.base_scopes, "l2o:read"}
    assert bench.client()["optionalClientScopes"] == []
    assert bench.realm.scope("phone") is not None


async def test_a_scope_of_somebody_else_is_attached_only_if_settings_list_it(
    bench: Bench, make_bench: MakeBench
) -> None:
    spec = bench.spec(scopes=scopes("phone"))
    with pytest.raises(NotOurs, match="client scope phone exists") as refused:
        await bench.admin.ensure(spec)
    assert "existingScopes" in refused.value.remedy
    assert bench.realm.client("shop.web") is None
    assert bench.realm.role("phone") is None
    allowed = make_bench(existing_scopes=("pho*",))
    before = bench.realm.scope("phone")
    await allowed.admin.ensure(spec)
    assert "phone" in bench.client()["defaultClientScopes"]
    assert bench.realm.role("phone") is None
    await allowed.admin.delete("shop.web", spec.owner, ["phone"])
    assert bench.realm.scope("phone") == before
    with pytest.raises(ScopeNotFound, match="no client scope phonetics"):
        await allowed.admin.ensure(bench.spec(scopes=scopes("phonetics")))


async def test_a_role_of_somebody_else_is_used_only_if_settings_list_it(bench: Bench, make_bench: MakeBench) -> None:
    bench.realm.add_role("accountant")
    spec = bench.spec(scopes=scopes("accountant"))
    with pytest.raises(NotOurs, match="realm role accountant exists"):
        await bench.admin.ensure(spec)
    assert bench.realm.scope("accountant") is None
    allowed = make_bench(existing_roles=("accountant",))
    await allowed.admin.ensure(spec)
    assert "accountant" in bench.client()["defaultClientScopes"]
    await allowed.admin.delete("shop.web", spec.owner)
    assert bench.realm.scope("accountant") is None
    assert bench.realm.role("accountant") is not None


async def test_a_scope_of_another_cluster_is_refused(bench: Bench, make_bench: MakeBench) -> None:
    await bench.admin.ensure(bench.spec(scopes=scopes("l2o:read")))
    other = make_bench(cluster_id="cluster-b", client_id_prefix="b.")
    with pytest.raises(NotOurs, match="marked as 'default'"):
        await other.admin.ensure(other.spec(scopes=scopes("l2o:read")))


async def test_a_scope_goes_with_its_last_client(bench: Bench) -> None:
    shared, own = (
        bench.spec("web", scopes=scopes("l2o:read", "orders:write")),
        bench.spec("b", scopes=scopes("l2o:read")),
    )
    await bench.admin.ensure(shared)
    await bench.admin.ensure(own)
    await bench.admin.delete("shop.web", shared.owner)
    assert bench.realm.scope("orders:write") is None
    assert bench.realm.role("orders:write") is None
    assert bench.realm.scope("l2o:read") is not None
    assert bench.realm.role("l2o:read") is not None
    await bench.admin.delete("shop.b", own.owner)
    left = [bench.realm.scope("l2o:read"), bench.realm.role("l2o:read"), bench.realm.client("shop.b")]
    assert left == [None, None, None]


async def test_a_scope_that_the_spec_drops_goes_unless_another_client_has_it(bench: Bench) -> None:
    await bench.admin.ensure(bench.spec("web", scopes=scopes("l2o:read", "orders:write")))
    await bench.admin.ensure(bench.spec("b", scopes=scopes("l2o:read")))
    await bench.admin.ensure(bench.spec("web"))
    assert set(bench.client()["defaultClientScopes"]) == set(bench.settings.base_scopes)
    assert bench.realm.scope("orders:write") is None
    assert bench.realm.scope("l2o:read") is not None


async def test_a_scope_that_somebody_elses_client_has_stays(bench: Bench) -> None:
    spec = bench.spec(scopes=scopes("l2o:read"))
    await bench.admin.ensure(spec)
    body = {"clientId": "theirs", "defaultClientScopes": ["l2o:read"], "publicClient": True}
    bench.realm.send("POST", "clients", body=body)
    await bench.admin.delete("shop.web", spec.owner)
    assert bench.realm.client("shop.web") is None
    assert bench.realm.scope("l2o:read") is not None


async def test_cleanup_that_was_interrupted_after_the_client_went_is_finished(bench: Bench) -> None:
    spec = bench.spec(scopes=scopes("l2o:read", "orders:write"))
    made = await bench.admin.ensure(spec)
    bench.realm.send("DELETE", "clients", made.id)
    scope = bench.realm.scope("orders:write")
    assert scope is not None
    bench.realm.send("DELETE", "client-scopes", scope["id"])
    assert await bench.admin.delete("shop.web", spec.owner, ["l2o:read", "orders:write"]) is True
    for name in ("l2o:read", "orders:write"):
        assert bench.realm.scope(name) is None
        assert bench.realm.role(name) is None


async def test_roles_and_who_has_them_can_outlive_their_scope(bench: Bench, make_bench: MakeBench) -> None:
    keeping = make_bench(retain_roles=True)
    spec = bench.spec(scopes=scopes("l2o:read"))
    await keeping.admin.ensure(spec)
    bench.realm.add_user("anna", "pw", ["l2o:read"])
    await keeping.admin.delete("shop.web", spec.owner)
    assert bench.realm.scope("l2o:read") is None
    role = bench.realm.role("l2o:read")
    assert role is not None
    assert role["attributes"][OWNER] == ["default"]
    made = await keeping.admin.ensure(spec)
    assert "l2o:read" in login(bench, "anna", made.secret).scopes


async def test_scopes_keep_the_description_of_the_surface_that_made_them(bench: Bench) -> None:
    await bench.admin.ensure(bench.spec("web", scopes=(ScopeSpec("l2o:read", "Read orders"),)))
    second = await bench.admin.ensure(bench.spec("b", scopes=(ScopeSpec("l2o:read", "Other words"),)))
    assert "scope l2o:read" not in " ".join(second.changes)
    scope = bench.realm.scope("l2o:read")
    assert scope is not None
    assert scope["description"] == "Read orders"


def newcomer(bench: Bench) -> RealmAdmin:
    """An operator that has just started, or whose interval is over: it believes nothing that it knew."""
    return RealmAdmin(bench.connection, bench.settings, scope_seconds=0.0)
