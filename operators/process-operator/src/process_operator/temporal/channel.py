"""One connection to a Temporal server: dialled at the first request, with credentials from files as they change."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final, Protocol, TypeVar

from google.protobuf.message import Message
from temporalio.api.errordetails.v1 import NamespaceNotFoundFailure
from temporalio.service import (
    ConnectConfig,
    KeepAliveConfig,
    RPCError,
    RPCStatusCode,
    ServiceClient,
    TLSConfig,
)

from ameide_shared.logging import known_secrets, register_secret
from ameide_shared.redact import scrub, tail
from process_operator.temporal import errors
from process_operator.temporal.settings import TemporalConnection, TlsSettings

_CREDENTIALS_SECONDS: Final = 1.0  # how long the files are believed unchanged
_GRACE_SECONDS: Final = 0.5  # for an answer that tells of the timeout itself
_KEEP_ALIVE: Final = KeepAliveConfig(interval_millis=15_000, timeout_millis=5_000)

_DENIED: Final = frozenset({RPCStatusCode.UNAUTHENTICATED, RPCStatusCode.PERMISSION_DENIED})
_UNREACHABLE: Final = frozenset({RPCStatusCode.UNAVAILABLE, RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.CANCELLED})
_REJECTED: Final = frozenset(
    {
        RPCStatusCode.INVALID_ARGUMENT,
        RPCStatusCode.FAILED_PRECONDITION,
        RPCStatusCode.UNIMPLEMENTED,
        RPCStatusCode.OUT_OF_RANGE,
    }
)

Q = TypeVar("Q", bound=Message, contravariant=True)
R = TypeVar("R", bound=Message, covariant=True)

OnCall = Callable[[str, str, str, float], None]
"""Told of each request: connection, method (`DescribeNamespace`), gRPC status in words (`OK`), seconds."""


class Rpc(Protocol[Q, R]):
    """A method of one of Temporal's services."""

    def __call__(self, req: Q, *, timeout: timedelta | None = None) -> Awaitable[R]: ...


class NotThere(errors.TemporalError):
    """What was asked for within a namespace does not exist."""


class AlreadyThere(errors.TemporalError):
    """What was to be made exists."""


@dataclass(frozen=True, slots=True)
class _Credentials:
    """What the files held."""

    ca: bytes | None = None
    certificate: bytes | None = None
    key: bytes | None = None
    api_key: str | None = None


class Channel:
    """Requests to one server. `timeout` is in seconds and bounds each request, the dialling included."""

    def __init__(
        self,
        name: str,
        settings: TemporalConnection,
        timeout: float,
        *,
        on_call: OnCall | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._settings = settings
        self._timeout = timeout
        self._on_call = on_call
        self._clock = clock
        self._client: ServiceClient | None = None
        self._credentials = _Credentials()
        self._stamps: tuple[object, ...] = ()
        self._believed_until = float("-inf")

    async def call(
        self, method: Callable[[ServiceClient], Rpc[Q, R]], request: Q, *, seconds: float | None = None
    ) -> R:
        """One request, never repeated, within `seconds` if that is less than the timeout.

        Raises TemporalError, of which NotThere and AlreadyThere are for callers.
        """
        seconds = self._timeout if seconds is None else min(seconds, self._timeout)
        began, outcome = self._clock(), "CANCELLED"
        try:
            client = await self._current()
            # The outer limit also holds while dialling, for which a request's own timeout does not count.
            async with asyncio.timeout(seconds + _GRACE_SECONDS):
                answer = await method(client)(request, timeout=timedelta(seconds=seconds))
        except RPCError as error:
            outcome = error.status.name
            raise self._explain(error, seconds) from None
        except TimeoutError:
            outcome = RPCStatusCode.DEADLINE_EXCEEDED.name
            raise self._unreachable(f"no answer within {seconds:g} s") from None
        except RuntimeError as error:  # what the SDK raises when it cannot dial
            outcome = RPCStatusCode.UNAVAILABLE.name
            raise self._unreachable(_dial_failure(str(error))) from None
        except errors.TemporalDenied:
            outcome = "CREDENTIALS"
            raise
        else:
            outcome = "OK"
            return answer
        finally:
            if self._on_call:
                method_name = type(request).DESCRIPTOR.name.removesuffix("Request")
                self._on_call(self.name, method_name, outcome, self._clock() - began)

    async def _current(self) -> ServiceClient:
        """The client for the credentials that the files hold now."""
        now = self._clock()
        if self._client is not None and now < self._believed_until:
            return self._client
        stamps = tuple(_stamp(path) for path in self._files())
        if self._client is None or stamps != self._stamps:
            credentials = self._read()
            if self._client is not None and _same_tls(credentials, self._credentials):
                self._client.update_api_key(credentials.api_key)  # goes with each request: no need to dial again
            else:
                self._client = await ServiceClient.connect(self._config(credentials))
            self._credentials, self._stamps = credentials, stamps
        self._believed_until = now + _CREDENTIALS_SECONDS
        return self._client

    def _files(self) -> tuple[Path | None, ...]:
        tls = self._settings.tls or TlsSettings()
        return (tls.ca_file, tls.cert_file, tls.key_file, self._settings.api_key_file)

    def _read(self) -> _Credentials:
        ca, certificate, key, api_key = (None if path is None else self._content(path) for path in self._files())
        if key is not None:
            register_secret(key.decode(errors="replace").strip())
        text = None if api_key is None else api_key.decode(errors="replace").strip()
        if text is not None:
            if not text or not text.isprintable():
                raise self._denied(f"the API key file {self._settings.api_key_file} does not hold one line with a key")
            register_secret(text)
        return _Credentials(ca, certificate, key, text)

    def _content(self, path: Path) -> bytes:
        try:
            return path.read_bytes()
        except OSError as error:
            raise self._denied(f"the credentials file {path} cannot be read: {error.strerror}") from None

    def _config(self, credentials: _Credentials) -> ConnectConfig:
        settings = self._settings
        tls: TLSConfig | bool = settings.api_key_file is not None
        if settings.tls is not None:
            tls = TLSConfig(
                server_root_ca_cert=credentials.ca,
                client_cert=credentials.certificate,
                client_private_key=credentials.key,
                domain=settings.tls.server_name,
            )
        return ConnectConfig(
            target_host=settings.address,
            api_key=credentials.api_key,
            tls=tls,
            keep_alive_config=_KEEP_ALIVE,
            connect_timeout=timedelta(seconds=self._timeout),
            identity="ameide-process-operator",
            lazy=True,
        )

    def _explain(self, error: RPCError, seconds: float) -> errors.TemporalError:
        """Our error for a gRPC status."""
        why = _clean(error.message)
        if error.status in _UNREACHABLE:
            late = error.status is not RPCStatusCode.UNAVAILABLE
            return self._unreachable(f"no answer within {seconds:g} s" if late else why)
        if error.status in _DENIED:
            return self._denied(why)
        if error.status is RPCStatusCode.NOT_FOUND:
            missing = any(detail.Is(NamespaceNotFoundFailure.DESCRIPTOR) for detail in error.grpc_status.details)
            return errors.NamespaceNotFound(why) if missing else NotThere(why)
        if error.status is RPCStatusCode.ALREADY_EXISTS:
            return AlreadyThere(why)
        if error.status in _REJECTED:
            return errors.TemporalRejected(
                f"{self._described()} refused the request ({error.status.name}): {why}",
                "the operator and the Temporal server may be of versions that do not fit; see the operator's log",
            )
        return errors.TemporalBusy(
            f"{self._described()} cannot do it now ({error.status.name}): {why}",
            "it is tried again; if it stays, look at the Temporal server's log and limits",
        )

    def _unreachable(self, why: str) -> errors.TemporalUnreachable:
        return errors.TemporalUnreachable(
            f"{self._described()} is not reachable: {why}",
            "check that the server runs and that its address and TLS settings "
            f"(temporal.connections.{self.name}) are right; it is tried again",
        )

    def _denied(self, why: str) -> errors.TemporalDenied:
        return errors.TemporalDenied(
            f"{self._described()} does not let the operator in: {why}",
            f"mend the credentials of temporal.connections.{self.name} in the operator's settings, or their rights",
        )

    def _described(self) -> str:
        return f"Temporal connection {self.name} ({self._settings.address})"


def _same_tls(one: _Credentials, other: _Credentials) -> bool:
    return (one.ca, one.certificate, one.key) == (other.ca, other.certificate, other.key)


def _stamp(path: Path | None) -> object:
    """What changes when a file does, also when a mounted Secret swaps the folder that its name leads to."""
    if path is None:
        return None
    try:
        found = path.stat()
    except OSError:
        return "missing"
    return (found.st_ino, found.st_mtime_ns, found.st_size)


def _dial_failure(text: str) -> str:
    """The part of the SDK's words that says why."""
    quoted = text.rsplit('message: "', 1)
    why = quoted[1].split('"', 1)[0] if len(quoted) == 2 else text.removeprefix("Failed client connect: ")
    return _clean(why)


def _clean(text: str) -> str:
    return tail(scrub(text, known_secrets()))
