"""The extension elements `ameide:*`, which bind BPMN elements to what runs them: attributes, and where they may stand.

Values are text, as XML attributes are; numbers may be JSON numbers, and lists JSON lists or text with commas.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

PREFIX: Final = "ameide:"
Value = str | int | float | tuple[str, ...]
Form = Literal["text", "number", "list"]


@dataclass(frozen=True, slots=True)
class ExtensionType:
    """One extension: its attributes, which of them are required, what it may be put on, and whether repeatedly."""

    attributes: Mapping[str, Form]
    required: tuple[str, ...] = ()
    on: tuple[str, ...] = ()
    repeated: bool = False


_BOUND: Final = (
    "Task",
    "ServiceTask",
    "SendTask",
    "BusinessRuleTask",
    "ScriptTask",
    "IntermediateThrowEvent",
    "EndEvent",
)
"""What can be bound to an activity."""
EXTENSIONS: Final[Mapping[str, ExtensionType]] = {
    "Binding": ExtensionType(
        {
            "target": "text",
            "operation": "text",
            "activity": "text",
            "protocol": "text",
            "method": "text",
            "path": "text",
        },
        ("target", "operation"),
        _BOUND,
    ),
    "Input": ExtensionType(
        {"name": "text", "value": "text"},
        ("name", "value"),
        (*_BOUND, "UserTask", "CallActivity"),
        repeated=True,
    ),
    "Output": ExtensionType(
        {"name": "text", "value": "text"},
        ("name", "value"),
        (*_BOUND, "UserTask", "CallActivity", "ReceiveTask", "StartEvent", "IntermediateCatchEvent", "BoundaryEvent"),
        repeated=True,
    ),
    "Timeouts": ExtensionType(
        {"startToClose": "text", "scheduleToClose": "text", "scheduleToStart": "text", "heartbeat": "text"},
        (),
        ("Process", *_BOUND),
    ),
    "Retry": ExtensionType(
        {
            "initialInterval": "text",
            "backoffCoefficient": "number",
            "maximumInterval": "text",
            "maximumAttempts": "number",
            "nonRetryableErrors": "list",
        },
        (),
        ("Process", *_BOUND),
    ),
    "Assignment": ExtensionType(
        {"assignee": "text", "candidateUsers": "list", "candidateGroups": "list", "formKey": "text", "due": "text"},
        (),
        ("UserTask",),
    ),
    "Collection": ExtensionType(
        {"collection": "text", "element": "text", "output": "text"},
        (),
        ("MultiInstanceLoopCharacteristics",),
    ),
    "Correlation": ExtensionType(
        {"key": "text"},
        ("key",),
        ("ReceiveTask", "StartEvent", "IntermediateCatchEvent", "BoundaryEvent"),
    ),
    "Call": ExtensionType({"taskQueue": "text"}, ("taskQueue",), ("CallActivity",)),
    "Script": ExtensionType({"result": "text"}, ("result",), ("ScriptTask",)),
}
"""Every extension by its name, without the prefix `ameide:`."""


@dataclass(frozen=True, slots=True)
class Extension:
    """An extension element that was read; `element_id` is the element that it belongs to."""

    name: str
    element_id: str
    path: str
    attributes: Mapping[str, Value]

    def text(self, name: str) -> str:
        """A text attribute; empty if it is not given."""
        value = self.attributes.get(name, "")
        return value if isinstance(value, str) else ""

    def items(self, name: str) -> tuple[str, ...]:
        """A list attribute; empty if it is not given."""
        value = self.attributes.get(name, ())
        return value if isinstance(value, tuple) else ()

    def number(self, name: str) -> int | float | None:
        """A number attribute; None if it is not given."""
        value = self.attributes.get(name)
        return value if isinstance(value, int | float) else None
