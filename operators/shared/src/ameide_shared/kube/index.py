"""A secondary index over a store of the cache: which objects have a value, kept current by the store's events."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable

from ameide_shared.kube.cache import Cache
from ameide_shared.kube.resources import Manifest, ObjectKey, ResourceType, key_of

Values = Callable[[Manifest], Iterable[Hashable]]


class Index:
    """Keys of objects by the values that `values` reads from each of them."""

    def __init__(self, cache: Cache, resource: ResourceType, values: Values) -> None:
        self._values = values
        self._keys: dict[Hashable, set[ObjectKey]] = {}
        for manifest in cache.store(resource).list():
            self._changed(None, manifest)
        cache.subscribe(resource, self._changed)

    def keys(self, value: Hashable) -> list[ObjectKey]:
        """The keys of the objects that have this value, in order."""
        return sorted(self._keys.get(value, ()))

    def _changed(self, old: Manifest | None, new: Manifest | None) -> None:
        before = set(self._values(old)) if old is not None else set()
        after = set(self._values(new)) if new is not None else set()
        if before == after:
            return
        key = key_of(new if new is not None else old or {})
        for value in before - after:
            holders = self._keys[value]
            holders.discard(key)
            if not holders:
                del self._keys[value]
        for value in after - before:
            self._keys.setdefault(value, set()).add(key)
