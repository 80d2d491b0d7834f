"""Events: which definitions may stand where, and what each of them waits for or sends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from process_operator.bpmn.context import Context
from process_operator.bpmn.node import Node
from process_operator.bpmn.parts import (
    CancelEvent,
    CompensationEvent,
    ConditionalEvent,
    ErrorEvent,
    EscalationEvent,
    Event,
    LinkEvent,
    Message,
    MessageEvent,
    SignalEvent,
    TerminateEvent,
    TimerEvent,
)
from process_operator.bpmn.problems import listed
from process_operator.bpmn.scopes import Scope

_TIMES: Final[Mapping[str, str]] = {"timeDate": "date", "timeDuration": "duration", "timeCycle": "cycle"}
_NONE: Final = ""
_ALLOWED: Final[Mapping[str, frozenset[str]]] = {
    "process start": frozenset({_NONE, "Message", "Timer", "Signal", "Conditional"}),
    "sub-process start": frozenset({_NONE}),
    "event sub-process start": frozenset(
        {"Message", "Timer", "Signal", "Conditional", "Error", "Escalation", "Compensate"}
    ),
    "intermediate catch": frozenset({"Message", "Timer", "Signal", "Conditional", "Link"}),
    "boundary": frozenset({"Message", "Timer", "Signal", "Conditional", "Error", "Escalation", "Compensate", "Cancel"}),
    "intermediate throw": frozenset({_NONE, "Message", "Signal", "Escalation", "Compensate", "Link"}),
    "end": frozenset({_NONE, "Message", "Signal", "Error", "Escalation", "Compensate", "Cancel", "Terminate"}),
}
"""Which kinds of event definition may stand at each position; the empty one is a plain event."""


def definition_of(ctx: Context, node: Node) -> Node | None:
    """The event definition of an event, its own or the one it refers to; None for a plain event."""
    return next(iter(ctx.model.event_definitions(node)), None)


def kind_of(definition: Node | None) -> str:
    """The kind of a definition, as in `Timer`; empty for a plain event."""
    return definition.type.name.removesuffix("EventDefinition") if definition is not None else _NONE


def position_of(scope: Scope, node: Node) -> str:
    """Where an event stands, as the table of what is allowed there names it."""
    if node.is_a("StartEvent"):
        kinds = {"eventSubProcess": "event sub-process start", "process": "process start"}
        return kinds.get(scope.kind.replace("calledProcess", "process"), "sub-process start")
    names = {
        "IntermediateCatchEvent": "intermediate catch",
        "BoundaryEvent": "boundary",
        "IntermediateThrowEvent": "intermediate throw",
    }
    return names.get(node.type.name, "end")


def event_of(ctx: Context, scope: Scope, node: Node) -> Event | None:
    """What an event waits for or sends; None for a plain event, and, with a problem noted, for a wrong one."""
    position = position_of(scope, node)
    count = len(node.parts("eventDefinitions")) + len(node.references("eventDefinitionRef"))
    if node.flag("parallelMultiple"):
        ctx.fault(
            node, "waiting for several events at once is not supported", "use a parallel gateway", "parallelMultiple"
        )
    if count > 1:
        ctx.fault(
            node,
            f"the {node.describe()} has {count} event definitions, and one is supported",
            "use an event-based gateway, or one event for each",
            "eventDefinitions",
        )
        return None
    definition = definition_of(ctx, node)
    kind = kind_of(definition)
    if kind not in _ALLOWED[position]:
        allowed = ", ".join(sorted(item.lower() or "plain" for item in _ALLOWED[position]))
        ctx.fault(
            node, f"{_a(kind.lower() or 'plain')} event cannot be {_a(position)} event", f"there it can be {allowed}"
        )
        return None
    if definition is None:
        return None
    if kind == "Cancel":
        _check_cancel(ctx, scope, node)
    return _event(ctx, scope, node, definition, position)


def _event(ctx: Context, scope: Scope, node: Node, definition: Node, position: str) -> Event | None:
    throws = position in ("intermediate throw", "end")
    match kind_of(definition):
        case "Timer":
            return _timer(ctx, node, definition, position)
        case "Message":
            message = message_of(ctx, node, definition)
            return MessageEvent(kind="message", message=message) if message else None
        case "Signal":
            signal = _named(ctx, definition, "signalRef", "signal")
            return SignalEvent(kind="signal", signal=signal) if signal else None
        case "Error":
            code = _code(ctx, definition, "errorRef", "errorCode", required=throws)
            return ErrorEvent(kind="error", code=code)
        case "Escalation":
            code = _code(ctx, definition, "escalationRef", "escalationCode", required=throws)
            return EscalationEvent(kind="escalation", code=code)
        case "Conditional":
            condition = ctx.formal(definition, "condition")
            if definition.part("condition") is None:
                ctx.fault(definition, "the conditional event has no condition", "write one")
            return ConditionalEvent(kind="conditional", condition=condition) if condition else None
        case "Compensate":
            return _compensation(ctx, scope, definition, throws=throws)
        case "Link":
            return _link(ctx, scope, node, definition, throws=throws)
        case "Terminate":
            return TerminateEvent(kind="terminate")
    return CancelEvent(kind="cancel")


def message_of(ctx: Context, node: Node, holder: Node) -> Message | None:
    """The message that `holder`, a definition or a receive task, refers to, with the key it is correlated by."""
    name = _named(ctx, holder, "messageRef", "message")
    correlation = node.extension("Correlation")
    key = None
    if correlation is not None and correlation.text("key"):
        key = ctx.expression(correlation.element_id, f"{correlation.path}.key", correlation.text("key"))
    return Message(name=name, correlation_key=key) if name else None


def is_interrupting(node: Node, event: Event | None) -> bool:
    """Whether an event stops what it is attached to, or the scope around its event sub-process."""
    if event is not None and event.kind in ("error", "cancel"):
        return True
    if event is not None and event.kind == "compensation":
        return False
    return node.flag("cancelActivity" if node.is_a("BoundaryEvent") else "isInterrupting", default=True)


def _timer(ctx: Context, node: Node, definition: Node, position: str) -> Event | None:
    given = [name for name in _TIMES if definition.part(name) is not None]
    if len(given) != 1:
        ctx.fault(
            definition,
            f"the timer has {' and '.join(given) or 'no time'}",
            "give it exactly one of timeDate, timeDuration and timeCycle",
        )
    timers = [ctx.timer_of(definition, name, _TIMES[name]) for name in given]
    repeats = position.endswith("start") or (position == "boundary" and not node.flag("cancelActivity", default=True))
    if "timeCycle" in given and not repeats:
        ctx.fault(
            definition,
            f"a cycle has no meaning for an {'interrupting ' if position == 'boundary' else ''}{position} event",
            "use timeDuration, or, on a boundary, cancelActivity: false",
            "timeCycle",
        )
    return TimerEvent(kind="timer", timer=timers[0]) if len(timers) == 1 and timers[0] is not None else None


def _named(ctx: Context, holder: Node, reference: str, what: str) -> str:
    """The name of the message or signal that an element refers to; empty, with a problem noted, if there is none."""
    identifier = holder.text(reference)
    if not identifier:
        ctx.fault(
            holder,
            f"the {holder.describe()} names no {what}",
            f"set {reference} to the id of a bpmn:{what.capitalize()}",
            reference,
        )
        return ""
    found = ctx.model.index.get(identifier)
    if found is not None and not found.text("name"):
        ctx.fault(found, f"the {what} has no name", "give it one: it is what senders and receivers agree on", "name")
    return found.text("name") if found is not None else ""


def _code(ctx: Context, definition: Node, reference: str, attribute: str, *, required: bool) -> str | None:
    what = reference.removesuffix("Ref")
    identifier = definition.text(reference)
    if not identifier:
        if required:
            ctx.fault(
                definition,
                f"the event throws no {what}",
                f"set {reference} to the id of a bpmn:{what.capitalize()}",
                reference,
            )
        return None
    found = ctx.model.index.get(identifier)
    code = found.text(attribute) if found is not None else ""
    if found is not None and not code:
        ctx.fault(found, f"the {what} has no {attribute}", "give it one: it is what is caught by", attribute)
    return code or None


def _compensation(ctx: Context, scope: Scope, definition: Node, *, throws: bool) -> Event | None:
    if not throws:
        return CompensationEvent(kind="compensation")
    activity = definition.text("activityRef")
    if activity and activity in ctx.model.index and activity not in _compensable(ctx, scope):
        ctx.fault(
            definition,
            f"{activity} is not an activity of the scope that this event compensates",
            "name an activity beside it, or remove activityRef to compensate the whole scope",
            "activityRef",
        )
    return CompensationEvent(
        kind="compensation", activity=activity or None, wait=definition.flag("waitForCompletion", default=True)
    )


def _compensable(ctx: Context, scope: Scope) -> frozenset[str]:
    """The activities beside a compensation event; from an event sub-process, those of the scope around it."""
    around = ctx.model.scopes[scope.parent] if scope.kind == "eventSubProcess" else scope
    return frozenset(
        name for name, node in around.nodes.items() if node.is_a("Activity") and not node.flag("isForCompensation")
    )


def _link(ctx: Context, scope: Scope, node: Node, definition: Node, *, throws: bool) -> Event | None:
    name = definition.text("name")
    if not name:
        ctx.fault(definition, "the link has no name", "give the throwing and the catching event the same one", "name")
        return None
    ends = ctx.links_in(scope)[name]
    catching = ends.catching
    if not throws:
        if len(catching) > 1 and catching[0] == node.id:
            ctx.fault(node, f"{listed(catching)} all catch the link {name!r}", "keep one of them")
        if not ends.throwing:
            ctx.fault(node, f"no event throws the link {name!r} in this scope", "add one, or remove this event")
        return LinkEvent(kind="link")
    if not catching:
        ctx.fault(
            node, f"no event catches the link {name!r} in this scope", "add an intermediate catch event of that link"
        )
        return None
    return LinkEvent(kind="link", target=catching[0])


def _check_cancel(ctx: Context, scope: Scope, node: Node) -> None:
    host = ctx.model.index.get(node.text("attachedToRef"))
    if node.is_a("BoundaryEvent") and host is not None and not host.is_a("Transaction"):
        ctx.fault(node, f"a cancel event is attached to a {host.describe()}", "only a transaction can be cancelled")
    if node.is_a("EndEvent") and scope.kind != "transaction":
        ctx.fault(node, "a cancel end event stands outside of a transaction", "move it, or use an error end event")


def _a(words: str) -> str:
    return f"an {words}" if words[0] in "aeiou" else f"a {words}"
