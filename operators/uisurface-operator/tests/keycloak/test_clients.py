"""Clients in a real Keycloak: made, compared, repaired field by field, rotated, refused, removed; requests counted."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from ameide_shared.logging import known_secrets
from uisurface_operator.keycloak.errors import NotOurs, PermissionDenied, ScopeNotFound
from uisurface_operator.keycloak.model import OWNER

from .conftest import CALLBACK, Bench, MakeBench, scopes

BASE = {"basic", "acr", "profile", "email", "roles", "web-origins"}


async def test_a_client_is_made_with_two_requests_beside_the_look_and_has_what_the_surface_needs(bench: Bench) -> None:
    made = await bench.admin.ensure(bench.spec())
    assert bench.taken() == ["GET /clients?clientId=shop.web", "GET /client-scopes", "POST /clients"]
    client = bench.client()
    assert made.id == client["id"]
    assert made.secret == client["secret"]
    assert made.secret in known_secrets()
    assert made.secret not in repr(made)
    assert client["redirectUris"] == [CALLBACK]
    assert client["webOrigins"] == ["https://app.example"]
    assert client["standardFlowEnabled"] is True
    for flow in ("implicitFlowEnabled", "directAccessGrantsEnabled", "serviceAccountsEnabled", "publicClient"):
        assert client[flow] is False, flow
    assert client["fullScopeAllowed"] is False
    assert client["attributes"]["pkce.code.challenge.method"] == "S256"
    assert client["attributes"]["post.logout.redirect.uris"] == "https://app.example/"
    assert client["attributes"][OWNER] == "default/shop/web"
    assert set(client["defaultClientScopes"]) == BASE
    assert client["optionalClientScopes"] == []


async def test_at_rest_a_check_is_one_request_and_ensuring_again_changes_nothing(bench: Bench) -> None:
    await bench.admin.ensure(bench.spec())
    bench.taken()
    check = await bench.admin.check(bench.spec())
    assert bench.taken() == ["GET /clients?clientId=shop.web"]
    assert check.exists
    assert check.drift == ()
    assert (await bench.admin.ensure(bench.spec())).changes == ()
    assert bench.taken() == ["GET /clients?clientId=shop.web"]


async def test_a_public_client_has_no_secret(bench: Bench) -> None:
    made = await bench.admin.ensure(bench.spec(confidential=False))
    assert made.secret is None
    assert bench.client()["publicClient"] is True
    assert (await bench.admin.check(bench.spec(confidential=False))).drift == ()


async def test_a_public_client_that_becomes_confidential_gets_a_secret_that_is_known(bench: Bench) -> None:
    await bench.admin.ensure(bench.spec(confidential=False))
    made = await bench.admin.ensure(bench.spec())
    assert made.secret
    assert made.secret == bench.client()["secret"]
    public = await bench.admin.ensure(bench.spec(confidential=False))
    assert public.secret is None
    assert (await bench.admin.check(bench.spec(confidential=False))).drift == ()


DRIFT: list[tuple[dict[str, Any], str]] = [
    ({"enabled": False}, "enabled"),
    ({"redirectUris": ["https://evil.example/*"]}, "redirectUris"),
    ({"webOrigins": ["*"]}, "webOrigins"),
    ({"publicClient": True}, "publicClient"),
    ({"clientAuthenticatorType": "client-jwt"}, "clientAuthenticatorType"),
    ({"consentRequired": True}, "consentRequired"),
    ({"standardFlowEnabled": False}, "standardFlowEnabled"),
    ({"implicitFlowEnabled": True}, "implicitFlowEnabled"),
    ({"directAccessGrantsEnabled": True}, "directAccessGrantsEnabled"),
    ({"serviceAccountsEnabled": True}, "serviceAccountsEnabled"),
    ({"bearerOnly": True}, "bearerOnly"),
    ({"fullScopeAllowed": True}, "fullScopeAllowed"),
    ({"name": "Mine"}, "name"),
    ({"description": "Mine"}, "description"),
    ({"baseUrl": "https://evil.example"}, "baseUrl"),
    ({"attributes": {"pkce.code.challenge.method": ""}}, "attribute pkce.code.challenge.method"),
    ({"attributes": {"pkce.code.challenge.method": "plain"}}, "attribute pkce.code.challenge.method"),
    ({"attributes": {"post.logout.redirect.uris": "+"}}, "attribute post.logout.redirect.uris"),
    (
        {"attributes": {"oauth2.device.authorization.grant.enabled": "true"}},
        "attribute oauth2.device.authorization.grant.enabled",
    ),
    ({"attributes": {"oidc.ciba.grant.enabled": "true"}}, "attribute oidc.ciba.grant.enabled"),
    ({"attributes": {"standard.token.exchange.enabled": "true"}}, "attribute standard.token.exchange.enabled"),
]


async def test_drift_of_each_field_is_seen_and_repaired(bench: Bench) -> None:
    await bench.admin.ensure(bench.spec())
    for change, what in DRIFT:
        bench.change(**change)
        bench.taken()
        check = await bench.admin.check(bench.spec())
        assert what in check.drift, change
        assert bench.taken() == ["GET /clients?clientId=shop.web"]
        repaired = await bench.admin.ensure(bench.spec())
        assert what in repaired.changes, change
        assert repaired.secret == bench.client()["secret"], change
        assert (await bench.admin.check(bench.spec())).drift == (), change


async def test_drift_is_repaired_with_one_write(bench: Bench) -> None:
    await bench.admin.ensure(bench.spec())
    bench.change(enabled=False, redirectUris=[], attributes={"pkce.code.challenge.method": ""})
    bench.taken()
    await bench.admin.ensure(bench.spec())
    assert bench.taken() == ["GET /clients?clientId=shop.web", f"PUT /clients/{bench.client()['id']}"]


async def test_redirect_uris_that_change_bring_no_web_origins_along(bench: Bench) -> None:
    await bench.admin.ensure(bench.spec(web_origins=()))
    changed = bench.spec(web_origins=(), redirect_uris=("https://new.example/cb",))
    assert (await bench.admin.ensure(changed)).changes == ("redirectUris",)
    assert bench.client()["webOrigins"] == []
    assert (await bench.admin.check(changed)).drift == ()


async def test_what_is_not_ours_on_a_client_is_left_alone(bench: Bench) -> None:
    await bench.admin.ensure(bench.spec())
    theirs = {"access.token.lifespan": "120", "login_theme": "keycloak"}
    bench.change(attributes=theirs, alwaysDisplayInConsole=True)
    mapper = {"name": "department", "protocol": "openid-connect", "protocolMapper": "oidc-hardcoded-claim-mapper"}
    mapper |= {"config": {"claim.name": "department", "claim.value": "sales", "access.token.claim": "true"}}  # type: ignore[dict-item]
    bench.realm.send("POST", "clients", bench.client()["id"], "protocol-mappers", "models", body=mapper)
    assert (await bench.admin.check(bench.spec())).drift == ()
    await bench.admin.ensure(bench.spec(redirect_uris=("https://new.example/callback",)))
    client = bench.client()
    assert client["redirectUris"] == ["https://new.example/callback"]
    assert theirs.items() <= client["attributes"].items()
    assert client["alwaysDisplayInConsole"] is True
    assert any(found["name"] == "department" for found in client["protocolMappers"])


async def test_the_audience_mapper_is_repaired_when_changed_or_removed(bench: Bench) -> None:
    await bench.admin.ensure(bench.spec())
    path = ("clients", bench.client()["id"], "protocol-mappers", "models")
    [mapper] = bench.client()["protocolMappers"]
    changed = {**mapper, "config": {**mapper["config"], "included.custom.audience": "somebody-else"}}
    bench.realm.send("PUT", *path, mapper["id"], body=changed)
    assert (await bench.admin.ensure(bench.spec())).changes == ("mapper ameide-audience: shop.web",)
    bench.realm.send("DELETE", *path, mapper["id"])
    assert (await bench.admin.ensure(bench.spec())).changes == ("mapper ameide-audience: shop.web",)
    await bench.admin.ensure(bench.spec(audiences=("orders", "shop.web")))
    assert {m["config"]["included.custom.audience"] for m in bench.client()["protocolMappers"]} == {
        "orders",
        "shop.web",
    }
    await bench.admin.ensure(bench.spec())
    assert [m["name"] for m in bench.client()["protocolMappers"]] == ["ameide-audience: shop.web"]


async def test_a_client_that_was_deleted_is_made_again(bench: Bench) -> None:
    first = await bench.admin.ensure(bench.spec())
    bench.realm.send("DELETE", "clients", first.id)
    assert (await bench.admin.check(bench.spec())).exists is False
    again = await bench.admin.ensure(bench.spec())
    assert again.id == bench.client()["id"] != first.id
    assert again.secret not in (None, first.secret)


async def test_a_client_without_our_marker_is_never_touched(bench: Bench) -> None:
    body = {"clientId": "shop.web", "description": "hand-made", "redirectUris": ["https://theirs.example/*"]}
    bench.realm.send("POST", "clients", body=body)
    before = bench.client()
    with pytest.raises(NotOurs, match="without our marker") as refused:
        await bench.admin.ensure(bench.spec(scopes=scopes("orders:write")))
    assert OWNER in refused.value.remedy
    assert bench.taken() == ["GET /clients?clientId=shop.web"]
    assert await bench.admin.delete("shop.web", bench.spec().owner) is False
    assert bench.client() == before
    assert bench.realm.scope("orders:write") is None


async def test_a_client_of_another_cluster_or_surface_is_refused_and_its_owner_named(
    bench: Bench, make_bench: MakeBench
) -> None:
    await bench.admin.ensure(bench.spec())
    with pytest.raises(NotOurs, match="'default/shop/web'") as refused:
        await bench.admin.ensure(bench.spec(owner="cluster-b/shop/web"))
    assert refused.value.owner == "default/shop/web"
    with pytest.raises(NotOurs):
        await bench.admin.check(bench.spec(owner="default/other/web"))
    assert await bench.admin.delete("shop.web", "cluster-b/shop/web") is False
    assert bench.client()["attributes"][OWNER] == "default/shop/web"


async def test_a_surface_made_anew_takes_over_what_its_namesake_left(bench: Bench) -> None:
    first = await bench.admin.ensure(bench.spec())
    again = await bench.admin.ensure(bench.spec(redirect_uris=("https://app.example/other",)))
    assert again.id == first.id
    assert again.changes == ("redirectUris",)


async def test_a_secret_is_rotated_once_per_token(bench: Bench) -> None:
    first = await bench.admin.ensure(bench.spec())
    bench.taken()
    rotated = await bench.admin.ensure(bench.spec(rotation="2026-11"))
    path = f"/clients/{first.id}"
    assert bench.taken() == ["GET /clients?clientId=shop.web", f"POST {path}/client-secret", f"PUT {path}"]
    assert rotated.secret == bench.client()["secret"] != first.secret
    assert rotated.secret in known_secrets()
    same = await bench.admin.ensure(bench.spec(rotation="2026-11"))
    assert (same.secret, same.changes) == (rotated.secret, ())
    assert (await bench.admin.ensure(bench.spec())).secret == rotated.secret
    assert (await bench.admin.ensure(bench.spec(rotation="2026-12"))).secret != rotated.secret


async def test_a_client_made_for_a_token_is_not_rotated_for_it(bench: Bench) -> None:
    made = await bench.admin.ensure(bench.spec(rotation="1"))
    assert (await bench.admin.ensure(bench.spec(rotation="1"))).secret == made.secret


async def test_a_secret_changed_in_keycloak_is_what_a_check_returns(bench: Bench) -> None:
    made = await bench.admin.ensure(bench.spec())
    new = bench.realm.send("POST", "clients", made.id, "client-secret").json()["value"]
    assert (await bench.admin.check(bench.spec())).secret == new


async def test_names_never_leave_their_place_in_a_path_or_query(bench: Bench) -> None:
    name = "../users?x=1&clientId=account#%2f ü"
    spec = bench.spec(client_id=name, audiences=(name,))
    await bench.admin.ensure(spec)
    client = bench.realm.client(name)
    assert client is not None
    assert client["clientId"] == name
    odd = bench.spec(scopes=scopes("a/../b%2f?c#d"))
    await bench.admin.ensure(odd)
    assert bench.realm.role("a/../b%2f?c#d") is not None
    assert "a/../b%2f?c#d" in bench.client()["defaultClientScopes"]
    assert await bench.admin.delete(name, spec.owner) is True
    assert await bench.admin.delete(odd.client_id, odd.owner) is True
    assert bench.realm.role("a/../b%2f?c#d") is None


async def test_deleting_takes_one_write_and_is_safe_to_do_again(bench: Bench) -> None:
    made = await bench.admin.ensure(bench.spec())
    bench.taken()
    assert await bench.admin.delete("shop.web", bench.spec().owner) is True
    assert f"DELETE /clients/{made.id}" in bench.taken()
    assert bench.realm.client("shop.web") is None
    assert await bench.admin.delete("shop.web", bench.spec().owner) is False
    assert bench.taken() == ["GET /clients?clientId=shop.web"]


async def test_a_base_scope_that_the_realm_lacks_is_named_with_its_setting(bench: Bench) -> None:
    scope = bench.realm.scope("acr")
    assert scope is not None
    bench.realm.send("DELETE", "client-scopes", scope["id"])
    with pytest.raises(ScopeNotFound, match="has no client scope acr") as missing:
        await bench.admin.ensure(bench.spec(scopes=scopes("orders:write")))
    assert "baseScopes" in missing.value.remedy
    assert bench.realm.scope("orders:write") is None


async def test_the_service_account_can_see_no_users_and_no_identity_providers(bench: Bench) -> None:
    for path in (("users",), ("identity-provider", "instances")):
        with pytest.raises(PermissionDenied, match=f"refuses GET {'/'.join(path)}"):
            await bench.connection.get(*path)


async def test_a_missing_role_of_the_service_account_is_named_with_its_remedy(bench: Bench) -> None:
    management = bench.realm.client("realm-management")
    account = bench.realm.client(bench.settings.connections["default"].client_id)
    assert management is not None
    assert account is not None
    user = bench.realm.get("clients", account["id"], "service-account-user")["id"]
    role = bench.realm.get("clients", management["id"], "roles", "manage-clients")
    bench.realm.send("DELETE", "users", user, "role-mappings", "clients", management["id"], body=[role])
    with pytest.raises(PermissionDenied, match=r"refuses (POST|GET) clients") as denied:
        await bench.admin.ensure(bench.spec())
    assert "manage-clients" in denied.value.remedy


async def test_secrets_and_tokens_are_in_no_log(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("httpx", "httpcore"):  # an operator's own logging, set up by another test, may have quieted them
        caplog.set_level(logging.DEBUG, logger=name)
    made = await bench.admin.ensure(bench.spec())
    rotated = await bench.admin.ensure(bench.spec(rotation="1"))
    text = caplog.text
    assert "/clients" in text  # it does log requests
    operator = bench.settings.connections["default"].client_secret_file.read_text().strip()
    for secret in (made.secret, rotated.secret, operator):
        assert secret
        assert secret not in text
