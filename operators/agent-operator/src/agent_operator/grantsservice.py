"""Tells the central grants service what each Agent is granted. Every call may be made twice: PUT and DELETE allow it.

`PUT /v1/tenants/{tenant}/agents/{namespace}.{agent}/grants` with the content of grants.json, `DELETE` on the same path.
"""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Final
from urllib.parse import quote

import httpx
import stamina

from agent_operator.settings import GrantsServiceSettings
from ameide_shared.external import ExternalError
from ameide_shared.logging import known_secrets
from ameide_shared.reasons import Reason
from ameide_shared.redact import scrub
from ameide_shared.tokenfile import NoTokenError, Stamp, TokenFile, stamp_of
from ameide_shared.transformation.answers import problem_text

RETRY_SECONDS: Final = 5.0
_QUICK: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers after which the same request may fare better."""
_ATTEMPTS: Final = 3


class _TryAgainError(Exception):
    """Not this time; carries what is told if no later try does better."""

    def __init__(self, error: ExternalError) -> None:
        super().__init__(str(error))
        self.error = error


class GrantsService:
    """The client; one per operator. Nothing is dialled before the first call; `transport` replaces the network."""

    def __init__(self, settings: GrantsServiceSettings, *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._settings = settings
        self._transport = transport
        self._token = TokenFile(settings.token_file, self._server, "grantsService.tokenFile")
        self._http: httpx.AsyncClient | None = None
        self._stamp: Stamp | None = None

    async def publish(self, tenant: str, namespace: str, agent: str, document: str, digest: str) -> None:
        """Put the grants of an Agent. Raises ExternalError."""
        headers = {"Content-Type": "application/json", "Digest": digest}
        await self._ask("PUT", _path(tenant, namespace, agent), headers, document.encode())

    async def revoke(self, tenant: str, namespace: str, agent: str) -> None:
        """Take the grants of an Agent back; that there are none is well. Raises ExternalError."""
        await self._ask("DELETE", _path(tenant, namespace, agent), {}, None)

    async def close(self) -> None:
        """Close all connections."""
        http, self._http = self._http, None
        if http is not None:
            await http.aclose()

    @property
    def _server(self) -> str:
        return f"the grants service at {self._settings.url}"

    async def _ask(self, method: str, path: str, headers: dict[str, str], body: bytes | None) -> None:
        try:
            async with asyncio.timeout(self._settings.timeout):
                async for attempt in stamina.retry_context(
                    on=_TryAgainError, attempts=_ATTEMPTS, timeout=None, wait_initial=0.1, wait_max=1.0, wait_jitter=0.1
                ):
                    with attempt:
                        await self._request(method, path, headers, body)
        except _TryAgainError as tried:
            raise tried.error from None
        except TimeoutError:
            raise self._unavailable(f"did not answer within {self._settings.timeout:g} s") from None

    async def _request(self, method: str, path: str, headers: dict[str, str], body: bytes | None) -> None:
        try:
            token = self._token.read()
        except NoTokenError as error:
            raise ExternalError(
                Reason.GrantsServiceRefused, error.message, remedy=error.remedy, retry_after=RETRY_SECONDS
            ) from None
        if token is not None:
            headers = {**headers, "Authorization": f"Bearer {token}"}
        try:
            # No redirects: the token goes to the address in the settings and nowhere else.
            answer = await self._connection().request(method, self._settings.url + path, headers=headers, content=body)
        except httpx.TransportError as error:
            words = scrub(str(error) or type(error).__name__, known_secrets())
            raise _TryAgainError(self._unavailable(f"cannot be reached: {words}")) from None
        if answer.status_code in (200, 201, 204) or (method == "DELETE" and answer.status_code in (404, 410)):
            return
        detail = problem_text(answer.content[:16384])
        said = f"answered HTTP {answer.status_code}{f': {detail}' if detail else ''}"
        if answer.status_code in _QUICK:
            raise _TryAgainError(self._unavailable(said))
        raise ExternalError(
            Reason.GrantsServiceRefused,
            f"{self._server} {said}",
            remedy="see the service's own rules, and the token in grantsService.tokenFile of the operator's settings",
            retry_after=60.0,
        )

    def _unavailable(self, what: str) -> ExternalError:
        return ExternalError(
            Reason.GrantsServiceUnavailable,
            f"{self._server} {what}",
            remedy="see whether the service is well and grantsService.url is right; it is tried again",
            retry_after=RETRY_SECONDS,
        )

    def _connection(self) -> httpx.AsyncClient:
        ca_file = self._settings.ca_file
        stamp = stamp_of(ca_file) if ca_file else None
        if self._http is None or stamp != self._stamp:
            # The replaced one is closed when its last request has let go of it.
            self._http, self._stamp = self._open(ca_file), stamp
        return self._http

    def _open(self, ca_file: Path | None) -> httpx.AsyncClient:
        if self._transport is not None:
            return httpx.AsyncClient(transport=self._transport, timeout=self._settings.timeout)
        try:
            verify: ssl.SSLContext | bool = ssl.create_default_context(cafile=str(ca_file)) if ca_file else True
        except (OSError, ssl.SSLError) as error:
            why = error.strerror or "no certificates"
            raise ExternalError(
                Reason.GrantsServiceUnavailable,
                f"{self._server} cannot be checked: {ca_file} cannot be used ({why})",
                remedy="correct grantsService.caFile in the operator's settings: a file of certificates in PEM",
                retry_after=60.0,
            ) from None
        return httpx.AsyncClient(verify=verify, timeout=self._settings.timeout)


def _path(tenant: str, namespace: str, agent: str) -> str:
    """The path of an Agent's grants. Neither namespaces nor Agents have dots in their names."""
    return f"/v1/tenants/{quote(tenant or '-', safe='')}/agents/{quote(f'{namespace}.{agent}', safe='')}/grants"
