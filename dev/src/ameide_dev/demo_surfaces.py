"""The demo's UISurfaces: Keycloak and a gateway around them, a login as a browser does it, and a flag that changes."""

from __future__ import annotations

import html
import json
import re
import secrets
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

from ameide_dev.client import KubeClient
from ameide_dev.demo_domains import API, SHOP, DemoError
from ameide_dev.demo_screen import Screen
from ameide_dev.gateway import GatewayStandIn
from ameide_dev.gateway_proxy import GatewayProxy
from ameide_dev.keycloak import KeycloakServer
from ameide_dev.keycloak_realm import Realm, enter
from ameide_dev.operators import NAMESPACE as SYSTEM
from ameide_dev.platform import Platform
from ameide_dev.ports import Ports

NAME = "portal"
SCOPE = "orders:write"
"""What the surface asks of its users; the realm role of the same name gives it."""
FLAG = "newCheckout"
_ACCOUNT = "ameide-operator"
_SECRET = "keycloak-account"  # noqa: S105 - the name of a Secret
_FOLDER = "/etc/ameide-keycloak"
_GATEWAY = ("gateway", "ameide")
"""Namespace and name that the operator looks for by default."""
_FLAG_SECONDS = 20.0
_TITLE = re.compile(r"(?s)<h1>(.*?)</h1>")
_MISSING = re.compile(r'(?s)<ul[^>]* id="missing">(.*?)</ul>')
_TAG = re.compile(r"<[^>]+>")


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who can log in."""

    name: str
    password: str


class Surroundings:
    """What UISurfaces need beside the cluster. The port of the gateway is known at once, all else comes later."""

    def __init__(self) -> None:
        self.keycloak = KeycloakServer("demo")
        self._ports = Ports()
        self.port = self._ports.reserve()
        self._account_secret = secrets.token_urlsafe(24)
        self.ada = User("ada", secrets.token_urlsafe(9))
        self.bob = User("bob", secrets.token_urlsafe(9))
        self._users: dict[str, str] = {}

    def start(self, stack: ExitStack) -> None:
        """Have Keycloak start, without waiting for it; `stack` ends it."""
        stack.callback(self._ports.release)
        stack.callback(self.keycloak.remove)
        self.keycloak.start()

    def prepare(self, client: KubeClient) -> None:
        """Put the secret of the operator's account where its pods mount it."""
        metadata = {"name": _SECRET, "namespace": SYSTEM}
        data = {"secret": self._account_secret}
        client.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data})

    def open_gateway(self, platform: Platform, stack: ExitStack) -> None:
        """A Gateway whose controller judges routes, and the proxy behind its address; `stack` ends them."""
        namespace, name = _GATEWAY
        platform.client.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
        gateways = stack.enter_context(GatewayStandIn(platform.client))
        gateways.make_gateway(namespace, name)
        stack.enter_context(GatewayProxy(gateways, platform.host_node.service_address, self.port))

    def make_realm(self) -> Realm:
        """Once Keycloak serves: the realm, with the operator's account and two users, neither with a role yet."""
        self.keycloak.wait_ready()
        realm = self.keycloak.admin.create_realm(SHOP)
        realm.add_service_client(_ACCOUNT, self._account_secret)
        for user in (self.ada, self.bob):
            self._users[user.name] = realm.add_user(user.name, user.password)
        return realm

    def grant(self, realm: Realm) -> None:
        """Give one of the users the role that the operator has made for the surface's scope."""
        realm.grant(self._users[self.ada.name], [SCOPE])

    def values(self) -> Mapping[str, Any]:
        """The block of the UISurface operator in the chart's values."""
        secret = f"{_FOLDER}/secret"
        connection = {"url": self.keycloak.url, "realm": SHOP, "clientId": _ACCOUNT, "clientSecretFile": secret}
        ways = [{"port": urlsplit(self.keycloak.url).port, "protocol": "TCP"}]
        return {
            "settings": {
                # What browsers name is the gateway's address on this machine.
                "routing": {"scheme": "http", "port": self.port},
                "keycloak": {"connections": {"default": connection}, "checkSeconds": 10},
            },
            # On the host node a file is where its mount is, which it puts into variables, not into files of settings.
            "env": [{"name": "AMEIDE_KEYCLOAK__CONNECTIONS__DEFAULT__CLIENT_SECRET_FILE", "value": secret}],
            "volumes": [{"name": "keycloak", "secret": {"secretName": _SECRET}}],
            "volumeMounts": [{"name": "keycloak", "mountPath": _FOLDER, "readOnly": True}],
            "egress": [{"to": [{"ipBlock": {"cidr": "127.0.0.1/32"}}], "ports": ways}],
        }


@dataclass(frozen=True, slots=True)
class Shown:
    """A page as a user sees it: code, heading, and the scopes that it says are missing."""

    status: int
    title: str
    missing: tuple[str, ...]
    text: str


class Browser:
    """A browser of one user, as far as logging in takes one. Names under .localhost lead to this machine."""

    def __init__(self) -> None:
        self._http = httpx.Client(transport=_Loopback(), timeout=20, trust_env=False)

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def log_in(self, url: str, user: User) -> Shown:
        """Open a surface, log in by the form that it leads to, and return the page that comes then.

        Raises DemoError, KeycloakRefusal, httpx.HTTPError.
        """
        asked = self._http.get(url)
        if not asked.is_redirect:
            raise DemoError(f"{url} should have led {user.name} to Keycloak, but answered {asked.status_code}")
        with httpx.Client(timeout=20, trust_env=False) as keycloak:
            back = enter(keycloak, asked.headers["location"], user.name, user.password)
        if not back.startswith(url):
            raise DemoError(f"after the login Keycloak sends {user.name} to {back.partition('?')[0]}, not to {url}")
        page = self._http.get(back, follow_redirects=True)
        return _shown(page)

    def json(self, url: str) -> Any:
        """What an address of the surface answers. Raises httpx.HTTPError."""
        answer = self._http.get(url)
        answer.raise_for_status()
        return answer.json()


class _Loopback(httpx.HTTPTransport):
    """A browser takes names under .localhost for loopback by itself; the system's resolver may not know them."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.host.endswith(".localhost"):
            request = httpx.Request(
                request.method,
                request.url.copy_with(host="127.0.0.1"),
                headers=request.headers,  # among them the host that was asked for
                stream=request.stream,
                extensions=request.extensions,
            )
        return super().handle_request(request)


def _shown(page: httpx.Response) -> Shown:
    title, missing = _TITLE.search(page.text), _MISSING.search(page.text)
    scopes = _words(missing[1]).split() if missing else []
    return Shown(page.status_code, _words(title[1]) if title else "", tuple(scopes), page.text)


def _words(markup: str) -> str:
    return html.unescape(_TAG.sub(" ", markup)).strip()


def greet(browser: Browser, url: str, user: User) -> Shown:
    """Log a user in who has the role; the page must show flags and dependencies. Raises DemoError."""
    page = browser.log_in(url, user)
    wanted = (SCOPE, FLAG, "orders-domain.shop.svc", "order-to-cash-process.shop.svc", "order-desk-agent.shop.svc")
    absent = [each for each in wanted if each not in page.text]
    if page.status != httpx.codes.OK or absent:
        raise DemoError(f"{user.name} should see {', '.join(wanted)} at {url}, but sees {page.status} {page.title!r}")
    return page


def refuse(url: str, user: User) -> Shown:
    """Log in as a user without the role, who must be refused. Raises DemoError."""
    with Browser() as browser:
        page = browser.log_in(url, user)
    if page.status != httpx.codes.FORBIDDEN or page.missing != (SCOPE,):
        raise DemoError(f"{user.name} should be refused for want of {SCOPE}, but sees {page.status} {page.title!r}")
    return page


def set_flag(client: KubeClient, value: bool) -> str:
    """Change the flag in the resource; the patch."""
    patch = {"spec": {"features": {"flags": {FLAG: value}}}}
    client.merge_patch(API, "UISurface", NAME, patch, SHOP)
    return json.dumps(patch)


def wait_for_flag(browser: Browser, url: str, value: str) -> float:
    """Seconds until the running app shows the flag as `value` ("on", "off"). Raises DemoError."""
    began = time.monotonic()
    while (rows := dict(browser.json(f"{url}api/flags")["rows"])).get(FLAG) != value:
        if time.monotonic() - began > _FLAG_SECONDS:
            raise DemoError(f"{FLAG} should be {value} on the page within {_FLAG_SECONDS:g} s, but is {rows}")
        time.sleep(0.2)
    return time.monotonic() - began


def show(screen: Screen, client: KubeClient, around: Surroundings, realm: Realm) -> str:
    """A login that is let in, one that is refused, and a flag that arrives; returns the surface's URL."""
    url = str(client.get(API, "UISurface", NAME, SHOP)["status"]["endpoints"]["url"])
    screen.title(f"A UISurface: {url}, with a login at the Keycloak of {around.keycloak.url}")
    around.grant(realm)
    with Browser() as browser:
        page = greet(browser, url, around.ada)
        screen.text(f"{around.ada.name}, who has the role {SCOPE}, logs in: {page.status} {page.title}")
        refused = refuse(url, around.bob)
        screen.text(f"{around.bob.name}, who has not, is refused: {refused.status} {refused.title}: {SCOPE} is missing")
        orders = browser.json(f"{url}api/call/domains/orders/orders")["orders"]
        screen.text(f"the page calls Domain orders with {around.ada.name}'s token: {len(orders)} orders of the tenant")
        patch = set_flag(client, True)
        screen.command(f"kubectl patch uisurface {NAME} -n {SHOP} --type=merge -p '{patch}'")
        screen.text(f"the running app shows {FLAG} as on after {wait_for_flag(browser, url, 'on'):.1f} s")
    return url


def invite(screen: Screen, url: str, around: Surroundings) -> None:
    """For a person: what to open, and whom to be."""
    screen.title(f"Open {url}")
    for user, what in ((around.ada, "is let in"), (around.bob, f"lacks {SCOPE}")):
        screen.text(f"user {user.name}   password {user.password}   {what}")
    if not screen.live:
        return
    console = f"{around.keycloak.url}/admin/master/console/#/{SHOP}"
    admin = around.keycloak.admin
    screen.text(f"{console}   user {admin.user}   password {admin.password}", "dim")
