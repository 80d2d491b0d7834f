"""The connection to a real Keycloak: tokens, TLS, and every way in which it does not work; nothing waits for long."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ameide_dev.keycloak_shared import SharedKeycloak
from ameide_dev.ports import Ports
from ameide_shared.logging import known_secrets
from ameide_shared.settings import load
from uisurface_operator.keycloak.connection import Connection
from uisurface_operator.keycloak.errors import (
    CredentialsRefused,
    KeycloakUnavailable,
    RealmNotFound,
)
from uisurface_operator.keycloak.settings import KeycloakConnectionSettings
from uisurface_operator.settings import UISurfaceSettings

from .conftest import Bench, Record


@pytest.fixture
async def opened() -> AsyncIterator[list[Connection]]:
    made: list[Connection] = []
    yield made
    for connection in made:
        await connection.close()


def connect(opened: list[Connection], bench: Bench, **changes: object) -> tuple[Connection, list[str]]:
    """Another connection to the bench's realm, with changed settings."""
    settings = bench.settings.connections["default"].model_dump() | changes
    lines: list[str] = []
    opened.append(
        Connection(
            "default",
            KeycloakConnectionSettings.model_validate(settings),
            transport=lambda verify: Record(verify, lines),
        )
    )
    return opened[-1], lines


async def test_nothing_is_dialled_before_the_first_request(bench: Bench, opened: list[Connection]) -> None:
    port = Ports().reserve()
    connection, lines = connect(opened, bench, url=f"http://127.0.0.1:{port}")
    assert lines == []
    with pytest.raises(KeycloakUnavailable, match="cannot be reached"):
        await connection.get("clients")
    assert lines == ["POST token"] * 3


async def test_many_requests_share_a_token_which_is_renewed_before_it_expires(
    bench: Bench, opened: list[Connection]
) -> None:
    now = 0.0
    lines: list[str] = []
    connection = Connection(
        "default",
        bench.settings.connections["default"],
        transport=lambda verify: Record(verify, lines),
        clock=lambda: now,
    )
    opened.append(connection)
    await asyncio.gather(*(connection.get("client-scopes") for _ in range(5)))
    assert sorted(lines) == ["GET /client-scopes"] * 5 + ["POST token"]
    lines.clear()
    now = 269.0  # tokens of a new realm live for 300 s
    await connection.get("client-scopes")
    assert lines == ["GET /client-scopes"]
    now = 271.0
    await connection.get("client-scopes")
    assert lines == ["GET /client-scopes", "POST token", "GET /client-scopes"]


async def test_a_token_that_is_no_longer_good_is_renewed_once(bench: Bench, opened: list[Connection]) -> None:
    connection, lines = connect(opened, bench)
    await connection.get("client-scopes")
    realm = bench.realm.get()
    bench.realm.send("PUT", body={**realm, "notBefore": int(time.time()) + 2})  # revokes what was issued before
    await asyncio.sleep(2.1)
    lines.clear()
    assert await connection.get("client-scopes")
    assert lines == ["GET /client-scopes", "POST token", "GET /client-scopes"]


async def test_wrong_credentials_are_refused_and_a_corrected_file_is_taken_up(
    bench: Bench, opened: list[Connection], tmp_path: Path
) -> None:
    file = tmp_path / "wrong.secret"
    file.write_text("not-the-secret")
    connection, lines = connect(opened, bench, client_secret_file=file)
    with pytest.raises(CredentialsRefused, match="Invalid client") as refused:
        await connection.get("clients")
    assert lines == ["POST token"]
    assert "not-the-secret" not in refused.value.message + refused.value.remedy
    assert str(file) in refused.value.remedy
    file.write_text(bench.settings.connections["default"].client_secret_file.read_text())
    assert await connection.get("client-scopes")
    file.unlink()
    with pytest.raises(CredentialsRefused, match="cannot be read"):
        await connection.probe()


async def test_a_realm_that_does_not_exist_or_was_deleted_is_named(bench: Bench, opened: list[Connection]) -> None:
    connection, _ = connect(opened, bench, realm="nowhere/../master")
    with pytest.raises(RealmNotFound, match=r"no realm nowhere/\.\./master") as missing:
        await connection.get("clients")
    assert "connection default" in missing.value.remedy
    connection, _ = connect(opened, bench)
    await connection.get("clients", max=1)
    bench.realm.delete()
    with pytest.raises(RealmNotFound, match=f"no realm {bench.realm.name}"):
        await connection.get("clients", max=1)


async def test_tls_is_checked_against_the_authority_of_the_settings(
    bench: Bench, keycloak: SharedKeycloak, opened: list[Connection], tmp_path: Path
) -> None:
    authority = tmp_path / "ca.crt"
    connection, _ = connect(opened, bench, url=keycloak.https_url, ca_file=authority)
    with pytest.raises(KeycloakUnavailable, match="holds no certificate"):
        await connection.get("clients", max=1)
    authority.write_bytes(keycloak.ca_file.read_bytes())
    assert await connection.get("clients", max=1)
    connection, _ = connect(opened, bench, url=keycloak.https_url)
    with pytest.raises(KeycloakUnavailable, match="certificate verify failed"):
        await connection.get("clients", max=1)


async def test_secrets_and_tokens_are_registered(bench: Bench) -> None:
    await bench.connection.get("clients", max=1)
    assert bench.settings.connections["default"].client_secret_file.read_text().strip() in known_secrets()
    assert any(secret.startswith("eyJ") for secret in known_secrets())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"url": "login.example"}, "expected http:// or https://"),
        ({"url": "https://user:pw@login.example"}, "must hold no credentials"),
        ({"url": "https://login.example?x"}, "neither query nor fragment"),
        ({"url": ""}, "is required"),
        ({"realm": ""}, "at least 1 character"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(change: dict[str, str], words: str) -> None:
    values = {"url": "https://login.example/", "realm": "r", "client_id": "c", "client_secret_file": "/x"}
    good = KeycloakConnectionSettings.model_validate(values)
    assert good.issuer == "https://login.example/realms/r"
    with pytest.raises(ValueError, match=words):
        KeycloakConnectionSettings.model_validate(values | change)


def test_a_connection_can_be_limited_to_namespaces() -> None:
    values = {"url": "https://login.example", "realm": "a b", "client_id": "c", "client_secret_file": "/x"}
    limited = KeycloakConnectionSettings.model_validate(
        values | {"namespaces": ["team-*"], "public_url": "https://public.example/auth/"}
    )
    assert limited.permits("team-a")
    assert not limited.permits("other")
    assert KeycloakConnectionSettings.model_validate(values).permits("other")
    assert limited.login_url == "https://public.example/auth/realms/a%20b/protocol/openid-connect"
    assert limited.backchannel_url == "https://login.example/realms/a%20b/protocol/openid-connect"


def test_a_variable_sets_one_field_of_a_connection_in_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as the place of a secret, whatever spelling the file has."""
    file = tmp_path / "settings.yaml"
    connection = {"url": "https://login.example.com", "realm": "r", "clientId": "op", "clientSecretFile": "/from/file"}
    file.write_text(json.dumps({"keycloak": {"connections": {"default": connection}}}))
    monkeypatch.setenv("AMEIDE_SETTINGS_FILE", str(file))
    found = load(UISurfaceSettings).keycloak.connection()
    assert found is not None
    assert str(found.client_secret_file) == "/from/file"
    monkeypatch.setenv("AMEIDE_KEYCLOAK__CONNECTIONS__DEFAULT__CLIENT_SECRET_FILE", "/from/variable")
    found = load(UISurfaceSettings).keycloak.connection()
    assert found is not None
    assert (str(found.client_secret_file), found.client_id) == ("/from/variable", "op")
