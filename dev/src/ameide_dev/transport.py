"""HTTP to a Kubernetes API server as one user: TLS and credentials from a kubeconfig, refusals as typed errors."""

import base64
import json
import ssl
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Self

import httpx
import yaml

USER_AGENT: Final = "ameide-dev"
"""What the platform and its tests call themselves, unless told otherwise."""


class ApiError(Exception):
    """The API server refused a request; `message` is its own text, `status` the HTTP status, `reason` its reason."""

    def __init__(self, method: str, path: str, status: int, reason: str, message: str) -> None:
        super().__init__(f"{method} {path}: {status} {reason}: {message}")
        self.method, self.path, self.status, self.reason, self.message = method, path, status, reason, message


class NotFoundError(ApiError):
    """404: there is no such object."""


class ConflictError(ApiError):
    """409: it exists already (reason AlreadyExists), or someone else has changed it (reason Conflict)."""


class InvalidError(ApiError):
    """422: the object does not fit its schema or its rules."""


class ForbiddenError(ApiError):
    """403: the user may not do that, or an admission policy denied it."""


class UnavailableError(Exception):
    """The API server cannot be reached."""


_KINDS: dict[int, type[ApiError]] = {403: ForbiddenError, 404: NotFoundError, 409: ConflictError, 422: InvalidError}


class Transport:
    """Requests as one user. Safe for several threads; close it."""

    def __init__(
        self,
        server: str,
        tls: ssl.SSLContext,
        *,
        token_file: Path | None = None,
        token: str | None = None,
        user_agent: str = USER_AGENT,
        namespace: str = "default",
    ) -> None:
        self.server, self.namespace = server, namespace
        self._token_file, self._token = token_file, token
        self._http = httpx.Client(
            base_url=server,
            verify=tls,
            trust_env=False,
            headers={"User-Agent": user_agent, "Accept": "application/json"},
            timeout=httpx.Timeout(30.0),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=20),
        )

    @classmethod
    def from_kubeconfig(cls, path: Path | str, context: str | None = None, *, user_agent: str = USER_AGENT) -> Self:
        """As `path` describes, in its current context unless `context` is named; exec plugins are not run."""
        file = Path(path)
        config = yaml.safe_load(file.read_text())

        def named(section: str, name: str, key: str) -> dict[str, Any]:
            for item in config.get(section) or []:
                if item["name"] == name:
                    return dict(item.get(key) or {})
            raise ValueError(f"{file}: {section} has no entry {name!r}")

        chosen = named("contexts", context or config["current-context"], "context")
        cluster = named("clusters", chosen["cluster"], "cluster")
        user = named("users", chosen["user"], "user")
        token_file = user.get("tokenFile")
        return cls(
            cluster["server"].rstrip("/"),
            _tls(cluster, user, file.parent),
            token_file=file.parent / token_file if token_file else None,
            token=user.get("token"),
            user_agent=user_agent,
            namespace=chosen.get("namespace") or "default",
        )

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
    ) -> httpx.Response:
        """Send one request; `body` goes out as JSON. Raises ApiError or one of its kinds, UnavailableError."""
        headers = self._authorization()
        content = None
        if body is not None:
            headers["Content-Type"] = content_type
            content = json.dumps(body).encode()
        try:
            answer = self._http.request(method, path, params=params, content=content, headers=headers)
        except httpx.TransportError as error:
            raise UnavailableError(f"{method} {self.server}{path}: {error}") from error
        if answer.status_code >= 400:
            raise _error(method, path, answer)
        return answer

    def lines(self, path: str, params: Mapping[str, str], *, silence: float) -> Iterator[str]:
        """The lines of an endless answer; `silence`: seconds without a line after which it counts as lost."""
        try:
            timeout = httpx.Timeout(10.0, read=silence)
            headers = self._authorization()
            with self._http.stream("GET", path, params=params, headers=headers, timeout=timeout) as answer:
                if answer.status_code >= 400:
                    answer.read()
                    raise _error("GET", path, answer)
                yield from answer.iter_lines()
        except httpx.TransportError as error:
            raise UnavailableError(f"GET {self.server}{path}: {error}") from error

    def _authorization(self) -> dict[str, str]:
        # Read each time: a mounted token is replaced before it expires.
        token = self._token_file.read_text().strip() if self._token_file else self._token
        return {"Authorization": f"Bearer {token}"} if token else {}


def _error(method: str, path: str, answer: httpx.Response) -> ApiError:
    reason, message = answer.reason_phrase, answer.text[:500]
    with suppress(ValueError, AttributeError):
        status = answer.json()
        reason, message = status.get("reason") or reason, status.get("message") or message
    return _KINDS.get(answer.status_code, ApiError)(method, path, answer.status_code, reason, message)


def _tls(cluster: Mapping[str, Any], user: Mapping[str, Any], folder: Path) -> ssl.SSLContext:
    def data(source: Mapping[str, Any], key: str) -> bytes | None:
        if source.get(f"{key}-data"):
            return base64.b64decode(source[f"{key}-data"])
        return (folder / source[key]).read_bytes() if source.get(key) else None

    authority = data(cluster, "certificate-authority")
    context = ssl.create_default_context(cadata=authority.decode() if authority else None)
    if cluster.get("insecure-skip-tls-verify"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    certificate, key = data(user, "client-certificate"), data(user, "client-key")
    if certificate and key:
        # The ssl module only reads certificates from a file.
        with tempfile.NamedTemporaryFile(suffix=".pem") as pem:
            pem.write(certificate + b"\n" + key)
            pem.flush()
            context.load_cert_chain(pem.name)
    return context
