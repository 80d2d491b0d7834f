"""What every part of the compiler works with: the model, the declared dependencies, and where problems go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from process_operator.bpmn.ast import Expression
from process_operator.bpmn.expression import parse_expression
from process_operator.bpmn.iso8601 import TimeFormatError, parse_cycle, parse_date, parse_duration
from process_operator.bpmn.model import Model
from process_operator.bpmn.node import Node
from process_operator.bpmn.parts import ComputedTimer, CycleTimer, DateTimer, DurationTimer, Timer
from process_operator.bpmn.problems import Problems
from process_operator.bpmn.scopes import Scope
from process_operator.bpmn.tokens import ExpressionError

_FEEL: Final = "feel"


@dataclass(frozen=True, slots=True)
class Dependencies:
    """What a Process declares that it calls: names, or `namespace/name`. `namespace` is the Process's own."""

    domains: frozenset[str] = field(default_factory=frozenset)
    agents: frozenset[str] = field(default_factory=frozenset)
    namespace: str = ""

    def of(self, kind: str) -> frozenset[tuple[str, str]]:
        """(namespace, name) of each dependency of a kind; the namespace is empty where it is the Process's own."""
        names = self.domains if kind == "domain" else self.agents
        split = (name.rpartition("/") for name in names)
        return frozenset(("" if namespace == self.namespace else namespace, name) for namespace, _, name in split)


@dataclass(frozen=True, slots=True)
class Links:
    """The ids of the events that throw a link, and of those that catch it."""

    throwing: list[str]
    catching: list[str]


@dataclass(frozen=True, slots=True)
class Context:
    """The model under compilation; `links` are kept as they are found, scope by scope."""

    model: Model
    dependencies: Dependencies
    problems: Problems
    links: dict[str, Mapping[str, Links]] = field(default_factory=dict)

    def links_in(self, scope: Scope) -> Mapping[str, Links]:
        """The link events of a scope, by the name of the link."""
        if scope.id not in self.links:
            found: dict[str, Links] = {}
            for node in scope.nodes.values():
                for definition in self.model.event_definitions(node):
                    if definition.is_a("LinkEventDefinition"):
                        ends = found.setdefault(definition.text("name"), Links([], []))
                        (ends.throwing if node.is_a("ThrowEvent") else ends.catching).append(node.id)
            self.links[scope.id] = found
        return self.links[scope.id]

    def fault(self, node: Node, message: str, remedy: str, attribute: str = "") -> None:
        """Note what is wrong with an element, or with one of its attributes."""
        path = f"{node.path}.{attribute}" if attribute else node.path
        self.problems.add(node.owner, path, message, remedy)

    def expression(self, owner: str, path: str, text: str) -> Expression | None:
        """The expression that a text holds; None, with a problem noted, if it does not parse."""
        try:
            return parse_expression(text)
        except ExpressionError as error:
            self.problems.add(
                owner, path, f"the expression {_shown(text)}, column {error.column}: {error.message}", error.remedy
            )
            return None

    def formal(self, node: Node, name: str) -> Expression | None:
        """The expression in an attribute of an element; None if it is not there or does not parse."""
        part = node.part(name)
        if part is None or not self._is_ours(part):
            return None
        return self.expression(part.owner, f"{part.path}.body", part.text("body"))

    def timer(self, owner: str, path: str, kind: str, text: str) -> Timer | None:
        """The timer that a text describes: ISO 8601, or after `=` an expression that yields it."""
        if text.lstrip().startswith("="):
            value = self.expression(owner, path, text)
            if value is None:
                return None
            return ComputedTimer(
                kind="date" if kind == "date" else "duration" if kind == "duration" else "cycle", value=value
            )
        try:
            if kind == "date":
                return DateTimer(kind="date", at=parse_date(text))
            if kind == "duration":
                duration = parse_duration(text)
                return DurationTimer(
                    kind="duration", milliseconds=duration.milliseconds, months=duration.months or None
                )
            cycle = parse_cycle(text)
            return CycleTimer(
                kind="cycle",
                milliseconds=cycle.interval.milliseconds,
                months=cycle.interval.months or None,
                repetitions=cycle.repetitions,
                start=cycle.start,
            )
        except TimeFormatError as error:
            self.problems.add(owner, path, str(error), "write it so, or begin with = to compute it from variables")
            return None

    def timer_of(self, node: Node, name: str, kind: str) -> Timer | None:
        """The timer in an attribute of a timer event definition."""
        part = node.part(name)
        if part is None or not self._is_ours(part):
            return None
        return self.timer(part.owner, f"{part.path}.body", kind, part.text("body"))

    def _is_ours(self, part: Node) -> bool:
        language = part.text("language")
        if not language or _FEEL in language.lower():
            return True
        self.problems.add(
            part.owner,
            f"{part.path}.language",
            f"the expression language {_shown(language)} is not supported",
            "rewrite it in the language of docs/bpmn.md, and remove the attribute or set it to feel",
        )
        return False


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else f"{text[:77]}…")
