"""The example surface: a browser logs in against a real Keycloak, sees flags change, and calls a dependency."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import aiohttp
import httpx
import pytest

from ameide_dev.client import KubeClient
from ameide_dev.images import SURFACE
from ameide_dev.keycloak_realm import Realm
from ameide_dev.platform import Platform
from ameide_dev.ports import Ports
from ameide_dev.processes import Server, wait_until

Object = dict[str, Any]

CLIENT = "shop.storefront"
SECRET = "the-surface-s-own-secret"
SCOPE = "orders:write"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed: apt-get install nodejs")
in_a_browser = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium")


class Page:
    """One page of a headless Chromium, driven over its DevTools protocol."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, session: str) -> None:
        self._socket, self._session = socket, session
        self._last = 0

    @classmethod
    async def open(cls, socket: aiohttp.ClientWebSocketResponse) -> Self:
        """A new page with cookies of its own."""
        browser = cls(socket, "")
        context = await browser.send("Target.createBrowserContext")
        size = {"width": 1000, "height": 760}
        wanted = {"url": "about:blank", "browserContextId": context["browserContextId"], **size}
        target = await browser.send("Target.createTarget", **wanted)
        attached = await browser.send("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        return cls(socket, attached["sessionId"])

    async def send(self, method: str, **parameters: Any) -> Object:
        """One command; its result. Events are passed over."""
        self._last += 1
        # Pages take turns on one socket, so an id is unique by its session.
        message: Object = {"id": self._last, "method": method, "params": parameters}
        await self._socket.send_json(message | ({"sessionId": self._session} if self._session else {}))
        while True:
            answer = await self._socket.receive_json(timeout=30)
            if answer.get("id") == self._last and answer.get("sessionId", "") == self._session:
                assert "error" not in answer, f"{method}: {answer['error']}"
                result: Object = answer["result"]
                return result

    async def goto(self, url: str) -> None:
        """Start to load a page."""
        await self.send("Page.navigate", url=url)

    async def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression, awaited; None if it throws, as while a page is being replaced."""
        answer = await self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        return answer["result"].get("value")

    async def until(self, expression: str, seconds: float = 30.0) -> Any:
        """Wait for an expression to be true; its value."""
        end = asyncio.get_running_loop().time() + seconds
        while not (value := await self.evaluate(expression)):
            if asyncio.get_running_loop().time() > end:
                shown = await self.evaluate("location.href + '\\n' + document.body.innerText")
                raise AssertionError(f"waited {seconds:g} s for {expression}; the page is:\n{shown}")
            await asyncio.sleep(0.1)
        return value

    async def text(self, selector: str) -> str:
        """The text of an element, which is waited for."""
        query = f"document.querySelector({json.dumps(selector)})"
        return str(await self.until(f"{query} && {query}.innerText.trim()"))

    async def log_in(self, user: str, password: str) -> None:
        """Fill in Keycloak's form."""
        await self.until("document.readyState === 'complete' && !!document.querySelector('#kc-form-login')")
        await self.evaluate(
            f"document.querySelector('#username').value = {json.dumps(user)};"
            f"document.querySelector('#password').value = {json.dumps(password)};"
            "document.querySelector('#kc-form-login').submit()"
        )


@asynccontextmanager
async def browser(folder: Path) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """A headless Chromium with a profile of its own; the socket that it is driven by."""
    profile = folder / "chromium"
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
    flags += ["--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"]
    command = [str(CHROMIUM), *flags, f"--user-data-dir={profile}", "--remote-debugging-port=0", "about:blank"]
    server = Server("Chromium", command, log=folder / "chromium.log")
    server.start()
    try:
        address = profile / "DevToolsActivePort"
        await asyncio.to_thread(wait_until, "Chromium", lambda: "/devtools" in _read(address), [server], 60)
        port, path = address.read_text().split()
        async with (
            aiohttp.ClientSession() as http,
            http.ws_connect(f"ws://127.0.0.1:{port}{path}", max_msg_size=0) as socket,
        ):
            yield socket
    finally:
        await asyncio.to_thread(server.stop, 3)


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


@dataclass(frozen=True, slots=True)
class Dependency:
    """A Domain that answers with what it was sent."""

    url: str
    seen: list[Mapping[str, str]]


@pytest.fixture
def dependency() -> Iterator[Dependency]:
    seen: list[Mapping[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append({name.lower(): value for name, value in self.headers.items()} | {"path": self.path})
            body = b'[{"id": 1}]'
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Requests are not logged."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.1,))
    thread.start()
    yield Dependency(f"http://127.0.0.1:{server.server_port}", seen)
    server.shutdown()
    thread.join()
    server.server_close()


@dataclass(frozen=True, slots=True)
class Surface:
    """A running surface and the files that it reads."""

    url: str
    flags: Path
    secret: Path
    server: Server

    def set_flags(self, **flags: bool) -> None:
        """Replace the flags at once, as a mounted ConfigMap is."""
        draft = self.flags.with_suffix(".new")
        draft.write_text(json.dumps({"flags": flags, "variants": {"theme": "blue"}}))
        draft.replace(self.flags)


def sdk(url: str) -> str:
    domains = {"sales/orders": {"http": url, "grpc": "orders-domain.sales.svc:50051"}}
    return json.dumps({"version": 1, "tenantId": "t123", "tenantHeader": "x-tenant-id", "domains": domains})


def register(realm: Realm, url: str) -> None:
    """The client as the operator makes it: PKCE, and a scope that users get by the role of its name."""
    realm.add_role(SCOPE)
    scope = {"name": SCOPE, "protocol": "openid-connect", "attributes": {"include.in.token.scope": "true"}}
    scope_id = realm.send("POST", "client-scopes", body=scope).headers["location"].rsplit("/", 1)[1]
    realm.send("POST", "client-scopes", scope_id, "scope-mappings", "realm", body=[realm.role(SCOPE)])
    client = {
        "clientId": CLIENT,
        "secret": SECRET,
        "standardFlowEnabled": True,
        "fullScopeAllowed": False,
        "redirectUris": [f"{url}/auth/callback"],
        "attributes": {"pkce.code.challenge.method": "S256", "post.logout.redirect.uris": f"{url}/"},
    }
    client_id = realm.send("POST", "clients", body=client).headers["location"].rsplit("/", 1)[1]
    realm.send("PUT", "clients", client_id, "default-client-scopes", scope_id)
    realm.add_user("ada", "lovelace", [SCOPE])
    realm.add_user("bob", "builder")


@pytest.fixture
def surface(realm: Realm, dependency: Dependency, tmp_path: Path) -> Iterator[Surface]:
    """The surface under a path, in front of the dependency, with two users: ada has the scope's role, bob has not."""
    ports = Ports()
    port = ports.reserve()
    url = f"http://127.0.0.1:{port}/shop"
    register(realm, url)
    flags, config, secret = tmp_path / "flags.json", tmp_path / "config.json", tmp_path / "client-secret"
    config.write_text(sdk(dependency.url))
    secret.write_text(SECRET)
    env = {
        "PORT": str(port),
        "HOSTNAME": "127.0.0.1",
        "AMEIDE_PRIMITIVE_NAME": "storefront",
        "SURFACE_VERSION": "1.0.0",
        "AMEIDE_BASE_PATH": "/shop",
        "AMEIDE_AUTH_MODE": "Application",
        "AMEIDE_FLAGS_FILE": str(flags),
        "AMEIDE_SDK_CONFIG_FILE": str(config),
        "OIDC_ISSUER": realm.issuer,
        "OIDC_CLIENT_ID": CLIENT,
        "OIDC_CLIENT_SECRET_FILE": str(secret),
        "OIDC_REDIRECT_URI": f"{url}/auth/callback",
        "OIDC_SCOPES": f"openid {SCOPE}",
        "LOG_LEVEL": "debug",
    }
    server = Server("surface", ["node", str(SURFACE / "src" / "main.js")], log=tmp_path / "surface.log", env=env)
    it = Surface(url, flags, secret, server)
    it.set_flags(newCheckout=False)
    server.start()
    try:
        wait_until("surface", lambda: _status(f"http://127.0.0.1:{port}/readyz") == 200, [server], 20)
        yield it
    finally:
        server.stop(3)
        ports.release()


def _status(url: str) -> int:
    try:
        return httpx.get(url, timeout=5, trust_env=False).status_code
    except httpx.TransportError:
        return 0


def test_its_own_tests_pass() -> None:
    command = ["node", "--test", str(SURFACE / "test" / "surface.test.js")]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "# fail 0" in result.stdout
    assert "# pass 0" not in result.stdout


@in_a_browser
async def test_a_browser_logs_in_sees_a_flag_change_calls_a_dependency_and_logs_out(
    surface: Surface, dependency: Dependency, tmp_path: Path
) -> None:
    async with browser(tmp_path) as socket:
        page = await Page.open(socket)
        await page.goto(f"{surface.url}/?from=mail")
        await page.log_in("ada", "lovelace")
        assert await page.text("#user") == "Ada Example"
        assert await page.evaluate("location.search") == "?from=mail"
        assert SCOPE in (await page.text("#scopes")).split()
        assert dependency.url in await page.text("#dependencies")

        flags = "document.querySelector('#flags tbody').innerText"
        assert await page.evaluate(f"{flags}.includes('newCheckout\\toff')")
        await page.evaluate("window.sameDocument = true")
        await asyncio.sleep(2.5)  # the page has looked once, so that the next look is a change
        surface.set_flags(newCheckout=True)
        await page.until(f"{flags}.includes('newCheckout\\ton')")
        assert await page.evaluate("window.sameDocument"), "the page was loaded again"

        picture = base64.b64decode((await page.send("Page.captureScreenshot", format="png"))["data"])
        assert picture.startswith(b"\x89PNG")
        if target := os.environ.get("SURFACE_SCREENSHOT"):
            await asyncio.to_thread(Path(target).write_bytes, picture)

        called = "fetch('/shop/api/call/domains/sales%2Forders/orders?open=1').then(answer => answer.json())"
        assert await page.evaluate(called) == [{"id": 1}]
        [seen] = dependency.seen
        assert seen["path"] == "/orders?open=1"
        assert seen["x-tenant-id"] == "t123"
        assert seen["authorization"].startswith("Bearer ey")
        assert "cookie" not in seen
        assert await page.evaluate("document.cookie") == "", "scripts see no session"

        await page.evaluate("document.querySelector('header form button').click()")
        await page.until("!!document.querySelector('#kc-form-login')")  # Keycloak's session is over too

    log = surface.server.log.read_text()
    assert '"message":"login"' in log
    token = seen["authorization"].removeprefix("Bearer ")
    assert token not in log
    assert SECRET not in log
    assert "code=" not in log


@in_a_browser
async def test_a_user_without_the_scopes_role_is_told_what_is_missing(
    surface: Surface, dependency: Dependency, tmp_path: Path
) -> None:
    async with browser(tmp_path) as socket:
        page = await Page.open(socket)
        await page.goto(f"{surface.url}/")
        await page.log_in("bob", "builder")
        assert await page.text("#missing") == SCOPE
        called = "fetch('/shop/api/call/domains/sales%2Forders/orders').then(answer => answer.status)"
        assert await page.evaluate(called) == 403
    assert dependency.seen == []


async def test_a_login_that_was_not_begun_here_is_refused(surface: Surface) -> None:
    async with httpx.AsyncClient(timeout=10, trust_env=False) as http:
        answer = await http.get(f"{surface.url}/auth/callback", params={"code": "x", "state": "y"})
        assert answer.status_code == 400
        begun = await http.get(f"{surface.url}/")
        assert begun.status_code == 303
        assert "code_challenge_method=S256" in begun.headers["location"]
        assert (await http.get(f"{surface.url}/api/flags")).status_code == 401
        forged = {"cookie": "surface-session.0=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}
        assert (await http.get(f"{surface.url}/api/flags", headers=forged)).status_code == 401


async def test_without_its_secret_it_is_not_ready_and_says_which_file(surface: Surface) -> None:
    surface.secret.unlink()
    base = surface.url.removesuffix("/shop")
    async with httpx.AsyncClient(timeout=10, trust_env=False) as http:
        answer = await http.get(f"{base}/readyz")
        assert answer.status_code == 503
        assert str(surface.secret) in answer.text
        assert (await http.get(f"{base}/healthz")).status_code == 200
        page = await http.get(f"{surface.url}/")
        assert page.status_code == 503
        assert str(surface.secret) not in page.text


def test_pods_on_the_host_node_serve_it_side_by_side(platform: Platform, kube: KubeClient, namespace: str) -> None:
    flags, config = json.dumps({"flags": {"live": True}}), sdk("http://one:3000")
    data = {"flags.json": flags, "config.json": config}
    metadata = {"name": "files", "namespace": namespace}
    kube.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})
    for name in ("one", "two"):
        named: Object = {"name": name, "namespace": namespace, "labels": {"app": name}}
        kube.create({"apiVersion": "v1", "kind": "Pod", "metadata": named, "spec": pod_spec()})
        spec = {"selector": {"app": name}, "ports": [{"port": 3000, "targetPort": "http"}]}
        kube.create({"apiVersion": "v1", "kind": "Service", "metadata": named, "spec": spec})
    node = platform.host_node
    for name in ("one", "two"):
        address, port = node.wait_for_service(namespace, name, 3000, timeout=40)
        assert "live" in httpx.get(f"http://{address}:{port}/", timeout=10, trust_env=False).text
    # A dependency's name is one of the cluster: here the other surface stands for it.
    answer = httpx.get(f"http://{address}:{port}/api/call/domains/sales%2Forders/healthz", timeout=10, trust_env=False)
    assert (answer.status_code, answer.text) == (200, "ok\n")


def pod_spec() -> Object:
    env = {
        "PORT": "3000",
        "HOSTNAME": "0.0.0.0",  # noqa: S104 - the host node gives each pod an address of its own
        "AMEIDE_AUTH_MODE": "Public",
        "AMEIDE_FLAGS_FILE": "/etc/ameide/flags/flags.json",
        "AMEIDE_SDK_CONFIG_FILE": "/etc/ameide/sdk/config.json",
    }
    container = {
        "name": "app",
        "image": "ghcr.io/ameide/hostnode-surface:1.0.0",
        "env": [{"name": name, "value": value} for name, value in env.items()],
        "ports": [{"name": "http", "containerPort": 3000}],
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": "http"}, "periodSeconds": 1, "timeoutSeconds": 3},
        "volumeMounts": [
            {"name": "files", "mountPath": "/etc/ameide/flags"},
            {"name": "files", "mountPath": "/etc/ameide/sdk"},
        ],
    }
    volumes = [{"name": "files", "configMap": {"name": "files"}}]
    return {"containers": [container], "volumes": volumes, "terminationGracePeriodSeconds": 2}
