"""A pod's volumes as folders, and each container's file system as links into them.

There are no mount namespaces: what a container would see at /etc/config lies at $AMEIDE_HOST_ROOT/etc/config.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ameide_dev.hostnode_env import Lookup, NotResolvedError, data_of, field_value, resource_value

Object = Mapping[str, Any]
Token = Callable[[str, int], str]
"""(audience or "", lifetime in seconds) → a token of the pod's service account."""

_SUPPORTED = ("configMap", "secret", "emptyDir", "downwardAPI", "projected", "hostPath")


class Volumes:
    """The volumes of one pod below `folder`; `write` may be called again to bring changed content in."""

    def __init__(self, pod: Object, folder: Path, addresses: Mapping[str, str], lookup: Lookup, token: Token) -> None:
        self._pod = pod
        self._folder = folder
        self._addresses = addresses
        self._lookup = lookup
        self._token = token

    @property
    def changing(self) -> bool:
        """Whether the content of any volume can change during the pod's life."""
        kinds = ("configMap", "secret", "downwardAPI", "projected")
        return any(kind in volume for volume in self._pod["spec"].get("volumes", []) for kind in kinds)

    def write(self) -> None:
        """Write every volume's files. Raises NotResolvedError when a source is missing or of an unsupported kind."""
        for volume in self._pod["spec"].get("volumes", []):
            path = self.path_of(volume["name"])
            kind = next((kind for kind in _SUPPORTED if kind in volume), None)
            if kind is None:
                raise NotResolvedError(f'volume "{volume["name"]}" is of a kind that the host node does not support')
            if kind == "hostPath":
                if not path.is_symlink():
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.symlink_to(volume["hostPath"]["path"])
                continue
            path.mkdir(parents=True, exist_ok=True)
            files = {} if kind == "emptyDir" else self._files({kind: volume[kind]}, volume[kind])
            for name, content in files.items():
                _replace(path / name, content)
            if kind != "emptyDir":
                for stale in {entry for entry in path.rglob("*") if entry.is_file()} - {path / name for name in files}:
                    stale.unlink()

    def path_of(self, volume: str) -> Path:
        """The folder of a volume."""
        return self._folder / volume

    def mount(self, container: Object, root: Path, files: Mapping[str, Path]) -> None:
        """Lay out a container's file system below `root`: the image's files first, then its volume mounts."""
        places = dict(files)
        for mount in container.get("volumeMounts", []):
            target = self.path_of(mount["name"])
            if sub := mount.get("subPath"):
                target /= sub
                if not target.exists():
                    target.mkdir(parents=True)
            places[mount["mountPath"]] = target
        for path in sorted(places, key=len):
            link = root / path.strip("/")
            if any(parent.is_symlink() for parent in link.parents if parent.is_relative_to(root) and parent != root):
                continue  # lies inside another mount, which cannot hold a link to it
            link.parent.mkdir(parents=True, exist_ok=True)
            if link.is_symlink():
                link.unlink()
            link.symlink_to(places[path])

    def _files(self, source: Object, options: Object) -> dict[str, bytes]:
        if "projected" in source:
            merged: dict[str, bytes] = {}
            for part in source["projected"].get("sources", []):
                kind = next(iter(part))
                merged.update(self._files(part, part[kind]))
            return merged
        if "serviceAccountToken" in source:
            text = self._token(options.get("audience", ""), options.get("expirationSeconds", 3600))
            return {options["path"]: text.encode()}
        if "downwardAPI" in source:
            return {item["path"]: self._downward(item) for item in options.get("items", [])}
        secret = "secret" in source
        name = options.get("secretName") or options.get("name") or ""
        found = self._lookup.secret(name) if secret else self._lookup.config_map(name)
        if found is None:
            if options.get("optional"):
                return {}
            raise NotResolvedError(f'{"secret" if secret else "configmap"} "{name}" not found')
        data = data_of(found)
        items = options.get("items")
        if not items:
            return data
        missing = [item["key"] for item in items if item["key"] not in data]
        if missing and not options.get("optional"):
            raise NotResolvedError(f'"{name}" references non-existent key: {missing[0]}')
        return {item["path"]: data[item["key"]] for item in items if item["key"] in data}

    def _downward(self, item: Object) -> bytes:
        if "fieldRef" in item:
            return field_value(self._pod, item["fieldRef"]["fieldPath"], self._addresses).encode()
        containers = self._pod["spec"]["containers"]
        return resource_value(self._pod, containers[0], item["resourceFieldRef"]).encode()


def _replace(path: Path, content: bytes) -> None:
    if path.exists() and path.read_bytes() == content:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    draft.replace(path)


def real_path(text: str, root: Path, container: Object) -> str:
    """Where `text` really is if it is a path in one of the container's mounts; anything else is returned unchanged."""
    for mount in container.get("volumeMounts", []):
        path = mount["mountPath"].rstrip("/")
        if text == path or text.startswith(path + "/"):
            return str(root) + text
    return text
