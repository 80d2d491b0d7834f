"""The watcher on a real Keycloak: what it knows without asking, what it notices, whom it tells; requests counted."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from ameide_dev.keycloak_realm import Realm
from ameide_shared.kube.resources import ObjectKey
from uisurface_operator.keycloak.errors import Failure, NotOurs
from uisurface_operator.keycloak.model import ClientSpec
from uisurface_operator.keycloak.observation import Target
from uisurface_operator.keycloak.watcher import UnknownConnection

from .conftest import Record, scopes, settings_for
from .watching import Watching, watching

WEB = ObjectKey("shop", "web")


@pytest.fixture
async def it(realm: Realm, tmp_path: Path) -> AsyncIterator[Watching]:
    """A watcher that looks at each client every second."""
    async with watching(settings_for(realm, tmp_path, check_seconds=1)) as running:
        yield running


@pytest.fixture
async def calm(realm: Realm, tmp_path: Path) -> AsyncIterator[Watching]:
    """A watcher with the default interval: in a test it looks only when it has to."""
    async with watching(settings_for(realm, tmp_path)) as running:
        yield running


def target(name: str = "web", *names: str, callback: str = "https://app.example/cb") -> Target:
    return Target("default", ClientSpec(f"shop.{name}", f"default/shop/{name}", (callback,), scopes=scopes(*names)))


async def test_the_first_look_is_one_request_and_then_answers_come_from_memory(calm: Watching) -> None:
    seen = await calm.watcher.observe(target(), WEB)
    assert seen.exists is False
    assert seen.in_place is False
    assert seen.drift == ("client",)
    assert calm.taken() == ["POST token", "GET /clients?clientId=shop.web"]
    for _ in range(3):
        assert await calm.watcher.observe(target(), WEB) == calm.watcher.last(WEB)
    assert calm.taken() == []
    assert calm.told == set()


async def test_what_was_ensured_is_known_without_another_look(calm: Watching, realm: Realm) -> None:
    await calm.watcher.observe(target(), WEB)
    assert await calm.watcher.ensure(target(), WEB) is True
    calm.taken()
    seen = await calm.watcher.observe(target(), WEB)
    client = realm.client("shop.web")
    assert client is not None
    assert (seen.in_place, seen.id, seen.secret) == (True, client["id"], client["secret"])
    assert client["secret"] not in repr(seen)
    assert calm.taken() == []
    assert await calm.watcher.ensure(target(), WEB) is False
    assert calm.taken() == ["GET /clients?clientId=shop.web"]


async def test_at_rest_each_client_is_looked_at_once_per_interval_and_scopes_once_for_all(
    it: Watching, realm: Realm
) -> None:
    names = ["a", "b", "c", "d"]
    for name in names:
        await it.watcher.ensure(target(name, "l2o:read"), ObjectKey("shop", name))
    it.taken()
    await asyncio.sleep(5.0)
    counts = Counter(it.taken())
    scope = realm.scope("l2o:read")
    assert scope is not None
    for name in names:
        assert 4 <= counts[f"GET /clients?clientId=shop.{name}"] <= 5, counts
    assert 4 <= counts["GET /client-scopes"] <= 6, counts
    assert 4 <= counts[f"GET /client-scopes/{scope['id']}/scope-mappings/realm"] <= 6, counts
    assert len(counts) == len(names) + 2, counts
    assert it.told == set()


async def test_a_look_that_outlives_an_outage_is_told_as_its_end(realm: Realm, tmp_path: Path) -> None:
    """One look is slow, another fails and takes the connection down, then the slow one succeeds after all."""
    other, held, broken = ObjectKey("shop", "other"), asyncio.Event(), asyncio.Event()
    held.set()

    class Uneven(Record):
        """Looks at `web` wait while they are held, those at `other` fail while it is broken."""

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if "clientId=shop.web" in str(request.url):
                await held.wait()
            if broken.is_set() and "clientId=shop.other" in str(request.url):
                return httpx.Response(404, json={"error": "Realm not found."})
            return await super().handle_async_request(request)

    async with watching(settings_for(realm, tmp_path, check_seconds=600), Uneven) as it:
        for key in (WEB, other):
            await it.watcher.ensure(target(key.name), key)
        held.clear()
        it.watcher.expedite(WEB)
        await it.until(lambda: it.watcher._users[WEB].entries[WEB].busy, 5)
        broken.set()
        it.watcher.expedite(other)
        await it.until(lambda: WEB in it.told, 10)
        broken.clear()
        it.told.clear()
        held.set()
        await it.until(lambda: WEB in it.told, 10)
        seen = it.watcher.last(WEB)
        assert seen is not None
        assert (seen.fault, seen.in_place) == (None, True)


async def test_drift_is_noticed_told_once_and_repaired_by_ensure(it: Watching, realm: Realm) -> None:
    await it.watcher.ensure(target(), WEB)
    client = realm.client("shop.web")
    assert client is not None
    realm.send("PUT", "clients", client["id"], body={"redirectUris": ["https://evil.example/*"]})
    await it.until(lambda: it.told == {WEB}, 5)
    seen = await it.watcher.observe(target(), WEB)
    assert seen.in_place is False
    assert "redirectUris" in seen.drift
    it.told.clear()
    await asyncio.sleep(1.5)
    assert it.told == set()
    assert await it.watcher.ensure(target(), WEB) is True
    assert (await it.watcher.observe(target(), WEB)).in_place is True
    repaired = realm.client("shop.web")
    assert repaired is not None
    assert repaired["redirectUris"] == ["https://app.example/cb"]


async def test_a_write_under_way_is_not_taken_for_drift(it: Watching) -> None:
    for number in range(8):  # each takes about as long as the first look of a client is away
        name = f"s{number}"
        await it.watcher.ensure(target(name, f"{name}:read", f"{name}:write"), ObjectKey("shop", name))
    assert it.told == set()


async def test_a_secret_that_somebody_changed_in_keycloak_is_noticed(it: Watching, realm: Realm) -> None:
    await it.watcher.ensure(target(), WEB)
    client = realm.client("shop.web")
    assert client is not None
    new = realm.send("POST", "clients", client["id"], "client-secret").json()["value"]
    await it.until(lambda: it.told == {WEB}, 5)
    seen = await it.watcher.observe(target(), WEB)
    assert (seen.in_place, seen.secret) == (True, new)


async def test_a_target_that_changed_is_looked_at_again_and_not_taken_for_in_place(
    calm: Watching, realm: Realm
) -> None:
    await calm.watcher.ensure(target(), WEB)
    calm.taken()
    changed = target(callback="https://app.example/other")
    seen = await calm.watcher.observe(changed, WEB)
    assert calm.taken() == ["GET /clients?clientId=shop.web"]
    assert (seen.in_place, seen.drift, seen.exists) == (False, ("redirectUris",), True)


async def test_a_client_of_somebody_else_is_a_fault_until_it_is_gone(it: Watching, realm: Realm) -> None:
    realm.send("POST", "clients", body={"clientId": "shop.web"})
    seen = await it.watcher.observe(target(), WEB)
    assert seen.fault is not None
    assert (seen.fault.reason, seen.fault.terminal) == (Failure.NOT_OURS, True)
    with pytest.raises(NotOurs):
        await it.watcher.ensure(target(), WEB)
    client = realm.client("shop.web")
    assert client is not None
    realm.send("DELETE", "clients", client["id"])
    await it.until(lambda: it.told == {WEB}, 5)
    found = await it.watcher.observe(target(), WEB)
    assert (found.exists, found.fault) == (False, None)


async def test_faults_of_one_client_do_not_touch_the_others(it: Watching, realm: Realm) -> None:
    realm.send("POST", "clients", body={"clientId": "shop.web"})
    await it.watcher.observe(target(), WEB)
    other = ObjectKey("shop", "b")
    assert await it.watcher.ensure(target("b"), other) is True
    assert (await it.watcher.observe(target("b"), other)).in_place


async def test_after_deletion_nothing_is_left_and_nothing_is_looked_at(it: Watching, realm: Realm) -> None:
    await it.watcher.ensure(target("web", "l2o:read"), WEB)
    assert await it.watcher.delete(target("web", "l2o:read"), WEB) is True
    assert [realm.client("shop.web"), realm.scope("l2o:read"), realm.role("l2o:read")] == [None, None, None]
    assert it.watcher.last(WEB) is None
    it.taken()
    await asyncio.sleep(1.5)
    assert it.taken() == []
    assert await it.watcher.delete(target("web", "l2o:read"), WEB) is False


async def test_who_is_forgotten_is_not_looked_at(it: Watching) -> None:
    await it.watcher.observe(target(), WEB)
    it.watcher.forget(WEB)
    it.watcher.forget(WEB)
    it.taken()
    await asyncio.sleep(1.5)
    assert it.taken() == []


async def test_expediting_looks_now(calm: Watching, realm: Realm) -> None:
    await calm.watcher.observe(target(), WEB)
    realm.send("POST", "clients", body={"clientId": "shop.web"})
    calm.watcher.expedite(WEB)
    await calm.until(lambda: calm.told == {WEB}, 3)
    calm.watcher.expedite(ObjectKey("shop", "nobody"))


async def test_wrong_credentials_are_told_and_a_corrected_file_brings_the_connection_back(
    realm: Realm, tmp_path: Path
) -> None:
    settings = settings_for(realm, tmp_path)
    file = settings.connections["default"].client_secret_file
    good = file.read_text()
    file.write_text("wrong")
    async with watching(settings) as it:
        seen = await it.watcher.observe(target(), WEB)
        assert seen.fault is not None
        assert (seen.fault.reason, seen.fault.terminal) == (Failure.CREDENTIALS_REFUSED, True)
        file.write_text(good)
        await it.until(lambda: it.told == {WEB}, 10)
        assert (await it.watcher.observe(target(), WEB)).fault is None


async def test_a_realm_that_is_missing_is_told_and_one_that_is_made_is_used(realm: Realm, tmp_path: Path) -> None:
    settings = settings_for(realm, tmp_path)
    realm.delete()
    async with watching(settings) as it:
        seen = await it.watcher.observe(target(), WEB)
        assert seen.fault is not None
        assert seen.fault.reason is Failure.REALM_NOT_FOUND
        connection = settings.connections["default"]
        again = realm.admin.create_realm(realm.name)
        again.add_service_client(connection.client_id, connection.client_secret_file.read_text().strip())
        await it.until(lambda: it.told == {WEB}, 10)
        assert await it.watcher.ensure(target(), WEB) is True
        assert again.client("shop.web") is not None


async def test_a_connection_that_settings_do_not_have_is_named(calm: Watching) -> None:
    with pytest.raises(UnknownConnection, match="elsewhere"):
        await calm.watcher.observe(Target("elsewhere", target().client), WEB)
