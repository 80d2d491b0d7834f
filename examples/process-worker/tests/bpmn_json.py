"""Writes BPMN definitions as JSON in few words, for tests: nodes, flows as `a -> b`, and extensions."""

from collections.abc import Iterable
from typing import Any

Node = dict[str, Any]


def definitions(*roots: Node) -> Node:
    return {
        "$type": "bpmn:Definitions",
        "id": "definitions",
        "targetNamespace": "https://example.test/bpmn",
        "rootElements": list(roots),
    }


def process(identity: str, nodes: Iterable[Node], flows: str, **more: Any) -> Node:
    return {"$type": "bpmn:Process", "id": identity, "isExecutable": True, **inside(nodes, flows), **more}


def inside(nodes: Iterable[Node], flows: str) -> Node:
    """The content of a scope. Flows, one a line: `from -> to`, and `from -> to : condition`, `from -> to : default`."""
    elements, made, edges = list(nodes), [], []
    artifacts: list[Node] = []
    by_id = {node["id"]: node for node in elements}
    for line in filter(None, (line.strip() for line in flows.splitlines())):
        path, _, condition = line.partition(" : ")
        source, _, target = (part.strip() for part in path.partition("->"))
        if target.startswith("~"):
            target = target[1:]
            artifacts.append(
                {
                    "$type": "bpmn:Association",
                    "id": f"{source}_to_{target}",
                    "sourceRef": source,
                    "targetRef": target,
                    "associationDirection": "One",
                }
            )
            continue
        flow: Node = {"$type": "bpmn:SequenceFlow", "id": f"{source}_{target}", "sourceRef": source}
        flow["targetRef"] = target
        if condition == "default":
            by_id[source]["default"] = flow["id"]
        elif condition:
            flow["conditionExpression"] = expression(condition)
        made.append(flow)
        edges.append((source, target))
    content: Node = {"flowElements": [*elements, *made]}
    return {**content, "artifacts": artifacts} if artifacts else content


def expression(text: str) -> Node:
    return {"$type": "bpmn:FormalExpression", "body": text}


def node(kind: str, identity: str, *extensions: Node, **more: Any) -> Node:
    held: Node = {"extensionElements": {"$type": "bpmn:ExtensionElements", "values": list(extensions)}}
    return {"$type": f"bpmn:{kind}", "id": identity, **(held if extensions else {}), **more}


def start(identity: str = "start", **more: Any) -> Node:
    return node("StartEvent", identity, **more)


def end(identity: str = "end", definition: Node | None = None, **more: Any) -> Node:
    return node("EndEvent", identity, **({"eventDefinitions": [definition]} if definition else {}), **more)


def binding(operation: str, target: str = "domain/shop", **more: Any) -> Node:
    return {"$type": "ameide:Binding", "target": target, "operation": operation, **more}


def given(name: str, value: str) -> Node:
    return {"$type": "ameide:Input", "name": name, "value": value}


def output(name: str, value: str = "result") -> Node:
    return {"$type": "ameide:Output", "name": name, "value": value}


ANYONE = {"$type": "ameide:Assignment", "candidateGroups": "staff"}
RETRY = {"$type": "ameide:Retry", "initialInterval": "PT0.05S", "maximumInterval": "PT0.2S"}


def service(identity: str, operation: str | None = None, *extensions: Node, **more: Any) -> Node:
    extras = list(extensions) if any(each["$type"] == "ameide:Retry" for each in extensions) else [RETRY, *extensions]
    return node("ServiceTask", identity, binding(operation or identity), *extras, **more)


def script(identity: str, result: str, text: str, **more: Any) -> Node:
    holder = {"$type": "ameide:Script", "result": result}
    return node("ScriptTask", identity, holder, script=text, **more)


def user(identity: str, *extensions: Node, **more: Any) -> Node:
    given_to = [] if any(each["$type"] == "ameide:Assignment" for each in extensions) else [ANYONE]
    return node("UserTask", identity, *given_to, *extensions, **more)


def timer(kind: str = "timeDuration", text: str = "PT0.2S") -> Node:
    return {"$type": "bpmn:TimerEventDefinition", kind: expression(text)}


def event(kind: str, **more: Any) -> Node:
    return {"$type": f"bpmn:{kind}EventDefinition", **more}


def catch(identity: str, definition: Node, *extensions: Node, **more: Any) -> Node:
    return node("IntermediateCatchEvent", identity, *extensions, eventDefinitions=[definition], **more)


def throw(identity: str, definition: Node, *extensions: Node, **more: Any) -> Node:
    return node("IntermediateThrowEvent", identity, *extensions, eventDefinitions=[definition], **more)


def boundary(identity: str, host: str, definition: Node, *extensions: Node, interrupting: bool = True) -> Node:
    more = {} if interrupting else {"cancelActivity": False}
    return node("BoundaryEvent", identity, *extensions, attachedToRef=host, eventDefinitions=[definition], **more)


def sub(identity: str, nodes: Iterable[Node], flows: str, kind: str = "SubProcess", **more: Any) -> Node:
    return {**node(kind, identity, **more), **inside(nodes, flows)}


def event_sub(identity: str, nodes: Iterable[Node], flows: str) -> Node:
    return sub(identity, nodes, flows, triggeredByEvent=True)


def message(name: str) -> Node:
    return {"$type": "bpmn:Message", "id": f"message_{name}", "name": name}


def error(code: str) -> Node:
    return {"$type": "bpmn:Error", "id": f"error_{code}", "errorCode": code}


def signal(name: str) -> Node:
    return {"$type": "bpmn:Signal", "id": f"signal_{name}", "name": name}


def escalation(code: str) -> Node:
    return {"$type": "bpmn:Escalation", "id": f"escalation_{code}", "escalationCode": code}
