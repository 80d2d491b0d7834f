"""Immutable ConfigMaps as children: named by their content, written once, and put right where somebody replaced one."""

from __future__ import annotations

from ameide_shared.builders.identity import Primitive, is_owned
from ameide_shared.kube.resources import CONFIG_MAP, Manifest, key_of
from ameide_shared.plan import Action, Delete, Ensure
from ameide_shared.snapshot import Snapshot


def ensure_immutable(
    primitive: Primitive, objects: Snapshot, manifest: Manifest, reason: str, *, required: bool = False
) -> Action:
    """The ConfigMap; or that the one goes which somebody made anew in its place, with our marks and another content.

    It comes back in the next pass.
    """
    key = key_of(manifest)
    live = objects.get(CONFIG_MAP, key.namespace, key.name)
    ours = live is not None and is_owned(primitive, live) and not live["metadata"].get("deletionTimestamp")
    if live is not None and ours and any(live.get(part) != manifest[part] for part in ("data", "immutable")):
        return Delete(CONFIG_MAP, key, live["metadata"]["uid"], "somebody made it anew with another content")
    return Ensure(manifest, reason, create_only=True, required=required)
