"""The variables of a process: one set for the process, and layers on top for what is local to an instance of a loop."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping, Sequence
from typing import Any

from process_worker.expressions import evaluate, holds

Values = ChainMap[str, Any]


class Variables:
    """Values by name. They are JSON data and replaced as a whole, never changed in place, so that snapshots hold."""

    def __init__(self, values: Mapping[str, Any] | None = None, below: Variables | None = None) -> None:
        self._own = dict(values or {})
        self._below = below
        self._live: Variables | None = None
        self.values: Values = below.values.new_child(self._own) if below else ChainMap(self._own)

    def set(self, name: str, value: Any) -> None:
        """Write where the name is known already, topmost first, else at the bottom, which is the process."""
        if self._below is not None and name not in self._own:
            self._below.set(name, value)
            return
        self._own[name] = value
        if self._live is not None:
            self._live.set(name, value)

    def snapshot(self) -> Variables:
        """These variables as they are now; what is written to the snapshot goes to the live ones, too."""
        copy = Variables(dict(self.values))
        copy._live = self
        return copy

    def outputs(self, mappings: Sequence[Mapping[str, Any]], result: Any) -> None:
        """Write what an element gives back: each mapping evaluated with `result`, in order."""
        for mapping in mappings:
            self.set(mapping["name"], evaluate(mapping["value"], self.values.new_child({"result": result})))

    def value(self, expression: Mapping[str, Any]) -> Any:
        """The value of an expression."""
        return evaluate(expression, self.values)

    def holds(self, condition: Mapping[str, Any] | None) -> bool:
        """Whether there is a condition and it is true."""
        return holds(condition, self.values)

    def inputs(self, mappings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """What an element is given."""
        return {mapping["name"]: evaluate(mapping["value"], self.values) for mapping in mappings}
