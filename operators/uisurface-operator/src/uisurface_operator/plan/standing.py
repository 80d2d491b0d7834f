"""What gateways say of routes and policies in their status: `parents` of a route, `ancestors` of a policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ameide_shared.kube.resources import Manifest

Verdict = tuple[str, str, str]
"""Type, status and words of a condition."""


def verdicts(
    live: Manifest, field: str, types: Sequence[str], parent: Mapping[str, str] | None = None
) -> list[Verdict]:
    """The conditions of `types` about the current generation, from the entries for `parent` (None: all).

    Empty as long as any of the types has not been judged by any entry.
    """
    generation = live["metadata"].get("generation")
    told = []
    for entry in (live.get("status") or {}).get(field) or ():
        reference = entry.get("parentRef") or {}
        if parent is not None and not parent.items() <= reference.items():
            continue
        conditions = {c.get("type"): c for c in entry.get("conditions") or ()}
        found = [conditions[name] for name in types if name in conditions]
        if len(found) == len(types) and all(c.get("observedGeneration", generation) == generation for c in found):
            told += [(str(c["type"]), str(c.get("status")), _words(c)) for c in found]
    return told


def refused(told: Sequence[Verdict]) -> str | None:
    """Why somebody refuses it, in that one's own words, or None."""
    return next((words for _, status, words in told if status != "True"), None)


def _words(condition: Mapping[str, Any]) -> str:
    message, reason = str(condition.get("message") or ""), str(condition.get("reason") or "")
    return f"{reason}: {message}" if message else reason
