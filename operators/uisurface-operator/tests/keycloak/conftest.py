"""A realm of the test's own on the real server, the operator's service account in it, and a record of its requests."""

from __future__ import annotations

import secrets
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from ameide_dev.keycloak_realm import Realm
from uisurface_operator.keycloak.admin import RealmAdmin
from uisurface_operator.keycloak.connection import Connection
from uisurface_operator.keycloak.model import ClientSpec, ScopeSpec, client_id, owner_marker
from uisurface_operator.keycloak.settings import KeycloakConnectionSettings, KeycloakSettings

CALLBACK = "https://app.example/oauth2/callback"


class Record(httpx.AsyncHTTPTransport):
    """The real transport, and a list of what went through it: method and path below the realm."""

    def __init__(self, verify: ssl.SSLContext | bool, lines: list[str]) -> None:
        super().__init__(verify=verify)
        self._lines = lines

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        path = request.url.raw_path.decode()
        what = "token" if path.endswith("/token") else "/" + path.split("/admin/realms/")[1].partition("/")[2]
        self._lines.append(f"{request.method} {what}")
        return await super().handle_async_request(request)


@dataclass
class Bench:
    """The operator's side of a realm."""

    realm: Realm
    settings: KeycloakSettings
    admin: RealmAdmin
    connection: Connection
    requests: list[str] = field(default_factory=list)

    def spec(self, name: str = "web", **changes: Any) -> ClientSpec:
        """A surface's client in namespace `shop`."""
        values: dict[str, Any] = {
            "client_id": client_id(self.settings, "shop", name),
            "owner": owner_marker(self.settings, "shop", name),
            "redirect_uris": (CALLBACK,),
            "post_logout_redirect_uris": ("https://app.example/",),
            "web_origins": ("https://app.example",),
            "name": f"UISurface shop/{name}",
            "home_url": "https://app.example/",
        }
        return ClientSpec(**values | changes)

    def client(self, name: str = "web") -> dict[str, Any]:
        """The client as the administrator sees it."""
        found = self.realm.client(f"shop.{name}")
        assert found is not None, f"there is no client shop.{name}"
        return found

    def change(self, **fields: Any) -> None:
        """Write fields of the client of surface `web` as an administrator would."""
        self.realm.send("PUT", "clients", self.client()["id"], body=fields)

    def taken(self) -> list[str]:
        """The requests since the last time, without those for tokens; then none are."""
        lines = [line for line in self.requests if line != "POST token"]
        self.requests.clear()
        return lines


MakeBench = Callable[..., Bench]


def settings_for(realm: Realm, folder: Path, **changes: Any) -> KeycloakSettings:
    """Settings with one connection, `default`, to a realm that gets a service account for it."""
    account = f"operator-{secrets.token_hex(3)}"
    file = folder / f"{account}.secret"
    file.write_text(realm.add_service_client(account) + "\n")
    connection = {
        "url": realm.admin.url,
        "realm": realm.name,
        "client_id": account,
        "client_secret_file": file,
        "timeout": 20.0,
    }
    ours = {name: changes.pop(name) for name in tuple(changes) if name in KeycloakConnectionSettings.model_fields}
    return KeycloakSettings.model_validate({"connections": {"default": connection | ours}, **changes})


@pytest.fixture
async def make_bench(realm: Realm, tmp_path: Path) -> AsyncIterator[MakeBench]:
    """`make_bench(existing_scopes=("x",), timeout=2)`: the operator's side of the test's realm, with settings."""
    made: list[Bench] = []

    def make(**changes: Any) -> Bench:
        settings = settings_for(realm, tmp_path, **changes)
        lines: list[str] = []
        connection = Connection(
            "default", settings.connections["default"], transport=lambda verify: Record(verify, lines)
        )
        made.append(Bench(realm, settings, RealmAdmin(connection, settings), connection, lines))
        return made[-1]

    yield make
    for bench in made:
        await bench.connection.close()


@pytest.fixture
def bench(make_bench: MakeBench) -> Bench:
    """The operator's side of the test's realm, with default settings."""
    return make_bench()


def scopes(*names: str) -> tuple[ScopeSpec, ...]:
    """Scopes by name."""
    return tuple(ScopeSpec(name) for name in names)
