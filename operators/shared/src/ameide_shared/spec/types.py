"""The scalar types, lists and maps that specs are made of, each with its limits, pattern and remedy.

Every text has a maximum length and every list a maximum size: the API server estimates the cost of CEL rules from
them and refuses a CRD whose rules could cost too much.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Final, TypeVar

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler, Strict
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from ameide_shared.spec.rules import CHECK_FAILED, Check, every_key, matching, no_key, quoted

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
        "write /directory/… without '..', '//', ':' or a trailing '/', and never '/' itself",
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

QUANTITY_REGEX: Final = r"([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][-+]?[0-9]{1,2})?"
_QUANTITY: Final = re.compile(QUANTITY_REGEX)
_QUANTITY_MESSAGE: Final = "is not a quantity of zero or more"
_QUANTITY_REMEDY: Final = "write an integer or text such as 500m, 2, 512Mi or 1.5Gi"


def _refuse(message: str, remedy: str) -> PydanticCustomError:
    return PydanticCustomError(CHECK_FAILED, "{message}", {"message": message, "remedy": remedy})


class _IntOrString:
    """A type that is an integer or a string outside; `pattern` restricts the string, `maximum` the integer."""

    def __init__(self, pattern: str, message: str, remedy: str, *, as_text: bool, maximum: int = 10**15) -> None:
        self._regex = re.compile(pattern)
        self._pattern = f"^(?:{pattern})$"
        self._message, self._remedy, self._as_text, self._maximum = message, remedy, as_text, maximum

    def _validate(self, value: Any) -> int | str:
        if isinstance(value, bool) or not isinstance(value, int | str):
            kind = "a boolean" if isinstance(value, bool) else "a number with a fraction or another type"
            raise _refuse(f"must be an integer or a string, not {kind}", f'{self._remedy}; quote fractions: "0.5"')
        if isinstance(value, int):
            if not 0 <= value <= self._maximum:
                raise _refuse(self._message, self._remedy)
            return str(value) if self._as_text else value
        if len(value) > 32 or not self._regex.fullmatch(value):
            raise _refuse(self._message, self._remedy)
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self._validate)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "x-kubernetes-int-or-string": True,
            "maxLength": 32,
            "pattern": self._pattern,
            "x-kubernetes-validations": [
                {
                    "rule": f"type(self) == string ? self.matches({quoted(self._pattern)})"
                    f" : (self >= 0 && self <= {self._maximum})",
                    "message": f"{self._message}; {self._remedy}",
                    "reason": "FieldValueInvalid",
                }
            ],
        }


Quantity = Annotated[
    str,
    _IntOrString(QUANTITY_REGEX, _QUANTITY_MESSAGE, _QUANTITY_REMEDY, as_text=True),
]
"""A Kubernetes quantity, not negative. Integers become text."""

MemoryQuantity = Annotated[
    str,
    _IntOrString(
        QUANTITY_REGEX.replace("[numkMGTPE]", "[kMGTPE]"),
        "is not an amount of memory in bytes (the suffix m means thousandths of a byte)",
        "write bytes with a suffix such as Mi or Gi: 512Mi",
        as_text=True,
    ),
]
"""A quantity of bytes: the suffixes n, u and m, always a slip for Mi, are refused."""

IntOrPercent = Annotated[
    int | str,
    _IntOrString(
        "(100|[1-9]?[0-9])%",
        "is neither a number of pods nor a percentage",
        "write an integer from 0 to 1000, or text from 0% to 100%",
        as_text=False,
        maximum=1000,
    ),
]

_FACTORS: Final[Mapping[str, Decimal]] = {
    "": Decimal(1),
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "k": Decimal("1e3"),
} | {
    letter + suffix: (Decimal(1024) if suffix else Decimal(1000)) ** power
    for power, letter in enumerate("KMGTPE", start=1)
    for suffix in ("", "i")
    if letter + suffix != "K"
}


def quantity_value(quantity: str) -> Decimal:
    """The number that a quantity (as validated by Quantity) stands for, in its base unit: cores, bytes, pieces."""
    number = re.match(r"[0-9.]+", quantity)
    assert number is not None, f"not a quantity: {quantity!r}"
    suffix = quantity[number.end() :]
    if suffix[:1] in ("e", "E") and suffix[1:] and suffix != "Ei":
        return Decimal(number.group()) * Decimal(10) ** int(suffix[1:])
    return Decimal(number.group()) * _FACTORS[suffix]


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
                raise _refuse(f"holds {shown!r} twice", "keep one of the entries")
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
