"""Requests to one realm's Admin REST API: the service account's token, retries, time limits, and typed errors.

No client library stands in between: the one there is for Python fills its paths from templates without encoding what
goes into them, knows no retries, and answers with untyped errors.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import httpx
import stamina

from ameide_shared.logging import known_secrets, register_secret
from ameide_shared.redact import scrub, tail
from uisurface_operator.keycloak.errors import (
    CredentialsRefused,
    KeycloakError,
    KeycloakUnavailable,
    PermissionDenied,
    RealmNotFound,
)
from uisurface_operator.keycloak.settings import KeycloakConnectionSettings

_TRIES: Final = 3
_BUSY: Final = (429, 500, 502, 503, 504)
_RENEW_SHARE: Final = 0.2  # of a token's life is left when it is renewed
_RENEW_SECONDS: Final = 30.0  # at most


class Raced(Exception):  # noqa: N818 - it names what happened
    """Something was made or deleted by somebody else meanwhile (409, 404): look again, then go on."""


class _TryAgain(Exception):  # noqa: N818 - it names what to do
    """The server cannot be reached or is busy."""


class Connection:
    """One connection of the settings. Nothing is dialled before the first request.

    `transport` makes the HTTP transport; tests count with it. `clock` is monotonic, in seconds.
    """

    def __init__(
        self,
        name: str,
        settings: KeycloakConnectionSettings,
        *,
        transport: Callable[[ssl.SSLContext | bool], httpx.AsyncBaseTransport] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name, self.settings = name, settings
        self._transport = transport
        self._clock = clock
        self._http: httpx.AsyncClient | None = None
        self._authority: tuple[int, int] | None = None  # of the file that the client was made with
        self._retired: set[asyncio.Task[None]] = set()
        self._token, self._renew_at = "", 0.0
        self._renewing = asyncio.Lock()

    async def get(self, *path: str, **query: str | int) -> Any:
        """The JSON of what is below the realm; the parts of the path are percent-encoded. None where there is none.

        Raises KeycloakError.
        """
        try:
            return (await self._request("GET", path, None, query)).json()
        except Raced:
            return None
        except ValueError:
            raise self._unavailable("answered with something else than JSON") from None

    async def send(self, method: str, *path: str, body: Any = None) -> httpx.Response:
        """POST, PUT or DELETE below the realm. Raises Raced for 404 and 409, or KeycloakError."""
        return await self._request(method, path, body, {})

    async def probe(self) -> None:
        """Ask for a new token, once: whether server, realm and credentials are in order. Raises KeycloakError."""
        self._token = ""
        try:
            async with asyncio.timeout(self.settings.timeout):
                await self._access_token()
        except TimeoutError:
            raise self._late() from None
        except _TryAgain as error:
            raise self._unavailable(str(error)) from None

    async def close(self) -> None:
        """Close connections."""
        for task in tuple(self._retired):
            task.cancel()
        if self._http is not None:
            await self._http.aclose()
            self._http = None

    # --- one request ------------------------------------------------------------------------------------------------

    async def _request(
        self, method: str, path: tuple[str, ...], body: Any, query: dict[str, str | int]
    ) -> httpx.Response:
        target = "/admin/realms/" + "/".join(quote(part, safe="") for part in (self.settings.realm, *path))
        try:
            async with asyncio.timeout(self.settings.timeout):
                async for attempt in stamina.retry_context(
                    on=_TryAgain, attempts=_TRIES, timeout=None, wait_initial=0.1, wait_max=1.0, wait_jitter=0.2
                ):
                    with attempt:
                        answer = await self._authorized(method, target, body, query)
        except TimeoutError:
            raise self._late() from None
        except _TryAgain as error:
            raise self._unavailable(str(error)) from None
        return self._checked(answer, method, path)

    async def _authorized(self, method: str, target: str, body: Any, query: dict[str, str | int]) -> httpx.Response:
        answer = None
        for _ in range(2):
            token = await self._access_token()
            headers = {"Authorization": f"Bearer {token}"}
            answer = await self._exchange(method, target, json=body, params=query, headers=headers)
            if answer.status_code != 401:
                break
            if self._token == token:  # it was revoked, or the server has other keys: another one is worth a try
                self._token = ""
        assert answer is not None, "the loop runs at least once"
        return answer

    async def _exchange(self, method: str, target: str, **arguments: Any) -> httpx.Response:
        try:
            answer = await self._client().request(method, self.settings.url + target, **arguments)
        except (httpx.TransportError, ssl.SSLError) as error:
            raise _TryAgain(f"cannot be reached: {str(error) or type(error).__name__}") from None
        if answer.status_code in _BUSY:
            raise _TryAgain(f"answered HTTP {answer.status_code}{self._words(answer)}")
        return answer

    def _checked(self, answer: httpx.Response, method: str, path: tuple[str, ...]) -> httpx.Response:
        code, what = answer.status_code, f"{method} {'/'.join(path)}"
        if answer.is_success:
            return answer
        if code == 404 and "realm not found" in answer.text.lower():
            raise self._no_realm(self.settings.realm)
        if code in (404, 409):
            raise Raced(what)
        if code == 401:
            raise self._refused("its tokens are not accepted")
        if code == 403:
            raise PermissionDenied(
                f"Keycloak refuses {what} in realm {self.settings.realm} to client {self.settings.client_id}",
                "give its service account the roles manage-clients and manage-realm of the client realm-management",
            )
        raise self._unavailable(f"answered HTTP {code} to {what}{self._words(answer)}")

    # --- token ------------------------------------------------------------------------------------------------------

    async def _access_token(self) -> str:
        async with self._renewing:  # one renewal, however many requests want it
            if not self._token or self._clock() >= self._renew_at:
                self._token = await self._new_token()
            return self._token

    async def _new_token(self) -> str:
        settings = self.settings
        try:
            secret = settings.client_secret_file.read_text().strip()
        except (OSError, ValueError) as error:
            raise self._refused(
                f"its secret cannot be read from {settings.client_secret_file} ({type(error).__name__})"
            ) from None
        register_secret(secret)
        realm = settings.auth_realm or settings.realm
        answer = await self._exchange(
            "POST",
            f"/realms/{quote(realm, safe='')}/protocol/openid-connect/token",
            data={"grant_type": "client_credentials"},
            # RFC 6749 has both encoded as in a form before they go into the header.
            auth=httpx.BasicAuth(quote(settings.client_id, safe=""), quote(secret, safe="")),
        )
        if answer.status_code == 404:
            raise self._no_realm(realm)
        if answer.status_code in (400, 401, 403):
            raise self._refused(f"it is not let in{self._words(answer)}")
        try:
            found = answer.json()
            token, life = str(found["access_token"]), float(found["expires_in"])
        except (ValueError, KeyError, TypeError):
            raise self._unavailable(
                f"sent no token (HTTP {answer.status_code}); is it a Keycloak of version 17 or newer?"
            ) from None
        register_secret(token)
        self._renew_at = self._clock() + life - min(_RENEW_SECONDS, life * _RENEW_SHARE)
        return token

    # --- the client -------------------------------------------------------------------------------------------------

    def _client(self) -> httpx.AsyncClient:
        authority = _version(self.settings.ca_file)
        if self._http is None or authority != self._authority:
            verify = self._trust()
            if self._http is not None:
                self._retire(self._http)
            self._http = httpx.AsyncClient(
                timeout=self.settings.timeout,
                verify=verify,
                transport=self._transport(verify) if self._transport else None,
            )
            self._authority = authority
        return self._http

    def _retire(self, former: httpx.AsyncClient) -> None:
        """Close a client once the requests that it is busy with have ended, well or not."""

        async def close() -> None:
            await asyncio.sleep(self.settings.timeout)
            await former.aclose()

        task = asyncio.create_task(close())
        self._retired.add(task)
        task.add_done_callback(self._retired.discard)

    def _trust(self) -> ssl.SSLContext | bool:
        if self.settings.ca_file is None:
            return True
        try:
            return ssl.create_default_context(cafile=str(self.settings.ca_file))
        except (OSError, ssl.SSLError) as error:
            raise self._unavailable(
                f"cannot be trusted: the file {self.settings.ca_file} holds no certificate ({type(error).__name__})"
            ) from None

    # --- words ------------------------------------------------------------------------------------------------------

    def _unavailable(self, what: str) -> KeycloakUnavailable:
        return KeycloakUnavailable(
            f"Keycloak {self.settings.url} {what}",
            f"see that the server runs and that connection {self.name} of the operator's settings names it",
        )

    def _late(self) -> KeycloakUnavailable:
        return self._unavailable(f"did not answer within {self.settings.timeout:g} s")

    def _no_realm(self, realm: str) -> KeycloakError:
        return RealmNotFound(
            f"Keycloak {self.settings.url} has no realm {realm}",
            f"create the realm, or correct connection {self.name} of the operator's settings",
        )

    def _refused(self, why: str) -> KeycloakError:
        return CredentialsRefused(
            f"Keycloak {self.settings.url} refuses the operator's client {self.settings.client_id}: {why}",
            f"correct the file {self.settings.client_secret_file} or connection {self.name} of the operator's settings",
        )

    @staticmethod
    def _words(answer: httpx.Response) -> str:
        try:
            found = answer.json()
            said = found.get("error_description") or found.get("errorMessage") or found.get("error")
        except (ValueError, AttributeError):
            return ""
        return f": {tail(scrub(str(said), known_secrets()))}" if said else ""


def _version(file: Path | None) -> tuple[int, int] | None:
    try:
        found = file.stat() if file else None
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size) if found else None
