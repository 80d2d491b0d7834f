"""The part of the chart's values schema that is the operators' settings, from the types that they read them with.

So a misspelt setting is refused by Helm, and not by an operator that does not start.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from pydantic.alias_generators import to_camel

from ameide_shared.settings import OperatorSettings

_PREFIX: Final = "settings"
_LEFT_OUT: Final = ("title", "default", "format", "required")
"""Also what is required: an environment variable may give what the file of settings leaves out."""
_SHORT_FORMS: Final[Mapping[str, list[dict[str, Any]]]] = {"NetworkPort": [{"type": "string"}, {"type": "integer"}]}
"""Types that are also read from something shorter than an object."""


def with_settings(schema_text: str, operators: Mapping[str, type[OperatorSettings]]) -> str:
    """The values schema with its definitions of settings written anew.

    operators: the key in the values, such as `domain`, and its settings; what all have in common is `settings`. Raises
    ValueError where two operators call different groups by one name.
    """
    schema = json.loads(schema_text)
    definitions = {name: node for name, node in schema["$defs"].items() if not name.startswith(_PREFIX)}
    every: dict[str, type[OperatorSettings]] = {"": OperatorSettings, **operators}
    for name, settings in every.items():
        found = settings.model_json_schema()
        groups = found.pop("$defs", {})
        found["description"] = f"Settings of {f'the {name} operator' if name else 'all operators'}."
        for group, node in ((f"-{name}" if name else "", found), *((f".{key}", node) for key, node in groups.items())):
            short = _SHORT_FORMS.get(group.removeprefix("."))
            converted = _converted(node) if short is None else {"anyOf": [_converted(node), *short]}
            known = definitions.setdefault(_PREFIX + group, converted)
            if known != converted:
                raise ValueError(f"two operators have settings {group.removeprefix('.')} that differ; rename one")
    schema["$defs"] = definitions
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _converted(node: Any) -> Any:
    """A schema with names as they are written in files, and without titles and defaults."""
    if isinstance(node, list):
        return [_converted(item) for item in node]
    if not isinstance(node, dict):
        return node
    result: dict[str, Any] = {}
    for key, value in node.items():
        if key == "properties":
            result[key] = {to_camel(name): _converted(child) for name, child in value.items()}
        elif key == "$ref":
            result[key] = str(value).replace("#/$defs/", f"#/$defs/{_PREFIX}.")
        elif key == "description":
            result[key] = " ".join(str(value).split())
        elif key not in _LEFT_OUT:
            result[key] = _converted(value)
    return result
