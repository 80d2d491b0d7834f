"""What the operator reads of an AgentDefinition: the tools and roles that it needs. The rest is the runtime's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from agent_operator.policy.schema import as_text, document_schema
from agent_operator.policy.subject import KINDS
from agent_operator.spec import Operation
from ameide_shared.spec import Lenient
from ameide_shared.spec.problems import path_of
from ameide_shared.spec.references import Reference
from ameide_shared.transformation.model import Definition

LARGEST: Final = 1_000_000
"""Bytes of a definition's text that fit into a ConfigMap beside its metadata."""
_SHOWN: Final = 5


class _Part(BaseModel):
    """Part of a definition: what is not listed here is the runtime's own business."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


class NeededTool(_Part):
    """A tool that the definition needs; exactly one of the four kinds."""

    domain: Reference | None = Field(default=None, description="A Domain: name, or namespace/name.")
    process: Reference | None = Field(default=None, description="A Process: name, or namespace/name.")
    agent: Reference | None = Field(default=None, description="An Agent: name, or namespace/name.")
    primitive: Annotated[str, Field(min_length=1, max_length=63)] | None = Field(
        default=None, description="A tool that the policy describes, by its name there."
    )
    operations: Annotated[tuple[Operation, ...], Lenient, Field(max_length=64)] = Field(
        default=(), description="Operations that are needed. Default: all that there are."
    )

    @model_validator(mode="after")
    def _one_kind(self) -> NeededTool:
        if sum(getattr(self, kind) is not None for kind in KINDS) != 1:
            raise ValueError("must name exactly one of domain, process, agent and primitive")
        return self


class AgentDefinition(_Part):
    """An agent definition, as far as the operator reads it."""

    roles: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=63)], ...], Lenient, Field(max_length=32)] = (
        Field(default=(), description="Roles that the agent acts in; the policy may ask a risk tier for each.")
    )
    tools: Annotated[tuple[NeededTool, ...], Lenient, Field(max_length=64)] = Field(
        default=(), description="Tools that the agent cannot do without; spec.tools.allowed must name each."
    )


def definition_schema() -> str:
    """The JSON Schema of agent definitions, as far as the operator reads them, as text."""
    return as_text(document_schema(AgentDefinition, "Definition of an Ameide Agent"))


@dataclass(frozen=True, slots=True)
class Parsed:
    """A definition's text as pods get it, and what it needs."""

    text: str
    roles: tuple[str, ...]
    tools: tuple[Mapping[str, Any], ...]


class AgentDefinitionError(ValueError):
    """A definition that no Agent can run; the message names each field."""


def parse(definition: Definition) -> Parsed:
    """What a fetched definition says. Raises AgentDefinitionError."""
    parsed = _parsed(_Source(definition))
    if isinstance(parsed, AgentDefinitionError):
        raise parsed
    return parsed


class _Source:
    """A fetched definition as an argument that can be remembered: by its digest, which stands for its content."""

    __slots__ = ("definition",)

    def __init__(self, definition: Definition) -> None:
        self.definition = definition

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Source) and other.definition.digest == self.definition.digest

    def __hash__(self) -> int:
        return hash(self.definition.digest)


@lru_cache(maxsize=256)  # the same few definitions are planned with again and again
def _parsed(source: _Source) -> Parsed | AgentDefinitionError:
    content = source.definition.definition
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n"
    if len(text.encode()) > LARGEST:
        return AgentDefinitionError(f"it has {len(text.encode())} bytes, and {LARGEST} are the most")
    try:
        read = AgentDefinition.model_validate(content)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        lines = [f"{path_of(one['loc']) or 'definition'}: {one['msg'].partition(';')[0]}" for one in found[:_SHOWN]]
        more = f" (and {len(found) - _SHOWN} more)" if len(found) > _SHOWN else ""
        return AgentDefinitionError("; ".join(lines) + more)
    tools = tuple(tool.model_dump(exclude_none=True) for tool in read.tools)
    return Parsed(text, read.roles, tools)
