"""Manifests from files: the resources that a subcommand is about, and what an observed cluster holds."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from ameide_shared.check import check_manifest
from ameide_shared.cli.definition import Definition
from ameide_shared.cli.errors import Trouble
from ameide_shared.kube.resources import Manifest, ObjectKey, key_of, resource_of
from ameide_shared.spec.documents import read_documents
from ameide_shared.vocabulary import API_VERSION

STDIN: Final = "-"
_SUFFIXES: Final = (".yaml", ".yml", ".json")


@dataclass(frozen=True, slots=True)
class Given:
    """What files hold: resources of the operator's kind, other objects of known kinds, and how many others."""

    resources: tuple[dict[str, Any], ...]
    others: tuple[dict[str, Any], ...]
    unknown: tuple[str, ...] = ()


def with_others(given: Given, more: Iterable[Manifest]) -> Given:
    """What files hold, and further objects."""
    return replace(given, others=(*given.others, *(dict(one) for one in more)))


def read_text(path: str) -> str:
    """The text of a file; `-` is standard input. Raises Trouble where it is not UTF-8 text."""
    try:
        return sys.stdin.read() if path == STDIN else Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise Trouble(f"{path}: is not UTF-8 text: {error}") from None


def files_of(path: str) -> list[str]:
    """A file itself; the YAML and JSON files below a directory, in order, but for definitions."""
    root = Path(path)
    if path == STDIN or not root.is_dir():
        return [path]
    found = sorted(
        str(file)
        for file in root.rglob("*")
        if file.suffix in _SUFFIXES and file.is_file() and not _is_definition(file)
    )
    if not found:
        raise Trouble(f"{path}: holds no {', '.join(_SUFFIXES)} files")
    return found


def _is_definition(file: Path) -> bool:
    """Whether a file holds a definition as JSON: of a process (BPMN), or of an agent, which has no kind either.

    It may lie beside the manifests that refer to it.
    """
    if file.suffix != ".json":
        return False
    try:
        content = json.loads(file.read_bytes())
    except ValueError:
        return False  # whoever reads it says what is wrong with it
    if not isinstance(content, dict):
        return False
    return str(content.get("$type", "")).startswith("bpmn:") or not {"apiVersion", "kind"} & set(content)


def read(definition: Definition, paths: Sequence[str], namespace: str = "default") -> Given:
    """Everything in files and directories. Objects without a namespace get `namespace`."""
    resources: list[dict[str, Any]] = []
    others: list[dict[str, Any]] = []
    unknown: list[str] = []
    for manifest in _manifests(paths):
        kind = f"{manifest.get('apiVersion')} {manifest.get('kind')}"
        try:
            resource = resource_of(manifest)
            key_of(manifest)
        except (KeyError, TypeError, AttributeError):
            unknown.append(kind)
            continue
        if resource.namespaced:
            manifest = _placed(manifest, namespace)
        (resources if resource is definition.resource else others).append(manifest)
    return Given(tuple(resources), tuple(others), tuple(unknown))


def wanted(
    definition: Definition, paths: Sequence[str], namespace: str | None = None, default: str = "default"
) -> Given:
    """As `read`, but there must be at least one resource of the operator's kind, and each must meet its schema.

    With `namespace` they must be of that one; `default` is for those that name none where none is demanded.
    """
    given = read(definition, paths, namespace or default)
    kind = definition.resource.kind
    if not given.resources:
        raise Trouble(f"{', '.join(paths)}: holds no {kind} (apiVersion: {API_VERSION}, kind: {kind})")
    for manifest in given.resources:
        if namespace and manifest["metadata"]["namespace"] != namespace:
            found = manifest["metadata"]["namespace"]
            raise Trouble(f"{_title(manifest)}: its namespace is {found}, not {namespace}; leave out --namespace")
        problems = check_manifest(manifest, definition.model)
        if problems:
            lines = "".join(f"\n  {problem}" for problem in problems)
            raise Trouble(f"{_title(manifest)} is not valid:{lines}")
    return given


def _manifests(paths: Sequence[str]) -> Iterator[dict[str, Any]]:
    for path in (file for given in paths for file in files_of(given)):
        for document in read_documents(read_text(path), path):
            if document.problem is not None:
                raise Trouble(f"{path}:{document.first_line}: {document.problem}")
            for item in _items(document.manifest):
                if not isinstance(item, dict) or not isinstance(item.get("metadata"), dict):
                    raise Trouble(f"{path}:{document.first_line}: is not a Kubernetes object with metadata")
                yield item


def _items(manifest: Any) -> list[Any]:
    if isinstance(manifest, dict) and str(manifest.get("kind", "")).endswith("List") and "items" in manifest:
        kind, api_version = str(manifest["kind"]).removesuffix("List"), manifest.get("apiVersion")
        defaults = {"apiVersion": api_version, "kind": kind} if kind else {}
        return [{**defaults, **item} if isinstance(item, dict) else item for item in manifest["items"] or ()]
    return [manifest]


def _placed(manifest: dict[str, Any], namespace: str) -> dict[str, Any]:
    metadata = manifest["metadata"]
    return {**manifest, "metadata": {**metadata, "namespace": metadata.get("namespace") or namespace}}


def _title(manifest: Manifest) -> str:
    return f"{manifest['kind']} {key_of(manifest)}"


def by_key(objects: Sequence[Manifest]) -> dict[tuple[str, ObjectKey], Manifest]:
    """Objects by kind and key; the last of each stays."""
    return {(str(resource_of(manifest)), key_of(manifest)): manifest for manifest in objects}


def overlaid(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the fields of `over`; maps are merged, everything else is replaced."""
    result = dict(base)
    for key, value in over.items():
        before = result.get(key)
        both = isinstance(before, Mapping) and isinstance(value, Mapping)
        result[key] = overlaid(before, value) if both else value  # type: ignore[arg-type]  # both are Mappings here
    return result
