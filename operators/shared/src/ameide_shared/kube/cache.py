"""The live objects that we watch, in memory: fed by watch events and by the answers to our own writes.

It never goes back in time: an event that is older than what a write answered is ignored, so that a reconcile which
follows a write always sees that write.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from ameide_shared.kube.resources import Manifest, ObjectKey, ResourceType, key_of, resource_of
from ameide_shared.kube.slim import Slimmer
from ameide_shared.vocabulary import (
    GROUP,
    LABEL_NAME,
    LABEL_OWNER_NAME,
    LABEL_OWNER_NAMESPACE,
    LABEL_PRIMITIVE,
)

Listener = Callable[[Manifest | None, Manifest | None], None]
"""Called with the object before and after a change; None stands for absence."""

Manifests = list[Manifest]

_TOMBSTONE_SECONDS = 120.0
_ECHOES = 10_000  # versions; those of objects that no watch of ours shows are never asked for


class Owner(NamedTuple):
    """Which resource a child belongs to; `primitive` is its kind in lower case: domain, process, agent, uisurface."""

    primitive: str
    namespace: str
    name: str


def owner_of(manifest: Manifest) -> Owner | None:
    """The resource that a child says it belongs to: by its controller, else by labels. Not a proof: see apply.is_ours.

    Labels `ameide.io/owner-namespace` and `-name` lead to another namespace, `ameide.io/name` to the same.
    """
    metadata = manifest.get("metadata") or {}
    namespace = metadata.get("namespace") or ""
    for reference in metadata.get("ownerReferences") or ():
        if reference.get("controller") and str(reference.get("apiVersion", "")).startswith(f"{GROUP}/"):
            return Owner(reference["kind"].lower(), namespace, reference["name"])
    labels = metadata.get("labels") or {}
    primitive = labels.get(LABEL_PRIMITIVE, "").removesuffix("-job")  # pods of Jobs: see builders.identity
    if not primitive:
        return None
    if LABEL_OWNER_NAME in labels:
        return Owner(primitive, labels.get(LABEL_OWNER_NAMESPACE) or namespace, labels[LABEL_OWNER_NAME])
    return Owner(primitive, namespace, labels[LABEL_NAME]) if LABEL_NAME in labels else None


class Store:
    """The objects of one type. Objects that it returns are shared: never change them."""

    def __init__(self, resource: ResourceType, slimmer: Slimmer | None = None) -> None:
        self.resource = resource
        self.residues: dict[ObjectKey, object] = {}
        """For `apply.ensure`: differences that the server insists on, by object; gone with the object."""
        self.newest = -math.inf
        """The highest version that an event or an answer told of; it never sinks."""
        self._slim = slimmer or Slimmer()
        self._objects: dict[str, dict[str, dict[str, Any]]] = {}  # by namespace and name
        self._children: dict[Owner, set[ObjectKey]] = {}
        self._tombstones: dict[str, tuple[float, float]] = {}  # uid: version of the deletion, when to forget it
        self._listeners: list[tuple[Listener, bool]] = []
        self._echoes: dict[str, None] = {}  # versions that were answered to us; their events are to come
        self._count = 0

    def __len__(self) -> int:
        return self._count

    # --- reads ------------------------------------------------------------------------------------------------------

    def get(self, key: ObjectKey) -> Manifest | None:
        """One object, or None."""
        found = self._objects.get(key.namespace)
        return found.get(key.name) if found else None

    def list(self, namespace: str | None = None) -> Manifests:
        """The objects, of one namespace if given; in no particular order."""
        if namespace is not None:
            return list(self._objects.get(namespace, {}).values())
        return [manifest for objects in self._objects.values() for manifest in objects.values()]

    def children(self, owner: Owner) -> Manifests:
        """The objects that say they belong to a resource, by namespace and name."""
        keys = sorted(self._children.get(owner, ()))
        return [self._objects[key.namespace][key.name] for key in keys]

    def subscribe(self, listener: Listener, *, own_writes: bool = True) -> None:
        """Call the listener after each change; `own_writes=False` leaves out the answers to our own writes."""
        self._listeners.append((listener, own_writes))

    # --- changes ----------------------------------------------------------------------------------------------------

    def on_event(self, event_type: str | None, manifest: Manifest) -> bool:
        """Take a watch event: None (listed), ADDED, MODIFIED or DELETED. False if it is old news."""
        if event_type == "DELETED":
            return self._deleted(manifest)
        return self._stored(manifest, own=False) is not None

    def put(self, manifest: Manifest) -> Manifest:
        """Take an object that the API server answered to a read or write of ours; what the store now has of it."""
        stored = self._stored(manifest, own=True)
        if stored is None:
            return self.get(key_of(manifest)) or self._slim(self.resource, manifest)
        self._echoes[str(stored["metadata"].get("resourceVersion"))] = None
        if len(self._echoes) > _ECHOES:
            del self._echoes[next(iter(self._echoes))]
        return stored

    def take_echo(self, version: str) -> bool:
        """True, once, for a resourceVersion that came by `put`: the event that shows it brings nothing new."""
        if version not in self._echoes:
            return False
        del self._echoes[version]
        return True

    def remove(self, key: ObjectKey, uid: str) -> None:
        """Our delete was answered: the object of this uid is gone, whatever late events say."""
        self._bury(uid, math.inf)
        live = self.get(key)
        if live is not None and live["metadata"].get("uid") == uid:
            self._drop(key, live, own=True)

    def drop_missing(self, uids: Iterable[str], resource_version: str, namespace: str | None = None) -> Manifests:
        """Drop what a complete LIST no longer has; the dropped objects.

        `uids` and `resource_version` are the list's. Objects that are newer than the list stay.
        """
        listed, version = set(uids), version_number(resource_version)
        dropped = []
        for live in self.list(namespace):
            metadata = live["metadata"]
            if metadata.get("uid") not in listed and version_number(metadata.get("resourceVersion")) <= version:
                self._bury(metadata.get("uid", ""), version)
                self._drop(key_of(live), live, own=False)
                dropped.append(live)
        return dropped

    # --- internals --------------------------------------------------------------------------------------------------

    def _stored(self, manifest: Manifest, *, own: bool) -> Manifest | None:
        """Store unless it is not newer than what we have; the stored object or None."""
        metadata = manifest["metadata"]
        key = ObjectKey(metadata.get("namespace") or "", metadata["name"])
        version = metadata.get("resourceVersion")
        grave = self._tombstones.get(metadata.get("uid", ""))
        if grave is not None and version_number(version) < grave[0]:
            return None
        live = self.get(key)
        if live is not None and not _newer(version, live["metadata"].get("resourceVersion")):
            return None
        stored = self._slim(self.resource, manifest, live)
        self.newest = max(self.newest, version_number(version))
        if live is None:
            self._count += 1
        elif live["metadata"].get("uid") != metadata.get("uid"):
            self.residues.pop(key, None)
        self._objects.setdefault(key.namespace, {})[key.name] = stored
        self._index(key, live, stored)
        self._tell(live, stored, own=own)
        return stored

    def _deleted(self, manifest: Manifest) -> bool:
        metadata = manifest["metadata"]
        uid, version = metadata.get("uid", ""), metadata.get("resourceVersion")
        # An object that leaves the watch's selector is DELETED too, with the version in which it lives on.
        self._bury(uid, version_number(version))
        self.newest = max(self.newest, version_number(version))
        key = key_of(manifest)
        live = self.get(key)
        if live is None or live["metadata"].get("uid") != uid:
            return False
        if version_number(version) < version_number(live["metadata"].get("resourceVersion")):
            return False  # it left the selector, and a later write of ours brought it back
        self._drop(key, live, own=False)
        return True

    def _drop(self, key: ObjectKey, live: Manifest, *, own: bool) -> None:
        objects = self._objects[key.namespace]
        del objects[key.name]
        if not objects:
            del self._objects[key.namespace]
        self._count -= 1
        self.residues.pop(key, None)
        self._index(key, live, None)
        self._tell(live, None, own=own)

    def _bury(self, uid: str, version: float) -> None:
        now = time.monotonic()
        for old in list(self._tombstones):
            if self._tombstones[old][1] > now:
                break  # in order of age
            del self._tombstones[old]
        known = self._tombstones.pop(uid, (version, 0.0))[0]
        self._tombstones[uid] = (max(known, version), now + _TOMBSTONE_SECONDS)

    def _index(self, key: ObjectKey, old: Manifest | None, new: Manifest | None) -> None:
        before = owner_of(old) if old is not None else None
        after = owner_of(new) if new is not None else None
        if before == after:
            return
        if before is not None:
            keys = self._children[before]
            keys.discard(key)
            if not keys:
                del self._children[before]
        if after is not None:
            self._children.setdefault(after, set()).add(key)

    def _tell(self, old: Manifest | None, new: Manifest | None, *, own: bool) -> None:
        for listener, own_writes in self._listeners:
            if own_writes or not own:
                listener(old, new)


class Cache:
    """A Store for each type; types are known once first asked for."""

    def __init__(self) -> None:
        self._slimmer = Slimmer()
        self._stores: dict[ResourceType, Store] = {}
        self.foreign: set[tuple[ResourceType, ObjectKey]] = set()
        """Names that turned out to be held by somebody else's objects, which no watch of ours shows."""

    def store(self, resource: ResourceType) -> Store:
        """The store of a type."""
        found = self._stores.get(resource)
        if found is None:
            found = self._stores[resource] = Store(resource, self._slimmer)
        return found

    def get(self, resource: ResourceType, key: ObjectKey) -> Manifest | None:
        """One object, or None."""
        return self.store(resource).get(key)

    def list(self, resource: ResourceType, namespace: str | None = None) -> Manifests:
        """The objects of a type, of one namespace if given."""
        return self.store(resource).list(namespace)

    def children(self, owner: Owner) -> Manifests:
        """The children of a resource, of all types that are cached."""
        return [child for store in self._stores.values() for child in store.children(owner)]

    def subscribe(self, resource: ResourceType, listener: Listener, *, own_writes: bool = True) -> None:
        """Call the listener after each change of a type.

        An index wants every change. What queues keys says `own_writes=False`: our own write is no news to us, and
        would only cause a second reconcile.
        """
        self.store(resource).subscribe(listener, own_writes=own_writes)

    def on_event(self, resource: ResourceType, event_type: str | None, manifest: Manifest) -> bool:
        """Take a watch event; False if it is old news."""
        return self.store(resource).on_event(event_type, manifest)

    def put(self, manifest: Manifest) -> Manifest:
        """Take an object that the API server answered; what the cache now has of it."""
        return self.store(resource_of(manifest)).put(manifest)

    def remove(self, resource: ResourceType, key: ObjectKey, uid: str) -> None:
        """Our delete of this uid was answered."""
        self.store(resource).remove(key, uid)


def version_number(version: object) -> float:
    """A resourceVersion as a number. Anything else counts as older than all, and is compared for equality only."""
    try:
        return int(str(version))
    except ValueError:
        return -math.inf


def _newer(version: object, than: object) -> bool:
    """True if an object of `version` should replace one of version `than`."""
    if version == than:
        return False
    left, right = version_number(version), version_number(than)
    return left > right or left == -math.inf or right == -math.inf
