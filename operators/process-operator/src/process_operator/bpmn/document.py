"""Reads the JSON of a definition into nodes, checked against the metamodel: types, attributes, ids and references.

Accepted is what bpmn-moddle's objects look like as JSON, with each reference written as the id it refers to: as text,
or as an object with `id` or `$ref`. Keys that begin with `$` belong to moddle and are skipped, `$attrs` excepted.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from process_operator.bpmn import metamodel
from process_operator.bpmn.extensions import EXTENSIONS, Extension, Value
from process_operator.bpmn.extensions import PREFIX as EXTENSION_PREFIX
from process_operator.bpmn.metamodel import TYPES, Form, Property, Type
from process_operator.bpmn.node import Node
from process_operator.bpmn.problems import Problems

_ID: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
MAX_ID: Final = 200
"""Characters of an id."""


class Reader:
    """Reads one definition; everything wrong goes to `problems`."""

    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self._must_understand: frozenset[str] = frozenset()

    def read(self, definition: object) -> Node | None:
        """The node of the whole definition, or None if it is no `bpmn:Definitions`."""
        raw = definition if isinstance(definition, Mapping) else {}
        kind = raw.get("$type")
        if kind != "bpmn:Definitions":
            self._problems.add(
                _own_id(raw),
                "",
                f"the definition is not of type bpmn:Definitions but {_shown(kind)}",
                'serialise the bpmn:Definitions object of bpmn-moddle, with its "$type"',
            )
            return None
        return self._node(raw, "Definitions", "", "")

    def _node(self, raw: Any, expected: str, owner: str, path: str) -> Node | None:
        if not isinstance(raw, Mapping):
            self._problems.add(
                owner,
                path,
                f"there is {_shown(raw)} where a bpmn:{expected} is expected",
                'write an object with "$type"',
            )
            return None
        own = _own_id(raw)
        owner = own or owner
        type_ = self._type(raw, expected, owner, path)
        if type_ is None:
            return None
        self._check_id(raw, own, owner, path)
        values: dict[str, Any] = {}
        for key, value in raw.items():
            self._attribute(type_, key, value, owner, path, values)
        extensions = tuple(self._extensions(raw.get("extensionElements"), type_, owner, path))
        return Node(type_, own, owner, path, values, extensions)

    def _type(self, raw: Mapping[str, Any], expected: str, owner: str, path: str) -> Type | None:
        name = raw.get("$type")
        if not isinstance(name, str):
            self._problems.add(owner, path, 'the element has no "$type"', f"set it to a kind of bpmn:{expected}")
            return None
        type_ = TYPES.get(name.removeprefix(metamodel.PREFIX)) if name.startswith(metamodel.PREFIX) else None
        if type_ is None or type_.abstract:
            known = [
                f"{metamodel.PREFIX}{item.name}" for item in TYPES.values() if item.is_a(expected) and not item.abstract
            ]
            self._problems.add(
                owner,
                path,
                f"{_clip(name)} is not a known type of element",
                _closest(name, known, f"use a bpmn:{expected}"),
            )
            return None
        if not type_.is_a(expected):
            self._problems.add(
                owner,
                path,
                f"a bpmn:{type_.name} cannot stand here",
                f"a bpmn:{expected} is expected; move or remove it",
            )
            return None
        return type_

    def _check_id(self, raw: Mapping[str, Any], own: str, owner: str, path: str) -> None:
        given = raw.get("id")
        if given is None:
            return
        if not own or not _ID.fullmatch(own) or len(own) > MAX_ID:
            self._problems.add(
                owner,
                f"{path}.id".lstrip("."),
                f"{_shown(given)} cannot be an id",
                f"begin with a letter or _, go on with letters, digits, '_', '-' and '.', up to {MAX_ID} characters",
            )

    def _attribute(self, type_: Type, key: str, value: Any, owner: str, path: str, values: dict[str, Any]) -> None:
        here = f"{path}.{key}".lstrip(".")
        if key == "$attrs" and isinstance(value, Mapping):
            for name, inner in value.items():
                self._attribute(type_, name, inner, owner, path, values)
            return
        if key in ("extensionElements", "id", "xmlns") or key.startswith("$") or value is None:
            return
        prefix, colon, _ = key.partition(":")
        if colon:
            self._foreign_attribute(prefix, key, owner, here)
            return
        known = type_.properties.get(key)
        if known is None:
            self._problems.add(
                owner,
                here,
                f"{_clip(key)} is not an attribute of bpmn:{type_.name}",
                _closest(key, list(type_.properties), "remove it"),
            )
            return
        read = self._value(known, value, owner, here)
        if read is not None:
            values[key] = read

    def _foreign_attribute(self, prefix: str, key: str, owner: str, path: str) -> None:
        if prefix in ("xmlns", "xsi", "xml"):
            return
        if f"{prefix}:" == EXTENSION_PREFIX:
            self._problems.add(
                owner,
                path,
                f"{_clip(key)} is not known",
                "ameide extensions are elements in extensionElements, not attributes",
            )
        else:
            self._problems.warn(owner, path, f"{_clip(key)} is of another tool and has no effect", "remove it")

    def _value(self, known: Property, value: Any, owner: str, path: str) -> Any:
        match known.form:
            case Form.ANYTHING:
                return None
            case Form.PART:
                return self._node(value, known.range, owner, path)
            case Form.PARTS if isinstance(value, list):
                parts = [self._node(item, known.range, owner, f"{path}[{at}]") for at, item in enumerate(value)]
                return tuple(part for part in parts if part is not None)
            case Form.REFERENCE if (target := _reference(value)) is not None:
                return target
            case Form.REFERENCES if isinstance(value, list):
                targets = [_reference(item) for item in value]
                if None not in targets:
                    return tuple(targets)
            case Form.TEXT if isinstance(value, str):
                return value
            case Form.FLAG if isinstance(value, bool):
                return value
            case Form.NUMBER if isinstance(value, int) and not isinstance(value, bool):
                return value
        self._problems.add(owner, path, f"{known.name} is {_shown(value)}", f"it has to be {known.form.value}")
        return None

    def _extensions(self, raw: Any, type_: Type, owner: str, path: str) -> Iterator[Extension]:
        if raw is None:
            return
        path = f"{path}.extensionElements".lstrip(".")
        values = raw.get("values", []) if isinstance(raw, Mapping) else None
        if not isinstance(values, list) or (isinstance(raw, Mapping) and raw.get("$type") != "bpmn:ExtensionElements"):
            self._problems.add(
                owner, path, "is no list of extensions", 'write {"$type": "bpmn:ExtensionElements", "values": [...]}'
            )
            return
        seen: set[str] = set()
        for at, item in enumerate(values):
            read = self._extension(item, type_, owner, f"{path}.values[{at}]")
            if read is None:
                continue
            if read.name in seen and not EXTENSIONS[read.name].repeated:
                self._problems.add(owner, read.path, f"there are several {EXTENSION_PREFIX}{read.name}", "keep one")
                continue
            seen.add(read.name)
            yield read

    def _extension(self, raw: Any, type_: Type, owner: str, path: str) -> Extension | None:
        name = raw.get("$type") if isinstance(raw, Mapping) else None
        if not isinstance(raw, Mapping) or not isinstance(name, str):
            self._problems.add(owner, path, 'is no extension with a "$type"', "write an ameide:* element, or remove it")
            return None
        if not name.startswith(EXTENSION_PREFIX):
            self._problems.warn(owner, path, f"{_clip(name)} is of another tool and has no effect", "remove it")
            return None
        kind = EXTENSIONS.get(name.removeprefix(EXTENSION_PREFIX))
        if kind is None:
            known = [f"{EXTENSION_PREFIX}{item}" for item in EXTENSIONS]
            self._problems.add(owner, path, f"there is no extension {_clip(name)}", _closest(name, known, "remove it"))
            return None
        if type_.name not in kind.on:
            where = ", ".join(f"bpmn:{item}" for item in kind.on)
            self._problems.add(owner, path, f"{name} cannot be put on a bpmn:{type_.name}", f"it belongs on {where}")
            return None
        attributes = dict(self._extension_attributes(raw, kind.attributes, name, owner, path))
        for required in kind.required:
            if required not in attributes and raw.get(required) in (None, ""):
                self._problems.add(owner, path, f"{name} has no {required}", f"set {required}")
        return Extension(name.removeprefix(EXTENSION_PREFIX), owner, path, attributes)

    def _extension_attributes(
        self, raw: Mapping[str, Any], known: Mapping[str, str], name: str, owner: str, path: str
    ) -> Iterator[tuple[str, Value]]:
        attrs = raw.get("$attrs")
        for key, value in [*raw.items(), *(attrs.items() if isinstance(attrs, Mapping) else ())]:
            if (key.startswith("$") and key not in ("$children", "$body")) or key == "xmlns" or value in (None, ""):
                continue
            if key not in known:
                self._problems.add(
                    owner,
                    f"{path}.{key}",
                    f"{_clip(key)} is not an attribute of {name}",
                    _closest(key, list(known), "remove it"),
                )
                continue
            read = _extension_value(known[key], value)
            if read is None:
                wanted = {"text": "text", "number": "a number", "list": "a list of texts"}[known[key]]
                self._problems.add(
                    owner, f"{path}.{key}", f"{key} of {name} is {_shown(value)}", f"it has to be {wanted}"
                )
            else:
                yield key, read


def _extension_value(form: str, value: Any) -> Value | None:
    if form == "list":
        items = value.split(",") if isinstance(value, str) else value
        if isinstance(items, list) and all(isinstance(item, str) for item in items):
            return tuple(text for item in items if (text := item.strip()))
        return None
    if form == "number":
        try:
            number = float(value) if isinstance(value, str) else value
        except ValueError:
            return None
        if isinstance(number, bool) or not isinstance(number, int | float) or not abs(number) < 1e15:
            return None
        return int(number) if number == int(number) else number
    return value if isinstance(value, str) else None


def _own_id(raw: Mapping[str, Any]) -> str:
    value = raw.get("id")
    return value if isinstance(value, str) else ""


def _reference(value: Any) -> str | None:
    if isinstance(value, Mapping):
        value = value.get("$ref", value.get("id"))
    return value if isinstance(value, str) and value else None


def _shown(value: Any) -> str:
    """A value for a message, shortened."""
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list):
        return "a list"
    return _clip(repr(value))


def _clip(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}…"


def _closest(word: str, known: list[str], otherwise: str) -> str:
    close = difflib.get_close_matches(word, sorted(known), n=1, cutoff=0.7)
    return f"did you mean {close[0]}?" if close else otherwise
