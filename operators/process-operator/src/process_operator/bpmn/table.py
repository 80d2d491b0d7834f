"""The binding table: what a definition compiles to and what workers execute. docs/bpmn.md says what each part means.

The table is data with one canonical form (`canonical`), whose digest names it. Optional fields are absent, not null;
times are whole milliseconds. A change that a reader of the old form would misread raises FORMAT_VERSION.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final, Literal

from process_operator.bpmn.ast import Expression, Part
from process_operator.bpmn.parts import Assignment, Binding, Call, Event, Loop, Message, Parameter, Script

FORMAT_VERSION: Final = 1

Kind = Literal[
    "startEvent",
    "endEvent",
    "intermediateCatchEvent",
    "intermediateThrowEvent",
    "boundaryEvent",
    "task",
    "serviceTask",
    "sendTask",
    "receiveTask",
    "userTask",
    "manualTask",
    "scriptTask",
    "businessRuleTask",
    "callActivity",
    "subProcess",
    "transaction",
    "exclusiveGateway",
    "parallelGateway",
    "inclusiveGateway",
    "eventBasedGateway",
]
ScopeKind = Literal["process", "calledProcess", "subProcess", "eventSubProcess", "transaction"]


class Element(Part):
    """A flow node. `incoming` and `outgoing` hold ids of flows, in the order in which conditions are tried."""

    id: str
    kind: Kind
    name: str | None = None
    scope: str
    incoming: tuple[str, ...]
    outgoing: tuple[str, ...]
    default: str | None = None
    binding: Binding | None = None
    inputs: tuple[Parameter, ...] | None = None
    outputs: tuple[Parameter, ...] | None = None
    event: Event | None = None
    message: Message | None = None
    script: Script | None = None
    assignment: Assignment | None = None
    call: Call | None = None
    loop: Loop | None = None
    attached_to: str | None = None
    interrupting: bool | None = None
    boundary: tuple[str, ...] | None = None
    compensation: str | None = None
    for_compensation: Literal[True] | None = None


class Flow(Part):
    """A sequence flow; the default flow of its source has no condition."""

    id: str
    name: str | None = None
    source: str
    target: str
    condition: Expression | None = None


class Scope(Part):
    """A process or sub-process: its start events (a plain one first), its elements and its event sub-processes."""

    id: str
    kind: ScopeKind
    name: str | None = None
    parent: str | None = None
    start: tuple[str, ...]
    elements: tuple[str, ...]
    event_sub_processes: tuple[str, ...]


class BindingTable(Part):
    """A compiled definition. `process` is the id of the process that is started, and its workflow type."""

    format_version: Literal[1]
    process: str
    scopes: Mapping[str, Scope]
    elements: Mapping[str, Element]
    flows: Mapping[str, Flow]


def canonical(table: BindingTable) -> bytes:
    """The one form of a table in bytes: JSON in ASCII, keys sorted, no spaces. Equal tables have equal bytes."""
    content = table.model_dump(mode="json", exclude_none=True)
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def checksum(content: bytes) -> str:
    """`sha256:` and the digest of a table's canonical bytes."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def json_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of binding tables."""
    schema = BindingTable.model_json_schema(by_alias=True, mode="serialization")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"https://ameide.io/schemas/binding-table-v{FORMAT_VERSION}.json",
        **_without_nulls(schema),
        "title": "Binding table of a Process",
    }


def json_schema_text() -> str:
    """The file docs/reference/binding-table.schema.json."""
    return json.dumps(json_schema(), indent=2, sort_keys=True) + "\n"


def _without_nulls(schema: Any) -> Any:
    """The schema without the nulls and defaults of optional fields, and without generated titles."""
    if isinstance(schema, list):
        return [_without_nulls(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    options = schema.get("anyOf")
    if options is not None and {"type": "null"} in options:
        rest = [option for option in options if option != {"type": "null"}]
        kept = {key: value for key, value in schema.items() if key not in ("anyOf", "default", "title")}
        schema = {**kept, **rest[0]} if len(rest) == 1 else {**kept, "anyOf": rest}
    return {key: _without_nulls(value) for key, value in schema.items() if key != "title" or isinstance(value, dict)}
