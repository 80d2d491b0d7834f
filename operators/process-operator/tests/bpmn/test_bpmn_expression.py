"""Expressions: what they parse to, what is refused and at which column, and that a tree survives being written down."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from process_operator.bpmn.ast import Ast, is_within
from process_operator.bpmn.expression import FUNCTIONS, MAX_DEPTH, parse_expression
from process_operator.bpmn.tokens import KEYWORDS, ExpressionError


def tree(text: str) -> Any:
    return parse_expression(text).ast.model_dump(mode="json", exclude_none=True)


def var(name: str) -> Any:
    return {"op": "var", "name": name}


def const(value: Any) -> Any:
    return {"op": "const", "value": value}


def op(name: str, *args: Any) -> Any:
    return {"op": name, "args": list(args)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a", var("a")),
        ("= a", var("a")),
        ("null", {"op": "null"}),
        ("true", const(True)),
        ("-1.50", const(-1.5)),
        ("--1", const(1)),
        ("-a", op("neg", var("a"))),
        (r'"a \"b\" é\n"', const('a "b" é\n')),
        ("a.b.if", {"op": "get", "name": "if", "args": [{"op": "get", "name": "b", "args": [var("a")]}]}),
        ("a[1].b", {"op": "get", "name": "b", "args": [op("item", var("a"), const(1))]}),
        ("1 + 2 * 3 - 4", op("-", op("+", const(1), op("*", const(2), const(3))), const(4))),
        ("(1 + 2) * 3", op("*", op("+", const(1), const(2)), const(3))),
        ("a or b and c or d", op("or", var("a"), op("and", var("b"), var("c")), var("d"))),
        ("not(a) and b != 1", op("and", op("not", var("a")), op("!=", var("b"), const(1)))),
        ("x between 1 and 2 and y", op("and", op("between", var("x"), const(1), const(2)), var("y"))),
        ('x in ("a", "b")', op("in", var("x"), op("list", const("a"), const("b")))),
        ("x in (xs)", op("in", var("x"), var("xs"))),
        ("x in [1]", op("in", var("x"), op("list", const(1)))),
        ("if a then 1 else if b then 2 else 3", op("if", var("a"), const(1), op("if", var("b"), const(2), const(3)))),
        ("string length(a) >= 3", op(">=", {"op": "call", "name": "string length", "args": [var("a")]}, const(3))),
        ("[]", op("list")),
        (
            '{a: 1, "b c": [x]}',
            {
                "op": "context",
                "entries": [{"name": "a", "value": const(1)}, {"name": "b c", "value": op("list", var("x"))}],
            },
        ),
    ],
)
def test_an_expression_parses_to_its_tree(text: str, expected: Any) -> None:
    assert tree(text) == expected


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("", 1, "a value is expected"),
        ("a >", 4, "a value is expected"),
        ("= a b", 3, "'a b' is no variable"),
        ("1 2", 3, "'2' is not expected here"),
        ("a &&  b", 3, "'&' is not expected here"),
        ("#{x}", 1, "another engine's language"),
        ('  "open', 3, "is not expected here"),
        ("eval(1)", 1, "there is no function 'eval'"),
        ("count(a, b)", 1, "takes 1 argument, not 2"),
        ("1" * 16, 1, "more than 15 digits"),
        ('"\\ud800"', 1, "unknown escape"),
        ("some x in y", 1, "'some' is not supported"),
        ("é", 1, "is not expected here"),
    ],
)
def test_what_is_not_of_the_language_is_refused_with_its_column(text: str, column: int, message: str) -> None:
    with pytest.raises(ExpressionError) as refusal:
        parse_expression(text)
    assert refusal.value.column == column
    assert message in refusal.value.message
    assert refusal.value.remedy


NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,6}", fullmatch=True).filter(lambda name: name not in KEYWORDS)
SIMPLE = st.one_of(
    st.just({"op": "null"}),
    st.booleans().map(const),
    st.integers(-(10**12), 10**12).map(const),
    st.text(st.characters(exclude_categories=("Cs",)), max_size=8).map(const),
    NAMES.map(var),
)
BINARY = ("=", "!=", "<", "<=", ">", ">=", "+", "-", "*", "/", "in", "item")


def wider(parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    several = st.lists(parts, min_size=2, max_size=3)
    entries = st.lists(st.tuples(st.text("ab c", max_size=3), parts), max_size=2, unique_by=lambda entry: entry[0])
    calls = st.sampled_from(sorted(FUNCTIONS)).flatmap(
        lambda name: st.lists(parts, min_size=FUNCTIONS[name][0], max_size=FUNCTIONS[name][1]).map(
            lambda args: {"op": "call", "name": name, "args": args}
        )
    )
    return st.one_of(
        st.tuples(st.sampled_from(BINARY), parts, parts).map(lambda found: op(*found)),
        st.tuples(st.sampled_from(("and", "or")), several).map(lambda found: op(found[0], *found[1])),
        st.tuples(st.sampled_from(("between", "if")), parts, parts, parts).map(lambda found: op(*found)),
        parts.map(lambda part: op("not", part)),
        st.lists(parts, max_size=3).map(lambda items: op("list", *items)),
        st.tuples(parts, NAMES).map(lambda found: {"op": "get", "args": [found[0]], "name": found[1]}),
        entries.map(
            lambda found: {"op": "context", "entries": [{"name": name, "value": value} for name, value in found]}
        ),
        calls,
    )


TREES = st.recursive(SIMPLE, wider, max_leaves=12)


def written(node: Any) -> str:
    """A tree as text, with every bracket that could matter."""
    args = [f"({written(part)})" for part in node.get("args", ())]
    match node["op"]:
        case "null":
            return "null"
        case "const":
            return json.dumps(node["value"], ensure_ascii=False)
        case "var":
            return str(node["name"])
        case "get":
            return f"{args[0]}.{node['name']}"
        case "item":
            return f"{args[0]}[{args[1]}]"
        case "list":
            return f"[{', '.join(args)}]"
        case "not":
            return f"not({args[0]})"
        case "if":
            return f"if {args[0]} then {args[1]} else {args[2]}"
        case "between":
            return f"{args[0]} between {args[1]} and {args[2]}"
        case "call":
            return f"{node['name']}({', '.join(args)})"
        case "context":
            inner = (f"{json.dumps(entry['name'])}: {written(entry['value'])}" for entry in node["entries"])
            return "{" + ", ".join(inner) + "}"
    return f" {node['op']} ".join(args)


@given(TREES)
def test_a_tree_that_is_written_down_parses_to_itself(expected: Any) -> None:
    assert tree(written(expected)) == expected


@given(st.one_of(st.text(max_size=60), st.text('()[]{}.,:+-*/=<>!"a1 \\notifhe', max_size=400)))
def test_any_text_is_parsed_or_refused_with_a_column_in_it(text: str) -> None:
    try:
        parsed: Ast | None = parse_expression(text).ast
        column = 1
    except ExpressionError as refusal:
        parsed, column = None, refusal.column
    assert parsed is None or is_within(parsed, MAX_DEPTH)
    assert 1 <= column <= len(text) + 1


@pytest.mark.parametrize(
    "text",
    [
        "(" * 4000,
        "a." * 1999 + "a",
        "[" * 2000,
        "not(" * 999,
        "if " * 1300,
        "a[" * 1999,
        "{a:" * 1300,
        "a+" * 1999 + "a",
    ],
)
def test_deep_expressions_are_refused_without_exhausting_the_stack(text: str) -> None:
    with pytest.raises(ExpressionError, match=f"deeper than {MAX_DEPTH} levels"):
        parse_expression(text)


def test_many_signs_are_one() -> None:
    assert tree("-" * 3999 + "1") == const(-1)
