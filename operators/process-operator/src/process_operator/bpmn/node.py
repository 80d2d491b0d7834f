"""An element of a definition as it was read: its type, its attributes by name, and the extensions on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from process_operator.bpmn.extensions import Extension
from process_operator.bpmn.metamodel import Type


@dataclass(frozen=True, slots=True)
class Node:
    """An element as read. `owner` is its id, or the id of the nearest element around it that has one."""

    type: Type
    id: str
    owner: str
    path: str
    values: Mapping[str, Any]
    extensions: tuple[Extension, ...] = ()

    def text(self, name: str) -> str:
        """A text; empty if it is not given. Also the id that a reference names."""
        return str(self.values.get(name, ""))

    def flag(self, name: str, default: bool = False) -> bool:
        return bool(self.values.get(name, default))

    def number(self, name: str) -> int | None:
        value = self.values.get(name)
        return value if isinstance(value, int) else None

    def part(self, name: str) -> Node | None:
        value = self.values.get(name)
        return value if isinstance(value, Node) else None

    def parts(self, name: str) -> tuple[Node, ...]:
        return tuple(self.values.get(name, ()))

    def references(self, name: str) -> tuple[str, ...]:
        """The ids of a list of references."""
        return tuple(self.values.get(name, ()))

    def is_a(self, name: str) -> bool:
        return self.type.is_a(name)

    def extension(self, name: str) -> Extension | None:
        return next((item for item in self.extensions if item.name == name), None)

    def extensions_of(self, name: str) -> tuple[Extension, ...]:
        return tuple(item for item in self.extensions if item.name == name)

    def walk(self) -> Iterator[Node]:
        """The node and every node in it."""
        yield self
        for value in self.values.values():
            for part in (value,) if isinstance(value, Node) else value if isinstance(value, tuple) else ():
                if isinstance(part, Node):
                    yield from part.walk()

    def describe(self) -> str:
        """What to call it in a message: its type and name."""
        kind = self.type.name[0].lower() + self.type.name[1:]
        name = self.text("name")
        return f"{kind} {name!r}" if name else kind
