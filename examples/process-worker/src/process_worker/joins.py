"""Decides when an inclusive gateway that joins may go on: when no other token can still reach it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Table = Mapping[str, Any]


def reachable_from(table: Table, flow: str) -> frozenset[str]:
    """The ids of all elements from which `flow` can be reached without passing through the gateway it leads to."""
    gateway = table["flows"][flow]["target"]
    elements = table["elements"]
    links = _link_sources(table)
    found: set[str] = set()
    open_ends = [table["flows"][flow]["source"]]
    while open_ends:
        at = open_ends.pop()
        if at in found or at == gateway:
            continue
        found.add(at)
        element = elements[at]
        open_ends += [table["flows"][each]["source"] for each in element["incoming"]]
        open_ends += links.get(at, [])
        if "attachedTo" in element:
            open_ends.append(element["attachedTo"])
    return frozenset(found)


def _link_sources(table: Table) -> dict[str, list[str]]:
    sources: dict[str, list[str]] = {}
    for element in table["elements"].values():
        event = element.get("event", {})
        if event.get("kind") == "link" and "target" in event:
            sources.setdefault(event["target"], []).append(element["id"])
    return sources


def complete(filled: Mapping[str, int], reach: Mapping[str, frozenset[str]], tokens: Iterable[str]) -> bool:
    """Whether the gateway may go on.

    `filled`: incoming flow → tokens waiting on it. `reach`: `reachable_from` of each incoming flow. `tokens`: where the
    scope's other tokens are, as ids of elements. As BPMN 2.0 has it (13.4.3), a token holds the gateway up when it can
    reach an empty flow and none that is filled.
    """
    empty = [flow for flow in reach if not filled.get(flow)]
    full = [flow for flow in reach if filled.get(flow)]
    return bool(full) and not any(
        any(at in reach[flow] for flow in empty) and not any(at in reach[flow] for flow in full) for at in tokens
    )
