"""Offline validation of manifests: the verdict of the API server (fieldValidation=Strict) without an API server.

`check_manifest` judges one object, `check_text` every document of a YAML text; each Problem names the field, what is
wrong, and the remedy.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel

from ameide_shared.spec.documents import Document, read_documents
from ameide_shared.spec.problems import Location, Problem, model_in, path_of
from ameide_shared.spec.resource import ResourceModel
from ameide_shared.vocabulary import API_VERSION, GROUP, KINDS

_METADATA_FIELDS: Final[Mapping[str, type]] = {
    "annotations": dict,
    "creationTimestamp": str,
    "deletionGracePeriodSeconds": int,
    "deletionTimestamp": str,
    "finalizers": list,
    "generateName": str,
    "generation": int,
    "labels": dict,
    "managedFields": list,
    "name": str,
    "namespace": str,
    "ownerReferences": list,
    "resourceVersion": str,
    "selfLink": str,
    "uid": str,
}
_ANNOTATIONS_BYTES: Final = 262_144
_LABEL: Final = re.compile("[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN: Final = re.compile(rf"{_LABEL.pattern}(\.{_LABEL.pattern})*")
_NAME_PART: Final = re.compile("([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_RANDOM_SUFFIX: Final = "x" * 5
_GENERATED_BASE: Final = 58
"""The API server appends five characters to generateName, cut to this length."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem of one document of a file."""

    file: str
    document: int
    line: int
    object: str
    problem: Problem

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.object}: {self.problem}"

    def as_dict(self) -> dict[str, Any]:
        """The JSON shape that programs read."""
        return {
            "file": self.file,
            "document": self.document,
            "line": self.line,
            "object": self.object,
            "field": self.problem.field,
            "message": self.problem.message,
            "remedy": self.problem.remedy,
        }


@dataclass(frozen=True, slots=True)
class Report:
    """What was checked: objects of our kinds, documents of other kinds, and every finding."""

    checked: int
    skipped: int
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        return not self.findings


def check_manifest(
    manifest: Mapping[str, Any], model: type[ResourceModel], old: Mapping[str, Any] | None = None
) -> list[Problem]:
    """What the API server would refuse in `manifest`; with `old`, in its change from `old` to `manifest`."""
    problems = list(_metadata_problems(manifest.get("metadata")))
    problems += _unknown_status_fields(manifest.get("status"), model)
    _, found = model.examine(_with_name(manifest), old)
    known = {problem.field for problem in problems}
    return problems + [problem for problem in found if problem.field not in known]


def check_text(text: str, models: Iterable[type[ResourceModel]], file: str = "<text>") -> Report:
    """Check each document of a YAML text that is of one of our kinds; a `List` is taken apart."""
    by_kind = {model.__name__: model for model in models}
    checked = skipped = 0
    findings: list[Finding] = []
    for document in read_documents(text, file):
        if document.problem is not None:
            findings.append(Finding(file, document.index, document.first_line, "document", document.problem))
            continue
        for loc, item in items_of(document.manifest):
            model, problem = _model_for(item, by_kind)
            if model is None and problem is None:
                skipped += 1
                continue
            checked += 1
            problems = [problem] if problem is not None else check_manifest(item, model) if model else []
            findings += [_finding(document, item, loc, found) for found in problems]
    return Report(checked, skipped, tuple(findings))


def _finding(document: Document, item: Any, loc: Location, problem: Problem) -> Finding:
    line = document.line_of((*loc, *problem.loc))
    return Finding(document.file, document.index, line, _title(item), problem)


def _title(item: Any) -> str:
    """`Domain shop/orders`, as far as the manifest says so."""
    if not isinstance(item, Mapping):
        return "document"
    metadata = item.get("metadata")
    metadata = metadata if isinstance(metadata, Mapping) else {}
    name = metadata.get("name") or metadata.get("generateName") or "(no name)"
    namespace = metadata.get("namespace")
    return f"{item.get('kind') or 'object'} {f'{namespace}/' if namespace else ''}{name}"


def items_of(manifest: Any) -> Iterator[tuple[Location, Any]]:
    """The objects of a document, each with its place in it: itself, or the items of a List. They may be no objects."""
    if isinstance(manifest, Mapping) and manifest.get("kind") == "List" and isinstance(manifest.get("items"), list):
        for index, item in enumerate(manifest["items"]):
            yield ("items", index), item
    else:
        yield (), manifest


def _model_for(
    item: Any, by_kind: Mapping[str, type[ResourceModel]]
) -> tuple[type[ResourceModel] | None, Problem | None]:
    """The model that judges a manifest, or why none can; (None, None) for other people's kinds."""
    if not isinstance(item, Mapping):
        return None, Problem("document", "is not an object", "write apiVersion, kind, metadata and spec")
    api_version, kind = item.get("apiVersion"), item.get("kind")
    for field, value in (("apiVersion", api_version), ("kind", kind)):
        if not isinstance(value, str) or not value:
            return None, Problem(field, "is missing", f"write {field}, as in {API_VERSION}, Domain", (field,))
    group = str(api_version).partition("/")[0]
    if group != GROUP:
        return None, None
    if api_version != API_VERSION:
        message = f"{api_version} is not a served version"
        return None, Problem("apiVersion", message, f"write {API_VERSION}", ("apiVersion",))
    if kind in KINDS and kind not in by_kind:
        return None, None  # another operator's `check` judges it
    if kind not in by_kind:
        known = ", ".join(sorted(by_kind))
        return None, Problem("kind", f"{kind} is not checked here", f"this program checks {known}", ("kind",))
    return by_kind[str(kind)], None


def _with_name(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    """The manifest with only the metadata that rules read, and a name as generateName would give it."""
    metadata = manifest.get("metadata")
    if not isinstance(metadata, Mapping):
        return {**manifest, "metadata": {}}
    name = metadata.get("name")
    base = metadata.get("generateName")
    if not name and isinstance(base, str) and base:
        name = base[:_GENERATED_BASE] + _RANDOM_SUFFIX
    return {**manifest, "metadata": {"name": name} if isinstance(name, str) else {}}


def _metadata_problems(metadata: Any) -> Iterator[Problem]:
    """Faults of the standard metadata: names, unknown fields, labels and annotations."""
    if not isinstance(metadata, Mapping):
        yield Problem("metadata", "is required", "write metadata with a name", ("metadata",))
        return
    for key, value in metadata.items():
        loc = ("metadata", key)
        wanted = _METADATA_FIELDS.get(key)
        if wanted is None:
            yield Problem(path_of(loc), "is not a field of object metadata", "remove it, or move it under spec", loc)
        elif value is not None and (not isinstance(value, wanted) or isinstance(value, bool)):
            names = {dict: "a map", str: "a string", int: "an integer", list: "a list"}
            yield Problem(path_of(loc), f"must be {names[wanted]}", f"write {names[wanted]}", loc)
    yield from _name_problems(metadata)
    yield from _map_problems("labels", metadata.get("labels"))
    yield from _map_problems("annotations", metadata.get("annotations"))


def _name_problems(metadata: Mapping[str, Any]) -> Iterator[Problem]:
    name, base = metadata.get("name"), metadata.get("generateName")
    if not name and not base:
        yield Problem("metadata.name", "is required", "choose a name, or set generateName", ("metadata", "name"))
    namespace = metadata.get("namespace")
    if isinstance(namespace, str) and namespace and not (_LABEL.fullmatch(namespace) and len(namespace) <= 63):
        loc = ("metadata", "namespace")
        yield Problem("metadata.namespace", f"{namespace!r} is not the name of a namespace", "use a DNS label", loc)


def _map_problems(which: str, entries: Any) -> Iterator[Problem]:
    """Keys and values of metadata.labels or metadata.annotations."""
    if not isinstance(entries, Mapping):
        return
    total = 0
    for key, value in entries.items():
        loc = ("metadata", which, str(key))
        where = f"metadata.{which}[{key}]"
        if not _is_qualified(key.lower() if which == "annotations" else key):
            remedy = "write name or domain/name: letters, digits, '-', '_' and '.', the name at most 63 long"
            yield Problem(where, f"{key!r} is not the key of a label or annotation", remedy, loc)
        if value is None:
            continue
        if not isinstance(value, str):
            shown = str(value).lower() if isinstance(value, bool) else value
            yield Problem(where, "must be a string", f'write it in quotes: "{shown}"', loc)
            continue
        total += len(key.encode()) + len(value.encode())
        if which == "labels" and value and not (len(value) <= 63 and _NAME_PART.fullmatch(value)):
            remedy = "use at most 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or digit"
            yield Problem(where, f"{value!r} is not a label value", remedy, loc)
    if which == "annotations" and total > _ANNOTATIONS_BYTES:
        message = f"hold {total} bytes together, more than {_ANNOTATIONS_BYTES}"
        yield Problem("metadata.annotations", message, "shorten them", ("metadata", "annotations"))


def _is_qualified(key: str) -> bool:
    prefix, slash, name = key.rpartition("/")
    if slash and not (_SUBDOMAIN.fullmatch(prefix) and len(prefix) <= 253):
        return False
    return len(name) <= 63 and _NAME_PART.fullmatch(name) is not None


def _unknown_status_fields(status: Any, model: type[ResourceModel]) -> list[Problem]:
    """Status is dropped on creation, yet strict validation refuses fields in it that the schema does not have."""
    if not isinstance(status, Mapping):
        return []
    return list(_unknown_fields(status, model.STATUS, ("status",)))


def _unknown_fields(value: Any, model: type[BaseModel], loc: Location) -> Iterator[Problem]:
    fields = {info.alias: info for info in model.model_fields.values()}
    for key, item in value.items():
        where = (*loc, key)
        if key not in fields:
            yield Problem(
                path_of(where), "is not a field of the status", "remove status: the operator writes it", where
            )
            continue
        child = model_in(fields[key].annotation)
        if child is None:
            continue
        if isinstance(item, Mapping):
            yield from _unknown_fields(item, child, where)
        elif isinstance(item, list):
            for index, entry in enumerate(item):
                if isinstance(entry, Mapping):
                    yield from _unknown_fields(entry, child, (*where, index))
