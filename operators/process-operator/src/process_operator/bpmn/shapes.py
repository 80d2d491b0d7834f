"""Rules over how elements are joined: starts and ends, conditions, gateways, boundaries, compensation."""

from __future__ import annotations

from typing import Final

from process_operator.bpmn.context import Context
from process_operator.bpmn.events import definition_of, kind_of
from process_operator.bpmn.node import Node
from process_operator.bpmn.paths import check_paths
from process_operator.bpmn.problems import listed
from process_operator.bpmn.scopes import Scope, is_apart

_AWAITED: Final = frozenset({"Message", "Timer", "Signal", "Conditional"})


def check_shapes(ctx: Context) -> None:
    """Check every scope, and every element in it."""
    for scope in ctx.model.scopes.values():
        _check_starts(ctx, scope)
        for node in scope.nodes.values():
            _check_ends(ctx, scope, node)
            _check_conditions(ctx, node)
            if node.is_a("Gateway"):
                _check_gateway(ctx, node)
            if node.is_a("BoundaryEvent"):
                _check_boundary(ctx, scope, node)
            elif node.is_a("Activity"):
                _check_catches(ctx, node)
        check_paths(ctx, scope)


def _check_starts(ctx: Context, scope: Scope) -> None:
    starts = [node for node in scope.nodes.values() if node.is_a("StartEvent")]
    plain = [node for node in starts if definition_of(ctx, node) is None]
    what = scope.node.describe()
    if not starts:
        ctx.fault(scope.node, f"the {what} has no start event", "add one")
    if len(plain) > 1:
        ids = listed([node.id for node in plain])
        ctx.fault(scope.node, f"the {what} has several plain start events: {ids}", "keep one")
    if len(starts) > 1 and scope.kind not in ("process", "calledProcess"):
        ctx.fault(scope.node, f"the {what} has {len(starts)} start events", "a sub-process starts at one")
    if scope.kind == "calledProcess" and not plain:
        ctx.fault(scope.node, f"the {what} is called, but has no plain start event", "add one")
    if not any(node.is_a("EndEvent") for node in scope.nodes.values()):
        ctx.fault(scope.node, f"the {what} has no end event", "add one where it ends")


def _check_ends(ctx: Context, scope: Scope, node: Node) -> None:
    incoming, outgoing = ctx.model.incoming[node.id], ctx.model.outgoing[node.id]
    if node.flag("isForCompensation") and node.id not in ctx.model.handlers.values():
        ctx.fault(
            node,
            f"the {node.describe()} is for compensation, but no boundary event leads to it",
            "join a compensation boundary event to it by a bpmn:Association, from the event to the handler",
        )
    if is_apart(node):
        for flow in (*incoming, *outgoing):
            why = "an event sub-process" if node.flag("triggeredByEvent") else "a compensation handler"
            ctx.fault(node, f"{flow} leads to or from {why}", "remove the flow")
        return
    definition = kind_of(definition_of(ctx, node)) if node.is_a("Event") else ""
    enters = not (
        node.is_a("StartEvent") or node.is_a("BoundaryEvent") or (definition == "Link" and node.is_a("CatchEvent"))
    )
    leaves = not (
        node.is_a("EndEvent")
        or (node.is_a("BoundaryEvent") and definition == "Compensate")
        or (definition == "Link" and node.is_a("ThrowEvent"))
    )
    what = node.describe()
    if incoming and not enters:
        ctx.fault(node, f"a flow leads to the {what}: {listed(incoming)}", "remove it", "incoming")
    if outgoing and not leaves:
        ctx.fault(node, f"a flow leads from the {what}: {listed(outgoing)}", "remove it", "outgoing")
    if enters and not incoming:
        ctx.fault(node, f"no flow leads to the {what}", "join it to what comes before, or remove it")
    if leaves and not outgoing:
        ctx.fault(node, f"no flow leads on from the {what}", "join it to what comes after, or to an end event")


def _check_conditions(ctx: Context, node: Node) -> None:
    """Default flows and conditions of what leaves an element."""
    outgoing = ctx.model.outgoing[node.id]
    default = node.text("default")
    if default and default in ctx.model.index and default not in outgoing:
        ctx.fault(node, f"the default flow {default} does not leave {node.id}", "name one of its own flows", "default")
    conditional = node.is_a("Activity") or node.type.name in ("ExclusiveGateway", "InclusiveGateway")
    for name in outgoing:
        flow = ctx.model.flows[name].node
        if "conditionExpression" in flow.values and name == default:
            ctx.fault(flow, "the default flow has a condition", "remove it", "conditionExpression")
        elif "conditionExpression" in flow.values and not conditional:
            ctx.fault(
                flow,
                f"a flow from the {node.describe()} {node.id} cannot have a condition",
                "remove it, or put an exclusive or inclusive gateway in between",
                "conditionExpression",
            )
        elif (
            "conditionExpression" not in flow.values
            and name != default
            and node.is_a("Gateway")
            and conditional
            and len(outgoing) > 1
        ):
            ctx.fault(
                flow,
                f"the flow leaves the {node.describe()} {node.id} without a condition",
                f"write conditionExpression, or make it the default flow of {node.id}",
                "conditionExpression",
            )


def _check_gateway(ctx: Context, node: Node) -> None:
    incoming, outgoing = ctx.model.incoming[node.id], ctx.model.outgoing[node.id]
    direction = node.text("gatewayDirection")
    many_in, many_out = len(incoming) > 1, len(outgoing) > 1
    wrong = {
        "Converging": many_out,
        "Diverging": many_in,
        "Mixed": not (many_in and many_out),
        "Unspecified": False,
        "": False,
    }.get(direction)
    if wrong is None:
        ctx.fault(
            node,
            f"{direction!r} is no direction",
            "use Unspecified, Converging, Diverging or Mixed",
            "gatewayDirection",
        )
    elif wrong:
        ctx.fault(
            node,
            f"the gateway is said to be {direction}, but {len(incoming)} flows lead to it and {len(outgoing)} from it",
            "mend the flows, or remove gatewayDirection",
            "gatewayDirection",
        )
    if node.is_a("EventBasedGateway"):
        _check_event_gateway(ctx, node)
    elif incoming and outgoing and not many_in and not many_out:
        ctx.problems.warn(node.owner, node.path, f"the {node.describe()} neither splits nor joins", "remove it")


def _check_event_gateway(ctx: Context, node: Node) -> None:
    if node.flag("instantiate"):
        ctx.fault(node, "an event-based gateway cannot start the process", "use message start events", "instantiate")
    if node.text("eventGatewayType") not in ("", "Exclusive"):
        ctx.fault(node, "a parallel event-based gateway is not supported", "use Exclusive", "eventGatewayType")
    outgoing = ctx.model.outgoing[node.id]
    if len(outgoing) == 1:
        ctx.fault(node, "the event-based gateway has one event to wait for", "give it two or more, or remove it")
    for name in outgoing:
        target = ctx.model.flows[name].target
        kind = kind_of(definition_of(ctx, target)) if target.is_a("IntermediateCatchEvent") else ""
        if kind not in _AWAITED and not target.is_a("ReceiveTask"):
            ctx.fault(
                target,
                f"the {target.describe()} follows the event-based gateway {node.id}",
                "only message, timer, signal and conditional catch events and receive tasks can",
            )
        elif len(ctx.model.incoming[target.id]) > 1:
            ctx.fault(
                target,
                f"besides the event-based gateway {node.id}, other flows lead to the {target.describe()}",
                "join them after it",
            )


def _check_boundary(ctx: Context, scope: Scope, node: Node) -> None:
    host = scope.nodes.get(node.text("attachedToRef"))
    if not node.text("attachedToRef"):
        ctx.fault(
            node, "the boundary event is attached to nothing", "set attachedToRef to an activity", "attachedToRef"
        )
    elif host is None and node.text("attachedToRef") in ctx.model.index:
        ctx.fault(
            node,
            f"{node.text('attachedToRef')} is not beside the boundary event, in {scope.id}",
            "attach it to an activity of the same process or sub-process",
            "attachedToRef",
        )
    elif host is not None and is_apart(host):
        ctx.fault(node, f"{host.id} is reached by no flow, so nothing can be attached to it", "remove the event")
    if kind_of(definition_of(ctx, node)) != "Compensate":
        return
    handler = ctx.model.handlers.get(node.id, "")
    if not handler:
        ctx.fault(
            node,
            "no compensation handler is joined to the boundary event",
            "join it by a bpmn:Association, from the event to an activity with isForCompensation: true",
        )
    elif handler not in scope.nodes or not scope.nodes[handler].flag("isForCompensation"):
        ctx.fault(node, f"{handler} is no compensation handler beside it", "set isForCompensation: true on it")


def _check_catches(ctx: Context, node: Node) -> None:
    """No two boundary events of an activity catch the same error, escalation, cancellation or compensation."""
    seen: dict[tuple[str, str], str] = {}
    for name in ctx.model.boundary.get(node.id, ()):
        event = ctx.model.index[name]
        definition = definition_of(ctx, event)
        kind = kind_of(definition)
        if definition is None or kind not in ("Error", "Escalation", "Compensate", "Cancel"):
            continue
        reference = ctx.model.index.get(definition.text("errorRef") or definition.text("escalationRef"))
        code = "" if reference is None else reference.text("errorCode") or reference.text("escalationCode")
        other = seen.setdefault((kind, code), name)
        if other != name:
            ctx.fault(event, f"{other} catches the same {kind.lower()} {code}".rstrip(), "keep one of them")
