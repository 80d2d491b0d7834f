"""Expressions as trees, as the binding table carries them: what a worker evaluates, without a parser."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

Operator = Literal[
    "and",
    "or",
    "not",
    "=",
    "!=",
    "<",
    "<=",
    ">",
    ">=",
    "+",
    "-",
    "*",
    "/",
    "neg",
    "in",
    "between",
    "if",
    "item",
    "list",
]


class Part(BaseModel):
    """A part of the table: immutable, every field known, names in camelCase, absent rather than null."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, validate_by_name=True, serialize_by_alias=True
    )


class NullNode(Part):
    """The value null."""

    op: Literal["null"]


class ConstNode(Part):
    """A number, a text, or true or false."""

    op: Literal["const"]
    value: bool | int | float | str


class VarNode(Part):
    """The value of a process variable; null if there is none."""

    op: Literal["var"]
    name: str


class GetNode(Part):
    """A field of the argument; of a list, that field of each item."""

    op: Literal["get"]
    args: tuple[Ast]
    name: str


class CallNode(Part):
    """A function of the language applied to its arguments."""

    op: Literal["call"]
    name: str
    args: tuple[Ast, ...]


class ContextEntry(Part):
    """One entry of a context."""

    name: str
    value: Ast


class ContextNode(Part):
    """An object with the given entries."""

    op: Literal["context"]
    entries: tuple[ContextEntry, ...]


class OperationNode(Part):
    """An operator applied to its arguments.

    `in`: value, list. `between`: value, low, high. `if`: condition, then, else. `item`: list, index from 1.
    """

    op: Operator
    args: tuple[Ast, ...]


Ast = Annotated[
    NullNode | ConstNode | VarNode | GetNode | CallNode | ContextNode | OperationNode, Field(discriminator="op")
]


class Expression(Part):
    """An expression: `source` as it was written, for people, and `ast`, which is what is evaluated."""

    source: str
    ast: Ast


for _model in (GetNode, CallNode, ContextEntry, ContextNode, OperationNode, Expression):
    _model.model_rebuild()


def is_within(tree: Ast, levels: int) -> bool:
    """Whether a tree has at most so many levels."""
    level: list[Ast] = [tree]
    for _ in range(levels):
        level = [part for node in level for part in _parts(node)]
        if not level:
            return True
    return False


def _parts(node: Ast) -> tuple[Ast, ...]:
    if isinstance(node, OperationNode | CallNode | GetNode):
        return node.args
    return tuple(entry.value for entry in node.entries) if isinstance(node, ContextNode) else ()
