"""The environment that every container of a primitive gets, and how it is merged with the user's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import quote

from ameide_shared.builders.identity import Primitive, image_version

EnvVar = Mapping[str, Any]
"""One variable as the API has it: `name`, and `value` or `valueFrom`."""

TENANT_HEADER: Final = "x-tenant-id"

STANDARD_ENV_NAMES: Final = frozenset(
    {
        "POD_NAME",
        "POD_NAMESPACE",
        "POD_IP",
        "AMEIDE_PRIMITIVE_KIND",
        "AMEIDE_PRIMITIVE_NAME",
        "AMEIDE_TENANT_ID",
        "AMEIDE_TENANT_HEADER",
        "LOG_LEVEL",
        "PORT_HTTP",
        "PORT_GRPC",
        "OTEL_SERVICE_NAME",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "OTEL_RESOURCE_ATTRIBUTES",
        "OTEL_PROPAGATORS",
    }
)
"""Names that `standard_env` sets: users cannot."""


def literal(value: str) -> str:
    """Text that Kubernetes leaves as it is: `$(NAME)` in a value would be expanded."""
    return value.replace("$", "$$")


def standard_env(
    primitive: Primitive,
    *,
    image: str,
    log_level: str,
    ports: Iterable[tuple[str, int]] = (),
    otlp_endpoint: str | None = None,
) -> list[dict[str, Any]]:
    """The standard environment, in a fixed order. `ports` are (name, number) of what the container serves."""
    env: list[dict[str, Any]] = [
        _field("POD_NAME", "metadata.name"),
        _field("POD_NAMESPACE", "metadata.namespace"),
        _field("POD_IP", "status.podIP"),
        {"name": "AMEIDE_PRIMITIVE_KIND", "value": primitive.kind},
        {"name": "AMEIDE_PRIMITIVE_NAME", "value": primitive.name},
    ]
    if primitive.tenant_id:
        env.append({"name": "AMEIDE_TENANT_ID", "value": literal(primitive.tenant_id)})
    env += [
        {"name": "AMEIDE_TENANT_HEADER", "value": TENANT_HEADER},
        {"name": "LOG_LEVEL", "value": log_level},
    ]
    env += [{"name": f"PORT_{name.upper()}", "value": str(number)} for name, number in ports]
    env.append({"name": "OTEL_SERVICE_NAME", "value": primitive.child_name})
    if otlp_endpoint:
        env.append({"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": literal(otlp_endpoint)})
    attributes = {
        "service.namespace": primitive.namespace,
        "service.version": image_version(image),
        "ameide.tenant.id": primitive.tenant_id,
        "ameide.primitive.kind": primitive.primitive,
    }
    # OpenTelemetry wants values percent-encoded, which also takes care of `$(`.
    joined = ",".join(f"{key}={quote(value, safe='-_.~')}" for key, value in attributes.items() if value)
    env += [
        {"name": "OTEL_RESOURCE_ATTRIBUTES", "value": joined},
        {"name": "OTEL_PROPAGATORS", "value": "tracecontext,baggage"},
    ]
    return env


def merged_env(*groups: Iterable[EnvVar]) -> list[dict[str, Any]]:
    """Groups of variables as one list without duplicates: the first definition of a name stays.

    The order is kept, since `$(NAME)` refers to earlier variables only; a name twice would break server-side apply.
    """
    found: dict[str, dict[str, Any]] = {}
    for variable in (variable for group in groups for variable in group):
        found.setdefault(variable["name"], dict(variable))
    return list(found.values())


def _field(name: str, path: str) -> dict[str, Any]:
    # apiVersion is the server's default; without it the merge keys and values compare all the same.
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}
