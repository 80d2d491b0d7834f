"""A small synchronous Kubernetes client for tests, the demo and the stand-ins: objects are plain dictionaries."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import yaml

from ameide_dev.transport import (
    USER_AGENT,
    ApiError,
    ConflictError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    Transport,
    UnavailableError,
)

__all__ = [
    "ApiError",
    "ConflictError",
    "ForbiddenError",
    "InvalidError",
    "KubeClient",
    "NotFoundError",
    "Object",
    "Resource",
    "UnavailableError",
    "UnknownKindError",
    "WaitTimeoutError",
    "condition_of",
]

Object = dict[str, Any]
_Objects = list[Object]  # `list` means the method inside the class

_MERGE = "application/merge-patch+json"
_JSON_PATCH = "application/json-patch+json"
_APPLY = "application/apply-patch+yaml"


class WaitTimeoutError(Exception):
    """What was waited for did not come."""


class UnknownKindError(Exception):
    """The cluster serves no such apiVersion and kind."""


@dataclass(frozen=True, slots=True)
class Resource:
    """Where the cluster serves a kind."""

    api_version: str
    kind: str
    plural: str
    namespaced: bool

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """The URL path of the collection, an object or a subresource of it; no namespace means all of them."""
        parts = ["api" if "/" not in self.api_version else "apis", self.api_version]
        if self.namespaced and namespace:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        parts += [part for part in (name, subresource) if part]
        return "/" + "/".join(parts)


class KubeClient:
    """Reads, writes and watches objects as one user. Safe for several threads; close it, or use `with`.

    Wherever `namespace` is left out for a namespaced kind, the kubeconfig's own is meant (lists and watches: all).
    """

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self._resources: dict[tuple[str, str], Resource] = {}
        self._lock = threading.Lock()

    @classmethod
    def from_kubeconfig(cls, path: Path | str, context: str | None = None, *, user_agent: str = USER_AGENT) -> Self:
        """The client that the kubeconfig `path` describes, in its current context unless `context` is named."""
        return cls(Transport.from_kubeconfig(path, context, user_agent=user_agent))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self.transport.close()

    # Objects

    def get(
        self, api_version: str, kind: str, name: str, namespace: str | None = None, *, subresource: str | None = None
    ) -> Object:
        """Read one object. Raises NotFoundError."""
        return self.request("GET", self._path(api_version, kind, namespace, name, subresource))

    def find(self, api_version: str, kind: str, name: str, namespace: str | None = None) -> Object | None:
        """Read one object, None when there is none."""
        try:
            return self.get(api_version, kind, name, namespace)
        except NotFoundError:
            return None

    def list(
        self,
        api_version: str,
        kind: str,
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
    ) -> _Objects:
        """All objects of a kind, in `namespace` or everywhere, each with its apiVersion and kind filled in."""
        path = self.resource(api_version, kind).path(namespace)
        answer = self.request("GET", path, params=_selectors(label_selector, field_selector))
        return [{"apiVersion": api_version, "kind": kind, **item} for item in answer["items"]]

    def create(self, obj: Object, namespace: str | None = None) -> Object:
        """Create an object. Raises ConflictError, InvalidError."""
        resource = self.resource(obj["apiVersion"], obj["kind"])
        scope = self._scope(resource, namespace or obj["metadata"].get("namespace"))
        return self.request("POST", resource.path(scope), body=obj)

    def apply(
        self,
        obj: Object,
        namespace: str | None = None,
        *,
        field_manager: str = "ameide-dev",
        force: bool = True,
        subresource: str | None = None,
    ) -> Object:
        """Server-side apply."""
        params = {"fieldManager": field_manager, "force": str(force).lower()}
        return self.request(
            "PATCH", self._path_of(obj, namespace, subresource), params=params, body=obj, content_type=_APPLY
        )

    def replace(self, obj: Object, namespace: str | None = None, *, subresource: str | None = None) -> Object:
        """Replace an object (PUT); fails with ConflictError if its resourceVersion is stale."""
        return self.request("PUT", self._path_of(obj, namespace, subresource), body=obj)

    def merge_patch(
        self,
        api_version: str,
        kind: str,
        name: str,
        patch: Object,
        namespace: str | None = None,
        *,
        subresource: str | None = None,
    ) -> Object:
        """JSON merge patch (RFC 7386)."""
        path = self._path(api_version, kind, namespace, name, subresource)
        return self.request("PATCH", path, body=patch, content_type=_MERGE)

    def json_patch(
        self, api_version: str, kind: str, name: str, patch: _Objects, namespace: str | None = None
    ) -> Object:
        """JSON patch (RFC 6902)."""
        path = self._path(api_version, kind, namespace, name)
        return self.request("PATCH", path, body=patch, content_type=_JSON_PATCH)

    def patch_status(
        self, api_version: str, kind: str, name: str, status: Object, namespace: str | None = None
    ) -> Object:
        """Merge `status` into the object's status subresource."""
        return self.merge_patch(api_version, kind, name, {"status": status}, namespace, subresource="status")

    def delete(
        self,
        api_version: str,
        kind: str,
        name: str,
        namespace: str | None = None,
        *,
        propagation: str = "Background",
        wait: float | None = None,
        missing_ok: bool = False,
    ) -> None:
        """Delete an object; `wait`: seconds to wait until it is gone. Raises NotFoundError, WaitTimeoutError."""
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation}
        try:
            self.request("DELETE", self._path(api_version, kind, namespace, name), body=body)
        except NotFoundError:
            if not missing_ok:
                raise
            return
        if wait is not None:
            self.wait_gone(api_version, kind, name, namespace, timeout=wait)

    def apply_file(self, path: Path | str, namespace: str | None = None) -> _Objects:
        """Apply every document of a YAML file, in order."""
        documents = yaml.safe_load_all(Path(path).read_text())
        return [self.apply(document, namespace) for document in documents if document]

    def logs(self, namespace: str, pod: str, container: str | None = None, *, tail: int | None = None) -> str:
        """A container's log; `tail`: only that many of its last lines."""
        params = {"container": container, "tailLines": str(tail) if tail is not None else None}
        given = {key: value for key, value in params.items() if value}
        return self.transport.send("GET", f"/api/v1/namespaces/{namespace}/pods/{pod}/log", params=given).text

    # Watching and waiting

    def watch(
        self,
        api_version: str,
        kind: str,
        namespace: str | None = None,
        *,
        name: str | None = None,
        resource_version: str = "",
        label_selector: str = "",
        timeout: float = 60.0,
    ) -> Iterator[tuple[str, Object]]:
        """Events (ADDED, MODIFIED, DELETED; object) for `timeout` seconds.

        Without a resource version it begins with an ADDED for each object that exists. Raises ApiError, with status
        410 when the resource version is too old, and UnavailableError.
        """
        path = self.resource(api_version, kind).path(namespace)
        params = _selectors(label_selector, f"metadata.name={name}" if name else "")
        params |= {"watch": "true", "timeoutSeconds": str(max(1, round(timeout)))}
        if resource_version:
            params["resourceVersion"] = resource_version
        # The server ends the watch; being silent all the while is its right.
        for line in self.transport.lines(path, params, silence=timeout + 5):
            event = json.loads(line)
            if event["type"] == "ERROR":
                status = event["object"]
                code, reason, message = (status.get(key) for key in ("code", "reason", "message"))
                raise ApiError("WATCH", path, code or 0, reason or "", message or "")
            yield event["type"], event["object"]

    def wait_for(
        self,
        api_version: str,
        kind: str,
        name: str,
        predicate: Callable[[Object | None], bool],
        namespace: str | None = None,
        *,
        timeout: float = 30.0,
        what: str = "",
    ) -> Object:
        """Wait until `predicate(object)` holds (None while it does not exist) and return the object ({} for None).

        Outlasts an API server that is away meanwhile. Raises WaitTimeoutError with the object's last status.
        """
        deadline = time.monotonic() + timeout
        scope = self._scope(self.resource(api_version, kind), namespace)
        last: Object | None = None
        while True:
            try:
                last = self.find(api_version, kind, name, scope)
                if predicate(last):
                    return last or {}
                version = last["metadata"]["resourceVersion"] if last else ""
                # In pieces, since the server only ends a watch on the second.
                span = max(1.0, min(deadline - time.monotonic(), 30.0))
                for event, obj in self.watch(
                    api_version, kind, scope, name=name, resource_version=version, timeout=span
                ):
                    last = None if event == "DELETED" else obj
                    if predicate(last):
                        return last or {}
                    if time.monotonic() >= deadline:
                        break
            except (UnavailableError, ApiError) as error:
                # 410 means that the watch must begin anew; a server error may pass.
                if isinstance(error, ApiError) and error.status not in (410, 429, 500, 503, 504):
                    raise
                time.sleep(0.2)
            if time.monotonic() >= deadline:
                raise WaitTimeoutError(_describe(api_version, kind, scope, name, what, timeout, last))

    def wait_condition(
        self,
        api_version: str,
        kind: str,
        name: str,
        condition: str,
        namespace: str | None = None,
        *,
        status: str = "True",
        reason: str | None = None,
        timeout: float = 30.0,
    ) -> Object:
        """Wait until the status condition of that type has `status` (and `reason`) for the current generation."""

        def holds(obj: Object | None) -> bool:
            found = condition_of(obj, condition)
            if obj is None or found is None or found["status"] != status:
                return False
            seen = found.get("observedGeneration", obj.get("status", {}).get("observedGeneration"))
            current = bool(seen is None or seen == obj["metadata"].get("generation", seen))
            return current and (reason is None or found.get("reason") == reason)

        what = f"condition {condition}={status}" + (f" ({reason})" if reason else "")
        return self.wait_for(api_version, kind, name, holds, namespace, timeout=timeout, what=what)

    def wait_gone(
        self, api_version: str, kind: str, name: str, namespace: str | None = None, *, timeout: float = 30.0
    ) -> None:
        """Wait until the object does not exist."""
        self.wait_for(api_version, kind, name, lambda it: it is None, namespace, timeout=timeout, what="the end")

    # Discovery and requests

    def resource(self, api_version: str, kind: str) -> Resource:
        """Where the cluster serves a kind; asked once and remembered. Raises UnknownKindError."""
        with self._lock:
            found = self._resources.get((api_version, kind))
        if found:
            return found
        prefix = "/apis/" if "/" in api_version else "/api/"
        try:
            answer = self.request("GET", prefix + api_version)
        except NotFoundError as error:
            raise UnknownKindError(f"the cluster serves no {api_version}; install its CRDs first") from error
        served = {
            (api_version, item["kind"]): Resource(api_version, item["kind"], item["name"], item["namespaced"])
            for item in answer["resources"]
            if "/" not in item["name"]
        }
        with self._lock:
            self._resources.update(served)
        if (api_version, kind) not in served:
            raise UnknownKindError(f"{api_version} has no kind {kind} in this cluster; install its CRD first")
        return served[api_version, kind]

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
    ) -> Object:
        """Any request with a JSON answer. Raises ApiError or one of its kinds, UnavailableError."""
        parsed: Object = self.transport.send(method, path, params=params, body=body, content_type=content_type).json()
        return parsed

    def _scope(self, resource: Resource, namespace: str | None) -> str | None:
        return (namespace or self.transport.namespace) if resource.namespaced else None

    def _path(
        self, api_version: str, kind: str, namespace: str | None, name: str, subresource: str | None = None
    ) -> str:
        resource = self.resource(api_version, kind)
        return resource.path(self._scope(resource, namespace), name, subresource)

    def _path_of(self, obj: Object, namespace: str | None, subresource: str | None) -> str:
        metadata = obj["metadata"]
        scope = namespace or metadata.get("namespace")
        return self._path(obj["apiVersion"], obj["kind"], scope, metadata["name"], subresource)


def condition_of(obj: Object | None, kind: str) -> Object | None:
    """The status condition of that type, None when there is none."""
    for condition in ((obj or {}).get("status") or {}).get("conditions") or []:
        if condition["type"] == kind:
            return dict(condition)
    return None


def _selectors(label_selector: str, field_selector: str) -> dict[str, str]:
    wanted = {"labelSelector": label_selector, "fieldSelector": field_selector}
    return {key: value for key, value in wanted.items() if value}


def _describe(
    api_version: str, kind: str, namespace: str | None, name: str, what: str, timeout: float, last: Object | None
) -> str:
    where = f"{kind} {namespace}/{name}" if namespace else f"{kind} {name}"
    # The status only: the rest of a Secret is not for messages.
    state = "it does not exist" if last is None else f"its status: {json.dumps(last.get('status', {}))[:4000]}"
    return f"waited {timeout:.0f} s for {what or 'a change'} of {where} ({api_version}); {state}"
