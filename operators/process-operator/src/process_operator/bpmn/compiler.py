"""Compiles a definition to its binding table. Pure: the same definition and dependencies give the same bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, get_args

from process_operator.bpmn import table
from process_operator.bpmn.activities import activity_parts
from process_operator.bpmn.bindings import binding_of, parameters
from process_operator.bpmn.context import Context, Dependencies
from process_operator.bpmn.events import definition_of, event_of, is_interrupting, kind_of
from process_operator.bpmn.model import read_model
from process_operator.bpmn.node import Node
from process_operator.bpmn.problems import InvalidDefinition, Problem, Problems
from process_operator.bpmn.scopes import Scope
from process_operator.bpmn.shapes import check_shapes
from process_operator.bpmn.table import BindingTable

MAX_BYTES: Final = 900_000
"""Bytes of a compiled table: what fits into a ConfigMap of 1 MiB beside its metadata."""
_BOUND: Final = frozenset({"Binding", "Input", "Output", "Timeouts", "Retry"})
"""What may be said of a message that is sent."""
_CARRIED: Final[Mapping[str, frozenset[str]]] = {
    "Message": frozenset({"Output", "Correlation"}),
    "Signal": frozenset({"Output"}),
    "Error": frozenset({"Output"}),
    "Escalation": frozenset({"Output"}),
}
"""What may be said of events that are caught and bring a value with them, by kind."""
_KINDS: Final[Mapping[str, table.Kind]] = {f"{kind[0].upper()}{kind[1:]}": kind for kind in get_args(table.Kind)}
"""The kind of element that each type of flow node compiles to."""
_INSTEAD: Final[Mapping[str, str]] = {
    "ComplexGateway": "use exclusive, inclusive and parallel gateways",
    "AdHocSubProcess": "use a sub-process with gateways, or user tasks",
    "ImplicitThrowEvent": "use an intermediate throw event",
}


@dataclass(frozen=True, slots=True)
class Compiled:
    """A definition that can run: its table, the table's canonical bytes, and `sha256:…` of these bytes."""

    table: BindingTable
    bytes: bytes
    checksum: str
    warnings: tuple[Problem, ...]


def compile(definition: Mapping[str, Any], dependencies: Dependencies, *, max_bytes: int = MAX_BYTES) -> Compiled:
    """The binding table of a definition, `bpmn:Definitions` as JSON.

    Bindings may name `dependencies` only. Raises InvalidDefinition with every problem that was found.
    """
    problems = Problems()
    try:
        return _compile(definition, dependencies, max_bytes, problems)
    except RecursionError as error:  # bounded depths make this unlikely; a definition must never stop an operator
        problems.add("", "", "is nested too deeply", "call processes instead of nesting sub-processes")
        raise InvalidDefinition(problems.faults) from error


def _compile(definition: Mapping[str, Any], dependencies: Dependencies, max_bytes: int, problems: Problems) -> Compiled:
    model = read_model(definition, problems)
    if model is None:
        raise InvalidDefinition(problems.faults)
    ctx = Context(model, dependencies, problems)
    _check_header(ctx)
    elements = {node.id: _element(ctx, scope, node) for scope, node in model.elements()}
    flows = {name: _flow(ctx, name) for name in model.flows}
    scopes = {name: _scope(ctx, scope) for name, scope in model.scopes.items()}
    check_shapes(ctx)
    problems.refuse_if_any()
    compiled = BindingTable(
        format_version=table.FORMAT_VERSION,
        process=model.process.id,
        scopes=scopes,
        elements={name: element for name, element in sorted(elements.items()) if element is not None},
        flows=flows,
    )
    content = table.canonical(compiled)
    if len(content) > max_bytes:
        problems.add(
            model.process.id,
            model.process.path,
            f"compiles to {len(content)} bytes, and {max_bytes} can be stored",
            "split it into several Processes",
        )
        problems.refuse_if_any()
    return Compiled(compiled, content, table.checksum(content), problems.warnings)


def _check_header(ctx: Context) -> None:
    for extension in ctx.model.definitions.parts("extensions"):
        if extension.flag("mustUnderstand"):
            ctx.fault(extension, "an extension has to be understood that is not known here", "remove it, or the demand")
    for part in ctx.model.definitions.parts("imports"):
        ctx.problems.warn(part.owner, part.path, "imports are not read", "put what is imported into this definition")


def _element(ctx: Context, scope: Scope, node: Node) -> table.Element | None:
    kind = _KINDS.get(node.type.name)
    if kind is None:
        remedy = _INSTEAD.get(node.type.name, "replace it")
        ctx.fault(node, f"a bpmn:{node.type.name} cannot be run", remedy)
        return None
    parts = _activity_parts(ctx, scope, node) if node.is_a("Activity") else {}
    if node.is_a("Event"):
        parts = _event_parts(ctx, scope, node)
    return table.Element(
        id=node.id,
        kind=kind,
        name=node.text("name") or None,
        scope=scope.id,
        incoming=ctx.model.incoming[node.id],
        outgoing=ctx.model.outgoing[node.id],
        default=node.text("default") or None,
        **parts,
    )


def _activity_parts(ctx: Context, scope: Scope, node: Node) -> dict[str, Any]:
    return activity_parts(ctx, scope, node) | {
        "boundary": ctx.model.boundary.get(node.id),
        "compensation": _compensation(ctx, node),
        "for_compensation": True if node.flag("isForCompensation") else None,
    }


def _event_parts(ctx: Context, scope: Scope, node: Node) -> dict[str, Any]:
    event = event_of(ctx, scope, node)
    kind = kind_of(definition_of(ctx, node))
    parts: dict[str, Any] = {"event": event}
    if node.is_a("BoundaryEvent"):
        parts["attached_to"] = node.text("attachedToRef")
    if node.is_a("BoundaryEvent") or (node.is_a("StartEvent") and scope.kind == "eventSubProcess"):
        parts["interrupting"] = is_interrupting(node, event)
    if node.is_a("ThrowEvent"):
        known = _BOUND if kind == "Message" else frozenset()
        if kind == "Message":
            parts["binding"] = binding_of(ctx, scope, node)
            parts["inputs"] = parameters(ctx, node, "Input")
    else:
        known = _CARRIED.get(kind, frozenset())
    if "Output" in known:
        parts["outputs"] = parameters(ctx, node, "Output")
    for extension in node.extensions:
        if extension.name not in known:
            what = f"a {kind.lower() or 'plain'} event"
            ctx.problems.add(
                node.owner, extension.path, f"ameide:{extension.name} has no meaning for {what}", "remove it"
            )
    return parts


def _compensation(ctx: Context, node: Node) -> str | None:
    """The handler that compensates an activity."""
    for name in ctx.model.boundary.get(node.id, ()):
        if kind_of(definition_of(ctx, ctx.model.index[name])) == "Compensate" and name in ctx.model.handlers:
            return ctx.model.handlers[name]
    return None


def _flow(ctx: Context, name: str) -> table.Flow:
    flow = ctx.model.flows[name]
    return table.Flow(
        id=name,
        name=flow.node.text("name") or None,
        source=flow.source.id,
        target=flow.target.id,
        condition=ctx.formal(flow.node, "conditionExpression"),
    )


def _scope(ctx: Context, scope: Scope) -> table.Scope:
    starts = [node for node in scope.nodes.values() if node.is_a("StartEvent")]
    plain_first = sorted(starts, key=lambda node: (definition_of(ctx, node) is not None, node.id))
    return table.Scope(
        id=scope.id,
        kind=scope.kind,
        name=scope.node.text("name") or None,
        parent=scope.parent or None,
        start=tuple(node.id for node in plain_first),
        elements=tuple(scope.nodes),
        event_sub_processes=tuple(name for name, node in scope.nodes.items() if node.flag("triggeredByEvent")),
    )
