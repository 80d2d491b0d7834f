"""The scopes of a process, which are itself and its sub-processes, and the flows that join the elements in each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from process_operator.bpmn.node import Node
from process_operator.bpmn.problems import Problems
from process_operator.bpmn.table import ScopeKind


@dataclass(frozen=True, slots=True)
class Flow:
    """A sequence flow between two flow nodes of one scope."""

    node: Node
    source: Node
    target: Node


@dataclass(frozen=True, slots=True)
class Scope:
    """A process or sub-process that runs. `root` is the process around it; `nodes` are its flow nodes by id."""

    node: Node
    kind: ScopeKind
    root: Node
    parent: str
    nodes: Mapping[str, Node]

    @property
    def id(self) -> str:
        return self.node.id


def is_apart(node: Node) -> bool:
    """Whether no flow leads to or from an element: event sub-processes and compensation handlers."""
    return node.flag("triggeredByEvent") or node.flag("isForCompensation")


def scopes_of(node: Node, kind: ScopeKind, root: Node, parent: str, problems: Problems) -> Iterator[Scope]:
    """The scope of a process or sub-process, and those within it."""
    nodes: dict[str, Node] = {}
    for element in node.parts("flowElements"):
        if not element.id and (element.is_a("FlowNode") or element.is_a("SequenceFlow")):
            problems.add(element.owner, element.path, f"the {element.describe()} has no id", "give it one")
        elif element.is_a("FlowNode"):
            nodes.setdefault(element.id, element)
    yield Scope(node, kind, root, parent, dict(sorted(nodes.items())))
    for element in nodes.values():
        if element.is_a("SubProcess"):
            event = element.flag("triggeredByEvent")
            inner: ScopeKind = (
                "transaction" if element.is_a("Transaction") else "eventSubProcess" if event else "subProcess"
            )
            yield from scopes_of(element, inner, root, node.id, problems)


def flows_of(scope: Scope, index: Mapping[str, Node], problems: Problems) -> Iterator[Flow]:
    """The sequence flows of a scope that join two of its elements."""
    for node in scope.node.parts("flowElements"):
        if not node.is_a("SequenceFlow") or not node.id:
            continue
        ends: list[Node] = []
        for end in ("sourceRef", "targetRef"):
            name = node.text(end)
            found = scope.nodes.get(name)
            if found is not None:
                ends.append(found)
            elif not name:
                problems.add(node.id, node.path, f"the flow has no {end}", "name the element that it joins")
            elif name in index and index[name].is_a("FlowNode"):
                problems.add(
                    node.id,
                    f"{node.path}.{end}",
                    f"{name} is not in {scope.node.describe()} ({scope.id}), as the flow is",
                    "flows stay within their process or sub-process; use events or message flows across its border",
                )
        if len(ends) == 2 and index.get(node.id) is node:
            yield Flow(node, ends[0], ends[1])


def ends_of(
    scopes: Mapping[str, Scope], flows: Mapping[str, Flow], problems: Problems
) -> tuple[dict[str, tuple[str, ...]], dict[str, tuple[str, ...]]]:
    """The incoming and the outgoing flows of each element; lists that elements have themselves must agree."""
    incoming: dict[str, list[str]] = {}
    outgoing: dict[str, list[str]] = {}
    for name, flow in flows.items():
        outgoing.setdefault(flow.source.id, []).append(name)
        incoming.setdefault(flow.target.id, []).append(name)
    for scope in scopes.values():
        for node in scope.nodes.values():
            for attribute, side, end in (("incoming", incoming, "targetRef"), ("outgoing", outgoing, "sourceRef")):
                side[node.id] = _agreed(node, attribute, side.get(node.id, []), end, flows, problems)
    return {key: tuple(value) for key, value in incoming.items()}, {
        key: tuple(value) for key, value in outgoing.items()
    }


def _agreed(
    node: Node, attribute: str, joined: list[str], end: str, flows: Mapping[str, Flow], problems: Problems
) -> list[str]:
    listed = list(dict.fromkeys(node.references(attribute)))
    if not listed:
        return joined
    path = f"{node.path}.{attribute}"
    for name in listed:
        if name in flows and name not in joined:
            problems.add(node.id, path, f"the {end} of {name} is not {node.id}", f"mend {end}, or remove {name} here")
    for name in joined:
        if name not in listed:
            problems.add(node.id, path, f"{name} is missing, though its {end} is {node.id}", f"add {name} here")
    return [name for name in listed if name in joined] + [name for name in joined if name not in listed]
