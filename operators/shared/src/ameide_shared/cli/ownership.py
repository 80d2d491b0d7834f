"""Which fields go when our field manager no longer names them, read from an object's managedFields.

Children are created by POST, so that at first we own their fields by an update. A later, smaller apply drops what we
owned so only after that ownership was moved, which a dry run cannot do in one step: here the rest is done.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from ameide_shared.kube.resources import Manifest

Fields = Mapping[str, Any]
"""A fieldsV1 tree."""
_GONE: Any = object()


def owned_by_update(manifest: Manifest, manager: str) -> bool:
    """Whether our field manager owns fields of an object by an update (or create)."""
    return any(_is_update(entry, manager) for entry in manifest["metadata"].get("managedFields") or ())


def without_dropped(before: Manifest, after: Manifest, fresh: Manifest, manager: str) -> dict[str, Any]:
    """`after` (an apply's answer) without the fields that we alone owned by update and that the apply left out.

    `fresh` is what the API server would make of the same manifest as a new object: what it has besides is a default,
    which we own as well, and which comes back by itself.
    """
    updated = _fields(before, lambda entry: _is_update(entry, manager))
    kept = _fields(after, lambda entry: not _is_update(entry, manager))
    return dict(_pruned(after, {**updated, "f:status": None}, kept, fresh))


def _is_update(entry: Mapping[str, Any], manager: str) -> bool:
    return entry.get("manager") == manager and entry.get("operation") == "Update" and not entry.get("subresource")


def _fields(manifest: Manifest, chosen: Callable[[Mapping[str, Any]], bool]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for entry in manifest["metadata"].get("managedFields") or ():
        if chosen(entry):
            _merge(tree, entry.get("fieldsV1") or {})
    return tree


def _merge(tree: dict[str, Any], more: Fields) -> None:
    for key, below in more.items():
        _merge(tree.setdefault(key, {}), below)


def _pruned(value: Any, owned: Fields | None, kept: Fields | None, fresh: Any) -> Any:
    """The value without what is `owned`, not `kept`, and not in `fresh`; _GONE if it goes itself."""
    if owned is None:
        return value
    if kept is None:
        if fresh is _GONE:
            return _GONE
        kept = {}
    if isinstance(value, Mapping):
        others = fresh if isinstance(fresh, Mapping) else {}
        items = {
            key: _pruned(item, owned.get(f"f:{key}"), kept.get(f"f:{key}"), others.get(key, _GONE))
            for key, item in value.items()
        }
        return {key: item for key, item in items.items() if item is not _GONE}
    if isinstance(value, list):
        pruned = [_pruned_item(item, owned, kept, fresh) for item in value]
        return [item for item in pruned if item is not _GONE]
    return value


def _pruned_item(item: Any, owned: Fields, kept: Fields, fresh: Any) -> Any:
    """The same for an item of a list, which fieldsV1 names by key (`k:{"name":"app"}`) or by value (`v:"x"`)."""
    name = next((key for key in owned if _names(key, item)), None)
    if name is None:
        return item
    others = fresh if isinstance(fresh, list) else []
    twin = next((other for other in others if _names(name, other)), _GONE)
    return _pruned(item, owned[name], kept.get(name), twin)


def _names(key: str, item: Any) -> bool:
    kind, _, text = key.partition(":")
    if kind == "v":
        return bool(json.loads(text) == item)
    return kind == "k" and isinstance(item, Mapping) and json.loads(text).items() <= item.items()
