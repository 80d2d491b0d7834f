"""Problems: what is wrong with a manifest, where, and what to do about it; from pydantic's errors and our rules."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from ameide_shared.spec.rules import CHECK_FAILED, rules_of

Location = tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault of a manifest. `field` is its path, as in `spec.env[1].name`; `loc` the same as keys and indices."""

    field: str
    message: str
    remedy: str
    loc: Location = ()

    def __str__(self) -> str:
        return f"{self.field}: {self.message}; {self.remedy}" if self.remedy else f"{self.field}: {self.message}"


class InvalidSpec(ValueError):  # noqa: N818 - named as the reason that conditions and Events carry
    """A resource does not meet its schema or rules; `problems` lists every fault that was found."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(str(problem) for problem in self.problems))


def path_of(loc: Location) -> str:
    """A location as the API server writes it: `spec.env[1].name`, `spec.podLabels[a/b]`."""
    path = ""
    for part in loc:
        if isinstance(part, int) or "." in part or "/" in part:
            path += f"[{part}]"
        else:
            path += f".{part}" if path else part
    return path


_TYPES: Mapping[str, str] = {
    "string_type": "a string",
    "int_type": "an integer",
    "int_from_float": "an integer",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a map",
    "mapping_type": "a map",
    "model_type": "an object with fields",
    "model_attributes_type": "an object with fields",
}


def problem_of(error: ErrorDetails, model: type[BaseModel], prefix: Location = ()) -> Problem:
    """The Problem that a validation error of `model` stands for; `prefix` is where the model sits."""
    loc: Location = (*prefix, *error["loc"])
    context: Mapping[str, Any] = error.get("ctx") or {}
    message, remedy = _words(error["type"], error["input"], context, error["loc"], model, error["msg"])
    return Problem(path_of(loc) or "manifest", message, remedy, loc)


def _words(
    kind: str, value: Any, context: Mapping[str, Any], loc: Location, model: type[BaseModel], fallback: str
) -> tuple[str, str]:
    """(message, remedy) of one kind of pydantic error."""
    name = str(loc[-1]) if loc else ""
    if kind == CHECK_FAILED:
        return f"{_shown(value, loc)} {context['message']}", str(context["remedy"])
    if kind == "missing":
        return "is required", f"set it: {_description(model, loc)}"
    if kind == "extra_forbidden":
        return "is not a field that this kind knows", _suggestion(name, model, loc[:-1])
    if kind in _TYPES:
        wanted = _TYPES[kind]
        hint = (
            f'write it in quotes: "{value}"' if kind == "string_type" and _is_scalar(value, loc) else f"write {wanted}"
        )
        return f"must be {wanted}, not {_type_name(value)}", hint
    if kind == "literal_error":
        return f"{_shown(value, loc)} is not one of the allowed values", f"use {context['expected']}"
    if kind == "greater_than_equal":
        return f"is {value}, below the minimum of {context['ge']}", f"use {context['ge']} or more"
    if kind == "less_than_equal":
        return f"is {value}, above the maximum of {context['le']}", f"use {context['le']} or less"
    if kind == "string_too_short":
        return "must not be empty", f"set it: {_description(model, loc)}"
    if kind == "string_too_long":
        return f"is longer than {context['max_length']} characters", "shorten it"
    if kind == "too_long":
        return f"has more than {context['max_length']} entries", "remove some"
    if kind == "too_short":
        return f"has fewer than {context['min_length']} entries", "add one, or leave the field out"
    return fallback, "see the field's description in the reference"


def rule_problems(new: BaseModel, old: BaseModel | None = None, prefix: Location = ()) -> list[Problem]:
    """Every rule of `new` and of the models in it that does not hold; transition rules only where `old` has them."""
    found: list[Problem] = []
    for entry in rules_of(type(new)):
        if entry.transition and old is None:
            continue
        if not entry.holds(new, old):
            loc = (*prefix, *(part for part in entry.field.split(".") if part))
            found.append(Problem(path_of(loc) or "manifest", entry.message, entry.remedy, loc))
    for name, info in type(new).model_fields.items():
        if name not in new.model_fields_set:
            continue
        value = getattr(new, name)
        where = (*prefix, info.alias or name)
        if isinstance(value, BaseModel):
            before = getattr(old, name, None) if old is not None and name in old.model_fields_set else None
            found += rule_problems(value, before, where)
        elif isinstance(value, tuple):
            for index, item in enumerate(value):
                if isinstance(item, BaseModel):
                    found += rule_problems(item, None, (*where, index))
    return found


def _is_scalar(value: Any, loc: Location) -> bool:
    return isinstance(value, bool | int | float) and not _is_secret(loc)


def _is_secret(loc: Location) -> bool:
    """Whether a value may be confidential: the literal value of an environment variable."""
    return "env" in loc and loc[-1] == "value"


def _shown(value: Any, loc: Location) -> str:
    """A value for a message, shortened; JSON, so that text is quoted."""
    if _is_secret(loc):
        return "the value"
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else f"{text[:77]}…"


def _type_name(value: Any) -> str:
    names = {bool: "a boolean", int: "an integer", float: "a number with a fraction", str: "a string", list: "a list"}
    return names.get(type(value), "null" if value is None else "an object")


def _model_at(model: type[BaseModel], loc: Location) -> type[BaseModel] | None:
    """The model class that sits at a location below `model`."""
    current: type[BaseModel] | None = model
    for part in loc:
        if isinstance(part, int):
            continue
        if current is None:
            return None
        info = next((info for info in current.model_fields.values() if info.alias == part), None)
        current = model_in(info.annotation) if info is not None else None
    return current


def model_in(annotation: Any) -> type[BaseModel] | None:
    """The model class in an annotation such as `M`, `M | None` or `tuple[M, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for arg in getattr(annotation, "__args__", ()) if (found := model_in(arg))), None)


def _suggestion(name: str, model: type[BaseModel], parent: Location) -> str:
    owner = _model_at(model, parent)
    if owner is None:
        return "remove it"
    known = sorted(info.alias or "" for info in owner.model_fields.values())
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"did you mean {close[0]}?" if close else f"remove it; the fields here are {', '.join(known)}"


def _description(model: type[BaseModel], loc: Location) -> str:
    owner = _model_at(model, loc[:-1])
    if owner is not None:
        for info in owner.model_fields.values():
            if info.alias == loc[-1] and info.description:
                return info.description.rstrip(".")
    return "the field's description is in the reference"
