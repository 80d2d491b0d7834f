"""Builds definitions as bpmn-moddle writes them, in few words, for tests."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]


def definitions(*root_elements: Json, **attributes: Any) -> Json:
    """A whole definition."""
    return {
        "$type": "bpmn:Definitions",
        "id": "definitions",
        "targetNamespace": "https://ameide.io/definitions",
        **attributes,
        "rootElements": list(root_elements),
    }


def process(identifier: str, /, *flow_elements: Json, executable: bool = True, **attributes: Any) -> Json:
    """A process; `identifier` is its id."""
    return {
        "$type": "bpmn:Process",
        "id": identifier,
        "isExecutable": executable,
        **attributes,
        "flowElements": list(flow_elements),
    }


def element(kind: str, identifier: str, /, *extensions: Json, **attributes: Any) -> Json:
    """An element of a type, such as `ServiceTask`; `identifier` is its id."""
    written: Json = {"$type": f"bpmn:{kind}", "id": identifier, **attributes}
    if extensions:
        written["extensionElements"] = {"$type": "bpmn:ExtensionElements", "values": list(extensions)}
    return written


def flow(identifier: str, source: str, target: str, condition: str = "", /, **attributes: Any) -> Json:
    """A sequence flow."""
    written = element("SequenceFlow", identifier, sourceRef=source, targetRef=target, **attributes)
    if condition:
        written["conditionExpression"] = formal(condition)
    return written


def formal(body: str) -> Json:
    """A formal expression."""
    return {"$type": "bpmn:FormalExpression", "body": body}


def ameide(kind: str, /, **attributes: Any) -> Json:
    """An extension, such as `Binding`."""
    return {"$type": f"ameide:{kind}", **attributes}


def binding(target: str, operation: str, **attributes: Any) -> Json:
    return ameide("Binding", target=target, operation=operation, **attributes)


def output(name: str, value: str = "result") -> Json:
    return ameide("Output", name=name, value=value)


def given(name: str, value: str = "") -> Json:
    """An input; its value is the variable of that name unless said otherwise."""
    return ameide("Input", name=name, value=value or name)


def event(kind: str, identifier: str, definition: str, /, *extensions: Json, **attributes: Any) -> Json:
    """An event with one definition, such as `Timer`; attributes that belong to the definition go there."""
    own = {
        key: attributes.pop(key)
        for key in ("messageRef", "signalRef", "errorRef", "escalationRef", "activityRef", "waitForCompletion")
        if key in attributes
    }
    for key in ("timeDate", "timeDuration", "timeCycle", "condition"):
        if key in attributes:
            own[key] = formal(attributes.pop(key))
    if definition == "Link":
        own["name"] = attributes.pop("link")
    inner = {"$type": f"bpmn:{definition}EventDefinition", **own}
    return element(kind, identifier, *extensions, **attributes, eventDefinitions=[inner])


def association(name: str, source: str, target: str) -> Json:
    return element("Association", name, sourceRef=source, targetRef=target, associationDirection="One")
