"""CustomResourceDefinitions from the typed models: structural schemas with descriptions, defaults and CEL rules."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ameide_shared.spec.documents import write_document
from ameide_shared.spec.model import Model
from ameide_shared.spec.resource import ResourceModel
from ameide_shared.vocabulary import GROUP, VERSION

Schema = dict[str, Any]

_KEPT: Final = (
    "type",
    "format",
    "description",
    "default",
    "enum",
    "pattern",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "maxProperties",
    "x-kubernetes-int-or-string",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-validations",
)
"""Keywords that are copied as they are; what else pydantic writes (titles, additionalProperties: false) is no part of
a structural schema."""

_BEFORE_SPEC: Final = (
    ("Ready", "string", '.status.conditions[?(@.type=="Ready")].status', "Whether it serves as asked for."),
    ("Reason", "string", '.status.conditions[?(@.type=="Ready")].reason', "Why, or why not."),
)
_MESSAGE: Final = '.status.conditions[?(@.type=="Ready")].message'


def crd_of(resource: type[ResourceModel]) -> Schema:
    """The CustomResourceDefinition of a kind, as a manifest. The same models always give the same manifest."""
    kind = resource.__name__
    plural = resource.PLURAL
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": plural,
                "singular": kind.lower(),
                "shortNames": list(resource.SHORT_NAMES),
                "categories": ["ameide"],
            },
            "scope": "Namespaced",
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": _columns(resource),
                    "schema": {"openAPIV3Schema": _root_schema(resource)},
                }
            ],
        },
    }


def crd_yaml(resource: type[ResourceModel]) -> str:
    """The CRD as YAML text, with a first line that says where it comes from."""
    source = f"{resource.__module__}.{resource.__name__}"
    header = f"# Generated from {source}. Do not edit: change the model and generate again.\n"
    return header + write_document(crd_of(resource))


def crd_path(resource: type[ResourceModel], directory: Path) -> Path:
    """The file of a kind's CRD, as in `domains.ameide.io.yaml`."""
    return directory / f"{resource.PLURAL}.{GROUP}.yaml"


def write_crd(resource: type[ResourceModel], directory: Path, *, check: bool = False) -> tuple[Path, bool]:
    """(file, whether it was current already); a file that was not is written, unless `check` only asks."""
    path = crd_path(resource, directory)
    text = crd_yaml(resource)
    current = path.is_file() and path.read_text(encoding="utf-8") == text
    if not current and not check:
        directory.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return path, current


def schema_of(model: type[Model]) -> Schema:
    """The structural schema of one model, with every reference written out."""
    generated = model.model_json_schema(by_alias=True, mode="validation")
    return _structural(generated, generated.get("$defs", {}))


def _root_schema(resource: type[ResourceModel]) -> Schema:
    schema = schema_of(resource)
    properties = schema["properties"]
    for name in ("apiVersion", "kind"):
        properties[name] = {"type": "string", "description": properties[name]["description"]}
    properties["metadata"] = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 253}}}
    properties["status"] = {
        **schema_of(resource.STATUS),
        # Without any status, kstatus would call a resource current that no operator has looked at yet.
        "default": {"observedGeneration": -1},
    }
    schema["required"] = ["spec"]
    return schema


def _columns(resource: type[ResourceModel]) -> list[dict[str, Any]]:
    columns: list[dict[str, Any]] = [
        {"name": name, "type": kind, "jsonPath": path, "description": description}
        for name, kind, path, description in _BEFORE_SPEC
    ]
    columns += [{"name": name, "type": "string", "jsonPath": path} for name, path in resource.COLUMNS]
    columns.append({"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"})
    columns.append({"name": "Message", "type": "string", "jsonPath": _MESSAGE, "priority": 1})
    return columns


def _structural(node: Mapping[str, Any], definitions: Mapping[str, Any]) -> Schema:
    """A pydantic JSON schema node as a structural schema node."""
    node = _resolved(node, definitions)
    schema: Schema = {}
    for keyword in _KEPT:
        if keyword in node and node[keyword] is not None:
            schema[keyword] = node[keyword]
    if "const" in node:
        schema["enum"] = [node["const"]]
    if node.get("x-kubernetes-int-or-string"):
        schema["anyOf"] = node["anyOf"]
    if isinstance(schema.get("default"), dict | list) and not schema["default"]:
        del schema["default"]  # an empty map or list is the same as none
    if schema.get("type") == "object" and "properties" in node:
        schema.pop("default", None)  # the fields in it have their own defaults
    if schema.get("type") == "integer":
        schema["format"] = schema.get("format", "int32" if "maximum" in schema else "int64")
    if "items" in node:
        schema["items"] = _structural(node["items"], definitions)
    if isinstance(node.get("additionalProperties"), Mapping):
        schema["additionalProperties"] = _structural(node["additionalProperties"], definitions)
    if node.get("required"):
        schema["required"] = sorted(node["required"])
    if "properties" in node:
        schema["properties"] = {
            name: _structural(child, definitions) for name, child in sorted(node["properties"].items())
        }
    return schema


def _resolved(node: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """A node with its reference, and its alternative of null, folded in; what it says itself takes precedence."""
    own = dict(node)
    if "$ref" in own:
        target = definitions[own.pop("$ref").rpartition("/")[2]]
        return {**_resolved(target, definitions), **own}
    if "anyOf" in own and not own.get("x-kubernetes-int-or-string"):
        alternatives = [choice for choice in own.pop("anyOf") if choice.get("type") != "null"]
        if len(alternatives) != 1:
            raise TypeError(f"no structural schema for alternatives {alternatives}: give the field one type")
        if own.get("default", "") is None:
            del own["default"]
        return {**_resolved(alternatives[0], definitions), **own}
    return own
