"""A small asynchronous client of the Kubernetes API: what the operators need, as cheap as it can be made.

Every method raises the errors of `errors.py`. Answers are plain dictionaries as parsed from JSON.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import aiohttp
from yarl import URL

from ameide_shared.kube.connection import Connection
from ameide_shared.kube.errors import ServerUnavailable, TooManyRequests, error_of
from ameide_shared.kube.limiter import Limiter
from ameide_shared.kube.resources import POD, Manifest, ObjectKey, ResourceType, key_of, resource_of
from ameide_shared.kube.wire import canonical_json

OnRequest = Callable[[str, str, str, float], None]
"""Told after each request: verb (`get`, `list`, `create`, …), resource, HTTP status or `error`, seconds."""

_JSON = "application/json"
_APPLY = "application/apply-patch+yaml"  # JSON is YAML
_MERGE_PATCH = "application/merge-patch+json"
_JSON_PATCH = "application/json-patch+json"
_METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
_METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_RETRY_429 = 5
_LONGEST_PAUSE = 30.0  # seconds: a server that asks for more is told of to the caller instead


@dataclass(frozen=True, slots=True)
class Listing:
    """All pages of a LIST: `resource_version` is that of the collection."""

    items: list[dict[str, Any]]
    resource_version: str


class ApiClient:
    """Requests to one API server.

    `field_manager` signs every write. `timeout` (seconds) bounds a request, its answer included.
    All clients of a process should share one `limiter`.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        field_manager: str,
        limiter: Limiter | None = None,
        on_request: OnRequest | None = None,
        timeout: float = 30.0,
    ) -> None:
        self.connection = connection
        self.field_manager = field_manager
        self.limiter = limiter or Limiter()
        self.on_request = on_request
        self._timeout = aiohttp.ClientTimeout(total=timeout, sock_connect=10.0)
        self._writing: Counter[str] = Counter()  # requests under way, by resource

    def writing(self, resource: ResourceType) -> bool:
        """Whether the answer to a write of an object of this type is awaited."""
        return self._writing[str(resource)] > 0

    # --- reads ------------------------------------------------------------------------------------------------------

    async def get(self, resource: ResourceType, key: ObjectKey, *, metadata_only: bool = False) -> dict[str, Any]:
        """One object; NotFound if there is none. `metadata_only` answers a PartialObjectMetadata."""
        path = resource.path(key.namespace, key.name)
        return await self._json("get", "GET", resource, path, accept=_METADATA if metadata_only else _JSON)

    async def list(
        self,
        resource: ResourceType,
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
        metadata_only: bool = False,
        page_size: int = 200,
    ) -> Listing:
        """All objects of a type, page by page; of all namespaces without `namespace`.

        List items carry no apiVersion and kind from the server: they are added, so that each item is a manifest. Of
        `metadata_only` the managedFields are left out, which are most of it.
        """
        query = {"limit": str(page_size), "labelSelector": label_selector, "fieldSelector": field_selector}
        path = resource.path(namespace)
        items: list[dict[str, Any]] = []
        while True:
            page = await self._json(
                "list", "GET", resource, path, query=query, accept=_METADATA_LIST if metadata_only else _JSON
            )
            for item in page.get("items") or ():
                item["apiVersion"], item["kind"] = resource.api_version, resource.kind
                if metadata_only:
                    item["metadata"].pop("managedFields", None)
                items.append(item)
            metadata = page.get("metadata") or {}
            if not metadata.get("continue"):
                return Listing(items, str(metadata.get("resourceVersion", "")))
            query["continue"] = metadata["continue"]

    async def raw_get(self, path: str) -> dict[str, Any]:
        """The JSON at a path of the API server: `/apis/monitoring.coreos.com/v1`, `/version`."""
        return await self._json("get", "GET", None, path)

    async def pod_log(
        self,
        key: ObjectKey,
        *,
        container: str = "",
        tail_lines: int = 50,
        limit_bytes: int = 16384,
        previous: bool = False,
    ) -> str:
        """The end of a container's log: at most this many lines and bytes. Undecodable bytes are replaced."""
        query = {
            "container": container,
            "tailLines": str(tail_lines),
            "limitBytes": str(limit_bytes),
            "previous": "true" if previous else "",
        }
        path = POD.path(key.namespace, key.name, "log")
        return (await self._send("get", "GET", POD, path, query=query)).decode("utf-8", "replace")

    # --- writes -----------------------------------------------------------------------------------------------------

    async def create(self, manifest: Manifest, *, dry_run: bool = False, field_manager: str = "") -> dict[str, Any]:
        """Create an object; AlreadyExists if the name is taken. The answer is the object as stored."""
        resource = resource_of(manifest)
        path = resource.path(key_of(manifest).namespace)
        query = self._write_query(field_manager, dry_run) | {"fieldValidation": "Strict"}
        return await self._json("create", "POST", resource, path, query=query, body=manifest)

    async def apply(
        self,
        manifest: Manifest,
        *,
        force: bool = True,
        dry_run: bool = False,
        field_manager: str = "",
        subresource: str = "",
    ) -> dict[str, Any]:
        """Server-side apply: the manifest says all that this field manager owns."""
        resource, key = resource_of(manifest), key_of(manifest)
        query = self._write_query(field_manager, dry_run) | {"force": "true" if force else "false"}
        if not subresource:
            query["fieldValidation"] = "Strict"
        path = resource.path(key.namespace, key.name, subresource)
        return await self._json("apply", "PATCH", resource, path, query=query, body=manifest, content_type=_APPLY)

    async def update(self, manifest: Manifest, *, subresource: str = "", field_manager: str = "") -> dict[str, Any]:
        """Replace an object; Conflict unless its resourceVersion, where given, is the live one."""
        resource, key = resource_of(manifest), key_of(manifest)
        path = resource.path(key.namespace, key.name, subresource)
        query = self._write_query(field_manager, dry_run=False)
        return await self._json("update", "PUT", resource, path, query=query, body=manifest)

    async def merge_patch(
        self,
        resource: ResourceType,
        key: ObjectKey,
        patch: Mapping[str, Any],
        *,
        subresource: str = "",
        field_manager: str = "",
        dry_run: bool = False,
    ) -> dict[str, Any]:
        """JSON merge patch (RFC 7386). With `metadata.resourceVersion` or `uid` in it these are preconditions."""
        path = resource.path(key.namespace, key.name, subresource)
        query = self._write_query(field_manager, dry_run)
        return await self._json("patch", "PATCH", resource, path, query=query, body=patch, content_type=_MERGE_PATCH)

    async def json_patch(
        self,
        resource: ResourceType,
        key: ObjectKey,
        operations: Sequence[Mapping[str, Any]],
        *,
        subresource: str = "",
        field_manager: str = "",
        dry_run: bool = False,
    ) -> dict[str, Any]:
        """JSON patch (RFC 6902); Invalid where a `test` fails."""
        path = resource.path(key.namespace, key.name, subresource)
        query = self._write_query(field_manager, dry_run)
        return await self._json(
            "patch", "PATCH", resource, path, query=query, body=operations, content_type=_JSON_PATCH
        )

    async def delete(
        self,
        resource: ResourceType,
        key: ObjectKey,
        *,
        uid: str = "",
        resource_version: str = "",
        propagation: str = "Background",
        dry_run: bool = False,
    ) -> dict[str, Any]:
        """Delete an object; Conflict if it is not of this uid or version.

        The answer is a Status when it is gone, the object when finalizers or a grace period keep it for now.
        """
        options: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation}
        preconditions = {"uid": uid, "resourceVersion": resource_version}
        if preconditions := {name: value for name, value in preconditions.items() if value}:
            options["preconditions"] = preconditions
        if dry_run:
            options["dryRun"] = ["All"]
        return await self._json("delete", "DELETE", resource, resource.path(key.namespace, key.name), body=options)

    # --- one request ------------------------------------------------------------------------------------------------

    def _write_query(self, field_manager: str, dry_run: bool) -> dict[str, str]:
        return {"fieldManager": field_manager or self.field_manager, "dryRun": "All" if dry_run else ""}

    async def _json(
        self,
        verb: str,
        method: str,
        resource: ResourceType | None,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        content_type: str = _JSON,
        accept: str = _JSON,
    ) -> dict[str, Any]:
        answer = await self._send(
            verb, method, resource, path, query=query, body=body, content_type=content_type, accept=accept
        )
        try:
            parsed = json.loads(answer)
        except ValueError:
            parsed = None
        if not isinstance(parsed, dict):
            raise ServerUnavailable(f"{method} {path}: the answer is no JSON object; is this an API server?")
        return parsed

    async def _send(
        self,
        verb: str,
        method: str,
        resource: ResourceType | None,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        content_type: str = _JSON,
        accept: str = _JSON,
    ) -> bytes:
        """One request with its credentials, and again where that is safe: after new credentials, after a 429.

        A 429 means that nothing was done. Any other failed write may have been done; only the caller can tell.
        """
        url = URL(self.connection.server + path + _encoded(query), encoded=True)
        headers = {"Accept": accept}
        data: bytes | None = None
        if body is not None:
            data = canonical_json(body)
            headers["Content-Type"] = content_type
        name = str(resource) if resource else "discovery"
        renewed = False
        refusals = 0
        while True:
            await self.limiter.acquire()
            if authorization := await self.connection.authorization():
                headers["Authorization"] = authorization
            status, answer, retry_after = await self._exchange(verb, name, method, url, headers, data)
            if status < 400:
                return answer
            error = error_of(status, answer, request=f"{method} {path}", retry_after=retry_after)
            if isinstance(error, TooManyRequests):
                refusals += 1
                pause = error.retry_after if error.retry_after is not None else 1.0
                self.limiter.pause(min(pause, _LONGEST_PAUSE))
                if refusals < _RETRY_429 and pause <= _LONGEST_PAUSE:
                    continue
            elif status == 401 and not renewed and await self.connection.reauthenticate(authorization):
                renewed = True
                continue
            raise error

    async def _exchange(
        self, verb: str, resource: str, method: str, url: URL, headers: Mapping[str, str], data: bytes | None
    ) -> tuple[int, bytes, str | None]:
        """HTTP status, body and Retry-After of one exchange."""
        started = time.perf_counter()
        code = "error"
        writes = method != "GET"
        self._writing[resource] += writes
        try:
            async with self.connection.session.request(
                method,
                url,
                data=data,
                headers=headers,
                timeout=self._timeout,
                allow_redirects=False,
                server_hostname=self.connection.tls_server_name,
            ) as response:
                answer = await response.read()
                code = str(response.status)
                return response.status, answer, response.headers.get("Retry-After")
        except TimeoutError as error:
            raise ServerUnavailable(f"{method} {url.path}: no answer in {self._timeout.total:.0f} s") from error
        except (aiohttp.ClientError, OSError, RuntimeError, asyncio.IncompleteReadError) as error:
            # RuntimeError: after an outage uvloop may find the descriptor of a new socket still in use by an old one.
            raise ServerUnavailable(f"{method} {url.path}: {type(error).__name__}: {error}") from error
        finally:
            self._writing[resource] -= writes
            if self.on_request is not None:
                self.on_request(verb, resource, code, time.perf_counter() - started)


def _encoded(query: Mapping[str, str] | None) -> str:
    """The query with its question mark; empty values are left out."""
    if not query:
        return ""
    pairs = "&".join([f"{name}={quote(value, safe='')}" for name, value in query.items() if value])
    return f"?{pairs}" if pairs else ""
