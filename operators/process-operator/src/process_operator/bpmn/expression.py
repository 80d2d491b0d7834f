"""The expressions of definitions: a small part of FEEL, parsed here so that workers get a tree and need no parser.

No expression can loop, reach a file or the network, or fail: what cannot be computed is null. docs/bpmn.md defines the
language; this module is its grammar.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from process_operator.bpmn.ast import (
    Ast,
    CallNode,
    ConstNode,
    ContextEntry,
    ContextNode,
    Expression,
    GetNode,
    NullNode,
    OperationNode,
    Operator,
    VarNode,
    is_within,
)
from process_operator.bpmn.tokens import ExpressionError, Token, number_of, text_of, tokens_of

MAX_LENGTH: Final = 4000
"""Characters of one expression."""
MAX_DEPTH: Final = 32
"""Levels of a tree, and of brackets."""
FUNCTIONS: Final[Mapping[str, tuple[int, int]]] = {
    "abs": (1, 1),
    "append": (2, 2),
    "ceiling": (1, 1),
    "concatenate": (2, 2),
    "contains": (2, 2),
    "count": (1, 1),
    "ends with": (2, 2),
    "floor": (1, 1),
    "get value": (2, 2),
    "is defined": (1, 1),
    "list contains": (2, 2),
    "lower case": (1, 1),
    "max": (1, 1),
    "min": (1, 1),
    "modulo": (2, 2),
    "number": (1, 1),
    "round": (2, 2),
    "split": (2, 2),
    "starts with": (2, 2),
    "string": (1, 1),
    "string join": (2, 2),
    "string length": (1, 1),
    "sum": (1, 1),
    "upper case": (1, 1),
}
"""Each function with the least and the greatest number of its arguments."""

_COMPARISONS: Final[Mapping[str, Operator]] = {"=": "=", "!=": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
_SUMS: Final[Mapping[str, Operator]] = {"+": "+", "-": "-"}
_PRODUCTS: Final[Mapping[str, Operator]] = {"*": "*", "/": "/"}


def parse_expression(text: str) -> Expression:
    """The tree of an expression; a leading `=`, which some modelers write, is allowed. Raises ExpressionError."""
    if len(text) > MAX_LENGTH:
        raise ExpressionError(MAX_LENGTH, f"is longer than {MAX_LENGTH} characters", "compute it in a task")
    stripped = text.lstrip()
    start = len(text) - len(stripped)
    if stripped.startswith(("${", "#{")):
        raise ExpressionError(
            start + 1, "is written in another engine's language", "write it without ${ }, as in order.total > 100"
        )
    parser = _Parser(text, start + 1 if stripped.startswith("=") else start)
    tree = parser.whole()
    return Expression(source=text.strip(), ast=tree)


class _Parser:
    """Reads one expression by recursive descent; each method reads the longest phrase of its kind."""

    def __init__(self, text: str, start: int) -> None:
        self._tokens = tokens_of(text, start)
        self._at = 0
        self._depth = 0

    def whole(self) -> Ast:
        tree = self._expression()
        kind, value, column = self._tokens[self._at]
        if kind != "end":
            raise ExpressionError(column, f"{value!r} is not expected here", "one expression, and nothing after it")
        if not is_within(tree, MAX_DEPTH):
            raise ExpressionError(1, f"its tree is deeper than {MAX_DEPTH} levels", "split it into several tasks")
        return tree

    def _peek(self, *values: str) -> bool:
        kind, value, _ = self._tokens[self._at]
        return kind in ("symbol", "keyword") and value in values

    def _take(self) -> Token:
        token = self._tokens[self._at]
        self._at = min(self._at + 1, len(self._tokens) - 1)
        return token

    def _accept(self, *values: str) -> bool:
        if self._peek(*values):
            self._take()
            return True
        return False

    def _expect(self, value: str) -> None:
        if not self._accept(value):
            _, found, column = self._tokens[self._at]
            raise ExpressionError(column, f"{value!r} is expected, not {found or 'the end'!r}", f"write {value!r} here")

    def _expression(self) -> Ast:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ExpressionError(
                self._tokens[self._at][2], f"is nested deeper than {MAX_DEPTH} levels", "split it into several tasks"
            )
        tree = self._if() if self._accept("if") else self._or()
        self._depth -= 1
        return tree

    def _if(self) -> Ast:
        condition = self._expression()
        self._expect("then")
        then = self._expression()
        self._expect("else")
        return OperationNode(op="if", args=(condition, then, self._expression()))

    def _or(self) -> Ast:
        args = [self._and()]
        while self._accept("or"):
            args.append(self._and())
        return args[0] if len(args) == 1 else OperationNode(op="or", args=tuple(args))

    def _and(self) -> Ast:
        args = [self._comparison()]
        while self._accept("and"):
            args.append(self._comparison())
        return args[0] if len(args) == 1 else OperationNode(op="and", args=tuple(args))

    def _comparison(self) -> Ast:
        left = self._sum()
        if self._peek(*_COMPARISONS):
            operator = _COMPARISONS[self._take()[1]]
            return OperationNode(op=operator, args=(left, self._sum()))
        if self._accept("in"):
            return OperationNode(op="in", args=(left, self._candidates()))
        if self._accept("between"):
            low = self._sum()
            self._expect("and")
            return OperationNode(op="between", args=(left, low, self._sum()))
        return left

    def _candidates(self) -> Ast:
        """What follows `in`: a list, or values in parentheses."""
        start = self._at
        if self._accept("("):
            args = [self._expression()]
            while self._accept(","):
                args.append(self._expression())
            self._expect(")")
            if len(args) > 1:
                return OperationNode(op="list", args=tuple(args))
            self._at = start
        return self._sum()

    def _sum(self) -> Ast:
        return self._chain(_SUMS, self._product)

    def _product(self) -> Ast:
        return self._chain(_PRODUCTS, self._unary)

    def _chain(self, operators: Mapping[str, Operator], part: Callable[[], Ast]) -> Ast:
        tree = part()
        while self._peek(*operators):
            operator = operators[self._take()[1]]
            tree = OperationNode(op=operator, args=(tree, part()))
        return tree

    def _unary(self) -> Ast:
        minus = 0
        while self._accept("-"):
            minus += 1
        tree = self._postfix()
        if minus % 2 == 0:
            return tree
        if isinstance(tree, ConstNode) and isinstance(tree.value, int | float) and not isinstance(tree.value, bool):
            return ConstNode(op="const", value=-tree.value)
        return OperationNode(op="neg", args=(tree,))

    def _postfix(self) -> Ast:
        tree = self._primary()
        while True:
            if self._accept("."):
                kind, name, column = self._take()
                if kind not in ("name", "keyword"):
                    raise ExpressionError(
                        column, "the name of a field is expected after '.'", "write it, as in order.id"
                    )
                tree = GetNode(op="get", args=(tree,), name=name)
            elif self._accept("["):
                index = self._expression()
                self._expect("]")
                tree = OperationNode(op="item", args=(tree, index))
            else:
                return tree

    def _primary(self) -> Ast:
        token = self._take()
        kind, value, column = token
        if kind == "number":
            return ConstNode(op="const", value=number_of(token))
        if kind == "text":
            return ConstNode(op="const", value=text_of(token))
        if kind == "name":
            return self._named(value, column)
        match value:
            case "true" | "false" if kind == "keyword":
                return ConstNode(op="const", value=value == "true")
            case "null" if kind == "keyword":
                return NullNode(op="null")
            case "not" if kind == "keyword":
                self._expect("(")
                tree = self._expression()
                self._expect(")")
                return OperationNode(op="not", args=(tree,))
            case "(":
                tree = self._expression()
                self._expect(")")
                return tree
            case "[":
                return OperationNode(op="list", args=self._arguments("]"))
            case "{":
                return self._context()
            case "for" | "some" | "every" | "return" if kind == "keyword":
                raise ExpressionError(column, f"{value!r} is not supported", "compute it in a task")
        raise ExpressionError(column, f"a value is expected, not {value or 'the end'!r}", "write a value here")

    def _named(self, name: str, column: int) -> Ast:
        """A variable, or the call of a function, whose name may consist of several words."""
        words = [name]
        while self._tokens[self._at][0] == "name":
            words.append(self._take()[1])
        name = " ".join(words)
        if not self._accept("("):
            if len(words) > 1:
                raise ExpressionError(column, f"{name!r} is no variable", "names of variables hold no spaces")
            return VarNode(op="var", name=name)
        if name not in FUNCTIONS:
            raise ExpressionError(column, f"there is no function {name!r}", f"use one of {', '.join(FUNCTIONS)}")
        args = self._arguments(")")
        low, high = FUNCTIONS[name]
        if not low <= len(args) <= high:
            raise ExpressionError(
                column, f"{name}() takes {low} argument{'s' * (low != 1)}, not {len(args)}", f"give it {low}"
            )
        return CallNode(op="call", name=name, args=args)

    def _arguments(self, end: str) -> tuple[Ast, ...]:
        if self._accept(end):
            return ()
        args = [self._expression()]
        while self._accept(","):
            args.append(self._expression())
        self._expect(end)
        return tuple(args)

    def _context(self) -> Ast:
        entries: list[ContextEntry] = []
        while not self._peek("}"):
            token = self._take()
            kind, value, column = token
            if kind not in ("name", "keyword", "text"):
                raise ExpressionError(
                    column, "the name of an entry is expected", 'write it, as in {id: 1, "my key": 2}'
                )
            name = text_of(token) if kind == "text" else value
            if any(entry.name == name for entry in entries):
                raise ExpressionError(column, f"the entry {name!r} is there twice", "remove one")
            self._expect(":")
            entries.append(ContextEntry(name=name, value=self._expression()))
            if not self._accept(","):
                break
        self._expect("}")
        return ContextNode(op="context", entries=tuple(entries))
