"""A real Keycloak that goes away, comes back, or is slow: few requests, short waits, and everybody is told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ameide_dev.keycloak import KeycloakServer
from ameide_shared.kube.resources import ObjectKey
from uisurface_operator.keycloak.connection import Connection
from uisurface_operator.keycloak.errors import Failure, KeycloakError, KeycloakUnavailable
from uisurface_operator.keycloak.model import ClientSpec
from uisurface_operator.keycloak.observation import Target
from uisurface_operator.keycloak.settings import KeycloakConnectionSettings

from .conftest import settings_for
from .watching import Watching, watching


@pytest.fixture(scope="module")
def own_server() -> Iterator[KeycloakServer]:
    """A server that a test may stop."""
    with KeycloakServer("connection") as server:
        yield server


async def test_a_server_that_is_slow_is_given_up_in_time_and_one_that_was_away_is_used_again(
    own_server: KeycloakServer, tmp_path: Path
) -> None:
    realm = own_server.admin.create_realm()
    file = tmp_path / "secret"
    file.write_text(realm.add_service_client("operator"))
    settings = KeycloakConnectionSettings(
        url=own_server.url, realm=realm.name, client_id="operator", client_secret_file=file, timeout=1.0
    )
    connection = Connection("default", settings)
    await _until_answered(connection)
    own_server.pause()
    try:
        began = time.monotonic()
        with pytest.raises(KeycloakUnavailable, match="did not answer within 1 s"):
            await connection.get("clients", max=1)
        with pytest.raises(KeycloakUnavailable, match="did not answer within 1 s"):
            await connection.probe()
        assert time.monotonic() - began < 3.0
    finally:
        own_server.resume()
    await _until_answered(connection)
    own_server.stop()
    began = time.monotonic()
    with pytest.raises(KeycloakUnavailable, match="cannot be reached"):
        await connection.get("clients", max=1)
    assert time.monotonic() - began < 1.5
    own_server.start()
    await asyncio.to_thread(own_server.wait_ready)
    await _until_answered(connection)
    await connection.close()


async def _until_answered(connection: Connection) -> None:
    for _ in range(20):
        try:
            assert await connection.get("clients", max=1)
        except KeycloakError:
            await asyncio.sleep(0.3)
        else:
            return
    raise AssertionError("the server does not answer again")


def target(number: int) -> Target:
    return Target("default", ClientSpec(f"shop.s{number}", f"default/shop/s{number}", ("https://app.example/cb",)))


async def test_two_hundred_surfaces_of_a_server_that_dies_cost_a_probe_per_step_and_are_looked_at_once_when_it_is_back(
    own_server: KeycloakServer, tmp_path: Path
) -> None:
    realm = own_server.admin.create_realm()
    settings = settings_for(realm, tmp_path, check_seconds=600, timeout=20.0)
    users = [ObjectKey("shop", f"s{number}") for number in range(200)]
    async with watching(settings) as it:
        seen_first = await asyncio.gather(*(it.watcher.observe(target(n), user) for n, user in enumerate(users)))
        await it.until(lambda: _known(it, 200), 60)  # where the machine is busy, some were given up waiting for
        assert {found.exists for found in seen_first} <= {False, None}
        it.told.clear()
        assert len([line for line in it.taken() if line != "POST token"]) == 200
        own_server.kill()
        it.watcher.expedite(users[0])
        await it.until(lambda: it.told >= set(users[1:]), 10)
        seen = it.watcher.last(users[7])
        assert seen is not None
        assert seen.fault is not None
        assert seen.fault.reason is Failure.UNAVAILABLE
        assert "cannot be reached" in seen.fault.message
        assert seen.exists is False  # what was known is kept
        for number, user in enumerate(users):
            assert (await it.watcher.observe(target(number), user)).fault is not None
        with pytest.raises(KeycloakUnavailable):
            await it.watcher.ensure(target(0), users[0])
        it.taken()
        await asyncio.sleep(5)
        down = it.taken()
        for _ in range(20):
            it.watcher.expedite(users[0])
            it.watcher.expedite(users[1])
            await asyncio.sleep(0.05)
        hastened = it.taken()
        assert set(hastened) <= {"POST token"}
        assert len(hastened) <= 3, hastened  # no more than every half second
        assert set(down) == {"POST token"}
        assert 2 <= len(down) <= 8, down  # steps of 0.5, 1, then 2 s
        it.told.clear()
        own_server.start()
        await asyncio.to_thread(own_server.wait_ready)
        await it.until(lambda: it.told == set(users), 60)
        back = it.taken()
        assert sorted(line for line in back if line != "POST token") == sorted(
            f"GET /clients?clientId=shop.s{number}" for number in range(200)
        )
        seen = it.watcher.last(users[7])
        assert seen is not None
        assert seen.fault is None


async def test_reconciles_wait_for_a_slow_server_no_longer_than_its_timeout_and_then_not_at_all(
    own_server: KeycloakServer, tmp_path: Path
) -> None:
    realm = own_server.admin.create_realm()
    settings = settings_for(realm, tmp_path, timeout=1.0)
    async with watching(settings) as it:
        await _settled(it)
        own_server.pause()
        try:
            began = time.monotonic()
            await asyncio.gather(*(it.watcher.observe(target(n), ObjectKey("shop", f"s{n}")) for n in range(50)))
            assert time.monotonic() - began < 2.5
            began = time.monotonic()
            seen = [await it.watcher.observe(target(n), ObjectKey("shop", f"s{n}")) for n in range(100)]
            assert time.monotonic() - began < 0.5
            assert all(found.fault is not None and "within 1 s" in found.fault.message for found in seen)
        finally:
            own_server.resume()
        await it.until(lambda: _known(it, 100), 15)


async def _settled(it: Watching) -> None:
    """The first request to a new realm may take longer than those after it."""
    key = ObjectKey("shop", "first")
    await it.watcher.observe(target(999), key)
    await it.until(lambda: (seen := it.watcher.last(key)) is not None and seen.exists is False, 20)
    it.watcher.forget(key)


def _known(it: Watching, count: int) -> bool:
    seen = [it.watcher.last(ObjectKey("shop", f"s{n}")) for n in range(count)]
    return all(found is not None and found.exists is False and found.fault is None for found in seen)
