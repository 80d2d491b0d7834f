"""Whether tokens get through: everything is reached from a start, reaches an end, and no loop runs without a pause."""

from __future__ import annotations

from process_operator.bpmn import graph
from process_operator.bpmn.context import Context
from process_operator.bpmn.events import definition_of, kind_of
from process_operator.bpmn.node import Node
from process_operator.bpmn.problems import listed
from process_operator.bpmn.scopes import Scope, is_apart


def check_paths(ctx: Context, scope: Scope) -> None:
    """Check the paths of one scope."""
    edges = _edges(ctx, scope)
    starts = [name for name, node in scope.nodes.items() if node.is_a("StartEvent")]
    ends = [name for name, node in scope.nodes.items() if node.is_a("EndEvent")]
    if starts and ends:
        reached = graph.reachable(edges, starts)
        ending = graph.reachable(graph.reverse(edges), ends)
        for name, node in scope.nodes.items():
            if is_apart(node):
                continue
            if name not in reached and ctx.model.incoming[name]:
                ctx.fault(
                    node, f"the {node.describe()} cannot be reached from a start event", "join it to what comes before"
                )
            if name not in ending and (ctx.model.outgoing[name]) and not _compensates(ctx, node):
                ctx.fault(
                    node, f"no path leads from the {node.describe()} to an end event", "let one lead out of the loop"
                )
    instant = {name for name, node in scope.nodes.items() if _is_instant(ctx, node)}
    for cycle in graph.cycles(edges, instant):
        _report(ctx, scope, cycle)


def _report(ctx: Context, scope: Scope, cycle: tuple[str, ...]) -> None:
    first = scope.nodes[cycle[0]]
    where = listed(cycle)
    if any(scope.nodes[name].is_a("ScriptTask") for name in cycle):
        ctx.problems.warn(
            first.owner, first.path, f"the loop {where} only computes, so it has to end soon", "add a timer if it waits"
        )
    else:
        ctx.fault(first, f"the loop {where} waits for nothing and does nothing", "put a task or a timer into it")


def _edges(ctx: Context, scope: Scope) -> dict[str, list[str]]:
    """Where a token can go from each element: along flows, to boundary events, and over links."""
    edges: dict[str, list[str]] = {}
    for name in scope.nodes:
        targets = [ctx.model.flows[flow].target.id for flow in ctx.model.outgoing[name]]
        edges[name] = targets + [event for event in ctx.model.boundary.get(name, ()) if event in scope.nodes]
    for ends in ctx.links_in(scope).values():
        for name in ends.throwing:
            edges[name] += ends.catching[:1]
    return edges


def _compensates(ctx: Context, node: Node) -> bool:
    return node.is_a("BoundaryEvent") and kind_of(definition_of(ctx, node)) == "Compensate"


def _is_instant(ctx: Context, node: Node) -> bool:
    """Whether a token passes without waiting for anything, and without doing anything outside of the workflow."""
    if node.is_a("Gateway"):
        return not node.is_a("EventBasedGateway")
    if node.is_a("ScriptTask"):
        return node.extension("Binding") is None
    if node.is_a("IntermediateThrowEvent"):
        return kind_of(definition_of(ctx, node)) in ("", "Link", "Signal", "Escalation")
    if node.is_a("IntermediateCatchEvent"):
        return kind_of(definition_of(ctx, node)) == "Link"
    return node.is_a("ManualTask")
