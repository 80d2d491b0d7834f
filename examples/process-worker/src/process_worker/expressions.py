"""Evaluates the expressions of a binding table, which come as syntax trees: no parser, no eval, and never an exception.

The language is a small part of FEEL. Whatever makes no sense (a missing variable, wrong types, a division by zero) is
null, and a condition holds only when its value is exactly true.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal, DecimalException, localcontext
from typing import Any

Ast = Mapping[str, Any]
Json = Any

_DIGITS = 34
# A text or list that grows beyond this is null: it could not be stored in a workflow's history anyway.
_MOST_ITEMS = 1_000_000


def evaluate(expression: Mapping[str, Any], variables: Mapping[str, Json]) -> Json:
    """The value of an expression of the table, JSON data; null where it has no value."""
    with localcontext() as context:
        context.prec = _DIGITS
        return _value(expression["ast"], variables)


def holds(expression: Mapping[str, Any] | None, variables: Mapping[str, Json]) -> bool:
    """Whether a condition is there and its value is true, not merely something like true."""
    return expression is not None and evaluate(expression, variables) is True


def _value(ast: Ast, variables: Mapping[str, Json]) -> Json:
    match ast["op"]:
        case "null":
            return None
        case "const":
            return ast["value"]
        case "var":
            return variables.get(ast["name"])
        case "context":
            return {entry["name"]: _value(entry["value"], variables) for entry in ast["entries"]}
        case "and" | "or" as operator:
            return _junction(operator, ast["args"], variables)
        case "if":
            condition, then, otherwise = ast["args"]
            return _value(then if _value(condition, variables) is True else otherwise, variables)
    args = [_value(arg, variables) for arg in ast.get("args", ())]
    if ast["op"] == "get":
        return _get(args[0], ast["name"])
    if ast["op"] == "call":
        return _call(ast["name"], args)
    return _attempt(_OPERATORS.get(ast["op"]), args)


def _junction(operator: str, args: Sequence[Ast], variables: Mapping[str, Json]) -> bool | None:
    decisive = operator == "or"
    unknown = False
    for arg in args:
        value = _value(arg, variables)
        if value is decisive:
            return bool(value)
        unknown = unknown or not isinstance(value, bool)
    return None if unknown else not decisive


def _get(value: Json, name: str) -> Json:
    if isinstance(value, dict):
        return value.get(name)
    if isinstance(value, list):
        return [_get(item, name) for item in value]
    return None


def _call(name: str, args: Sequence[Json]) -> Json:
    return _attempt(_FUNCTIONS.get(name), args)


def _attempt(function: Callable[..., Json] | None, args: Sequence[Json]) -> Json:
    if function is None:
        return None
    try:
        return function(*args)
    except (TypeError, ValueError, LookupError, DecimalException, OverflowError):
        return None


def _is_number(value: Json) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(value: Json) -> Decimal:
    if not _is_number(value):
        raise TypeError
    return Decimal(str(value))


def _text(value: Json) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _list(value: Json) -> list[Json]:
    if not isinstance(value, list):
        raise TypeError
    return value


def _json(number: Decimal) -> int | float:
    if not number.is_finite() or abs(number.adjusted()) > 300:
        raise ValueError
    return int(number) if number == number.to_integral_value() else float(number)


def _equal(left: Json, right: Json) -> bool | None:
    if left is None or right is None:
        return left is right
    if _is_number(left) and _is_number(right):
        return _number(left) == _number(right)
    if type(left) is not type(right):
        return None
    if isinstance(left, list):
        return len(left) == len(right) and all(_equal(a, b) is True for a, b in zip(left, right, strict=True))
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(_equal(left[key], right[key]) is True for key in left)
    return bool(left == right)


def _unequal(left: Json, right: Json) -> bool | None:
    equal = _equal(left, right)
    return None if equal is None else not equal


def _compare(test: Callable[[Any, Any], bool]) -> Callable[[Json, Json], bool]:
    def compare(left: Json, right: Json) -> bool:
        if isinstance(left, str) and isinstance(right, str):
            return test(left, right)
        return test(_number(left), _number(right))

    return compare


_at_most = _compare(lambda a, b: a <= b)


def _add(left: Json, right: Json) -> Json:
    if isinstance(left, str) and isinstance(right, str):
        return _bounded(left + right)
    return _json(_number(left) + _number(right))


def _bounded(value: Any) -> Any:
    if len(value) > _MOST_ITEMS:
        raise ValueError
    return value


def _item(items: Json, index: Json) -> Json:
    position = _whole(index)
    if position == 0:
        raise LookupError
    return _list(items)[position - 1 if position > 0 else position]


def _whole(value: Json) -> int:
    number = _number(value)
    if number != number.to_integral_value():
        raise ValueError
    return int(number)


def _not(value: Json) -> bool | None:
    return not value if isinstance(value, bool) else None


def _in(value: Json, items: Json) -> bool:
    return any(_equal(value, item) is True for item in _list(items))


def _between(value: Json, low: Json, high: Json) -> bool:
    return _at_most(low, value) and _at_most(value, high)


def _extreme(choose: Callable[..., Any]) -> Callable[[Json], Json]:
    def extreme(items: Json) -> Json:
        if all(isinstance(item, str) for item in _list(items)):
            return choose(items)
        return _json(choose(_number(item) for item in items))

    return extreme


def _sum(items: Json) -> Json:
    if not _list(items):
        return None
    return _json(sum((_number(item) for item in items), Decimal(0)))


def _round(number: Json, digits: Json = 0) -> Json:
    places = _whole(digits)
    if abs(places) > _DIGITS:
        raise ValueError
    return _json(_number(number).quantize(Decimal(1).scaleb(-places), rounding=ROUND_HALF_EVEN))


def _modulo(left: Json, right: Json) -> Json:
    # The sign follows the divisor, as floor division has it.
    a, b = _number(left), _number(right)
    return _json(a - b * (a / b).to_integral_value(rounding=ROUND_FLOOR))


def _string(value: Json) -> str | None:
    match value:
        case None:
            return None
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(_json(_number(value)))
        case str():
            return value
        case _:
            raise TypeError


def _parse_number(text: Json) -> Json:
    return _json(Decimal(_text(text).strip()))


def _context_value(context: Json, key: Json) -> Json:
    if not isinstance(context, dict):
        raise TypeError
    return context.get(_text(key))


_OPERATORS: Mapping[str, Callable[..., Json]] = {
    "list": lambda *items: list(items),
    "item": _item,
    "not": _not,
    "=": _equal,
    "!=": _unequal,
    "<": _compare(lambda a, b: a < b),
    "<=": _at_most,
    ">": _compare(lambda a, b: a > b),
    ">=": _compare(lambda a, b: a >= b),
    "+": _add,
    "-": lambda a, b: _json(_number(a) - _number(b)),
    "*": lambda a, b: _json(_number(a) * _number(b)),
    "/": lambda a, b: _json(_number(a) / _number(b)),
    "neg": lambda a: _json(-_number(a)),
    "in": _in,
    "between": _between,
}

_FUNCTIONS: Mapping[str, Callable[..., Json]] = {
    "count": lambda items: len(_list(items)),
    "sum": _sum,
    "min": _extreme(min),
    "max": _extreme(max),
    "abs": lambda a: _json(abs(_number(a))),
    "floor": lambda a: _json(_number(a).to_integral_value(rounding=ROUND_FLOOR)),
    "ceiling": lambda a: _json(_number(a).to_integral_value(rounding=ROUND_CEILING)),
    "round": _round,
    "modulo": _modulo,
    "string": _string,
    "number": _parse_number,
    "string length": lambda s: len(_text(s)),
    "upper case": lambda s: _text(s).upper(),
    "lower case": lambda s: _text(s).lower(),
    "contains": lambda s, part: _text(part) in _text(s),
    "starts with": lambda s, part: _text(s).startswith(_text(part)),
    "ends with": lambda s, part: _text(s).endswith(_text(part)),
    "list contains": lambda items, x: _in(x, items),
    "append": lambda items, x: [*_list(items), x],
    "concatenate": lambda a, b: _bounded([*_list(a), *_list(b)]),
    "is defined": lambda x: x is not None,
    "get value": _context_value,
    "split": lambda s, separator: _text(s).split(_text(separator)),
    "string join": lambda items, separator="": _bounded(_text(separator).join(_text(item) for item in _list(items))),
}
