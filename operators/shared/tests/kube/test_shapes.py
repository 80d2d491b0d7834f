"""Our table of how fields merge says the same as the document that the API server publishes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ameide_shared.kube.client import ApiClient
from ameide_shared.kube.resources import (
    CNPG_DATABASE,
    CNPG_DATABASE_ROLE,
    EXTERNAL_SECRET,
    SERVICE_MONITOR,
    ResourceType,
    resource_of,
)
from ameide_shared.kube.shapes import Shape, shape_of

from . import samples

WRITTEN = [resource_of(make()) for make in samples.BUILT_IN.values()]
CUSTOM = [CNPG_DATABASE, CNPG_DATABASE_ROLE, EXTERNAL_SECRET, SERVICE_MONITOR]


async def document(client: ApiClient, resource: ResourceType) -> tuple[dict[str, Any], dict[str, Any]]:
    """The schema of a kind, and all schemas that it may refer to."""
    path = f"apis/{resource.api_version}" if resource.group else f"api/{resource.version}"
    schemas = (await client.raw_get(f"/openapi/v3/{path}"))["components"]["schemas"]
    for schema in schemas.values():
        for kind in schema.get("x-kubernetes-group-version-kind", ()):
            if (kind["group"], kind["version"], kind["kind"]) == (resource.group, resource.version, resource.kind):
                return schema, schemas
    raise AssertionError(f"{resource} is not in the document")


def resolved(schema: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    """A schema with what it refers to merged in; `$name` is the name of that."""
    for reference in (schema, *schema.get("allOf", ())):
        if "$ref" in reference:
            name = reference["$ref"].rsplit("/", 1)[-1]
            return {**schemas[name], **{k: v for k, v in schema.items() if k != "allOf"}, "$name": name}
    return schema


def quantity(schema: dict[str, Any]) -> bool:
    return str(schema.get("$name", "")).endswith(".Quantity")


def disagreements(
    schema: dict[str, Any], shape: Shape, schemas: dict[str, Any], path: str, inside: bool, seen: tuple[str, ...]
) -> Iterator[str]:
    """What the table says otherwise. `inside`: below something that is replaced whole, where keys are no matter."""
    schema = resolved(schema, schemas)
    name = schema.get("$name", "")
    if name and name in seen:
        return  # a type that contains itself
    seen = (*seen, name) if name else seen
    if quantity(schema) != shape.quantity:
        yield f"{path}: quantity is {shape.quantity}"
    if schema.get("type") == "array":
        kind = schema.get("x-kubernetes-list-type", "atomic")
        keys = tuple(schema.get("x-kubernetes-list-map-keys", ()))
        if not inside and shape.keys != keys:
            yield f"{path}: keys are {shape.keys}, should be {keys}"
        if shape.unordered != (kind == "set"):
            yield f"{path}: unordered is {shape.unordered}, should be {kind}"
        items = resolved(schema["items"], schemas)
        if items.get("type") == "object" or "$name" in items:
            below = inside or kind == "atomic"
            yield from disagreements(items, shape.child(""), schemas, f"{path}[]", below, seen)
        return
    atomic = schema.get("x-kubernetes-map-type") == "atomic"
    if not inside and atomic and not shape.atomic:
        yield f"{path}: should be atomic"
    properties = schema.get("properties", {})
    if "additionalProperties" in schema:
        if not shape.free:
            yield f"{path}: should have free keys"
        yield from disagreements(
            schema["additionalProperties"], shape.child("any"), schemas, f"{path}.*", inside or atomic, seen
        )
    elif properties and shape.free and not path.endswith(".labelSelector"):
        yield f"{path}: has no free keys"
    for field, inner in properties.items():
        if path.count(".") == 0 and field in ("apiVersion", "kind", "status"):
            continue
        if path.endswith("metadata") and field == "managedFields":
            continue
        default = inner.get("default")
        if (inside or atomic) and default and shape.defaults.get(field) != default:
            yield f"{path}.{field}: default is {default!r}, not {shape.defaults.get(field)!r}"
        yield from disagreements(inner, shape.child(field), schemas, f"{path}.{field}", inside or atomic, seen)


@pytest.mark.parametrize("resource", WRITTEN, ids=lambda resource: resource.kind)
async def test_kinds(client: ApiClient, resource: ResourceType) -> None:
    schema, schemas = await document(client, resource)
    shape = shape_of(resource.api_version, resource.kind)
    found = list(disagreements(schema, shape, schemas, resource.kind, inside=False, seen=()))
    # The document hides what is in a ControllerRevision; we take it for one value.
    assert "\n".join(line for line in found if not line.startswith("ControllerRevision.data")) == ""


def custom_disagreements(schema: dict[str, Any], shape: Shape, path: str, inside: bool) -> Iterator[str]:
    if schema.get("type") == "array":
        keys = tuple(schema.get("x-kubernetes-list-map-keys", ()))
        if not inside and shape.keys != keys:
            yield f"{path}: keys are {shape.keys}, should be {keys}"
        if shape.unordered != (schema.get("x-kubernetes-list-type") == "set"):
            yield f"{path}: unordered is {shape.unordered}"
        yield from custom_disagreements(schema["items"], shape.child(""), f"{path}[]", inside or not keys)
    for field, inner in schema.get("properties", {}).items():
        if inner.get("default") and inside and shape.defaults.get(field) != inner["default"]:
            yield f"{path}.{field}: default is {inner['default']!r}"
        yield from custom_disagreements(inner, shape.child(field), f"{path}.{field}", inside)


USED = (
    "Database.spec.schemas",
    "Database.spec.extensions",
    "DatabaseRole.spec",
    "ExternalSecret.spec.data[].remoteRef",
    "ExternalSecret.spec.dataFrom[].extract",
    "ServiceMonitor.spec.endpoints[].relabelings",
    "ServiceMonitor.spec.endpoints[].metricRelabelings",
    "ServiceMonitor.spec.scrapeProtocols",
)
"""Parts of custom resources that the operators write and that the table knows."""


@pytest.mark.parametrize("resource", CUSTOM, ids=lambda resource: resource.kind)
async def test_custom_kinds(client: ApiClient, resource: ResourceType) -> None:
    schema, schemas = await document(client, resource)
    shape = shape_of(resource.api_version, resource.kind)
    spec = resolved(schema["properties"]["spec"], schemas)
    found = list(custom_disagreements(spec, shape.child("spec"), f"{resource.kind}.spec", inside=False))
    assert [line for line in found if line.startswith(USED)] == []
