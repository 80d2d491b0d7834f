# ruff: noqa: N818 - NotFound and Denied are the registry's own words for its refusals
"""Ask registries whether an image exists, and what labels it has (OCI distribution API).

Errors: RegistryError
        ├── ImageNotFound         the registry has no such repository, tag or digest
        ├── RegistryDenied        our credentials, or none, do not suffice
        └── RegistryUnavailable   it did not answer in time, or not as a registry does: worth another try

Credentials come from the operator's own Docker config file and go to exactly the hosts named there (and to the token
service that such a registry names), never to an address that only a resource's author has chosen.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import httpx

from ameide_shared.imagepolicy import DEFAULT_REGISTRY, ImageInfo, ImageRef, parse_image

__all__ = ["ImageInfo", "ImageNotFound", "RegistryClient", "RegistryDenied", "RegistryError", "RegistryUnavailable"]

_INDEX_TYPES: Final = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_MANIFEST_TYPES: Final = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_ACCEPT: Final = {"Accept": ", ".join((*_INDEX_TYPES, *_MANIFEST_TYPES))}
_BODY_LIMIT: Final = 4 * 1024 * 1024  # bytes of a manifest or configuration; the specification's own limit
_FAILURE_SECONDS: Final = 30.0  # how long a failure is believed, so that many resources do not hammer a registry
_CACHE_ENTRIES: Final = 4096
_CHALLENGE: Final = re.compile(r'(\w+)="([^"]*)"')


class RegistryError(Exception):
    """A registry could not be asked, or did not have what was asked for."""


class ImageNotFound(RegistryError):
    """The registry has no such image."""


class RegistryDenied(RegistryError):
    """The registry wants (other) credentials."""


class RegistryUnavailable(RegistryError):
    """The registry did not answer, or not as a registry does."""


class RegistrySettings(Protocol):
    """The operator's settings `images.registryCheck`; times in seconds."""

    @property
    def timeout(self) -> float: ...

    @property
    def cache_seconds(self) -> float: ...

    @property
    def credentials_file(self) -> Path | None: ...

    @property
    def insecure_registries(self) -> Sequence[str]: ...


@dataclass(frozen=True, slots=True)
class _Answer:
    """What is remembered of one image."""

    until: float
    info: ImageInfo | None
    error: RegistryError | None


class RegistryClient:
    """Asks registries, and remembers: found tags for `cache_seconds`, found digests for ever, failures for 30 s."""

    def __init__(
        self,
        settings: RegistrySettings,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._http = httpx.AsyncClient(timeout=settings.timeout, transport=transport, max_redirects=5)
        self._clock = clock
        self._answers: dict[str, _Answer] = {}
        self._pending: dict[str, asyncio.Task[_Answer]] = {}

    async def check(self, image: str) -> ImageInfo:
        """The digest and labels of an image. Raises RegistryError, or ImageReferenceError for what is no image."""
        reference = parse_image(image)
        key = str(reference)
        answer = self._answers.get(key)
        if answer is None or answer.until <= self._clock():
            task = self._pending.get(key)
            if task is None:  # one request, however many resources ask at once
                task = asyncio.create_task(self._ask(reference))
                self._pending[key] = task
                task.add_done_callback(lambda _: self._pending.pop(key, None))
            answer = await asyncio.shield(task)
            if len(self._answers) >= _CACHE_ENTRIES:
                self._answers.pop(next(iter(self._answers)))
            self._answers[key] = answer
        if answer.error is not None:
            raise answer.error.with_traceback(None)
        assert answer.info is not None, "an answer is either an error or an image"
        return answer.info

    async def close(self) -> None:
        """Close connections; questions still open are given up."""
        for task in list(self._pending.values()):
            task.cancel()
        await self._http.aclose()

    async def _ask(self, image: ImageRef) -> _Answer:
        try:
            info = await asyncio.wait_for(self._inspect(image), 3 * self._settings.timeout)
        except RegistryError as error:
            return _Answer(self._clock() + _FAILURE_SECONDS, None, error)
        except (httpx.TimeoutException, TimeoutError):
            late = RegistryUnavailable(f"registry {image.registry} did not answer within {self._settings.timeout:g} s")
            return _Answer(self._clock() + _FAILURE_SECONDS, None, late)
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError) as error:
            words = str(error) or type(error).__name__
            failed = RegistryUnavailable(f"registry {image.registry} could not be asked: {words}")
            return _Answer(self._clock() + _FAILURE_SECONDS, None, failed)
        lifetime = float("inf") if image.digest else self._settings.cache_seconds
        return _Answer(self._clock() + lifetime, info, None)

    async def _inspect(self, image: ImageRef) -> ImageInfo:
        session = _Session(self._http, image, self._base(image), self._credentials(image.registry))
        manifest, digest = await session.manifest(image.reference)
        chosen = manifest
        if manifest.get("mediaType") in _INDEX_TYPES or "manifests" in manifest:
            entry = _preferred(manifest.get("manifests") or ())
            if entry is None:
                return ImageInfo(digest, {})
            chosen, _ = await session.manifest(entry)
        config = chosen.get("config") or {}
        labels: Mapping[str, Any] = {}
        if isinstance(config.get("digest"), str):
            labels = ((await session.blob(config["digest"])).get("config") or {}).get("Labels") or {}
        return ImageInfo(digest, {str(key): str(value) for key, value in labels.items()})

    def _base(self, image: ImageRef) -> str:
        scheme = "http" if image.registry in self._settings.insecure_registries else "https"
        host = "registry-1.docker.io" if image.registry == DEFAULT_REGISTRY else image.registry
        return f"{scheme}://{host}"

    def _credentials(self, registry: str) -> tuple[str, str] | None:
        """User and password for a registry; the file is read each time, so that rotated ones are taken up."""
        path = self._settings.credentials_file
        if path is None:
            return None
        try:
            auths = json.loads(path.read_text())["auths"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RegistryDenied(
                f"the credentials file {path} cannot be used ({type(error).__name__}); it must be a Docker config.json"
            ) from None
        for name, entry in auths.items():
            host = urlsplit(name if "://" in name else f"//{name}").netloc
            if host in ("index.docker.io", "registry-1.docker.io"):
                host = DEFAULT_REGISTRY
            if host == registry:
                return _user_and_password(entry, path, name)
        return None


class _Session:
    """The requests about one image: they share a token."""

    def __init__(
        self, http: httpx.AsyncClient, image: ImageRef, base: str, credentials: tuple[str, str] | None
    ) -> None:
        self._http = http
        self._image = image
        self._base = base
        self._credentials = credentials
        self._authorization = ""

    async def manifest(self, reference: str) -> tuple[Mapping[str, Any], str]:
        """A manifest or index by tag or digest, and its digest."""
        path = f"/v2/{self._image.repository}/manifests/{reference}"
        body = await self._get(path, _ACCEPT)
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        self._verify(reference, body)
        return self._json(body, path), reference if ":" in reference else digest

    async def blob(self, digest: str) -> Mapping[str, Any]:
        """A JSON blob by digest; registries often send it from elsewhere."""
        path = f"/v2/{self._image.repository}/blobs/{digest}"
        body = await self._get(path, {})
        self._verify(digest, body)
        return self._json(body, path)

    async def _get(self, path: str, headers: Mapping[str, str]) -> bytes:
        for attempt in (1, 2):
            sent = dict(headers) | ({"Authorization": self._authorization} if self._authorization else {})
            # httpx drops the Authorization header where a redirect leads to another host.
            async with self._http.stream("GET", self._base + path, headers=sent, follow_redirects=True) as response:
                if response.status_code == 401 and attempt == 1:
                    self._authorization = await self._authorize(response.headers.get("www-authenticate", ""))
                    continue
                self._raise_for(response.status_code)
                body = b""
                async for chunk in response.aiter_bytes():
                    body += chunk
                    if len(body) > _BODY_LIMIT:
                        raise RegistryUnavailable(f"registry {self._image.registry} sent more than {_BODY_LIMIT} bytes")
                return body
        raise AssertionError("the second attempt returns or raises")

    def _verify(self, reference: str, body: bytes) -> None:
        """What was asked for by digest has to have that digest."""
        algorithm, colon, expected = reference.partition(":")
        if colon and algorithm in ("sha256", "sha512") and hashlib.new(algorithm, body).hexdigest() != expected:
            raise RegistryUnavailable(f"registry {self._image.registry} sent other content than {reference}")

    def _raise_for(self, code: int) -> None:
        image, registry = self._image, self._image.registry
        if code == 200:
            return
        if code == 404:
            raise ImageNotFound(f"registry {registry} has no image {image}")
        if code in (401, 403):
            known = "refuses our credentials" if self._credentials else "wants credentials, and there are none for it"
            raise RegistryDenied(f"registry {registry} {known} (HTTP {code}) for {image.repository}")
        raise RegistryUnavailable(f"registry {registry} answered HTTP {code}")

    async def _authorize(self, challenge: str) -> str:
        """The Authorization header that a 401's challenge asks for."""
        scheme, _, rest = challenge.partition(" ")
        if scheme.lower() == "basic" and self._credentials:
            return _basic(self._credentials)
        if scheme.lower() != "bearer":
            self._raise_for(401)
        parameters = dict(_CHALLENGE.findall(rest))
        realm = urlsplit(parameters.get("realm", ""))
        if realm.scheme != "https" and not (realm.scheme == "http" and self._base.startswith("http://")):
            raise RegistryUnavailable(f"registry {self._image.registry} names a token service without TLS")
        query = {"scope": f"repository:{self._image.repository}:pull"}
        if "service" in parameters:
            query["service"] = parameters["service"]
        headers = {"Authorization": _basic(self._credentials)} if self._credentials else {}
        response = await self._http.get(realm.geturl(), params=query, headers=headers)
        self._raise_for(response.status_code)
        answer = self._json(response.content, "token")
        token = answer.get("token") or answer.get("access_token")
        if not isinstance(token, str):
            raise RegistryUnavailable(f"the token service of registry {self._image.registry} sent no token")
        return f"Bearer {token}"

    def _json(self, body: bytes, what: str) -> Mapping[str, Any]:
        try:
            found = json.loads(body)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise RegistryUnavailable(f"registry {self._image.registry} did not send JSON for {what}")
        return found


def _basic(credentials: tuple[str, str]) -> str:
    return "Basic " + base64.b64encode(":".join(credentials).encode()).decode()


def _user_and_password(entry: Mapping[str, Any], path: Path, name: str) -> tuple[str, str]:
    if "auth" in entry:
        try:
            user, _, password = base64.b64decode(entry["auth"], validate=True).decode().partition(":")
        except ValueError:
            raise RegistryDenied(f"the credentials file {path} has no valid auth for {name}") from None
        return user, password
    return str(entry.get("username", "")), str(entry.get("password", ""))


def _preferred(manifests: Sequence[Mapping[str, Any]]) -> str | None:
    """The digest of the image of an index whose labels stand for all: linux/amd64, else the first real one."""
    real = [item for item in manifests if (item.get("platform") or {}).get("os") not in (None, "unknown")] or manifests
    wanted = [
        item
        for item in real
        if (item.get("platform") or {}).get("os") == "linux"
        and (item.get("platform") or {}).get("architecture") == "amd64"
    ]
    chosen = next(iter([*wanted, *real]), None)
    return str(chosen["digest"]) if chosen else None
