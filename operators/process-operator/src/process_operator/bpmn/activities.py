"""Activities: what each kind of task must say, who does it, what it calls, and how often it runs."""

from __future__ import annotations

import re
from typing import Any, Final

from process_operator.bpmn import graph
from process_operator.bpmn.bindings import binding_of, check_variable, parameters
from process_operator.bpmn.context import Context
from process_operator.bpmn.events import message_of
from process_operator.bpmn.node import Node
from process_operator.bpmn.parts import Assignment, Call, Loop, MultiInstanceLoop, Script, StandardLoop, Timer
from process_operator.bpmn.scopes import Scope

_BOUND: Final = frozenset({"Task", "ServiceTask", "SendTask", "BusinessRuleTask"})
_FORMATS: Final = frozenset({"", "feel", "text/x-feel", "application/x-feel", "text/feel", "application/feel"})
_QUEUE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./-]{0,199}", re.ASCII)


def activity_parts(ctx: Context, scope: Scope, node: Node) -> dict[str, Any]:
    """The fields of a table element that an activity fills; problems are noted."""
    parts: dict[str, Any] = {
        "inputs": parameters(ctx, node, "Input"),
        "outputs": parameters(ctx, node, "Output"),
        "loop": _loop(ctx, node),
    }
    for attribute in ("startQuantity", "completionQuantity"):
        if node.number(attribute) not in (None, 1):
            ctx.fault(node, f"{attribute} is not 1", "remove it; use a multi-instance activity", attribute)
    if node.is_a("ScriptTask"):
        parts |= _script(ctx, scope, node)
    elif node.type.name in _BOUND:
        parts["binding"] = binding_of(ctx, scope, node)
    elif node.is_a("ReceiveTask"):
        parts["message"] = message_of(ctx, node, node)
        if node.flag("instantiate"):
            ctx.fault(node, "a receive task cannot start the process", "use a message start event", "instantiate")
    elif node.is_a("UserTask"):
        parts["assignment"] = _assignment(ctx, node)
    elif node.is_a("CallActivity"):
        parts["call"] = _call(ctx, scope, node)
    return parts


def _script(ctx: Context, scope: Scope, node: Node) -> dict[str, Any]:
    if node.extension("Binding") is not None:
        if node.text("script"):
            ctx.fault(node, "has both a script and an ameide:Binding", "keep one of them", "script")
        return {"binding": binding_of(ctx, scope, node)}
    result = node.extension("Script")
    if node.text("scriptFormat").lower() not in _FORMATS:
        ctx.fault(
            node,
            f"scripts in {node.text('scriptFormat')!r} are not run",
            "write an expression with scriptFormat feel, or bind the task to a domain with an ameide:Binding",
            "scriptFormat",
        )
        return {}
    if not node.text("script"):
        ctx.fault(
            node, f"the {node.describe()} has no script", "write an expression, or add an ameide:Binding", "script"
        )
    if result is None:
        ctx.fault(
            node, "nothing takes the value of the script", 'add {"$type": "ameide:Script", "result": "<variable>"}'
        )
    elif result.text("result"):
        check_variable(ctx, result, "result")
    for kind in ("Input", "Output", "Timeouts", "Retry"):
        if node.extension(kind) is not None:
            ctx.fault(node, f"ameide:{kind} has no meaning without an ameide:Binding", "remove it")
    if not node.text("script") or result is None:
        return {}
    expression = ctx.expression(node.id, f"{node.path}.script", node.text("script"))
    return {"script": Script(expression=expression, result=result.text("result"))} if expression else {}


def _assignment(ctx: Context, node: Node) -> Assignment | None:
    given = node.extension("Assignment")
    people = given and (given.text("assignee"), *given.items("candidateUsers"), *given.items("candidateGroups"))
    if given is None or not any(people or ()):
        ctx.fault(
            node,
            f"nobody is assigned to the {node.describe()}",
            "add an ameide:Assignment with assignee, candidateUsers or candidateGroups",
        )
        return None
    assignee = None
    if given.text("assignee"):
        assignee = ctx.expression(given.element_id, f"{given.path}.assignee", given.text("assignee"))
    return Assignment(
        assignee=assignee,
        candidate_users=given.items("candidateUsers"),
        candidate_groups=given.items("candidateGroups"),
        form_key=given.text("formKey") or None,
        due=_due(ctx, given.element_id, f"{given.path}.due", given.text("due")),
    )


def _due(ctx: Context, owner: str, path: str, text: str) -> Timer | None:
    if not text:
        return None
    return ctx.timer(owner, path, "duration" if text.lstrip(" =").startswith("P") else "date", text)


def _call(ctx: Context, scope: Scope, node: Node) -> Call | None:
    called = node.text("calledElement")
    if not called:
        ctx.fault(
            node, f"the {node.describe()} calls nothing", "set calledElement to the id of a process", "calledElement"
        )
        return None
    found = ctx.model.index.get(called)
    queue = node.extension("Call")
    if found is not None and not found.is_a("Process"):
        ctx.fault(node, f"{called} is a bpmn:{found.type.name}", "call a bpmn:Process", "calledElement")
        return None
    if found is not None:
        if queue is not None:
            ctx.fault(node, f"{called} is in this definition, so it has no queue of its own", "remove ameide:Call")
        if scope.root.id in graph.reachable(ctx.model.calls, [called]):
            ctx.fault(node, f"the process {called} comes back to {scope.root.id}, without end", "use a loop instead")
        return Call(process=called, local=True)
    if queue is None or not queue.text("taskQueue"):
        ctx.fault(
            node,
            f"there is no process {called} in this definition",
            "add it here, or name the task queue of the Process that runs it in an ameide:Call",
            "calledElement",
        )
        return None
    if not _QUEUE.fullmatch(queue.text("taskQueue")):
        ctx.fault(node, f"{queue.text('taskQueue')!r} is no task queue", "use letters, digits and _ . / -")
        return None
    return Call(process=called, local=False, task_queue=queue.text("taskQueue"))


def _loop(ctx: Context, node: Node) -> Loop | None:
    part = node.part("loopCharacteristics")
    if part is None:
        return None
    if part.is_a("StandardLoopCharacteristics"):
        condition = ctx.formal(part, "loopCondition")
        maximum = part.number("loopMaximum")
        if part.part("loopCondition") is None:
            ctx.fault(part, "the loop has no condition", "write loopCondition: it runs as long as that holds")
        if maximum is not None and maximum < 1:
            ctx.fault(part, f"loopMaximum is {maximum}", "use 1 or more", "loopMaximum")
        if condition is None:
            return None
        return StandardLoop(
            kind="standard",
            test_before=part.flag("testBefore"),
            condition=condition,
            maximum=maximum if maximum and maximum > 0 else None,
        )
    given = part.extension("Collection")
    if given is not None and given.text("output") and (node.is_a("SubProcess") or node.is_a("ManualTask")):
        ctx.fault(
            part,
            f"output of ameide:Collection gathers results, and a {node.describe()} has none",
            "remove output, and write a variable within it, or call a process, whose result is its variables",
            "extensionElements",
        )
    return _multi_instance(ctx, part)


def _multi_instance(ctx: Context, part: Node) -> Loop | None:
    for attribute in ("loopDataInputRef", "loopDataOutputRef", "inputDataItem", "outputDataItem"):
        if attribute in part.values:
            ctx.fault(
                part,
                f"{attribute} is not supported",
                "use ameide:Collection with collection, element, output",
                attribute,
            )
    if part.text("behavior") not in ("", "All"):
        ctx.fault(part, f"behavior {part.text('behavior')!r} is not supported", "remove it", "behavior")
    given = part.extension("Collection")
    collection = None
    if given is not None:
        if given.text("collection"):
            collection = ctx.expression(given.element_id, f"{given.path}.collection", given.text("collection"))
        for attribute in ("element", "output"):
            if given.text(attribute):
                check_variable(ctx, given, attribute)
        if given.text("element") and not given.text("collection"):
            ctx.fault(
                part, "there is an element, but no collection that it is of", "set collection", "extensionElements"
            )
    has_collection = given is not None and bool(given.text("collection"))
    if has_collection == (part.part("loopCardinality") is not None):
        ctx.fault(
            part,
            "the number of instances is given twice" if has_collection else "the number of instances is not known",
            "give either loopCardinality or an ameide:Collection with collection",
        )
    return MultiInstanceLoop(
        kind="multiInstance",
        sequential=part.flag("isSequential"),
        cardinality=ctx.formal(part, "loopCardinality"),
        collection=collection,
        element=(given.text("element") or None) if given else None,
        output=(given.text("output") or None) if given else None,
        completion=ctx.formal(part, "completionCondition"),
    )
