"""Reads `definition.json`: what the agent is told, and how the operations of its tools are called over HTTP."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote

METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
REFERENCES: Final = ("domain", "process", "agent", "primitive")
_PARAMETER: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_OPERATION: Final = re.compile(r"[A-Za-z0-9_./-]+")


class DefinitionError(ValueError):
    """The definition cannot be run; the message names the field and what was expected there."""


@dataclass(frozen=True, slots=True)
class Binding:
    """How an operation is called. A segment of `path` is a text, or a tuple of the name of its parameter."""

    operation: str
    method: str
    segments: tuple[str | tuple[str], ...]
    description: str = ""

    @property
    def path(self) -> str:
        """The path as it is written: `/orders/{id}`."""
        return "".join("/" + (each if isinstance(each, str) else f"{{{each[0]}}}") for each in self.segments)

    def matched(self, method: str, segments: tuple[str, ...]) -> dict[str, str] | None:
        """The parameters of a request for this operation, None if it is for another one."""
        if method != self.method or len(segments) != len(self.segments):
            return None
        found: dict[str, str] = {}
        for wanted, given in zip(self.segments, segments, strict=True):
            if isinstance(wanted, tuple):
                found[wanted[0]] = given
            elif wanted != given:
                return None
        return found


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool of the definition: its kind, its reference (name, or namespace/name), what it needs and can call."""

    kind: str
    reference: str
    operations: tuple[str, ...]
    bindings: tuple[Binding, ...]

    def __str__(self) -> str:
        return f"{self.kind}/{self.reference}"


@dataclass(frozen=True, slots=True)
class Definition:
    """An agent definition, as far as this runtime reads it. `checksum` is that of its canonical JSON."""

    instructions: str
    tools: tuple[Tool, ...]
    checksum: str


def parse(text: str) -> Definition:
    """Read a definition. Raises DefinitionError."""
    try:
        data = json.loads(text)
    except ValueError as error:
        raise DefinitionError(f"it is no JSON: {error}") from None
    if not isinstance(data, dict):
        raise DefinitionError("it must be a JSON object")
    instructions = data.get("instructions", "")
    if not isinstance(instructions, str):
        raise DefinitionError("instructions must be a text")
    tools = data.get("tools", [])
    if not isinstance(tools, list):
        raise DefinitionError("tools must be a list")
    canonical = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return Definition(
        instructions=instructions,
        tools=tuple(_tool(each, f"tools[{index}]") for index, each in enumerate(tools)),
        checksum=f"sha256:{hashlib.sha256(canonical.encode()).hexdigest()}",
    )


def segments_of(path: str) -> tuple[str, ...]:
    """The decoded segments of a URL path. Raises ValueError for one that servers could take for another path."""
    if not path.startswith("/"):
        raise ValueError("a path begins with a slash")
    found = tuple(unquote(part, errors="strict") for part in path[1:].split("/")) if path != "/" else ()
    for each in found:
        # An encoded `..` or slash is the real one to a server that normalises paths; an empty segment may be dropped.
        if each in ("", ".", "..") or "/" in each or "\\" in each or any(ord(letter) < 32 for letter in each):
            raise ValueError(f"{each!r} cannot be a segment of a path")
    return found


def _tool(data: Any, field: str) -> Tool:
    if not isinstance(data, dict):
        raise DefinitionError(f"{field} must be an object")
    kinds = [kind for kind in REFERENCES if data.get(kind) is not None]
    if len(kinds) != 1 or not isinstance(data[kinds[0]], str) or not data[kinds[0]]:
        raise DefinitionError(f"{field} must name exactly one of {', '.join(REFERENCES)}")
    operations = data.get("operations", [])
    if not isinstance(operations, list) or not all(isinstance(each, str) for each in operations):
        raise DefinitionError(f"{field}.operations must be a list of texts")
    http = data.get("http", {})
    if not isinstance(http, dict):
        raise DefinitionError(f"{field}.http must be an object: operation → method and path")
    return Tool(
        kind=kinds[0],
        reference=data[kinds[0]],
        operations=tuple(operations),
        bindings=tuple(_binding(name, each, f"{field}.http.{name}") for name, each in http.items()),
    )


def _binding(operation: str, data: Any, field: str) -> Binding:
    if not _OPERATION.fullmatch(operation):
        raise DefinitionError(f"{field}: the name of an operation has letters, digits and _./- only")
    if not isinstance(data, Mapping) or data.get("method") not in METHODS:
        raise DefinitionError(f"{field}.method must be one of {', '.join(METHODS)}")
    path, description = data.get("path"), data.get("description", "")
    if not isinstance(path, str) or not isinstance(description, str):
        raise DefinitionError(f"{field}: path and description must be texts")
    segments: list[str | tuple[str]] = []
    try:
        for each in segments_of(path):
            parameter = _PARAMETER.fullmatch(each)
            if parameter is None and any(letter in each for letter in "{}?#"):
                raise ValueError
            segments.append((parameter[1],) if parameter else each)
    except ValueError:
        raise DefinitionError(
            f"{field}.path is {path!r} and must be a path as in /orders/{{id}}, a parameter being a whole segment"
        ) from None
    return Binding(operation, data["method"], tuple(segments), description)
