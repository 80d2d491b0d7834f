"""Kubeconfig files, and credentials that change while we are connected."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import ipaddress
import ssl
import stat
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from kubernetes import client, config

from ameide_dev.platform import Platform
from ameide_shared.kube import connection as connection_module
from ameide_shared.kube.client import ApiClient
from ameide_shared.kube.connection import Connection, connect
from ameide_shared.kube.errors import Forbidden, NotFound, Unauthorized
from ameide_shared.kube.kubeconfig import ClusterAccess, ConfigError, in_cluster, load_access
from ameide_shared.kube.resources import CONFIG_MAP, NAMESPACE, ObjectKey

from .fake_server import fake_server, refuses, says

KEY = ObjectKey("shop", "a")


def kubeconfig(
    path: Path, server: str = "https://example.com/", user: dict[str, Any] | None = None, **more: Any
) -> Path:
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": user or {}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": "shop"}}],
        "current-context": "x",
        **more,
    }
    path.write_text(yaml.safe_dump(content))
    return path


# --- kubeconfig -------------------------------------------------------------------------------------------------------


def test_files_are_merged_and_paths_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "token").write_text("abc")
    first = kubeconfig(tmp_path / "sub" / "first", user={"tokenFile": "token", "token": "old"})
    other: dict[str, Any] = {"contexts": [{"name": "y", "context": {"cluster": "d", "user": "u"}}],
             "clusters": [{"name": "d", "cluster": {"server": "http://d"}},
                          {"name": "c", "cluster": {"server": "http://ignored"}}]}  # fmt: skip
    second = kubeconfig(tmp_path / "second", user={"token": "ignored"}, **other)
    monkeypatch.setenv("KUBECONFIG", f"{first}:{tmp_path / 'missing'}:{second}")
    access = load_access()
    assert (access.server, access.namespace, access.token) == ("https://example.com", "shop", None)
    assert access.token_file == tmp_path / "sub" / "token"
    access = load_access(context="y")
    assert (access.server, access.namespace) == ("http://d", "default")


@pytest.mark.parametrize(
    ("cluster", "user"),
    [
        ({"server": "https://one.example:6443", "insecure-skip-tls-verify": True}, {"token": "abc"}),
        ({"server": "https://two.example/base", "tls-server-name": "kubernetes"}, {"tokenFile": "token"}),
        ({"server": "http://127.0.0.1:8080"}, {}),
        (
            {"server": "https://three.example", "certificate-authority-data": base64.b64encode(b"ca").decode()},
            {
                "client-certificate-data": base64.b64encode(b"certificate").decode(),
                "client-key-data": base64.b64encode(b"key").decode(),
            },
        ),
    ],
    ids=["token", "token-file", "nobody", "certificate"],
)
def test_a_file_means_to_us_what_it_means_to_kubernetes_own_client(
    tmp_path: Path, cluster: dict[str, Any], user: dict[str, Any]
) -> None:
    """The official Python client is the judge; images go without it, as it is twice as large as all else in them."""
    (tmp_path / "token").write_text("from-a-file")
    file = kubeconfig(tmp_path / "config", user=user, clusters=[{"name": "c", "cluster": cluster}])
    official = client.Configuration()
    config.load_kube_config(config_file=str(file), client_configuration=official)
    ours = load_access(file)
    assert ours.server == official.host
    assert ours.insecure is not official.verify_ssl
    assert (ours.tls_server_name or None) == official.tls_server_name
    token = ours.token_file.read_text() if ours.token_file else ours.token
    assert (f"Bearer {token}" if token else None) == official.api_key.get("BearerToken")
    for mine, theirs in (
        (ours.ca_data, official.ssl_ca_cert),
        (ours.cert_data, official.cert_file),
        (ours.key_data, official.key_file),
    ):
        assert mine == (Path(theirs).read_bytes() if theirs else None)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: [", "cannot be read as a kubeconfig"),
        ("- a", "a kubeconfig is a YAML mapping, found list"),
        ("{}", "no context ''; contexts are: none"),
        ("{current-context: x, contexts: [{name: x, context: {cluster: c, user: u}}]}", "names cluster 'c'"),
        (
            "{current-context: x, contexts: [{name: x, context: {cluster: c, user: u}}], clusters: [{name: c}], "
            "users: [{name: u}]}",
            "cluster 'c' has no server",
        ),
        (
            "{current-context: x, contexts: [{name: x, context: {cluster: c, user: u}}], users: [{name: u}], "
            "clusters: [{name: c, cluster: {server: 'https://x', certificate-authority: none.crt}}]}",
            "none.crt: cannot be read",
        ),
    ],
)
def test_broken_files_are_named(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "config"
    path.write_text(content)
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")) as caught:
        load_access(path)
    assert str(tmp_path) in str(caught.value)


def test_nothing_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(ConfigError, match="set KUBECONFIG or pass --kubeconfig"):
        load_access(tmp_path / "none")
    with pytest.raises(ConfigError, match="automountServiceAccountToken"):
        in_cluster(tmp_path)


def test_in_a_pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "6443")
    (tmp_path / "token").write_text("abc")
    (tmp_path / "namespace").write_text("ameide\n")
    access = in_cluster(tmp_path)
    assert (access.server, access.namespace) == ("https://[fd00::1]:6443", "ameide")
    assert access.token_file == tmp_path / "token"


def test_secrets_do_not_show() -> None:
    access = ClusterAccess("https://x", token="t0ken", password="passw0rd", key_data=b"k3y")
    assert not any(secret in repr(access) for secret in ("t0ken", "passw0rd", "k3y"))


# --- credentials ------------------------------------------------------------------------------------------------------


async def test_a_replaced_token_is_used_within_a_minute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token = tmp_path / "token"
    token.write_text("one\n")
    async with fake_server(says({})) as server:
        async with Connection(ClusterAccess(server.url, token_file=token)) as connection:
            now = 1000.0
            monkeypatch.setattr(connection_module, "monotonic", lambda: now)
            client = ApiClient(connection, field_manager="x")
            await client.get(CONFIG_MAP, KEY)
            token.write_text("two")
            await client.get(CONFIG_MAP, KEY)
            now += 60
            await client.get(CONFIG_MAP, KEY)
            token.unlink()  # while it is being replaced
            now += 60
            await client.get(CONFIG_MAP, KEY)
            monkeypatch.undo()
        sent = [headers["Authorization"] for _, _, headers, _ in server.seen]
    assert sent == ["Bearer one", "Bearer one", "Bearer two", "Bearer two"]


async def test_a_refused_token_is_read_again_at_once(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("one")
    async with fake_server(says({}), refuses(401, "Unauthorized"), says({}), refuses(401, "Unauthorized")) as server:
        async with Connection(ClusterAccess(server.url, token_file=token)) as connection:
            client = ApiClient(connection, field_manager="x")
            await client.get(CONFIG_MAP, KEY)
            token.write_text("two")
            await client.get(CONFIG_MAP, KEY)
            with pytest.raises(Unauthorized):
                await client.get(CONFIG_MAP, KEY)
        sent = [headers["Authorization"] for _, _, headers, _ in server.seen]
    assert sent == ["Bearer one", "Bearer one", "Bearer two", "Bearer two"], "the same token is not tried twice"


async def test_sessions_for_kopf(tmp_path: Path) -> None:
    """They add credentials to every request, watch streams too, and closing them leaves all others alone."""
    token = tmp_path / "token"
    token.write_text("one")
    async with fake_server(says({}), refuses(401, "Unauthorized"), says({})) as server:
        async with Connection(ClusterAccess(server.url, token_file=token)) as connection:
            first, second = connection.open_session(), connection.open_session()
            await (await first.get(f"{server.url}/watch")).read()
            token.write_text("two")
            response = await first.get(f"{server.url}/watch")
            assert response.status == 200
            await response.read()
            await first.close()
            await (await second.get(f"{server.url}/watch")).read()
            await ApiClient(connection, field_manager="x").get(CONFIG_MAP, KEY)
        sent = [headers["Authorization"] for _, _, headers, _ in server.seen]
    assert sent == ["Bearer one", "Bearer one", "Bearer two", "Bearer two", "Bearer two"]
    assert second.closed


async def test_passwords() -> None:
    async with fake_server(says({})) as server:
        async with Connection(ClusterAccess(server.url, username="u", password="p")) as connection:
            await ApiClient(connection, field_manager="x").get(CONFIG_MAP, KEY)
        assert server.seen[0][2]["Authorization"] == "Basic " + base64.b64encode(b"u:p").decode()


def plugin(path: Path, body: str) -> Path:
    path.write_text(f"#!{sys.executable}\n{body}")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


async def test_credential_plugins(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    counter = tmp_path / "count"
    plugin(
        tmp_path / "login",
        "import json, os, pathlib, sys\n"
        f"counter = pathlib.Path({str(counter)!r})\n"
        "count = int(counter.read_text()) + 1 if counter.exists() else 1\n"
        "counter.write_text(str(count))\n"
        "if count == 3: sys.exit(1)\n"
        "info = json.loads(os.environ['KUBERNETES_EXEC_INFO'])\n"
        "token = f\"{sys.argv[1]}-{os.environ['SALT']}-{info['spec']['cluster']['server'][:4]}-{count}\"\n"
        "print(json.dumps({'status': {'token': token, 'expirationTimestamp': '2020-01-01T00:00:00Z'}}))\n",
    )
    user = {
        "exec": {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": "./login",
            "args": ["arg"],
            "env": [{"name": "SALT", "value": "salt"}],
            "provideClusterInfo": True,
        }
    }
    async with fake_server(says({})) as server:
        path = kubeconfig(tmp_path / "config", server.url, user)
        async with connect(path) as connection:
            client = ApiClient(connection, field_manager="x")
            await client.get(CONFIG_MAP, KEY)
            await asyncio.sleep(1.1)  # expired, but not asked for more than once a second
            await client.get(CONFIG_MAP, KEY)
            await asyncio.sleep(1.1)
            await client.get(CONFIG_MAP, KEY)
        sent = [headers["Authorization"] for _, _, headers, _ in server.seen]
    assert sent == ["Bearer arg-salt-http-1", "Bearer arg-salt-http-2", "Bearer arg-salt-http-2"]
    assert "ended with exit code 1" in caplog.text


@pytest.mark.parametrize(
    ("body", "message"),
    [("print('no json')", "printed no ExecCredential"), ("import sys; sys.exit(3)", "ended with exit code 3")],
)
async def test_plugins_that_fail(tmp_path: Path, body: str, message: str) -> None:
    command = plugin(tmp_path / "login", body)
    path = kubeconfig(tmp_path / "config", user={"exec": {"command": str(command)}})
    async with connect(path) as connection:
        with pytest.raises(ConfigError, match=message):
            await connection.authorization()
    path = kubeconfig(tmp_path / "config", user={"exec": {"command": "no-such-command", "installHint": "get it"}})
    async with connect(path) as connection:
        with pytest.raises(ConfigError, match=r"no-such-command.*get it"):
            await connection.authorization()


# --- TLS --------------------------------------------------------------------------------------------------------------


async def test_a_ca_without_key_usage_is_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def certificate(name: str, issuer: str, *extensions: x509.ExtensionType) -> bytes:
        def named(common: str) -> x509.Name:
            return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])

        builder = (
            x509.CertificateBuilder(issuer_name=named(issuer), subject_name=named(name))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(dt.datetime.now(dt.UTC) - dt.timedelta(hours=1))
            .not_valid_after(dt.datetime.now(dt.UTC) + dt.timedelta(days=1))
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    key = ec.generate_private_key(ec.SECP256R1())
    ca = certificate("ca", "ca", x509.BasicConstraints(ca=True, path_length=None))
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tmp_path / "both.pem").write_bytes(certificate("server", "ca", address) + private)
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(tmp_path / "both.pem")
    original = ssl.create_default_context

    def strict(**options: Any) -> ssl.SSLContext:  # as Python 3.13 makes them
        context = original(**options)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    monkeypatch.setattr(ssl, "create_default_context", strict)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 13\r\nConnection: close\r\n\r\n{"major":"1"}')
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=serving) as server:
        port = server.sockets[0].getsockname()[1]
        access = ClusterAccess(f"https://127.0.0.1:{port}", ca_data=ca)
        async with Connection(access) as connection:
            assert await ApiClient(connection, field_manager="x").raw_get("/version") == {"major": "1"}


# --- a real API server ------------------------------------------------------------------------------------------------


async def test_service_account_whose_token_is_replaced(platform: Platform, namespace: str, tmp_path: Path) -> None:
    control_plane = platform.control_plane
    assert control_plane is not None
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "op", "namespace": namespace}}
    platform.client.create(account)
    path = control_plane.kubeconfig_for_service_account(namespace, "op", tmp_path)
    async with connect(path) as connection:
        client = ApiClient(connection, field_manager="x")
        with pytest.raises(Forbidden, match=f"system:serviceaccount:{namespace}:op"):
            await client.list(CONFIG_MAP, namespace)
        # A new account of the same name makes the old token worthless; only the file has the new one.
        platform.client.delete("v1", "ServiceAccount", "op", namespace)
        platform.client.create(account)
        control_plane.refresh_token(namespace, "op", tmp_path / "token")
        async with asyncio.timeout(30):
            while True:
                try:
                    await client.list(CONFIG_MAP, namespace)
                except Forbidden:
                    break
                except Unauthorized:
                    await asyncio.sleep(0.5)
        async with connection.open_session() as session, session.get(f"{connection.server}/version") as response:
            assert response.status == 200


def renamed(original: Path, copy: Path, name: str) -> Path:
    """A copy of a kubeconfig that expects the server's certificate to be for `name`."""
    content = yaml.safe_load(original.read_text())
    content["clusters"][0]["cluster"]["tls-server-name"] = name
    copy.write_text(yaml.safe_dump(content))
    return copy


async def test_client_certificates_and_the_server_name(platform: Platform, tmp_path: Path) -> None:
    control_plane = platform.control_plane
    assert control_plane is not None
    path = control_plane.kubeconfig_for_user("somebody", directory=tmp_path)
    async with connect(path) as connection:
        with pytest.raises(Forbidden, match='"somebody"'):
            await ApiClient(connection, field_manager="x").get(NAMESPACE, ObjectKey("", "default"))
    async with connect(platform.kubeconfig) as connection:
        client = ApiClient(connection, field_manager="x")
        assert (await client.get(NAMESPACE, ObjectKey("", "default")))["kind"] == "Namespace"
        with pytest.raises(NotFound):
            await client.get(CONFIG_MAP, ObjectKey("default", "none"))

    # A certificate that is for another name is refused, unless that name is what we were told to expect.
    for name, accepted in (("kubernetes.default.svc", True), ("example.com", False)):
        path = renamed(Path(platform.kubeconfig), tmp_path / name, name)
        async with connect(path) as connection, connection.open_session() as session:
            if accepted:
                assert (await session.get(f"{connection.server}/version")).status == 200
                assert (await ApiClient(connection, field_manager="x").raw_get("/version"))["major"] == "1"
            else:
                with pytest.raises(aiohttp.ClientConnectorCertificateError):
                    await session.get(f"{connection.server}/version")
