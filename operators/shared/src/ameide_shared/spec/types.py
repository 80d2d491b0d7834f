"""The scalar types, lists and maps that specs are made of, each with its limits, pattern and remedy.

Every text has a maximum length and every list a maximum size: the API server estimates the cost of CEL rules from
them and refuses a CRD whose rules could cost too much.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, TypeVar

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler, Strict
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from ameide_shared.spec.rules import Check, every_key, matching, no_key, quoted, refusal

T = TypeVar("T")

# --- names ------------------------------------------------------------------------------------------------------

_LABEL: Final = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN: Final = rf"{_LABEL}(\.{_LABEL})*"
_QUALIFIED: Final = "([A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9]"

ObjectName = Annotated[
    str,
    Field(min_length=1, max_length=253),
    matching(
        _SUBDOMAIN,
        "is not a Kubernetes object name",
        "use lowercase letters, digits, '-' and '.', beginning and ending with a letter or digit",
    ),
]
"""The name of an object that the API server accepts (RFC 1123 subdomain)."""

ProfileName = Annotated[
    str,
    Field(min_length=1, max_length=63),
    matching(
        _LABEL,
        "is not a profile name",
        "use the name of a network profile: backend, frontend, isolated, open, or one of the operator's settings",
    ),
]

ConfigKey = Annotated[
    str,
    Field(min_length=1, max_length=253),
    matching("[-._a-zA-Z0-9]+", "is not a key of a ConfigMap or Secret", "use letters, digits, '-', '_' and '.' only"),
]

EnvName = Annotated[
    str,
    Field(min_length=1, max_length=256),
    matching(
        "[-._a-zA-Z][-._a-zA-Z0-9]*",
        "is not the name of an environment variable",
        "use letters, digits, '-', '_' and '.', not beginning with a digit",
    ),
]

# --- images -----------------------------------------------------------------------------------------------------

_HOST: Final = r"[a-zA-Z0-9]([-a-zA-Z0-9.]*[a-zA-Z0-9])?(:[0-9]{1,5})?"
_PATH: Final = r"[a-z0-9]+(([.]|_{1,2}|-+)[a-z0-9]+)*"
_DIGEST: Final = "@sha256:[a-f0-9]{64}|@sha512:[a-f0-9]{128}"
IMAGE_REGEX: Final = rf"({_HOST}/)?{_PATH}(/{_PATH})*(:[A-Za-z0-9_][-A-Za-z0-9_.]{{0,127}})?({_DIGEST})?"

Image = Annotated[
    str,
    Field(min_length=1, max_length=512),
    matching(
        IMAGE_REGEX,
        "is not an image reference",
        "write registry/repository:tag or registry/repository@sha256:digest, the repository in lowercase, no https://",
    ),
]

# --- texts ------------------------------------------------------------------------------------------------------

Text = Annotated[str, Field(max_length=4096)]
Argument = Annotated[str, Field(max_length=4096)]
EnvValue = Annotated[str, Field(max_length=32768)]

HttpPath = Annotated[
    str,
    Field(min_length=1, max_length=512),
    matching(
        r"/[-A-Za-z0-9_.~!$&()*+,;=:@%/?]*",
        "is not the path of a URL",
        "begin with '/' and percent-encode what is not a letter, digit or one of -._~!$&()*+,;=:@/?",
    ),
]

GrpcService = Annotated[
    str,
    Field(min_length=1, max_length=253),
    matching(
        r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*",
        "is not the full name of a gRPC service",
        "write it as in ameide.orders.v1.Orders",
    ),
]

WritablePath = Annotated[
    str,
    Field(min_length=2, max_length=256),
    matching(
        r"(/([-A-Za-z0-9_+@][-A-Za-z0-9_.+@]*|\.[-A-Za-z0-9_+@][-A-Za-z0-9_.+@]*))+",
        "is not a normal absolute path",
        "write /directory/name without '..', '//', ':' or a trailing '/', and never '/' itself",
    ),
    Check(
        cel=f"!self.matches({quoted('^/(proc|sys|dev|etc/ameide|var/run/secrets|run/secrets)(/.*)?$')})",
        message="lies in a directory that the container runtime or the operator provides",
        remedy="choose a directory of your own outside /proc, /sys, /dev, /etc/ameide and /var/run/secrets",
        holds=lambda path: re.fullmatch("/(proc|sys|dev|etc/ameide|var/run/secrets|run/secrets)(/.*)?", path) is None,
        reason="FieldValueForbidden",
    ),
]

# --- numbers ----------------------------------------------------------------------------------------------------

Replicas = Annotated[int, Field(ge=0, le=1000)]
PositiveReplicas = Annotated[int, Field(ge=1, le=1000)]
Port = Annotated[int, Field(ge=1, le=65535)]
NonRootId = Annotated[int, Field(ge=1, le=2147483647)]
Seconds = Annotated[int, Field(ge=0, le=86400)]
PositiveSeconds = Annotated[int, Field(ge=1, le=86400)]

# --- lists and maps ---------------------------------------------------------------------------------------------

Lenient = Strict(False)
"""JSON has no tuples: a tuple field takes a list (its items stay strict)."""


def list_map(*keys: str) -> Any:
    """Field metadata: items are told apart by these keys; the API server refuses duplicates and merges by them."""
    return ListType("map", keys)


class ListType:
    """The merge behaviour of a list: `map` with keys, `set` of scalars, or `atomic`; duplicates are refused."""

    def __init__(self, kind: str, keys: tuple[str, ...] = ()) -> None:
        self._kind, self._keys = kind, keys

    def _validate(self, items: tuple[Any, ...]) -> tuple[Any, ...]:
        seen: set[Any] = set()
        for item in items:
            identity = item if self._kind == "set" else tuple(_by_alias(item, key) for key in self._keys)
            if identity in seen:
                shown = identity if isinstance(identity, str) else ", ".join(str(part) for part in identity)
                raise refusal(f"holds {shown!r} twice", "keep one of the entries")
            seen.add(identity)
        return items

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        if self._kind == "atomic":
            return handler(source)
        return core_schema.no_info_after_validator_function(self._validate, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        found = handler(schema)
        found["x-kubernetes-list-type"] = self._kind
        if self._keys:
            found["x-kubernetes-list-map-keys"] = list(self._keys)
        return found


def _by_alias(item: Any, alias: str) -> Any:
    """The value of a model's field by its outer name."""
    for name, info in type(item).model_fields.items():
        if info.alias == alias:
            return getattr(item, name)
    raise KeyError(f"{type(item).__name__} has no field {alias!r}")


LabelValue = Annotated[
    str,
    Field(max_length=63),
    matching(
        f"({_QUALIFIED})?",
        "is not a label value",
        "use at most 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or digit",
    ),
]

_KEY_REGEX: Final = rf"({_SUBDOMAIN}/)?{_QUALIFIED}"
_KEY_CHECK: Final = every_key(
    _KEY_REGEX,
    "has a key that is not a label or annotation key",
    "write name or domain/name: letters, digits, '-', '_' and '.', the domain in lowercase, the name at most 63 long",
)
RESERVED_POD_KEYS: Final = (
    r"([a-z0-9.-]+\.)?ameide\.io/.*|app\.kubernetes\.io/.*|k8s\.v1\.cni\.cncf\.io/.*|v1\.multus-cni\.io/.*"
)
_RESERVED_KEY_CHECK: Final = no_key(
    RESERVED_POD_KEYS,
    "has a key under ameide.io/, app.kubernetes.io/, k8s.v1.cni.cncf.io/ or v1.multus-cni.io/, which would change"
    " the pods' tier, Service membership or networks",
    "remove that key; the operator sets these itself",
)

LabelMap = Annotated[Mapping[str, LabelValue], Field(max_length=64), _KEY_CHECK]
"""Labels as a node selector or a user's pod labels have them."""

PodLabels = Annotated[Mapping[str, LabelValue], Field(max_length=64), _KEY_CHECK, _RESERVED_KEY_CHECK]
PodAnnotations = Annotated[
    Mapping[str, Annotated[str, Field(max_length=4096)]], Field(max_length=64), _KEY_CHECK, _RESERVED_KEY_CHECK
]

Timestamp = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
"""RFC 3339 in UTC, as Kubernetes writes it: 2026-01-31T12:00:00Z."""
