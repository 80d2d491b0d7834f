"""Immutable ConfigMaps, named by the digest of their content: a new content is a new object, and rolls the pods."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from ameide_shared.builders.identity import Primitive, bounded_name, child_metadata
from ameide_shared.kube.resources import CONFIG_MAP

SIZE_LIMIT = 1024 * 1024
"""Bytes that a ConfigMap's data may have, keys included; the API server refuses more."""


def data_digest(data: Mapping[str, str]) -> str:
    """The digest of a ConfigMap's or file set's content: 10 hex digits."""
    canonical = json.dumps(dict(data), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:10]


def config_map(
    primitive: Primitive,
    base_name: str,
    data: Mapping[str, str],
    *,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """An immutable ConfigMap named `<base_name>-<digest>`. Raises ValueError if the content is too large for one."""
    size = sum(len(key.encode()) + len(value.encode()) for key, value in data.items())
    if size > SIZE_LIMIT:
        raise ValueError(f"ConfigMap {base_name} would hold {size} bytes; the API server accepts {SIZE_LIMIT}")
    name = bounded_name(base_name, f"-{data_digest(data)}")
    return {
        "apiVersion": CONFIG_MAP.api_version,
        "kind": CONFIG_MAP.kind,
        "metadata": child_metadata(primitive, name, labels=labels, annotations=annotations),
        "immutable": True,
        "data": dict(sorted(data.items())),
    }
