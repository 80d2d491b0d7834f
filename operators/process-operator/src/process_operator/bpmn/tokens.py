"""The words of expressions: numbers, texts, names, keywords and symbols, each with its column."""

from __future__ import annotations

import json
import re
from typing import Final, NamedTuple

MAX_DIGITS: Final = 15
"""Digits of a number: as many as every JSON reader keeps exactly."""
KEYWORDS: Final = frozenset(
    {
        "and",
        "between",
        "else",
        "every",
        "false",
        "for",
        "if",
        "in",
        "not",
        "null",
        "or",
        "return",
        "some",
        "then",
        "true",
    }
)
_NAME: Final = r"[A-Za-z_][A-Za-z0-9_]*"
_TOKEN: Final = re.compile(
    r"\s*(?:(?P<number>\d+(?:\.\d+)?)|(?P<text>\"(?:[^\"\\]|\\.)*\")|(?P<name>" + _NAME + r")"
    r"|(?P<symbol>!=|<=|>=|[=<>+\-*/()\[\]{},.:]))",
    re.DOTALL | re.ASCII,
)


class ExpressionError(ValueError):
    """An expression is not of the language; `column` counts characters from 1."""

    def __init__(self, column: int, message: str, remedy: str) -> None:
        super().__init__(f"column {column}: {message}")
        self.column = column
        self.message = message
        self.remedy = remedy


class Token(NamedTuple):
    """A word; `kind` is number, text, name, keyword, symbol or end."""

    kind: str
    value: str
    column: int


def is_name(text: str) -> bool:
    """Whether a text can name a variable."""
    return re.fullmatch(_NAME, text) is not None and text not in KEYWORDS


def tokens_of(text: str, start: int = 0) -> list[Token]:
    """The words of a text from an offset on, and one of kind `end`. Raises ExpressionError."""
    tokens: list[Token] = []
    at = start
    while (rest := text[at:].lstrip()) != "":
        found = _TOKEN.match(text, at)
        if found is None:
            column = len(text) - len(rest)
            raise ExpressionError(
                column + 1, f"{text[column]!r} is not expected here", 'texts stand in double quotes, "equal" is ='
            )
        kind = found.lastgroup or ""
        word = found[kind]
        tokens.append(Token("keyword" if kind == "name" and word in KEYWORDS else kind, word, found.start(kind) + 1))
        at = found.end()
    return [*tokens, Token("end", "", len(text) + 1)]


def number_of(token: Token) -> int | float:
    """The value of a number. Raises ExpressionError if it has too many digits."""
    if len(token.value.replace(".", "").strip("0")) > MAX_DIGITS or len(token.value) > 2 * MAX_DIGITS:
        raise ExpressionError(
            token.column, f"{token.value[:20]}… has more than {MAX_DIGITS} digits", "write a shorter number"
        )
    return float(token.value) if "." in token.value else int(token.value)


def text_of(token: Token) -> str:
    """The value of a text in quotes. Raises ExpressionError if it holds an escape that JSON does not know."""
    try:
        value = str(json.loads(token.value, strict=False))
        value.encode()
    except ValueError as error:
        raise ExpressionError(
            token.column, "holds an unknown escape", r"use \" \\ \n \t or \u with four hexadecimal digits"
        ) from error
    return value
