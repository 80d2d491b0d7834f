"""Chooses the flows that leave an element, and keeps the tokens that wait at joining gateways."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from process_worker.engine import Engine
from process_worker.errors import incident
from process_worker.joins import complete
from process_worker.tables import Element, Table
from process_worker.variables import Variables

_CHOOSING = frozenset({"exclusiveGateway", "inclusiveGateway"})


def leave(table: Table, element: Element, variables: Variables) -> list[str]:
    """The flows to take after an element: all that have no condition or whose condition holds, else the default.

    An exclusive gateway takes the first. Raises an incident when there is none to take.
    """
    outgoing: list[str] = element["outgoing"]
    if not outgoing or (len(outgoing) == 1 and element["kind"] in _CHOOSING):
        return list(outgoing)
    conditions = {flow: table["flows"][flow].get("condition") for flow in outgoing if flow != element.get("default")}
    chosen = [flow for flow, condition in conditions.items() if condition is None or variables.holds(condition)]
    if chosen:
        return chosen[:1] if element["kind"] == "exclusiveGateway" else chosen
    if "default" in element:
        return [element["default"]]
    raise incident(
        "NoFlowTaken", f"no condition of {element['kind']} {element['id']!r} holds and it has no default flow"
    )


@dataclass(slots=True)
class Arrivals:
    """Tokens that wait at the joining gateways of one scope: how many on which incoming flow."""

    _counts: dict[str, dict[str, int]] = field(default_factory=dict)

    def arrive(self, gateway: Element, flow: str) -> bool:
        """Take in a token; whether the gateway goes on with it at once."""
        arrived = self._counts.setdefault(gateway["id"], {})
        arrived[flow] = arrived.get(flow, 0) + 1
        # An inclusive gateway looks at all other tokens, so it is decided when this one has come to rest.
        if gateway["kind"] == "inclusiveGateway" or not all(arrived.get(each) for each in gateway["incoming"]):
            return False
        self._take(gateway)
        return True

    def released(self, engine: Engine, places: Sequence[str]) -> list[str]:
        """The inclusive gateways that go on now, `places` being where the scope's tokens are; each takes its tokens."""
        found = []
        for identity, arrived in self._counts.items():
            gateway = engine.element(identity)
            # A token that is just entering or leaving the gateway is looked at when it has done so.
            if gateway["kind"] != "inclusiveGateway" or identity in places:
                continue
            if complete(arrived, engine.reach(gateway), places):
                self._take(gateway)
                found.append(identity)
        return found

    def waiting(self) -> str | None:
        """A gateway at which tokens wait, None when there is none."""
        return next((gateway for gateway, arrived in self._counts.items() if any(arrived.values())), None)

    def clear(self) -> None:
        """Forget all tokens."""
        self._counts.clear()

    def _take(self, gateway: Element) -> None:
        arrived = self._counts[gateway["id"]]
        for flow in gateway["incoming"]:
            if arrived.get(flow):
                arrived[flow] -= 1
