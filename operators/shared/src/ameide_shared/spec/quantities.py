"""Quantities, and numbers that may be written as text: 500m, 512Mi, 25%."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Final

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from ameide_shared.spec.rules import quoted, refusal

QUANTITY_REGEX: Final = r"([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][-+]?[0-9]{1,2})?"
_QUANTITY: Final = re.compile(QUANTITY_REGEX)
_QUANTITY_MESSAGE: Final = "is not a quantity of zero or more"
_QUANTITY_REMEDY: Final = "write an integer or text such as 500m, 2, 512Mi or 1.5Gi"


class _IntOrString:
    """A type that is an integer or a string outside; `pattern` restricts the string, `maximum` the integer."""

    def __init__(self, pattern: str, message: str, remedy: str, *, as_text: bool, maximum: int = 10**15) -> None:
        self._regex = re.compile(pattern)
        self._pattern = f"^(?:{pattern})$"
        self._message, self._remedy, self._as_text, self._maximum = message, remedy, as_text, maximum

    def _validate(self, value: Any) -> int | str:
        if isinstance(value, bool) or not isinstance(value, int | str):
            kind = "a boolean" if isinstance(value, bool) else "a number with a fraction or another type"
            raise refusal(f"must be an integer or a string, not {kind}", f'{self._remedy}; quote fractions: "0.5"')
        if isinstance(value, int):
            if not 0 <= value <= self._maximum:
                raise refusal(self._message, self._remedy)
            return str(value) if self._as_text else value
        if len(value) > 32 or not self._regex.fullmatch(value):
            raise refusal(self._message, self._remedy)
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
