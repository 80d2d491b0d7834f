"""Validation rules that are said once and hold twice: as CEL in the CRD, as Python in the offline check.

A `Check` sits on a field's type (a string, a list, a map); a `Rule` belongs to a model and may compare several of
its fields, or the new object with the old one. Messages name the field, what was expected, and the remedy.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

RuleReason = Literal["FieldValueInvalid", "FieldValueForbidden", "FieldValueRequired", "FieldValueDuplicate"]

CHECK_FAILED = "check_failed"
"""The type of the pydantic error of a failed Check; its context holds `message` and `remedy`."""


def refusal(message: str, remedy: str) -> PydanticCustomError:
    """The error with which a validator refuses a value."""
    return PydanticCustomError(CHECK_FAILED, "{message}", {"message": message, "remedy": remedy})


_ModelT = TypeVar("_ModelT", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Rule:
    """A condition that a model must meet.

    `cel` is evaluated by the API server with `self` bound to the object (and `oldSelf`, in a transition rule);
    `holds(new, old)` is its equivalent here. `field` is the path of the field at fault, below the model, as in
    `.db.schema`. Both sides see defaults filled in.
    """

    cel: str
    message: str
    remedy: str
    holds: Callable[[Any, Any], bool]
    field: str = ""
    reason: RuleReason = "FieldValueInvalid"
    transition: bool = False

    def as_crd(self) -> dict[str, str]:
        """The entry of `x-kubernetes-validations`."""
        entry = {"rule": self.cel, "message": f"{self.message}; {self.remedy}", "reason": self.reason}
        if self.field:
            entry["fieldPath"] = self.field
        return entry


_RULES: dict[type[BaseModel], list[Rule]] = {}
_CEL_RESERVED = frozenset({"namespace"})
"""Names of our fields that are words of CEL: rules write them between underscores."""


def rule(
    model: type[_ModelT],
    *,
    cel: str,
    message: str,
    remedy: str,
    field: str = "",
    reason: RuleReason = "FieldValueInvalid",
) -> Callable[[Callable[[_ModelT], bool]], Callable[[_ModelT], bool]]:
    """Declare the decorated predicate, and the CEL that says the same, as a rule of `model` and its subclasses."""

    def register(holds: Callable[[_ModelT], bool]) -> Callable[[_ModelT], bool]:
        entry = Rule(cel, message, remedy, lambda new, _old: holds(new), field, reason)
        _RULES.setdefault(model, []).append(entry)
        return holds

    return register


def transition_rule(
    model: type[_ModelT], *, cel: str, message: str, remedy: str, field: str = ""
) -> Callable[[Callable[[_ModelT, _ModelT], bool]], Callable[[_ModelT, _ModelT], bool]]:
    """Declare a rule over (new, old): it is evaluated on updates only, where both objects have the model."""

    def register(holds: Callable[[_ModelT, _ModelT], bool]) -> Callable[[_ModelT, _ModelT], bool]:
        entry = Rule(cel, message, remedy, holds, field, "FieldValueForbidden", transition=True)
        _RULES.setdefault(model, []).append(entry)
        return holds

    return register


def fixed(model: type[BaseModel], *fields: str, instead: str) -> None:
    """Declare that fields, by their names in manifests, stay what they were made with; one that may be left out stays
    absent, too.

    `instead` is the remedy for whoever wants it otherwise.
    """
    by_alias = {info.alias: (name, info) for name, info in model.model_fields.items()}
    for alias in fields:
        name, info = by_alias[alias]
        cel = f"__{alias}__" if alias in _CEL_RESERVED else alias
        same = f"self.{cel} == oldSelf.{cel}"
        message, remedy = f"{alias} cannot change", f"set it back; {instead}"
        if info.default is None:  # transition rules are skipped where the old value is missing, unless they ask for it
            same = f"has(self.{cel}) == has(oldSelf.{cel}) && (!has(self.{cel}) || {same})"
            message = f"{alias} cannot change, appear or go away"
            remedy = f"set it back to what it was, or leave it out if it was; {instead}"
        transition_rule(model, cel=same, message=message, remedy=remedy, field=f".{alias}")(_same(name))


def _same(name: str) -> Callable[[BaseModel, BaseModel], bool]:
    return lambda new, old: bool(getattr(new, name) == getattr(old, name))


def rules_of(model: type[BaseModel]) -> Iterator[Rule]:
    """The rules of a model, those of its base classes first, in the order of their declaration."""
    for base in reversed(model.__mro__):
        yield from _RULES.get(base, ())


@dataclass(frozen=True, slots=True)
class Check:
    """Metadata of a field's type (`Annotated[str, Check(…)]`): a condition on that one value."""

    cel: str
    message: str
    remedy: str
    holds: Callable[[Any], bool]
    reason: RuleReason = "FieldValueInvalid"
    schema: dict[str, Any] = field(default_factory=dict, hash=False)

    def verify(self, value: Any) -> Any:
        """The value itself, or a pydantic error that carries message and remedy."""
        if not self.holds(value):
            raise refusal(self.message, self.remedy)
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.verify, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        found = handler(schema)
        found.update(self.schema)
        entry = {"rule": self.cel, "message": f"{self.message}; {self.remedy}", "reason": self.reason}
        found.setdefault("x-kubernetes-validations", []).append(entry)
        return found


def matching(regex: str, message: str, remedy: str) -> Check:
    """A Check that the whole text matches `regex` (the common subset of RE2 and Python's `re`; no anchors).

    The CRD gets it as `pattern`, for editors, and as CEL, for the message.
    """
    compiled = re.compile(regex)
    anchored = f"^(?:{regex})$"
    return Check(
        cel=f"self.matches({quoted(anchored)})",
        message=message,
        remedy=remedy,
        holds=lambda value: compiled.fullmatch(value) is not None,
        schema={"pattern": anchored},
    )


def not_matching(regex: str, message: str, remedy: str) -> Check:
    """A Check that the whole text does not match `regex`."""
    compiled = re.compile(regex)
    return Check(
        cel=f"!self.matches({quoted(f'^(?:{regex})$')})",
        message=message,
        remedy=remedy,
        holds=lambda value: compiled.fullmatch(value) is None,
        reason="FieldValueForbidden",
    )


def every_key(regex: str, message: str, remedy: str) -> Check:
    """A Check that each key of a map matches `regex` as a whole."""
    compiled = re.compile(regex)
    return Check(
        cel=f"self.all(key, key.matches({quoted(f'^(?:{regex})$')}))",
        message=message,
        remedy=remedy,
        holds=lambda value: all(compiled.fullmatch(key) for key in value),
    )


def no_key(regex: str, message: str, remedy: str) -> Check:
    """A Check that no key of a map matches `regex` as a whole."""
    compiled = re.compile(regex)
    return Check(
        cel=f"!self.exists(key, key.matches({quoted(f'^(?:{regex})$')}))",
        message=message,
        remedy=remedy,
        holds=lambda value: not any(compiled.fullmatch(key) for key in value),
        reason="FieldValueForbidden",
    )


def quoted(regex: str) -> str:
    """A regular expression as a raw CEL string literal."""
    return "r'" + regex + "'" if "'" not in regex else 'r"' + regex + '"'
