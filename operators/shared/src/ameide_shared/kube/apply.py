"""Bring one child to what is desired: create it, or apply what differs, with as few requests as can be."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from ameide_shared.kube.cache import Cache, owner_of
from ameide_shared.kube.client import ApiClient
from ameide_shared.kube.differ import Difference, as_stored, differences, value_patch
from ameide_shared.kube.errors import AlreadyExists, ChildConflict, Conflict, ImmutableField, Invalid, NotFound
from ameide_shared.kube.fieldset import field_set_digest
from ameide_shared.kube.resources import Manifest, ObjectKey, ResourceType, key_of, resource_of
from ameide_shared.vocabulary import ANNOTATION_FIELD_SET, ANNOTATION_OWNER_UID, LABEL_OWNER_NAME

_PATCH_ATTEMPTS = 3


class Done(Enum):
    """What `ensure` did."""

    CREATED = "created"
    APPLIED = "applied"
    UNCHANGED = "unchanged"
    PENDING = "pending"  # the old object is still being deleted; its DELETED event comes later


@dataclass(frozen=True, slots=True)
class Result:
    """`object` is the live object afterwards; `differences` are those that made the write necessary."""

    done: Done
    object: Manifest
    differences: tuple[Difference, ...] = field(default=())

    @property
    def changed(self) -> bool:
        return self.done in (Done.CREATED, Done.APPLIED)

    @property
    def pending(self) -> bool:
        return self.done is Done.PENDING


def is_ours(live: Manifest, owner_uid: str) -> bool:
    """True if the object belongs to the resource of this uid: its controller, or the annotation where it has none."""
    metadata: Mapping[str, Any] = live.get("metadata") or {}
    for reference in metadata.get("ownerReferences") or ():
        if reference.get("controller"):
            return bool(reference.get("uid") == owner_uid)
    return bool((metadata.get("annotations") or {}).get(ANNOTATION_OWNER_UID) == owner_uid)


def _same_claim(desired: Manifest, live: Manifest) -> bool:
    """True for an object in another namespace that a resource of the same namespace and name left behind.

    What outlives its owner by intent (retained data) is a claim: whoever bears the name may have it again.
    """
    if any(reference.get("controller") for reference in live["metadata"].get("ownerReferences") or ()):
        return False
    owner = owner_of(desired)
    foreign = LABEL_OWNER_NAME in (desired["metadata"].get("labels") or {})
    return foreign and owner is not None and owner == owner_of(live)


async def ensure(
    client: ApiClient,
    cache: Cache,
    desired: Manifest,
    owner_uid: str,
    *,
    create_only: bool = False,
    rebuild: Callable[[], Manifest] | None = None,
) -> Result:
    """Make the child exist and hold the fields of `desired`.

    Costs no request where the cached object already does, one to create, one to apply. `create_only`: an object that
    exists is left as it is. `rebuild` makes `desired` anew once an object of ours was found that the cache did not
    have: for what depends on the live object, such as a password that is kept. Raises ChildConflict for an object that
    is not ours, ImmutableField where a field cannot be changed in place, and what the client raises.
    """
    resource, key = resource_of(desired), key_of(desired)
    desired = with_field_set(desired)
    live = cache.get(resource, key)
    if live is None:
        try:
            created = await client.create(desired)
        except AlreadyExists:
            # Not in the cache: it lacks our labels, or its event is on the way.
            try:
                live = await client.get(resource, key)
            except NotFound as gone:
                raise Conflict(f"{resource.kind} {key} came and went while it was created", status=409) from gone
            if is_ours(live, owner_uid) or _same_claim(desired, live):
                live = cache.put(live)
                if rebuild is not None:
                    desired = with_field_set(rebuild())
        else:
            stored = cache.put(created)
            _settle(cache, resource, key, differences(desired, stored))
            return Result(Done.CREATED, stored)
    if not is_ours(live, owner_uid) and not _same_claim(desired, live):
        cache.foreign.add((resource, key))
        raise ChildConflict(resource, live)
    if live["metadata"].get("deletionTimestamp"):
        return Result(Done.PENDING, live)
    if create_only:
        return Result(Done.UNCHANGED, live)
    found = differences(desired, live)
    if not found or cache.store(resource).residues.get(key) == tuple(found):
        return Result(Done.UNCHANGED, live)
    stored = await _apply(client, cache, desired, live)
    _settle(cache, resource, key, differences(desired, stored))
    return Result(Done.APPLIED, stored, tuple(found))


async def delete(
    client: ApiClient,
    cache: Cache,
    resource: ResourceType,
    key: ObjectKey,
    uid: str,
    *,
    propagation: str = "Background",
) -> None:
    """Delete the object of this uid. That it is gone already, or has a successor of another uid, is fine."""
    try:
        answer = await client.delete(resource, key, uid=uid, propagation=propagation)
    except (NotFound, Conflict):
        cache.remove(resource, key, uid)
        return
    if answer.get("kind") == resource.kind and (answer.get("metadata") or {}).get("deletionTimestamp"):
        cache.put(answer)  # finalizers or a grace period keep it for now
    else:
        cache.remove(resource, key, uid)


async def diff(client: ApiClient, desired: Manifest) -> tuple[Manifest | None, Manifest]:
    """What a child is and what it would be, (live or None, after), by the API server's own dry run."""
    resource, key = resource_of(desired), key_of(desired)
    desired = with_field_set(desired)
    try:
        live = await client.get(resource, key)
    except NotFound:
        return None, await client.create(desired, dry_run=True)
    return live, await client.apply(desired, dry_run=True)


def with_field_set(desired: Manifest) -> dict[str, Any]:
    """A copy that records which fields it sets, so that a later, smaller set is noticed."""
    desired = as_stored(desired)
    metadata = desired["metadata"]
    annotations = {**(metadata.get("annotations") or {}), ANNOTATION_FIELD_SET: field_set_digest(desired)}
    return {**desired, "metadata": {**metadata, "annotations": annotations}}


async def _apply(client: ApiClient, cache: Cache, desired: Manifest, live: Manifest) -> Manifest:
    """Write what differs; Conflict if the object that the cache has is gone, or another one has its name."""
    resource, key = resource_of(desired), key_of(desired)
    uid = live["metadata"]["uid"]
    try:
        if _annotation(live) != _annotation(desired):
            await _own_by_apply(client, resource, key, uid)
        elif operations := value_patch(desired, live):
            # Only values change, and no field has to go. Apply would make us two managers of each field, by create and
            # by apply, and every writer of the object's status would have the API server work through both.
            same = {"op": "test", "path": "/metadata/uid", "value": uid}
            with suppress(Invalid):  # it is not as we saw it: apply copes, and says what is wrong if something is
                return cache.put(await client.json_patch(resource, key, [same, *operations]))
        return cache.put(await client.apply({**desired, "metadata": {**desired["metadata"], "uid": uid}}))
    except NotFound as gone:
        raise Conflict(f"{resource.kind} {key} was deleted meanwhile", status=409) from gone
    except Invalid as error:
        if any(cause.field == "metadata.uid" for cause in error.causes):
            raise Conflict(f"{resource.kind} {key} was replaced by another object", status=409) from error
        if any("immutable" in cause.message or "may not change" in cause.message for cause in error.causes):
            raise ImmutableField(resource, key, error) from error
        raise


async def _own_by_apply(client: ApiClient, resource: ResourceType, key: ObjectKey, uid: str) -> None:
    """Turn what we own by create (operation Update) into what we own by apply.

    Apply removes a field that is no longer wanted only if apply owned it; fields owned by our Update would stay.
    """
    for attempt in range(_PATCH_ATTEMPTS):
        metadata = (await client.get(resource, key, metadata_only=True))["metadata"]
        if metadata.get("uid") != uid:
            raise Conflict(f"{resource.kind} {key} was replaced by another object", status=409)
        operations = ownership_patch(metadata.get("managedFields") or [], client.field_manager)
        if not operations:
            return
        try:
            await client.json_patch(resource, key, operations)
        except (Invalid, Conflict):
            if attempt == _PATCH_ATTEMPTS - 1:
                raise
        else:
            return


def ownership_patch(entries: Sequence[Mapping[str, Any]], manager: str) -> list[dict[str, Any]]:
    """The JSON patch that merges a manager's Update entry of managedFields into its Apply entry; empty if it has none.

    It tests the entries that it touches, so that others may write status meanwhile. Entries of subresources stay.
    """
    main = {
        operation: [
            index
            for index, entry in enumerate(entries)
            if (entry.get("manager"), entry.get("operation")) == (manager, operation) and not entry.get("subresource")
        ]
        for operation in ("Apply", "Update")
    }
    if not main["Update"]:
        return []
    involved = main["Apply"] + main["Update"]
    fields: dict[str, Any] = {}
    for index in involved:
        fields = _union(fields, entries[index].get("fieldsV1") or {})
    kept, *dropped = involved
    path = "/metadata/managedFields"
    return [
        *({"op": "test", "path": f"{path}/{index}", "value": entries[index]} for index in involved),
        {
            "op": "replace",
            "path": f"{path}/{kept}",
            "value": {**entries[kept], "operation": "Apply", "fieldsV1": fields},
        },
        # From the last one down, since removing one moves those after it.
        *({"op": "remove", "path": f"{path}/{index}"} for index in sorted(dropped, reverse=True)),
    ]


def _union(left: Mapping[str, Any], right: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(left)
    for key, value in right.items():
        merged[key] = _union(merged[key], value) if key in merged else value
    return merged


def _annotation(manifest: Manifest) -> str | None:
    return ((manifest.get("metadata") or {}).get("annotations") or {}).get(ANNOTATION_FIELD_SET)


def _settle(cache: Cache, resource: ResourceType, key: ObjectKey, remaining: list[Difference]) -> None:
    """Remember what still differs right after our write: defaults or admission that will not give way.

    Writing again could not change it. Once it differs in any other way, we write again.
    """
    residues = cache.store(resource).residues
    if remaining:
        residues[key] = tuple(remaining)
    else:
        residues.pop(key, None)
