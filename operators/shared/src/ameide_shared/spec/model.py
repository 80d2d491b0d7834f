"""The base of all spec and status models: strict, frozen, camelCase outside and snake_case inside."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, get_origin

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler, model_validator
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from ameide_shared.spec.rules import rules_of


class Model(BaseModel):
    """An object of the API. Unknown fields and other types than declared are refused, as the API server does."""

    model_config = ConfigDict(
        strict=True,
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        validate_default=False,
        protected_namespaces=(),
    )

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, value: Any) -> Any:
        """The API server prunes null from fields that are not nullable, and then fills in defaults."""
        if not isinstance(value, Mapping):
            return value
        if None in value.values():
            known = {info.alias for info in cls.model_fields.values()}
            value = {key: item for key, item in value.items() if item is not None or key not in known}
        for name in cls._map_aliases():
            entries = value.get(name)
            if isinstance(entries, Mapping) and None in entries.values():
                value = {**value, name: {key: item for key, item in entries.items() if item is not None}}
        return value

    @classmethod
    @cache
    def _map_aliases(cls) -> tuple[str, ...]:
        """Outer names of the fields that are maps with keys of the user's own."""
        return tuple(str(info.alias) for info in cls.model_fields.values() if _is_map(info.annotation))

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler, /) -> JsonSchemaValue:
        reference = handler(core)
        entries = [entry.as_crd() for entry in rules_of(cls)]
        if entries:
            handler.resolve_ref_schema(reference)["x-kubernetes-validations"] = entries
        return reference


def _is_map(annotation: Any) -> bool:
    """Whether an annotation is a map, or one of its alternatives is (`Mapping[str, str] | None`)."""
    if get_origin(annotation) is Mapping:
        return True
    return any(
        _is_map(argument) for argument in getattr(annotation, "__args__", ()) if get_origin(argument) is not tuple
    )
