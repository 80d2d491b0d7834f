"""One pool of connections to the API server, shared by our client and by kopf, with credentials that stay fresh.

kopf closes the session it was given whenever it thinks that the credentials are spent. Every session from
`open_session` therefore only borrows the connector: closing one harms nobody else.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import ssl
import tempfile
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from time import monotonic, time
from typing import Any

import aiohttp
from aiohttp import ClientHandlerType, ClientRequest, ClientResponse

from ameide_shared.kube.kubeconfig import ClusterAccess, ConfigError, ExecPlugin, load_access

REREAD_AFTER = 45.0
"""Seconds after which a token file is read again. Kubelets replace tokens long before they expire."""

_IDLE = 60.0  # seconds: below the API server's own 90, so that we never write into a connection that it just closed
_EXEC_TIMEOUT = 60.0
_EXEC_RETRY = 10.0

log = logging.getLogger(__name__)


class Connection:
    """Connector, TLS and credentials for one API server.

    Make it with `connect(...)` anywhere; use it within one event loop. `server` is the base URL without a final slash.
    """

    def __init__(self, access: ClusterAccess) -> None:
        self.access = access
        self.server = access.server.rstrip("/")
        self.default_namespace = access.namespace
        self.tls_server_name = access.tls_server_name
        self._ssl = _ssl_context(access) if self.server.startswith("https:") else None
        self._connector: aiohttp.TCPConnector | None = None
        self._session: aiohttp.ClientSession | None = None
        self._sessions: list[aiohttp.ClientSession] = []
        self._header = _static_header(access)
        self._expires = 0.0 if access.token_file or access.exec_plugin else float("inf")  # on the monotonic clock
        self._refreshing: asyncio.Lock | None = None

    # --- sessions ---------------------------------------------------------------------------------------------------

    @property
    def session(self) -> aiohttp.ClientSession:
        """Our own client's session. It sends no credentials by itself: the caller adds `authorization()`."""
        if self._session is None or self._session.closed:
            self._session = self._new_session()
        return self._session

    def open_session(self) -> aiohttp.ClientSession:
        """A session that adds credentials to each request: for kopf's login handler, which may be called repeatedly.

        ``kopf.AiohttpSession(server=connection.server, aiohttp_session=connection.open_session())``.
        """
        self._sessions = [session for session in self._sessions if not session.closed]
        session = self._new_session(self._authenticate)
        self._sessions.append(session)
        return session

    def _new_session(self, *middlewares: Any) -> aiohttp.ClientSession:
        if self._connector is None or self._connector.closed:
            tls: ssl.SSLContext | bool = self._ssl or True
            self._connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_IDLE, ssl=tls)
        return aiohttp.ClientSession(
            connector=self._connector,
            connector_owner=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": "ameide-operators", "Accept-Encoding": "gzip"},
            middlewares=middlewares,
            proxy=self.access.proxy,
        )

    async def close(self) -> None:
        """Close all sessions and connections."""
        for session in (*self._sessions, *([self._session] if self._session else [])):
            await session.close()
        self._sessions, self._session = [], None
        if self._connector is not None:
            await self._connector.close()
            self._connector = None

    async def __aenter__(self) -> Connection:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # --- credentials ------------------------------------------------------------------------------------------------

    async def authorization(self) -> str | None:
        """The Authorization header's value, at most a minute old where it comes from a file; None without a token."""
        if monotonic() >= self._expires:
            await self._refresh()
        return self._header

    async def reauthenticate(self, refused: str | None) -> bool:
        """After a 401 to `refused`: True if there are other credentials now, so that a second try makes sense."""
        if self._header == refused and (self.access.token_file or self.access.exec_plugin):
            self._expires = 0.0
            await self._refresh()
        return self._header != refused

    async def _refresh(self) -> None:
        if self._refreshing is None:
            self._refreshing = asyncio.Lock()
        async with self._refreshing:
            if monotonic() < self._expires:
                return  # somebody else has done it while we waited
            if self.access.token_file:
                self._read_token_file(self.access.token_file)
            elif self.access.exec_plugin:
                try:
                    await self._run_plugin(self.access.exec_plugin)
                except ConfigError as error:
                    if self._header is None:
                        raise
                    # The old credentials may serve a little longer; if not, the server's 401 says so.
                    log.warning("%s", error)
                    self._expires = monotonic() + _EXEC_RETRY

    def _read_token_file(self, path: Path) -> None:
        try:
            token = path.read_text().strip()
        except OSError as error:
            if self._header is None:
                raise ConfigError(f"{path}: the token cannot be read ({error.strerror})") from error
            token = ""  # in the middle of being replaced: the old one serves until the next look
        if token:
            self._header = f"Bearer {token}"
        self._expires = monotonic() + (REREAD_AFTER if token else 1.0)

    async def _run_plugin(self, plugin: ExecPlugin) -> None:
        status = await _exec_credential(plugin, self.access)
        if token := status.get("token"):
            self._header = f"Bearer {token}"
        if self._ssl and status.get("clientCertificateData"):
            _load_cert_chain(
                self._ssl, status["clientCertificateData"].encode(), status.get("clientKeyData", "").encode()
            )
        lifetime = float("inf")
        if expiry := status.get("expirationTimestamp"):
            lifetime = datetime.fromisoformat(expiry.replace("Z", "+00:00")).timestamp() - time()
        self._expires = monotonic() + max(lifetime - 10.0, 1.0)

    async def _authenticate(self, request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        if self.tls_server_name:
            request.server_hostname = self.tls_server_name
        header = await self.authorization()
        if header:
            request.headers["Authorization"] = header
        response = await handler(request)
        if response.status == 401 and await self.reauthenticate(header) and self._header:
            response.release()
            request.headers["Authorization"] = self._header
            response = await handler(request)
        return response


def connect(kubeconfig: str | os.PathLike[str] | None = None, context: str | None = None) -> Connection:
    """The connection that a kubeconfig or the pod's service account describes; see `kubeconfig.load_access`."""
    return Connection(load_access(kubeconfig, context))


def _static_header(access: ClusterAccess) -> str | None:
    if access.token:
        return f"Bearer {access.token}"
    if access.username and access.password:
        return aiohttp.encode_basic_auth(access.username, access.password)
    return None


def _ssl_context(access: ClusterAccess) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cadata=access.ca_data.decode() if access.ca_data else None)
        # From Python 3.13 on the default refuses CAs without the extensions that RFC 5280 demands. Clusters have such
        # CAs, and all other clients of Kubernetes trust them.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        # aiohttp asks for no certificate of a host it does not check, so both are set or neither.
        if access.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if access.cert_data or access.cert_file:
            _load_cert_chain(context, access.cert_data, access.key_data, access.cert_file, access.key_file)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{access.server}: certificate data cannot be used: {error}") from error
    return context


def _load_cert_chain(
    context: ssl.SSLContext,
    cert: bytes | None,
    key: bytes | None,
    cert_file: Path | None = None,
    key_file: Path | None = None,
) -> None:
    """Give the context a client certificate. The ssl module reads files only, so data pass through private ones."""
    with ExitStack() as files:

        def path_of(data: bytes | None, file: Path | None) -> str | None:
            if data is None:
                return str(file) if file else None
            temporary = files.enter_context(tempfile.NamedTemporaryFile(buffering=0))
            temporary.write(data)
            return temporary.name

        certificate = path_of(cert, cert_file)
        if certificate is None:
            raise ValueError("a client key needs a client certificate")
        context.load_cert_chain(certificate, path_of(key, key_file))


async def _exec_credential(plugin: ExecPlugin, access: ClusterAccess) -> dict[str, Any]:
    """Run a credential plugin; the `status` of the ExecCredential that it prints."""
    spec: dict[str, Any] = {"interactive": False}
    if plugin.provide_cluster_info:
        spec["cluster"] = {"server": access.server}
    info = {"apiVersion": plugin.api_version, "kind": "ExecCredential", "spec": spec}
    try:
        process = await asyncio.create_subprocess_exec(
            plugin.command,
            *plugin.args,
            env={**os.environ, **plugin.env, "KUBERNETES_EXEC_INFO": json.dumps(info)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,  # may hold secrets
        )
    except OSError as error:
        raise ConfigError(
            f"credential plugin {plugin.command!r} cannot be run: {error.strerror}. {plugin.install_hint}".rstrip()
        ) from error
    try:
        output, _ = await asyncio.wait_for(process.communicate(), _EXEC_TIMEOUT)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise ConfigError(f"credential plugin {plugin.command!r} gave no answer in {_EXEC_TIMEOUT:.0f} s") from None
    if process.returncode != 0:
        raise ConfigError(f"credential plugin {plugin.command!r} ended with exit code {process.returncode}; run it")
    try:
        status = json.loads(output)["status"]
    except (ValueError, KeyError, TypeError):
        raise ConfigError(f"credential plugin {plugin.command!r} printed no ExecCredential with a status") from None
    return dict(status)
