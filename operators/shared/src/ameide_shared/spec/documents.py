"""Manifests from and to YAML text, as kubectl reads it, with the line of every field.

kubectl's YAML is 1.1 with some changes: times stay text, there are no base-60 numbers, `y` and `n` are booleans, and
keys are text. Keys that occur twice are refused here: one of the two would silently win.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import yaml

from ameide_shared.spec.problems import Location, Problem

MAX_NODES: Final = 200_000
"""Most values that a document may have once its aliases are written out."""


@dataclass(frozen=True, slots=True)
class Document:
    """One YAML document of a file. `index` counts from 1; `problem` says why `manifest` could not be read."""

    file: str
    index: int
    manifest: Any
    problem: Problem | None = None
    root: yaml.Node | None = None
    first_line: int = 1

    def line_of(self, loc: Location) -> int:
        """The line (from 1) of a field, or of the nearest object above it that the text has."""
        node, line = self.root, self.first_line
        for part in loc:
            found = _child(node, part)
            if found is None:
                break
            at, node = found
            line = at.start_mark.line + 1
        return line


def read_documents(text: str, file: str = "<text>") -> Iterator[Document]:
    """Every document of a YAML (or JSON) text that is not empty; one with a fault comes with a problem instead."""
    index = 0
    loader = _Loader(text)
    try:
        while True:
            try:
                if not loader.check_node():
                    return
                node = loader.get_node()
            except (yaml.YAMLError, RecursionError) as error:
                # The parser cannot go on after a syntax error: later documents are not read.
                yield Document(file, index + 1, None, *_fault(error))
                return
            if node is None or (isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"):
                continue
            index += 1
            line = node.start_mark.line + 1
            try:
                _bounded(node)
                yield Document(file, index, loader.construct_document(node), None, node, line)
            except (yaml.YAMLError, RecursionError) as error:
                yield Document(file, index, None, *_fault(error))
    finally:
        loader.dispose()


def _fault(error: yaml.YAMLError | RecursionError) -> tuple[Problem, None, int]:
    """(problem, no root, line) of a document that could not be read."""
    mark = getattr(error, "problem_mark", None)
    line = mark.line + 1 if mark is not None else 1
    what = (
        "it is nested too deeply"
        if isinstance(error, RecursionError)
        else getattr(error, "problem", None) or str(error)
    )
    return Problem("document", f"is not readable as YAML: {what}", "mend the text at this line"), None, line


class _Loader(yaml.SafeLoader):
    """SafeLoader with kubectl's idea of scalars and keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        written: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key is not a scalar", key.start_mark)
            if key.tag == "tag:yaml.org,2002:merge":
                continue
            if key.value in written:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} occurs twice", key.start_mark
                )
            written.add(key.value)
        self.flatten_mapping(node)
        return {_text(key.value, key): self.construct_object(value, deep=deep) for key, value in node.value}


_NUMBER: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INTEGER: Final = re.compile(r"[-+]?(0|[1-9][0-9_]*|0[0-7_]+|0x[0-9a-fA-F_]+|0b[01_]+|0o[0-7_]+)")
_BOOLEAN: Final = re.compile("y|Y|yes|Yes|YES|true|True|TRUE|on|On|ON|n|N|no|No|NO|false|False|FALSE|off|Off|OFF")
_ODD_BREAKS: Final = re.compile("[\\r\\x85\\u2028\\u2029]")
_SCALARS: Final = (
    ("bool", _BOOLEAN, "yYnNtTfFoO"),
    ("int", _INTEGER, "-+0123456789"),
    ("float", _NUMBER, "-+.0123456789"),
)
_TAG: Final = "tag:yaml.org,2002:"


def _text(value: str, node: yaml.Node) -> str:
    """Text with the surrogate pairs that JSON escapes characters with put together."""
    if value.isascii():
        return value
    try:
        return value.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        raise yaml.constructor.ConstructorError(None, None, "half of a surrogate pair", node.start_mark) from None


def _construct_text(_loader: _Loader, node: yaml.ScalarNode) -> str:
    return _text(str(node.value), node)


def _construct_bool(_loader: _Loader, node: yaml.ScalarNode) -> bool:
    return str(node.value).lower() in ("y", "yes", "true", "on")


def _construct_int(_loader: _Loader, node: yaml.ScalarNode) -> int:
    text = str(node.value).replace("_", "")
    sign = -1 if text.startswith("-") else 1
    digits = text.lstrip("+-")
    if len(digits) > 1 and digits[0] == "0" and digits[1].isdigit():
        return sign * int(digits, 8)
    return sign * int(digits, 0)


def _construct_float(_loader: _Loader, node: yaml.ScalarNode) -> int | float:
    value = float(str(node.value))
    return int(value) if value.is_integer() and abs(value) < 1e15 else value  # JSON writes 3.0 as 3


def _set_up_loader() -> None:
    kept = {"merge", "null"}
    _Loader.yaml_implicit_resolvers = {
        first: [(tag, regex) for tag, regex in found if tag.removeprefix(_TAG) in kept]
        for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    for name, regex, first in _SCALARS:
        _Loader.add_implicit_resolver(_TAG + name, re.compile(f"^(?:{regex.pattern})$"), list(first))
    _Loader.add_constructor(_TAG + "str", _construct_text)
    _Loader.add_constructor(_TAG + "bool", _construct_bool)
    _Loader.add_constructor(_TAG + "int", _construct_int)
    _Loader.add_constructor(_TAG + "float", _construct_float)


_set_up_loader()


class ManifestDumper(yaml.SafeDumper):
    """Block style with indented lists, no anchors, and quotes around text that kubectl would take for something else.

    PyYAML itself writes the texts `y`, `N` and `1e3` plain: kubectl reads booleans and a number.
    """

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: ManifestDumper, value: str) -> yaml.ScalarNode:
    # Line breaks other than \n survive only as escapes.
    style = '"' if _ODD_BREAKS.search(value) else None
    return dumper.represent_scalar(_TAG + "str", value, style=style)


def _set_up_dumper() -> None:
    ManifestDumper.add_representer(str, _represent_text)
    for name, regex, first in _SCALARS:
        ManifestDumper.add_implicit_resolver(_TAG + name, re.compile(f"^(?:{regex.pattern})$"), list(first))


_set_up_dumper()


def write_document(manifest: Any) -> str:
    """A manifest as YAML text, keys in their own order; read back, here or by kubectl, it is the same manifest."""
    return yaml.dump(manifest, Dumper=ManifestDumper, sort_keys=False, allow_unicode=True, width=110)


def _bounded(root: yaml.Node) -> None:
    """Refuse a document whose aliases refer to what encloses them, or blow it up beyond MAX_NODES."""
    sizes: dict[int, int] = {}
    open_nodes: set[int] = set()

    def size(node: yaml.Node) -> int:
        if isinstance(node, yaml.ScalarNode):
            return 1
        if id(node) in open_nodes:
            raise yaml.constructor.ConstructorError(None, None, "an alias refers to what encloses it", node.start_mark)
        if id(node) not in sizes:
            open_nodes.add(id(node))
            children = (
                [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else node.value
            )
            sizes[id(node)] = 1 + sum(size(child) for child in children)
            open_nodes.discard(id(node))
        if sizes[id(node)] > MAX_NODES:
            raise yaml.constructor.ConstructorError(
                None, None, f"the document holds more than {MAX_NODES} values", node.start_mark
            )
        return sizes[id(node)]

    size(root)


def _child(node: yaml.Node | None, part: int | str) -> tuple[yaml.Node, yaml.Node] | None:
    """(where it is written, value) of one key or index."""
    if isinstance(node, yaml.MappingNode):
        return next(((key, value) for key, value in node.value if key.value == part), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part], node.value[part]
    return None
