"""The real Keycloak: quick to start, keeps data and address over a restart, shared by processes, leaves nothing."""

from __future__ import annotations

import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from ameide_dev.keycloak import KeycloakServer, KeycloakServerError
from ameide_dev.keycloak_realm import Admin, KeycloakRefusal, Realm
from ameide_dev.keycloak_shared import SharedKeycloak

CALLBACK = "https://app.example/callback"


@pytest.fixture(scope="module")
def server() -> Iterator[KeycloakServer]:
    with KeycloakServer("dev") as server:
        yield server


def test_a_realm_with_users_and_roles_gives_real_tokens(realm: Realm) -> None:
    realm.add_role("reader")
    realm.add_user("anna", "right", ["reader"])
    client = {"clientId": "app", "publicClient": True, "redirectUris": [CALLBACK], "fullScopeAllowed": True}
    realm.send("POST", "clients", body=client)
    tokens = realm.tokens("app", CALLBACK, "anna", "right")
    assert tokens.claims["iss"] == realm.issuer
    assert "reader" in tokens.claims["realm_access"]["roles"]
    assert {"openid", "profile"} <= tokens.scopes
    with pytest.raises(KeycloakRefusal, match="Invalid username or password"):
        realm.tokens("app", CALLBACK, "anna", "wrong")
    with pytest.raises(KeycloakRefusal, match=r"[Ii]nvalid parameter: redirect_uri"):
        realm.tokens("app", "https://evil.example/", "anna", "right")


def test_the_operators_service_account_can_manage_clients_and_not_users(realm: Realm) -> None:
    secret = realm.add_service_client("operator")
    base = realm.admin.url
    form = {"grant_type": "client_credentials"}
    url = f"{realm.issuer}/protocol/openid-connect/token"
    answer = httpx.post(url, data=form, auth=("operator", secret), trust_env=False)
    headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}

    def status(path: str) -> int:
        return httpx.get(f"{base}/admin/realms/{realm.name}/{path}", headers=headers, trust_env=False).status_code

    assert [status(path) for path in ("clients", "client-scopes", "roles", "users")] == [200, 200, 200, 403]


def test_realms_are_made_in_less_than_the_time_to_find_primes_for_their_keys(realm: Realm) -> None:
    keys = {key["algorithm"]: key for key in realm.get("keys")["keys"]}
    assert {"RS256", "HS512", "AES"} <= keys.keys()
    other = realm.admin.create_realm()
    try:
        assert {key["publicKey"] for key in other.get("keys")["keys"] if key["algorithm"] == "RS256"} == {
            keys["RS256"]["publicKey"]
        }
    finally:
        other.delete()


def test_a_restart_keeps_address_and_data_and_both_ports_serve(server: KeycloakServer) -> None:
    realm = server.admin.create_realm()
    realm.add_role("kept")
    address, pid = server.url, server.pid
    server.restart()
    assert (server.url, server.pid != pid) == (address, True)
    assert realm.role("kept") is not None
    server.kill()
    with pytest.raises(httpx.TransportError):
        httpx.get(server.url, timeout=5, trust_env=False)
    server.start()
    server.wait_ready()
    assert realm.role("kept") is not None
    tls = httpx.get(f"{server.https_url}/realms/{realm.name}", verify=_trusting(server.ca_file), trust_env=False)
    assert tls.json()["realm"] == realm.name


def test_a_paused_server_answers_nothing_until_it_goes_on(server: KeycloakServer) -> None:
    server.pause()
    try:
        with pytest.raises(httpx.ReadTimeout):
            httpx.get(f"{server.url}/realms/master", timeout=0.5, trust_env=False)
    finally:
        server.resume()
    assert httpx.get(f"{server.url}/realms/master", timeout=30, trust_env=False).status_code == 200


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "admin-password").write_text("x")
    (tmp_path / "h2").mkdir()
    (tmp_path / "h2" / "keycloakdb.mv.db").write_bytes(b"no database" * 500)
    server = KeycloakServer("broken", data=tmp_path)
    try:
        server.start()
        with pytest.raises(KeycloakServerError, match="ended with exit code"):
            server.wait_ready()
    finally:
        server.remove()
    with pytest.raises(KeycloakServerError, match="call start"):
        _ = server.log_path


def test_one_server_serves_several_processes_and_ends_with_the_last_however_that_ends(tmp_path: Path) -> None:
    meeting = tmp_path / "shared"
    first = SharedKeycloak(meeting)
    first.start()
    first.wait_ready()
    program = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from ameide_dev.keycloak_shared import SharedKeycloak\n"
        f"shared = SharedKeycloak(Path({str(meeting)!r}))\n"
        "shared.start(); shared.wait_ready()\n"
        "print(shared.url, flush=True)\n"
        "time.sleep(600)\n"
    )
    second = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    try:
        assert second.stdout is not None
        assert second.stdout.readline().strip() == first.url
        url = first.url
        first.release()
        assert httpx.get(f"{url}/realms/master", timeout=30, trust_env=False).status_code == 200
    finally:
        second.kill()
        second.wait()
        if second.stdout is not None:
            second.stdout.close()
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            httpx.get(f"{url}/realms/master", timeout=5, trust_env=False)
        except httpx.TransportError:
            break
        time.sleep(0.1)
    else:
        raise AssertionError("the server outlives its users")
    assert not (meeting / "state.json").exists()


def test_the_administrators_token_is_renewed_when_the_server_no_longer_takes_it(server: KeycloakServer) -> None:
    admin = Admin(server.url, server.admin.user, server.admin.password)
    try:
        assert admin.token() == admin.token()
        admin._token = "not.a.token"
        assert admin.request("GET", "/master").json()["realm"] == "master"
    finally:
        admin.close()


def _trusting(authority: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(authority))
