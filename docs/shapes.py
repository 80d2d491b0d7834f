"""The JSON that the operators' programs print, as JSON Schemas, and the page that tells of it.

`docs/tests/test_shapes.py` holds the schemas against what the programs really print: no field may be missing in
either.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

Schema = Mapping[str, Any]


def _object(description: str, fields: Mapping[str, Schema]) -> Schema:
    """An object that has these fields; later versions may add some."""
    return {"type": "object", "description": description, "properties": fields, "required": list(fields)}


def _list(description: str, items: Schema) -> Schema:
    return {"type": "array", "description": description, "items": items}


def _text(description: str) -> Schema:
    return {"type": "string", "description": description}


def _number(description: str) -> Schema:
    return {"type": "integer", "description": description}


def _truth(description: str) -> Schema:
    return {"type": "boolean", "description": description}


CHECK: Final = _object(
    "The verdict on manifests.",
    {
        "ok": _truth("Whether there are no findings."),
        "checked": _number("Resources of the operator's kind that were judged."),
        "skipped": _number("Objects of other kinds."),
        "findings": _list(
            "What is wrong, in the order of the files.",
            _object(
                "One finding.",
                {
                    "file": _text("The file, as it was named."),
                    "document": _number("Which document of the file, from 1."),
                    "line": _number("The line that the document begins at, or the error of its YAML is in, from 1."),
                    "object": _text("Kind, namespace and name, as far as they are known."),
                    "field": _text("Path of the field, such as `spec.db.schema`; empty for the whole."),
                    "message": _text("What is wrong; for people."),
                    "remedy": _text("What to do about it; for people, may be empty."),
                    "reason": _text("The [reason](reasons.md) under which the operator would tell it."),
                },
            ),
        ),
    },
)
EXPLAIN: Final = _object(
    "Why a resource is not Ready.",
    {
        "kind": _text("Kind of the resource."),
        "namespace": _text("Its namespace."),
        "name": _text("Its name."),
        "ready": _truth("Whether it is Ready in its newest generation."),
        "reason": _text("[Reason](reasons.md) of the condition Ready; `NotSeen` where there is no condition yet."),
        "message": _text("Message of the condition Ready; for people."),
        "source": {
            "enum": ["status", "plan"],
            "description": "`status`: as the operator wrote it. `plan`: made here, as it has not seen the newest "
            "generation.",
        },
        "generation": _number("`metadata.generation`."),
        "observedGeneration": _number("The generation that the operator's status speaks of; -1 before the first."),
        "paused": _truth("Whether the annotation `ameide.io/paused` is true."),
        "deleting": _truth("Whether it is being deleted."),
        "blocker": {
            "description": "The first thing in the way; null when there is none.",
            "oneOf": [
                {"type": "null"},
                _object(
                    "The blocker.",
                    {
                        "reason": _text("Its [reason](reasons.md)."),
                        "object": _text("What is in the way."),
                        "message": _text("What is wrong with it; for people."),
                        "remedy": _text("What to do about it; for people, may be empty."),
                        "since": _text("Since when, RFC 3339; empty where `source` is `plan`."),
                        "retryAt": _text("When the operator itself looks again; empty where it waits for a change."),
                        "cause": _text("What the reason means in general."),
                        "advice": _text("What is to be done about such reasons in general."),
                    },
                ),
            ],
        },
        "chain": _list(
            "Conditions that do not hold, in the order in which they stand in each other's way.",
            _object(
                "One condition.",
                {
                    "condition": _text("Its type."),
                    "status": {"enum": ["False", "Unknown"], "description": "Its status."},
                    "reason": _text("Its [reason](reasons.md)."),
                    "message": _text("Its message; for people."),
                    "since": _text("When it changed, RFC 3339; empty where `source` is `plan`."),
                },
            ),
        ),
        "children": _list(
            "Children that are not well, as they are now.",
            _object(
                "One child.",
                {
                    "apiVersion": _text("Its apiVersion."),
                    "kind": _text("Its kind."),
                    "namespace": _text("Its namespace."),
                    "name": _text("Its name."),
                    "ready": {"const": False, "description": "Always false."},
                    "reason": _text("Why, as a word; may be empty."),
                    "cause": _text("What its pods show; for people, may be empty."),
                    "remedy": _text("What to do about that; for people, may be empty."),
                },
            ),
        ),
        "events": _list(
            "The latest ten Events of the resource, its children and their pods, newest first.",
            _object(
                "One Event.",
                {
                    "time": _text("When it was last seen, RFC 3339."),
                    "type": _text("`Normal` or `Warning`."),
                    "reason": _text("Its reason."),
                    "message": _text("Its message, without credentials; for people."),
                    "object": _text("Kind and name of what it concerns."),
                    "count": _number("How often it was seen."),
                },
            ),
        ),
        "operator": _object(
            "Whether the operator is at work, by its Lease.",
            {
                "running": {
                    "type": ["boolean", "null"],
                    "description": "Whether a Lease is held and was renewed in time; null where Leases may not be "
                    "listed.",
                },
                "holder": _text("Who holds it; may be empty."),
                "namespace": _text("The Lease's namespace; may be empty."),
                "renewed": _text("When it was last renewed, RFC 3339; may be empty."),
            },
        ),
        "advice": _list("What else can be said; for people.", _text("One sentence.")),
    },
)
SETTINGS: Final = _list(
    "Every setting of the operator.",
    _object(
        "One setting.",
        {
            "env": _text("The environment variable that sets it."),
            "path": _text("Its path in the settings file."),
            "type": _text("Its type, as people write it."),
            "default": _text("Its default as text; empty for none."),
            "description": _text("What it does."),
        },
    ),
)
REASONS: Final[Schema] = {
    "type": "object",
    "description": "The catalogue, by reason.",
    "additionalProperties": _object(
        "One reason.",
        {
            "cause": _text("What it means."),
            "remedy": _text("What to do about it; empty where nothing is to be done."),
        },
    ),
}
SHAPES: Final[Mapping[str, Schema]] = {
    "check": CHECK,
    "explain": EXPLAIN,
    "settings": SETTINGS,
    "reasons": REASONS,
}


def schema_text(name: str) -> str:
    """The schema of what `<operator> <name> -o json` prints."""
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": f"<operator> {name} -o json"}
    return json.dumps({**head, **SHAPES[name]}, indent=2, ensure_ascii=False) + "\n"


def rows(schema: Schema, path: str = "") -> Iterator[tuple[str, str, str]]:
    """Each value within a shape: its path, type and meaning. `-` stands for an item, `*` for any key."""
    for inner in schema.get("oneOf", ()):
        yield from rows(inner, path)
    for name, field in schema.get("properties", {}).items():
        here = f"{path}.{name}" if path else name
        yield f"`{here}`", _type(field), field["description"]
        yield from rows(field, here)
    for key, mark in (("items", "-"), ("additionalProperties", "*")):
        inner = schema.get(key)
        if isinstance(inner, Mapping):
            yield from rows(inner, f"{path}.{mark}" if path else mark)


def _type(schema: Schema) -> str:
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    if "enum" in schema:
        return " \\| ".join(f"`{value}`" for value in schema["enum"])
    if "oneOf" in schema:
        return " or ".join(sorted(_type(inner) for inner in schema["oneOf"]))
    names = {"string": "text", "array": "list", "boolean": "true or false"}
    given = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return " or ".join(names.get(str(name), str(name)) for name in given)


def page(
    table: Callable[[tuple[str, ...], Sequence[tuple[str, ...]]], str], program_help: str, kinds: Sequence[str]
) -> str:
    """The page of all shapes, without its head; exit codes are as the programs' own help has them."""
    codes = re.findall(r"^ +(\d)  (.+)$", program_help, re.MULTILINE)
    text = [
        f"""# JSON and exit codes

What `-o json` prints is for programs. Fields are not renamed or dropped within a version of the API, and keep their
meaning; new ones may come, so ignore those that you do not know. Reasons and types of conditions may be compared;
messages, remedies, causes and advice are for people and may change. `-` stands for an item of a list, `*` for any key
of an object.

## Exit codes

Of `check`, `diff`, `explain` and `render`:

{table(("code", "meaning"), codes)}
The others end with 0, or 2 where they cannot do their work. `run` ends with 0 when it was told to stop, and with 1 when
something gave way, the lead for instance.
"""
    ]
    for name, schema in SHAPES.items():
        text.append(f"\n## `{name} -o json`\n\n{schema['description']} [Schema]({name}.schema.json).\n\n")
        text.append(table(("field", "type", "meaning"), list(rows(schema))))
    links = ", ".join(f"[{kind}]({kind.lower()}.md#status)" for kind in kinds)
    text.append(f"""
## Status

`kubectl get -o json` has what `explain` is made of: {links}.

## Logs

Where standard error is no terminal each line is one object: `time`, `level`, `logger` and `message`; within a reconcile
`kind`, `namespace`, `name` and `reconcile`, an id that its lines share; then fields of the line's own;
after a failure `error` and `traceback`. `logFormat` in the settings chooses between this and text.
""")
    return "".join(text)
