"""Which fields go when our field manager no longer names them, read from an object's managedFields.

Children are created by POST, so that at first we own their fields by an update. A later, smaller apply drops what we
owned so only after that ownership was moved, which a dry run cannot do in one step: here the rest is done.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from ameide_shared.kube.resources import Manifest

Fields = Mapping[str, Any]
"""A fieldsV1 tree."""


def without_dropped(before: Manifest, after: Manifest, manager: str) -> dict[str, Any]:
    """`after` (an apply's answer) without the fields that we alone owned by update and that the apply left out."""
    updated = _fields(before, lambda entry: entry.get("manager") == manager and entry.get("operation") == "Update")
    kept = _fields(after, lambda entry: not (entry.get("manager") == manager and entry.get("operation") == "Update"))
    result = {key: _pruned(value, updated.get(f"f:{key}"), kept.get(f"f:{key}")) for key, value in after.items()}
    return {key: value for key, value in result.items() if value is not _GONE}


_GONE: Any = object()


def _fields(manifest: Manifest, chosen: Any) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for entry in manifest["metadata"].get("managedFields") or ():
        if chosen(entry) and not entry.get("subresource"):
            _merge(tree, entry.get("fieldsV1") or {})
    return tree


def _merge(tree: dict[str, Any], more: Fields) -> None:
    for key, below in more.items():
        _merge(tree.setdefault(key, {}), below)


def _pruned(value: Any, owned: Fields | None, kept: Fields | None) -> Any:
    """The value without what is `owned` and not `kept`; _GONE if nothing is left of it."""
    if owned is None:
        return value
    if kept is None:
        return _GONE
    if isinstance(value, Mapping):
        items = {key: _pruned(item, owned.get(f"f:{key}"), kept.get(f"f:{key}")) for key, item in value.items()}
        return {key: item for key, item in items.items() if item is not _GONE}
    if isinstance(value, list):
        pruned = [_pruned(item, *(_entry(tree, item) for tree in (owned, kept))) for item in value]
        return [item for item in pruned if item is not _GONE]
    return value


def _entry(tree: Fields, item: Any) -> Fields | None:
    """The subtree of a list's item, by its key (`k:{"name":"app"}`) or its value (`v:"x"`)."""
    for key, below in _identities(tree):
        kind, _, text = key.partition(":")
        identity = json.loads(text)
        if kind == "v" and identity == item:
            return below
        if kind == "k" and isinstance(item, Mapping) and identity.items() <= item.items():
            return below
    return None


def _identities(tree: Fields) -> Iterable[tuple[str, Fields]]:
    return ((key, below) for key, below in tree.items() if key.startswith(("k:", "v:")))
