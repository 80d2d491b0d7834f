"""JSON Schemas of the documents that people and programs outside write or read, from the models that check them."""

from __future__ import annotations

import json
from typing import Any, Final

from pydantic import BaseModel

from agent_operator.policy.document import PolicyDocument
from ameide_shared.builders.network import PORT_NUMBERS

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def policy_schema() -> str:
    """The JSON Schema of policies, as text. What fields say of each other is checked on loading only."""
    schema = document_schema(PolicyDocument, "Policy of Ameide Agents")
    schema["$defs"]["NetworkPort"] = {
        "description": "A port in full or in short, as in 443, http and 4317/TCP.",
        "anyOf": [
            schema["$defs"]["NetworkPort"],
            {"type": "integer", "minimum": 1, "maximum": 65535},
            {"type": "string", "pattern": rf"^([0-9]+|{'|'.join(PORT_NUMBERS)})(/(TCP|UDP|SCTP|tcp|udp|sctp))?$"},
        ],
    }
    return as_text(schema)


def document_schema(model: type[BaseModel], title: str, *, written: bool = False) -> dict[str, Any]:
    """The JSON Schema of a model, without what only Kubernetes reads; `written`: as the operator writes it."""
    found = model.model_json_schema(by_alias=True, mode="serialization" if written else "validation")
    cleaned: dict[str, Any] = _cleaned(found)
    return {"$schema": _DIALECT, **cleaned, "title": title}


def as_text(schema: dict[str, Any]) -> str:
    """A schema as a file holds it."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _cleaned(node: Any, *, names: bool = False) -> Any:
    """Without titles that repeat a field's name, null for absent, and extensions; `names`: keys are fields' names."""
    if isinstance(node, list):
        return [_cleaned(item) for item in node]
    if not isinstance(node, dict):
        return node
    if names:
        return {key: _cleaned(value) for key, value in node.items()}
    choices = node.get("anyOf")
    if isinstance(choices, list) and {"type": "null"} in choices:
        rest = [choice for choice in choices if choice != {"type": "null"}]
        merged = {key: value for key, value in node.items() if key != "anyOf" and (key, value) != ("default", None)}
        return _cleaned({**rest[0], **merged} if len(rest) == 1 else {**merged, "anyOf": rest})
    cleaned = {
        key: _cleaned(value, names=key in ("properties", "$defs", "patternProperties"))
        for key, value in node.items()
        if not key.startswith("x-kubernetes-") and key != "title"
    }
    if isinstance(cleaned.get("default"), dict):
        cleaned["default"] = {key: value for key, value in cleaned["default"].items() if value is not None}
    if "patternProperties" in cleaned:
        cleaned["additionalProperties"] = False
    return cleaned
