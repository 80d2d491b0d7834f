"""Which fields a manifest sets, as a digest: when it changes, fields that we own by an earlier write may have to go.

A pure function. Comparing with the live object cannot tell this: what we no longer want looks like somebody else's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from ameide_shared.kube.differ import NOT_OWNED, as_stored
from ameide_shared.kube.resources import Manifest
from ameide_shared.kube.shapes import PLAIN, Shape, shape_of
from ameide_shared.vocabulary import ANNOTATION_FIELD_SET

_METADATA_NOT_OWNED = frozenset(("name", "namespace", "uid", "resourceVersion", "generateName"))


def field_set_digest(manifest: Manifest) -> str:
    """Ten hexadecimal digits for the set of field paths that a manifest sets, whatever their values.

    It changes exactly when a field, or an item of a list with keys, is added or dropped: that is when fields that we
    own by an earlier write might have to go. Order does not matter.
    """
    shape = shape_of(str(manifest.get("apiVersion", "")), str(manifest.get("kind", "")))
    owned = {name: value for name, value in as_stored(manifest).items() if name not in NOT_OWNED}
    metadata = {name: value for name, value in owned.get("metadata", {}).items() if name not in _METADATA_NOT_OWNED}
    if annotations := metadata.get("annotations"):
        others = {name: value for name, value in annotations.items() if name != ANNOTATION_FIELD_SET}
        metadata["annotations"] = others or None
    text = _outline({**owned, "metadata": metadata}, shape)
    return hashlib.blake2b(text.encode(), digest_size=5).hexdigest()


def _outline(value: Mapping[str, Any], shape: Shape) -> str:
    """The names in a map and below it, as text that is the same for the same set of paths and for no other."""
    parts = []
    fields, other = shape.fields, shape.other or PLAIN
    for name, inner in value.items():
        if type(inner) is str:  # the most frequent case by far
            parts.append(name)
            continue
        if inner is None:
            continue
        child = fields.get(name) or other
        if isinstance(inner, Mapping):
            parts.append(name if child.atomic else name + _outline(inner, child))
        elif isinstance(inner, list):
            if child.keys:
                defaults, item = child.defaults, child.other or PLAIN
                elements = [
                    "\2".join([str(element.get(key, defaults.get(key))) for key in child.keys])
                    + _outline(element, item)
                    for element in inner
                ]
            elif child.unordered:
                elements = [str(element) for element in inner]
            else:
                parts.append(name)
                continue
            elements.sort()
            parts.append(f"{name}\3" + "\1".join(elements) + "\4")
        else:
            parts.append(name)
    if not parts:
        return ""
    parts.sort()
    return "\5" + "\1".join(parts) + "\6"
