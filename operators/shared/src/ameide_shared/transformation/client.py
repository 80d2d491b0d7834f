"""Fetch definitions from the Transformation API: bounded in time and size, believing nothing that it did not promise.

Nothing is dialled, and no file is read, before the first question. Credentials are read anew when their files change.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import httpx
import stamina
from pydantic import ValidationError

from ameide_shared.tokenfile import NoTokenError, Stamp, TokenFile, stamp_of
from ameide_shared.transformation.answers import error_of, problem_text
from ameide_shared.transformation.errors import (
    DefinitionInvalid,
    DefinitionNotFound,
    TransformationError,
    TransformationRefused,
    TransformationUnavailable,
)
from ameide_shared.transformation.model import ETAG_PATTERN, Definition, DefinitionDocument, Reference, id_problem
from ameide_shared.transformation.settings import TransformationSettings

_ETAG: Final = re.compile(ETAG_PATTERN)
_LONGEST_ETAG: Final = 512
_PROBLEM_LIMIT: Final = 16 * 1024  # bytes of an error's body that are read
_CONNECTIONS: Final = httpx.Limits(max_connections=16, max_keepalive_connections=8, keepalive_expiry=55.0)
_RETRY_SECONDS: Final = (0.1, 1.0)  # before the second try, and at most before a later one


def utc_now() -> datetime:
    """The wall clock; UTC."""
    return datetime.now(UTC)


@dataclass(slots=True)
class _Pool:
    """Connections with one set of trusted authorities; closed when replaced and no longer used."""

    http: httpx.AsyncClient
    stamp: Stamp | None
    using: int = 0


class TransformationClient:
    """Asks for definitions. One per operator process, used within one event loop; `transport` replaces the network."""

    def __init__(
        self,
        settings: TransformationSettings,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._settings = settings
        self._transport = transport
        self._now = now
        self._pool: _Pool | None = None
        self._token = TokenFile(settings.token_file, self._server, "transformation.tokenFile")

    async def fetch(self, reference: Reference, etag: str = "", *, attempts: int | None = None) -> Definition | None:
        """The definition; None where it still is the one that `etag` came with.

        Takes `timeout` seconds of the settings at most, retries included. `attempts` goes before that of the settings.
        Raises TransformationError.
        """
        self._check(reference)
        try:
            async with asyncio.timeout(self._settings.timeout):
                tries = stamina.retry_context(
                    on=lambda error: isinstance(error, TransformationUnavailable) and error.quick_retry,
                    attempts=attempts or self._settings.attempts,
                    timeout=self._settings.timeout,
                    wait_initial=_RETRY_SECONDS[0],
                    wait_max=_RETRY_SECONDS[1],
                    wait_jitter=_RETRY_SECONDS[0],
                )
                async for attempt in tries:
                    with attempt:
                        return await self._ask(reference, etag)
        except TimeoutError:
            raise TransformationUnavailable(
                f"{self._server} did not answer within {self._settings.timeout:g} s",
                "see whether the Transformation API is well; it is asked again",
                silent=True,
            ) from None
        raise AssertionError("the last attempt returns or raises")

    def token_changed(self) -> bool:
        """Whether the token file is there, and another than when the last request was made."""
        return self._token.changed()

    async def close(self) -> None:
        """Close all connections."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.http.aclose()

    @property
    def _server(self) -> str:
        return f"the Transformation API at {self._settings.url}"

    def _check(self, reference: Reference) -> None:
        """Refuse what needs no request to be refused."""
        if not self._settings.url:
            raise TransformationUnavailable(
                "the operator's settings name no Transformation API",
                "set transformation.url in the operator's settings",
                for_all=True,
                quick_retry=False,
            )
        for what, value in (("the tenant's id", reference.tenant_id), ("the id", reference.id)):
            problem = id_problem(value)
            if problem:
                raise DefinitionNotFound(
                    f"there is no {reference}: {what} {problem}",
                    "correct definitionRef in the spec",
                )

    # --- one request ------------------------------------------------------------------------------------------------

    async def _ask(self, reference: Reference, etag: str) -> Definition | None:
        token = self._read_token()
        try:
            return await self._request(reference, etag, token)
        except TransformationRefused:
            # The token may have been replaced just now, and the old one withdrawn.
            if not self._token.changed():
                raise
            renewed = self._read_token()
            if renewed == token:
                raise
            return await self._request(reference, etag, renewed)

    def _read_token(self) -> str | None:
        try:
            return self._token.read()
        except NoTokenError as error:
            raise TransformationRefused(error.message, error.remedy) from None

    async def _request(self, reference: Reference, etag: str, token: str | None) -> Definition | None:
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        if etag:
            headers["If-None-Match"] = etag
        url = self._settings.url + reference.path
        try:
            # No redirects: the token goes to the address in the settings and nowhere else.
            async with self._connections() as http, http.stream("GET", url, headers=headers) as response:
                if response.status_code == 304 and etag:
                    return None
                if response.status_code == 200:
                    body = await self._body(response, reference)
                    return self._definition(response, body, reference)
                detail = problem_text(await _read_at_most(response, _PROBLEM_LIMIT))
                raise error_of(response.status_code, response.headers, detail, reference, self._server, self._now())
        except httpx.TransportError as error:
            raise self._unreachable(error) from None
        except httpx.InvalidURL as error:
            raise TransformationUnavailable(
                f"{self._server} has no usable address: {error}",
                "correct transformation.url in the operator's settings",
                for_all=True,
                quick_retry=False,
            ) from None

    async def _body(self, response: httpx.Response, reference: Reference) -> bytes:
        """The body, no larger than it may be and in the encoding that was asked for."""
        media = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media != "application/json":
            raise self._invalid(reference, f"Content-Type is {media or 'missing'!r}, expected application/json")
        encoding = response.headers.get("content-encoding", "identity").lower()
        if encoding != "identity":  # a small body may unpack to a huge one
            raise self._invalid(reference, f"Content-Encoding is {encoding!r}, which was not asked for")
        limit = self._settings.max_bytes
        body = await _read_at_most(response, limit + 1)
        if len(body) > limit:
            raise DefinitionInvalid(
                f"{self._server} sent more than {limit} bytes for {reference}",
                "make the definition smaller, or raise transformation.maxBytes in the operator's settings",
            )
        return body

    def _definition(self, response: httpx.Response, body: bytes, reference: Reference) -> Definition:
        try:
            content = json.loads(body, parse_constant=_no_constant)
            document = DefinitionDocument.model_validate(content)
            digest = _digest(document.definition)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "the body"
            raise self._invalid(reference, f"{where}: {first['msg']}") from None
        except (ValueError, RecursionError) as error:
            # The texts of these errors may quote the body; what kind they are says enough.
            raise self._invalid(reference, f"the body is no JSON that can be read ({type(error).__name__})") from None
        asked = {"id": reference.id, "tenantId": reference.tenant_id, "version": reference.version or document.version}
        got = {"id": document.id, "tenantId": document.tenant_id, "version": document.version}
        for name, wanted in asked.items():
            if got[name] != wanted:
                raise self._invalid(reference, f"{name} is {got[name]!r}, expected {wanted!r}")
        tag = response.headers.get("etag", "")
        if len(tag) > _LONGEST_ETAG or not _ETAG.fullmatch(tag):
            tag = ""  # without one, the next look fetches it whole
        return Definition(
            id=document.id,
            tenant_id=document.tenant_id,
            version=document.version,
            definition=document.definition,
            etag=tag,
            fetched_at=self._now(),
            digest=digest,
        )

    def _invalid(self, reference: Reference, what: str) -> DefinitionInvalid:
        return DefinitionInvalid(
            f"{self._server} sent something else than a definition for {reference}: {what}",
            "publish a valid definition; if it is one, see what stands between the operator and the API",
        )

    def _unreachable(self, error: httpx.TransportError) -> TransformationError:
        words = str(error) or type(error).__name__
        remedy = "see whether the Transformation API is well and transformation.url is right; it is asked again"
        if "CERTIFICATE" in words.upper():
            remedy = "name the authority of the API's certificate in transformation.caFile of the operator's settings"
        return TransformationUnavailable(
            f"{self._server} cannot be reached: {words}",
            remedy,
            # Whoever cannot connect for one cannot for another; a connection that breaks may have done so for one.
            for_all=isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError)),
        )

    # --- credentials and connections --------------------------------------------------------------------------------

    @asynccontextmanager
    async def _connections(self) -> AsyncIterator[httpx.AsyncClient]:
        path = self._settings.ca_file
        stamp = stamp_of(path) if path else None
        if self._pool is None or (stamp is not None and stamp != self._pool.stamp):
            replaced, self._pool = self._pool, _Pool(self._open(path), stamp)
            if replaced is not None and not replaced.using:
                await replaced.http.aclose()
        pool = self._pool
        pool.using += 1
        try:
            yield pool.http
        finally:
            pool.using -= 1
            if pool is not self._pool and not pool.using:
                await pool.http.aclose()

    def _open(self, ca_file: Path | None) -> httpx.AsyncClient:
        try:
            verify: ssl.SSLContext | bool = ssl.create_default_context(cafile=str(ca_file)) if ca_file else True
        except (OSError, ssl.SSLError) as error:
            raise TransformationUnavailable(
                f"{self._server} cannot be checked: {ca_file} cannot be used ({error.strerror or 'no certificates'})",
                "correct transformation.caFile in the operator's settings: a file of certificates in PEM",
                for_all=True,
                quick_retry=False,
            ) from None
        if self._transport is not None:
            return httpx.AsyncClient(transport=self._transport, timeout=self._settings.timeout)
        return httpx.AsyncClient(verify=verify, timeout=self._settings.timeout, limits=_CONNECTIONS)


async def _read_at_most(response: httpx.Response, limit: int) -> bytes:
    """The first `limit` bytes of a body."""
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) >= limit:
            break
    return bytes(body[:limit])


def _digest(definition: dict[str, Any]) -> str:
    """`sha256:` and the digest of the canonical JSON. Raises UnicodeEncodeError for half characters."""
    text = json.dumps(definition, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")
