"""Environment variables as users write them, and the names that are the operators' own."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import Field

from ameide_shared.spec.model import Model
from ameide_shared.spec.quantities import Quantity
from ameide_shared.spec.rules import matching, rule
from ameide_shared.spec.types import ConfigKey, EnvName, EnvValue, ObjectName

RESERVED_ENV_COMMON: Final = (
    r"AMEIDE_.*|POD_.*|PORT_.*|LOG_LEVEL"
    r"|OTEL_(SERVICE_NAME|EXPORTER_OTLP_ENDPOINT|EXPORTER_OTLP_PROTOCOL|RESOURCE_ATTRIBUTES|PROPAGATORS)"
)
"""Names that the operators set on every kind's containers, as a regular expression without anchors."""

_RESERVED: Final = re.compile(RESERVED_ENV_COMMON)

_LABEL_OR_ANNOTATION: Final = r"metadata\.(labels|annotations)\['[-A-Za-z0-9_./]{1,317}'\]"
_POD_FIELDS: Final = (
    r"metadata\.(name|namespace|uid)|spec\.(nodeName|serviceAccountName)|status\.(hostIP|hostIPs|podIP|podIPs)"
)


class KeyRef(Model):
    """One key of a ConfigMap or Secret in the namespace of the resource."""

    name: ObjectName = Field(description="Name of the object, in the same namespace.")
    key: ConfigKey = Field(description="Key in the object.")
    optional: bool | None = Field(
        default=None,
        description="true: the pod starts although object or key is missing, without the variable.",
    )


class FieldRef(Model):
    """A field of the pod itself (the downward API)."""

    api_version: (
        Annotated[str, Field(max_length=16), matching("v1", "is not v1", "write v1, or leave it out")] | None
    ) = Field(default=None, description="Version of the Pod schema that fieldPath is written in: v1.")
    field_path: Annotated[
        str,
        Field(max_length=400),
        matching(
            f"{_POD_FIELDS}|{_LABEL_OR_ANNOTATION}",
            "is not a pod field that a variable can take",
            "use metadata.name, metadata.namespace, metadata.uid, metadata.labels['key'], metadata.annotations['key'],"
            " spec.nodeName, spec.serviceAccountName, status.hostIP, status.hostIPs, status.podIP or status.podIPs",
        ),
    ] = Field(description="Path of the field, as in metadata.uid.")


class ResourceFieldRef(Model):
    """A resource request or limit of a container."""

    container_name: ObjectName | None = Field(
        default=None, description="Container to read from; by default the one that the variable is set on."
    )
    resource: Annotated[
        str,
        Field(max_length=64),
        matching(
            r"(limits|requests)\.(cpu|memory|ephemeral-storage)",
            "is not a container resource",
            "use limits.cpu, limits.memory, limits.ephemeral-storage, or the same under requests",
        ),
    ] = Field(description="The request or limit, as in limits.memory.")
    divisor: Quantity | None = Field(default=None, description="Unit that the value is divided by, as in 1Mi.")


class EnvSource(Model):
    """Where the value of a variable comes from; exactly one of the fields."""

    config_map_key_ref: KeyRef | None = Field(default=None, description="A key of a ConfigMap.")
    secret_key_ref: KeyRef | None = Field(default=None, description="A key of a Secret.")
    field_ref: FieldRef | None = Field(default=None, description="A field of the pod.")
    resource_field_ref: ResourceFieldRef | None = Field(default=None, description="A container's request or limit.")


@rule(
    EnvSource,
    cel="[has(self.configMapKeyRef), has(self.secretKeyRef), has(self.fieldRef), has(self.resourceFieldRef)]"
    ".filter(present, present).size() == 1",
    message="valueFrom must name exactly one source",
    remedy="keep one of configMapKeyRef, secretKeyRef, fieldRef and resourceFieldRef",
)
def _one_source(source: EnvSource) -> bool:
    sources = (source.config_map_key_ref, source.secret_key_ref, source.field_ref, source.resource_field_ref)
    return sum(found is not None for found in sources) == 1


class EnvVar(Model):
    """An environment variable of the application's containers."""

    name: EnvName = Field(description="Name of the variable. Names that the operator sets are reserved.")
    value: EnvValue | None = Field(
        default=None, description="Literal value; $(NAME) expands to a variable defined earlier."
    )
    value_from: EnvSource | None = Field(default=None, description="Takes the value from another object instead.")


@rule(
    EnvVar,
    cel="!(has(self.value) && has(self.valueFrom))",
    message="an environment variable has both value and valueFrom",
    remedy="keep one of the two",
    field=".valueFrom",
)
def _value_or_source(variable: EnvVar) -> bool:
    return variable.value is None or variable.value_from is None


@rule(
    EnvVar,
    cel=f"!self.name.matches(r'^({RESERVED_ENV_COMMON})$')",
    message="this environment variable is set by the operator: AMEIDE_*, POD_*, PORT_*, LOG_LEVEL and the OTEL_* basics"
    " are reserved",
    remedy="rename the variable; for LOG_LEVEL set spec.observability.logLevel",
    field=".name",
    reason="FieldValueForbidden",
)
def _not_reserved(variable: EnvVar) -> bool:
    return not _RESERVED.fullmatch(variable.name)
