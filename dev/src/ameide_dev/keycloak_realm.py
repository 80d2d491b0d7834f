"""What tests and the demo do in a Keycloak as its administrator: realms, users with roles, logins with real tokens."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import secrets
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import httpx
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

OPERATOR_ROLES = ("manage-clients", "manage-realm")
"""What the operator's service account needs of the client `realm-management`: `manage-clients` for clients and client
scopes, `manage-realm` for the realm roles behind the scopes. It can neither see nor change users."""

_RENEW_SECONDS = 10.0
_KEYS = "org.keycloak.keys.KeyProvider"


class KeycloakRefusal(RuntimeError):  # noqa: N818 - named for what it is
    """Keycloak refused what was asked of it; `status` is the HTTP code."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a login gives: encoded tokens, and the claims of the access token."""

    access_token: str = field(repr=False)
    id_token: str = field(repr=False)
    claims: Mapping[str, Any]

    @property
    def scopes(self) -> frozenset[str]:
        """The scopes that the access token grants."""
        return frozenset(str(self.claims.get("scope", "")).split())

    @property
    def audiences(self) -> frozenset[str]:
        """Whom the access token is for."""
        found = self.claims.get("aud", ())
        return frozenset([found] if isinstance(found, str) else found)


class Admin:
    """The administrator of a server. Its requests are synchronous; errors are KeycloakRefusal or httpx's."""

    def __init__(self, url: str, user: str, password: str) -> None:
        self.url = url
        self.user, self.password = user, password
        self._http = httpx.Client(base_url=url, timeout=30, trust_env=False)
        self._token, self._until = "", 0.0

    def close(self) -> None:
        """Close connections."""
        self._http.close()

    def token(self) -> str:
        """An access token with all rights, renewed when it is about to expire."""
        if time.monotonic() >= self._until:
            form = {"grant_type": "password", "client_id": "admin-cli", "username": self.user}
            answer = self._http.post(
                "/realms/master/protocol/openid-connect/token", data=form | {"password": self.password}
            )
            body = _checked(answer).json()
            self._token, self._until = body["access_token"], time.monotonic() + body["expires_in"] - _RENEW_SECONDS
        return self._token

    def request(self, method: str, path: str, body: Any = None, **query: Any) -> httpx.Response:
        """One request of the Admin REST API; `path` starts after `/admin/realms`. Raises KeycloakRefusal."""
        headers = {"Authorization": f"Bearer {self.token()}"}
        answer = self._http.request(method, f"/admin/realms{path}", json=body, params=query, headers=headers)
        if answer.status_code == 401:  # the server was made anew, or restarted with other keys
            self._until = 0.0
            headers = {"Authorization": f"Bearer {self.token()}"}
            answer = self._http.request(method, f"/admin/realms{path}", json=body, params=query, headers=headers)
        return _checked(answer)

    def create_realm(self, name: str | None = None, **fields: Any) -> Realm:
        """A new realm, with a unique name unless one is given; `fields` are more of its representation."""
        name = name or f"r{secrets.token_hex(5)}"
        # Tests speak http, and log in again and again.
        body = {"realm": name, "enabled": True, "sslRequired": "none", "components": {_KEYS: _key_providers()}}
        self.request("POST", "", body | fields)
        return Realm(self, name)

    def realm(self, name: str) -> Realm:
        """A realm that is there already."""
        return Realm(self, name)


class Realm:
    """One realm, as its administrator sees it."""

    def __init__(self, admin: Admin, name: str) -> None:
        self.admin, self.name = admin, name

    @property
    def issuer(self) -> str:
        """What tokens name as their issuer."""
        return f"{self.admin.url}/realms/{self.name}"

    def delete(self) -> None:
        """Delete the realm and all in it; no error if it is gone."""
        try:
            self.admin.request("DELETE", self._path())
        except KeycloakRefusal as refusal:
            if refusal.status != 404:
                raise

    def get(self, *path: str, **query: Any) -> Any:
        """Read below the realm; the parts of the path are percent-encoded."""
        return self.admin.request("GET", self._path(*path), **query).json()

    def send(self, method: str, *path: str, body: Any = None) -> httpx.Response:
        """POST, PUT or DELETE below the realm; the parts of the path are percent-encoded."""
        return self.admin.request(method, self._path(*path), body)

    def client(self, client_id: str) -> dict[str, Any] | None:
        """A client's representation; None if there is none."""
        found = self.get("clients", clientId=client_id)
        return found[0] if found else None

    def scope(self, name: str) -> dict[str, Any] | None:
        """A client scope's representation; None if there is none."""
        return next((scope for scope in self.get("client-scopes") if scope["name"] == name), None)

    def role(self, name: str) -> dict[str, Any] | None:
        """A realm role's representation; None if there is none."""
        try:
            found: dict[str, Any] = self.get("roles", name)
        except KeycloakRefusal as refusal:
            if refusal.status == 404:
                return None
            raise
        return found

    def add_role(self, name: str, **fields: Any) -> None:
        """A realm role."""
        self.send("POST", "roles", body={"name": name} | fields)

    def add_user(self, name: str, password: str, roles: Collection[str] = ()) -> str:
        """A user who can log in at once, with realm roles that exist; its id."""
        body = {
            "username": name,
            "enabled": True,
            # Without these Keycloak asks for them at the first login.
            "email": f"{name}@example.org",
            "emailVerified": True,
            "firstName": name.capitalize(),
            "lastName": "Example",
            "credentials": [{"type": "password", "value": password, "temporary": False}],
        }
        user = self.send("POST", "users", body=body).headers["location"].rsplit("/", 1)[1]
        self.grant(user, roles)
        return str(user)

    def grant(self, user: str, roles: Collection[str]) -> None:
        """Give realm roles to a user, by its id."""
        if roles:
            found = [self.get("roles", role) for role in roles]
            self.send("POST", "users", user, "role-mappings", "realm", body=found)

    def add_service_client(
        self, client_id: str, secret: str | None = None, roles: Sequence[str] = OPERATOR_ROLES
    ) -> str:
        """A confidential client that logs in as itself, with `roles` of `realm-management`; its secret.

        With the default roles it is what the operator needs, and no more.
        """
        secret = secret or secrets.token_urlsafe(24)
        body = {
            "clientId": client_id,
            "secret": secret,
            "serviceAccountsEnabled": True,
            "standardFlowEnabled": False,
            "fullScopeAllowed": True,
        }
        identifier = self.send("POST", "clients", body=body).headers["location"].rsplit("/", 1)[1]
        user = self.get("clients", identifier, "service-account-user")["id"]
        management = self.client("realm-management")
        assert management is not None, "every realm but master has it"
        found = [self.get("clients", management["id"], "roles", role) for role in roles]
        self.send("POST", "users", user, "role-mappings", "clients", management["id"], body=found)
        return secret

    def tokens(
        self,
        client_id: str,
        redirect_uri: str,
        user: str,
        password: str,
        *,
        secret: str | None = None,
        scope: str = "openid",
    ) -> Tokens:
        """Log a user in as a browser would: authorization code with PKCE (S256). Raises KeycloakRefusal."""
        verifier = secrets.token_urlsafe(48)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        query = {
            "client_id": client_id,
            "redirect_uri": redirect_uri,
            "response_type": "code",
            "scope": scope,
            "state": secrets.token_hex(8),
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        base = f"{self.issuer}/protocol/openid-connect"
        with httpx.Client(timeout=30, trust_env=False) as browser:
            code = _code(enter(browser, f"{base}/auth?{urlencode(query)}", user, password))
            form = {
                "grant_type": "authorization_code",
                "code": code,
                "redirect_uri": redirect_uri,
                "client_id": client_id,
                "code_verifier": verifier,
            } | ({"client_secret": secret} if secret else {})
            body = _checked(browser.post(f"{base}/token", data=form)).json()
        return Tokens(body["access_token"], body.get("id_token", ""), claims(body["access_token"]))

    def _path(self, *parts: str) -> str:
        return "".join(f"/{quote(part, safe='')}" for part in (self.name, *parts))


def enter(browser: httpx.Client, url: str, user: str, password: str) -> str:
    """Log a user in by Keycloak's form, to which `url` leads; where Keycloak then sends the browser to.

    Raises KeycloakRefusal where it shows no form or does not let the user in.
    """
    page = browser.get(url)
    if page.is_redirect:  # refused without asking who it is, or not asked as the browser has a session
        return str(page.headers["location"])
    form = re.search(r'<form[^>]*id="kc-form-login"[^>]*action="([^"]+)"', _checked(page).text)
    if form is None:
        raise KeycloakRefusal(page.status_code, f"Keycloak showed no login form: {_plain(page.text)}")
    # Cookies are marked for https only; a browser takes loopback for as safe, an HTTP client does not.
    cookies = "; ".join(f"{cookie.name}={cookie.value}" for cookie in browser.cookies.jar)
    entered = {"username": user, "password": password, "credentialId": ""}
    answer = browser.post(html.unescape(form[1]), data=entered, headers={"Cookie": cookies})
    if not answer.is_redirect:
        said = re.search(r"(?s)<span[^>]*kc-feedback-text[^>]*>(.*?)</span>", answer.text)
        why = _plain(said[1] if said else answer.text)
        raise KeycloakRefusal(answer.status_code, f"user {user} was not let in: {why}")
    return str(answer.headers["location"])


def claims(token: str) -> dict[str, Any]:
    """The claims of a JSON Web Token, its signature not looked at."""
    body = token.split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    return found


@cache
def _key_providers() -> list[dict[str, Any]]:
    """Keys for all realms that this process makes: the server would take seconds to find primes for each."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()
    return [
        {"name": "rsa", "providerId": "rsa", "config": {"privateKey": [pem], "algorithm": ["RS256"]}},
        {"name": "hmac", "providerId": "hmac-generated", "config": {"algorithm": ["HS512"]}},
        {"name": "aes", "providerId": "aes-generated", "config": {}},
    ]


def _code(location: str) -> str:
    query = parse_qs(urlsplit(location).query)
    if "code" not in query:
        words = ": ".join(query.get("error", ["no code"]) + query.get("error_description", []))
        raise KeycloakRefusal(httpx.codes.FOUND, f"Keycloak gave no authorization code: {words}")
    return query["code"][0]


def _plain(page: str) -> str:
    text = re.sub(r"(?s)<(script|style)\b.*?</\1>|<[^>]+>", " ", page)
    return re.sub(r"\s+", " ", html.unescape(text)).strip()[-300:]


def _checked(answer: httpx.Response) -> httpx.Response:
    if answer.is_success:
        return answer
    request = answer.request
    raise KeycloakRefusal(
        answer.status_code, f"{request.method} {request.url.path}: HTTP {answer.status_code}: {_plain(answer.text)}"
    )
