"""Carry out a Plan: the only place that writes to the cluster on behalf of a resource.

What fails becomes a Failure in the Outcome, in words for the status; it never ends the reconcile. A transient
failure ends the pass (the API server is not hammered), a refusal of one child does not keep the others from being
written.
"""

from __future__ import annotations

import base64
import logging
import secrets
import string
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol
from urllib.parse import quote

from ameide_shared.confidential import cleaned, keep
from ameide_shared.external import ExternalError, Hands
from ameide_shared.failures import MissingSourceError, describe, explain
from ameide_shared.kube import apply
from ameide_shared.kube.cache import Cache
from ameide_shared.kube.client import ApiClient
from ameide_shared.kube.errors import (
    ApiError,
    ChildConflict,
    ImmutableField,
    NotFound,
)
from ameide_shared.kube.resources import DEPLOYMENT, SECRET, Manifest, ObjectKey, ResourceType, key_of, resource_of
from ameide_shared.plan import (
    Action,
    AddFinalizer,
    Call,
    Delete,
    Ensure,
    EnsureSecret,
    Failure,
    FromSecret,
    Generated,
    HandOverReplicas,
    Notify,
    Outcome,
    Plan,
    RemoveFinalizer,
    SecretValue,
)
from ameide_shared.vocabulary import ANNOTATION_ROTATE_PASSWORD

log = logging.getLogger(__name__)

_ALPHABET = string.ascii_letters + string.digits


class Recorder(Protocol):
    """Where Events go; see controller.recorder."""

    def event(self, resource: Manifest, type: str, reason: str, message: str) -> None: ...


class SourceChangedError(Exception):
    """A value is to be copied from a Secret that is no longer the one that the plan saw; the next plan sees it."""


class Converger:
    """Writes what plans say, through one client and one cache."""

    def __init__(self, client: ApiClient, cache: Cache, recorder: Recorder, hands: Hands | None = None) -> None:
        self._client = client
        self._cache = cache
        self._recorder = recorder
        self._hands = hands or {}

    async def run(self, resource: Manifest, plan: Plan) -> Outcome:
        """Carry out the actions in order. `resource` is the primary, whose uid owns the children."""
        failures: list[Failure] = []
        written = 0
        objects: list[Manifest] = []
        for action in plan.actions:
            try:
                written += await self._act(resource, action, objects)
            except (ApiError, ChildConflict, ImmutableField, MissingSourceError, ExternalError) as error:
                failure = explain(action, error)
                failure = replace(failure, message=cleaned(failure.message))
                failures.append(failure)
                log.warning("%s: %s", describe(action), failure.message)
                if isinstance(error, ApiError) and error.transient:
                    break
                if isinstance(action, AddFinalizer) or getattr(action, "required", False):
                    break  # nothing outside before its removal is assured, no pod before its borders are there
            except SourceChangedError as changed:
                log.debug("%s: %s", describe(action), changed)
        return Outcome(tuple(failures), written, tuple(objects))

    async def _act(self, resource: Manifest, action: Action, objects: list[Manifest]) -> int:
        """Carry out one action; how many requests changed something. Children that were written go into `objects`."""
        uid = resource["metadata"]["uid"]
        match action:
            case Ensure():
                before = self._version(action.resource, action.key)
                result = await apply.ensure(
                    self._client, self._cache, action.manifest, uid, create_only=action.create_only
                )
                return _written(result, before, objects)
            case EnsureSecret():
                before = self._version(action.resource, action.key)
                manifest = self._filled(action)
                result = await apply.ensure(
                    self._client, self._cache, manifest, uid, rebuild=lambda: self._filled(action)
                )
                return _written(result, before, objects)
            case Delete():
                live = self._cache.get(action.resource, action.key)
                if live is not None and live["metadata"].get("deletionTimestamp"):
                    return 0  # asked for already; somebody's finalizer holds it
                await apply.delete(
                    self._client, self._cache, action.resource, action.key, action.uid, propagation=action.propagation
                )
                return 1
            case HandOverReplicas():
                return await self._hand_over(action)
            case AddFinalizer():
                name = action.finalizer
                return await self._set_finalizers(resource, lambda held: [*_without(held, name), name])
            case RemoveFinalizer():
                return await self._set_finalizers(resource, lambda held: _without(held, action.finalizer))
            case Notify():
                self._recorder.event(resource, action.type, action.event_reason, action.message)
                return 0
            case Call():
                return int(await self._hands[action.operation](resource, action))

    async def _set_finalizers(self, resource: Manifest, change: Callable[[list[str]], list[str]]) -> int:
        kind = resource_of(resource)
        current = self._cache.store(kind).get(key_of(resource)) or resource
        held = list(current["metadata"].get("finalizers") or ())
        wanted = change(held)
        if set(wanted) == set(held):
            return 0
        metadata = {
            "finalizers": wanted,
            "uid": current["metadata"]["uid"],
            "resourceVersion": current["metadata"]["resourceVersion"],
        }
        key = key_of(current)
        try:
            updated = await self._client.merge_patch(kind, key, {"metadata": metadata})
        except NotFound:
            return 0  # it is gone, and its finalizers with it
        if updated["metadata"].get("deletionTimestamp") and not updated["metadata"].get("finalizers"):
            # That was the last one. The answer bears the version that we know, so the cache would not take it.
            self._cache.store(kind).remove(key, updated["metadata"]["uid"])
        else:
            self._cache.store(kind).put(updated)
        return 1

    async def _hand_over(self, action: HandOverReplicas) -> int:
        manifest = {
            "apiVersion": DEPLOYMENT.api_version,
            "kind": DEPLOYMENT.kind,
            "metadata": {"namespace": action.key.namespace, "name": action.key.name},
            "spec": {"replicas": action.replicas},
        }
        updated = await self._client.apply(manifest, field_manager=f"{self._client.field_manager}-replicas")
        before = self._version(DEPLOYMENT, action.key)
        self._cache.store(DEPLOYMENT).put(updated)
        return int(_version(updated) != before)

    def _version(self, resource: ResourceType, key: ObjectKey) -> str | None:
        live = self._cache.get(resource, key)
        return _version(live) if live is not None else None

    def _filled(self, action: EnsureSecret) -> dict[str, Any]:
        """The Secret with its values: generated ones are kept from the live object unless they are to be rotated."""
        live = self._cache.store(SECRET).get(action.key) or {}
        annotations = (live.get("metadata") or {}).get("annotations") or {}
        rotate = bool(live and action.rotation) and annotations.get(ANNOTATION_ROTATE_PASSWORD) != action.rotation
        values: dict[str, str] = {}
        for key, value in action.values.items():
            kept = None if rotate else decoded(live, key)
            values[key] = kept if isinstance(value, Generated) and kept else self._value(value)
            if not isinstance(value, str):
                keep(values[key])
        manifest = dict(action.manifest)
        if action.rotation:
            metadata = dict(manifest["metadata"])
            metadata["annotations"] = {
                **(metadata.get("annotations") or {}),
                ANNOTATION_ROTATE_PASSWORD: action.rotation,
            }
            manifest["metadata"] = metadata
        manifest["data"] = {key: base64.b64encode(value.encode()).decode() for key, value in sorted(values.items())}
        return manifest

    def _value(self, value: SecretValue) -> str:
        match value:
            case str():
                return value
            case Generated(length=length):
                return "".join(secrets.choice(_ALPHABET) for _ in range(length))
            case FromSecret():
                source = self._cache.store(SECRET).get(ObjectKey(value.namespace, value.name)) or {}
                found = decoded(source, value.key)
                if found is not None and value.version not in ("", source["metadata"].get("resourceVersion")):
                    raise SourceChangedError(
                        f"Secret {value.namespace}/{value.name} has changed since the plan was made"
                    )
                if found is None:
                    raise MissingSourceError(
                        f"Secret {value.namespace}/{value.name} has no key {value.key!r} yet, which is to be copied"
                    )
                return quote(found, safe="") if value.quoted else found
            case _:
                return "".join(part if isinstance(part, str) else self._value(part) for part in value.parts)


_OF_STATUS = ("apiVersion", "kind", "metadata", "status")


def _written(result: apply.Result, before: str | None, objects: list[Manifest]) -> int:
    """Note an object that was written, as far as status may look at it: content, of Secrets above all, stays here.

    Only what the write has moved from the version `before` counts: what has no effect is no reason to look again.
    """
    if result.changed:
        objects.append({key: result.object[key] for key in _OF_STATUS if key in result.object})
    return int(result.changed and _version(result.object) != before)


def _version(manifest: Manifest) -> str:
    return str(manifest["metadata"].get("resourceVersion"))


def _without(names: list[str], name: str) -> list[str]:
    return [other for other in names if other != name]


def decoded(secret: Mapping[str, Any], key: str) -> str | None:
    """The value of a key of a Secret, None where there is none."""
    encoded = (secret.get("data") or {}).get(key)
    return base64.b64decode(encoded).decode() if encoded else None
