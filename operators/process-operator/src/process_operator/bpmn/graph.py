"""Walks over the flow graph of a scope: what can be reached, what can reach an end, and where nothing would rest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set

Edges = Mapping[str, Iterable[str]]


def reachable(edges: Edges, starts: Iterable[str]) -> frozenset[str]:
    """Everything that can be reached along the edges, the starts themselves too."""
    seen: set[str] = set()
    waiting = list(starts)
    while waiting:
        node = waiting.pop()
        if node not in seen:
            seen.add(node)
            waiting.extend(edges.get(node, ()))
    return frozenset(seen)


def reverse(edges: Edges) -> dict[str, list[str]]:
    """The edges the other way round."""
    turned: dict[str, list[str]] = {}
    for source, targets in edges.items():
        for target in targets:
            turned.setdefault(target, []).append(source)
    return turned


def cycles(edges: Edges, among: Set[str]) -> list[tuple[str, ...]]:
    """The sets of nodes that lie on a common cycle which stays `among` these nodes; each sorted, and all of them.

    These are the strongly connected components, found in linear time: nodes in the order in which a walk leaves them,
    then, from the last one left, all that reaches it.
    """
    inner = {node: [target for target in edges.get(node, ()) if target in among] for node in among}
    left = _order_of_leaving(inner)
    back = reverse(inner)
    found: list[tuple[str, ...]] = []
    seen: set[str] = set()
    for root in reversed(left):
        if root in seen:
            continue
        component = _reaching(back, root, seen)
        seen |= component
        if len(component) > 1 or root in inner[root]:
            found.append(tuple(sorted(component)))
    return sorted(found)


def _order_of_leaving(edges: Mapping[str, list[str]]) -> list[str]:
    """The nodes in the order in which a walk in depth is done with them."""
    left: list[str] = []
    seen: set[str] = set()
    for start in edges:
        if start in seen:
            continue
        seen.add(start)
        path = [(start, iter(edges[start]))]
        while path:
            node, targets = path[-1]
            target = next((target for target in targets if target not in seen), None)
            if target is None:
                left.append(node)
                path.pop()
            else:
                seen.add(target)
                path.append((target, iter(edges[target])))
    return left


def _reaching(back: Edges, root: str, without: Set[str]) -> frozenset[str]:
    """Everything from which `root` can be reached, on ways that avoid some nodes."""
    found: set[str] = set()
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if node not in found and node not in without:
            found.add(node)
            waiting.extend(back.get(node, ()))
    return frozenset(found)
