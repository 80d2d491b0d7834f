"""Patterns over tools and models: how they are written, what they match, and when one covers another.

A tool is `domain/<namespace>/<name>`, `process/…`, `agent/…` or `primitive/<name>`, with `:<operation>` where one
operation is meant. `*` stands for any characters of one part and `?` for one of them; a pattern without an operation
means all of them. `{namespace}` is the namespace of the Agent that asks, and `**` is every tool. There are no character
classes: a name can hold no bracket, so a pattern with one would be a typing error.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

ToolKind = Literal["domain", "process", "agent", "primitive"]
RESOURCE_KINDS: Final[tuple[ToolKind, ...]] = ("domain", "process", "agent")
"""Kinds of tools that are Ameide resources; a primitive is a tool that the policy itself describes."""

OWN_NAMESPACE: Final = "{namespace}"
EVERY_TOOL: Final = "**"
ANY: Final = "*"

_NAME: Final = r"[a-z0-9.*?-]+"
_OPERATION: Final = r"[A-Za-z0-9_./*?-]+"
TOOL_REGEX: Final = rf"^(\*\*|primitive/{_NAME}|[a-z*?]+/({_NAME}|\{{namespace\}})/{_NAME})(:{_OPERATION})?$"
"""The same for JSON Schema, which cannot say that the kind has to be one of ours."""
MODEL_REGEX: Final = r"^[a-z0-9.*?-]+/[A-Za-z0-9_.:/@*?+-]+$"

_PLAIN: Final = re.compile(r"[A-Za-z0-9_.:/@+-]+")

_TOOL_REMEDY: Final = (
    "write domain/<namespace>/<name>, process/<namespace>/<name>, agent/<namespace>/<name> or primitive/<name>, with"
    " :<operation> where only that is meant; * and ? match within a part, {namespace} is the Agent's own, ** every tool"
)


class PatternError(ValueError):
    """Text that is no pattern; `message` says what is wrong, `remedy` how it is written."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(f"{message}; {remedy}")
        self.message, self.remedy = message, remedy


@dataclass(frozen=True, slots=True)
class ToolPattern:
    """A parsed pattern. `kind` is `**` for every tool; `namespace` is empty for primitives."""

    kind: str
    namespace: str
    name: str
    operation: str = ANY

    def is_for(self, kind: str, namespace: str, name: str, own_namespace: str) -> bool:
        """Whether it is about a tool, operations aside; `own_namespace` is what `{namespace}` means."""
        if self.kind == EVERY_TOOL:
            return True
        if (kind == "primitive") != (self.kind == "primitive"):
            return False
        if kind == "primitive":
            return matches(self.name, name)
        return (
            matches(self.kind, kind)
            and (namespace == own_namespace if self.namespace == OWN_NAMESPACE else matches(self.namespace, namespace))
            and matches(self.name, name)
        )


@lru_cache(maxsize=4096)
def tool_pattern(text: str) -> ToolPattern:
    """Parse a pattern over tools. Raises PatternError."""
    target, colon, operation = text.partition(":")
    if colon and not re.fullmatch(_OPERATION, operation):
        raise PatternError(f"has {operation!r} for an operation", _TOOL_REMEDY)
    operation = operation or ANY
    if target == EVERY_TOOL:
        return ToolPattern(EVERY_TOOL, "", "", operation)
    kind, *parts = target.split("/")
    wanted = 1 if kind == "primitive" else 2
    if kind != "primitive" and not any(matches(kind, known) for known in RESOURCE_KINDS):
        raise PatternError(f"has {kind!r} for the kind of tool", _TOOL_REMEDY)
    if len(parts) != wanted:
        raise PatternError(f"has {len(parts)} part{'' if len(parts) == 1 else 's'} after {kind}/", _TOOL_REMEDY)
    for part in parts[:-1]:
        if part != OWN_NAMESPACE and not re.fullmatch(_NAME, part):
            raise PatternError(f"has {part!r} for a namespace", _TOOL_REMEDY)
    if not re.fullmatch(_NAME, parts[-1]):
        raise PatternError(f"has {parts[-1]!r} for a name", _TOOL_REMEDY)
    return ToolPattern(kind, parts[0] if wanted == 2 else "", parts[-1], operation)


def model_pattern(text: str) -> tuple[str, str]:
    """The provider and model parts of `provider/model`. Raises PatternError."""
    if not re.fullmatch(MODEL_REGEX, text):
        raise PatternError(
            "is not a pattern over models", "write provider/model, as in openai/gpt-5*; openai/* is all of a provider"
        )
    provider, _, name = text.partition("/")
    return provider, name


def model_matches(text: str, provider: str, name: str) -> bool:
    """Whether a pattern matches a model. Case is ignored, as providers do: a denied model has no second spelling."""
    wanted_provider, wanted_name = model_pattern(text)
    return matches(wanted_provider.lower(), provider.lower()) and matches(wanted_name.lower(), name.lower())


def is_plain(text: str) -> bool:
    """Whether a text can be judged by patterns: without wildcards, blanks and characters that look like others.

    A request for the operation `Del*` would slip past a deny of `Delete*`, the model `gpt-4 ` past one of `gpt-4`.
    """
    return _PLAIN.fullmatch(text) is not None


def matches(pattern: str, text: str) -> bool:
    """Whether `*` (any characters) and `?` (one character) make `text` out of `pattern`; `text` has neither."""
    return _compiled(pattern).fullmatch(text) is not None


def covers(general: str, special: str) -> bool:
    """Whether `general` matches all that `special` matches, both of them patterns over one part.

    Never true by mistake, and never false by mistake where `general` has no `?`: `?*` and `*a` would need a search.
    """
    return _compiled(general).fullmatch(_normal(special)) is not None


def minimal(patterns: frozenset[str]) -> tuple[str, ...]:
    """The patterns that no other one covers, in order: equal sets of texts are most often written equally."""
    distinct = sorted({_normal(pattern) for pattern in patterns})
    return tuple(one for one in distinct if not any(other != one and covers(other, one) for other in distinct))


def is_literal(pattern: str) -> bool:
    """Whether a pattern matches itself only."""
    return not any(mark in pattern for mark in "*?{")


def _normal(pattern: str) -> str:
    """One spelling for runs of wildcards: `*?*` is `?*`."""
    return re.sub(r"[*?]{2,}", lambda run: "?" * run[0].count("?") + "*" * ("*" in run[0]), pattern)


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    """A pattern as a regular expression that matches in linear time, texts and other patterns alike.

    In another pattern, `*` is covered by `*` only; hence `?` matches any character but that one. Each stretch between
    two `*` is taken where it first fits, for good (an atomic group): trying later places never helps.
    """
    first, *rest = ("".join("[^*]" if c == "?" else re.escape(c) for c in part) for part in _normal(pattern).split("*"))
    middle = "".join(f"(?>.*?{part})" for part in rest[:-1])
    return re.compile(first + middle + (f".*{rest[-1]}" if rest else ""), re.DOTALL)
