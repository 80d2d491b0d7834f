"""Others work in the realm at the same time: people, other surfaces, and an operator that was stopped half way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from uisurface_operator.keycloak.admin import RealmAdmin
from uisurface_operator.keycloak.connection import Connection
from uisurface_operator.keycloak.errors import KeycloakUnavailable
from uisurface_operator.keycloak.model import OWNER

from .conftest import Bench, scopes

Deed = Callable[[], object]


class Interfered(Connection):
    """A connection on which somebody else does something right before each write that `when` picks."""

    def __init__(self, bench: Bench, when: Callable[[str, tuple[str, ...]], bool], deed: Deed, times: int) -> None:
        super().__init__("default", bench.settings.connections["default"])
        self._when, self._deed, self.times = when, deed, times

    async def send(self, method: str, *path: str, body: Any = None) -> httpx.Response:
        if self.times and self._when(method, path):
            self.times -= 1
            await asyncio.to_thread(self._deed)
        return await super().send(method, *path, body=body)


async def test_a_client_that_goes_between_look_and_write_is_made_anew(bench: Bench) -> None:
    first = await bench.admin.ensure(bench.spec())
    changed = bench.spec(description="changed")
    connection = Interfered(
        bench,
        lambda method, path: (method, path[0]) == ("PUT", "clients"),
        lambda: bench.realm.send("DELETE", "clients", bench.client()["id"]),
        1,
    )
    made = await RealmAdmin(connection, bench.settings).ensure(changed)
    await connection.close()
    assert connection.times == 0
    assert made.id == bench.client()["id"] != first.id
    assert bench.client()["description"] == "changed"


async def test_a_scope_and_a_client_that_appear_between_look_and_write_are_looked_at_again(bench: Bench) -> None:
    spec = bench.spec(scopes=scopes("l2o:read"))
    marked = {"clientId": "shop.web", "attributes": {OWNER: spec.owner}}
    connection = Interfered(
        bench,
        lambda method, path: (method, path) == ("POST", ("clients",)),
        lambda: bench.realm.send("POST", "clients", body=marked),
        1,
    )
    made = await RealmAdmin(connection, bench.settings).ensure(spec)
    await connection.close()
    assert connection.times == 0
    assert made.id == bench.client()["id"]
    assert (await bench.admin.check(spec)).drift == ()


async def test_somebody_who_interferes_each_time_is_not_fought_for_ever(bench: Bench) -> None:
    await bench.admin.ensure(bench.spec())

    def replace() -> None:
        bench.realm.send("DELETE", "clients", bench.client()["id"])
        bench.realm.send("POST", "clients", body={"clientId": "shop.web", "attributes": {OWNER: bench.spec().owner}})

    connection = Interfered(bench, lambda method, path: (method, path[0]) == ("PUT", "clients"), replace, 99)
    with pytest.raises(KeycloakUnavailable, match="being changed in Keycloak by somebody else"):
        await RealmAdmin(connection, bench.settings).ensure(bench.spec(description="changed"))
    await connection.close()
    assert connection.times == 96


async def test_an_operator_stopped_between_scope_and_role_leaves_nothing_open_to_everybody(bench: Bench) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    spec = bench.spec(scopes=scopes("l2o:read"))
    connection = Interfered(bench, lambda method, path: path[-2:] == ("scope-mappings", "realm"), stop, 1)
    with pytest.raises(KeyboardInterrupt):
        await RealmAdmin(connection, bench.settings).ensure(spec)
    await connection.close()
    scope = bench.realm.scope("l2o:read")
    assert scope is not None
    assert bench.realm.client("shop.web") is None  # no client has it yet
    made = await bench.admin.ensure(spec)
    assert "role of scope l2o:read" in made.changes
    mapped = bench.realm.get("client-scopes", scope["id"], "scope-mappings", "realm")
    assert [role["name"] for role in mapped] == ["l2o:read"]


async def test_a_surface_that_comes_while_the_last_one_goes_keeps_the_scope(bench: Bench) -> None:
    old, new = bench.spec("old", scopes=scopes("l2o:read")), bench.spec("new", scopes=scopes("l2o:read"))
    for _ in range(3):
        await bench.admin.ensure(old)
        await asyncio.gather(bench.admin.delete(old.client_id, old.owner, ["l2o:read"]), bench.admin.ensure(new))
        assert "l2o:read" in bench.client("new")["defaultClientScopes"]
        assert (await bench.admin.check(new)).drift == ()
        await asyncio.gather(bench.admin.ensure(old), bench.admin.delete(new.client_id, new.owner, ["l2o:read"]))
        assert "l2o:read" in bench.client("old")["defaultClientScopes"]


async def test_many_surfaces_at_once_make_a_shared_scope_once(bench: Bench) -> None:
    specs = [bench.spec(f"s{number}", scopes=scopes("l2o:read")) for number in range(10)]
    await asyncio.gather(*(bench.admin.ensure(spec) for spec in specs))
    lines = bench.taken()
    assert lines.count("POST /client-scopes") == 1
    assert lines.count("POST /roles") == 1
    assert lines.count("POST /clients") == 10
    assert sum(line.startswith("GET /clients?") for line in lines) == 10
    for spec in specs:
        assert (await bench.admin.check(spec)).drift == ()
