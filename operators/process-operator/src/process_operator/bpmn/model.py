"""A definition with its ids resolved: which processes run, the scopes they consist of, and how flows join elements."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from process_operator.bpmn.document import Reader
from process_operator.bpmn.metamodel import Form
from process_operator.bpmn.node import Node
from process_operator.bpmn.plain import is_plain
from process_operator.bpmn.problems import Problems
from process_operator.bpmn.scopes import Flow, Scope, ends_of, flows_of, scopes_of
from process_operator.bpmn.table import ScopeKind

MAX_ELEMENTS: Final = 2_000
"""Flow nodes of all processes that run."""


@dataclass(frozen=True, slots=True)
class Model:
    """A definition whose ids are unique and whose references lead somewhere.

    `process` is the executable one. `scopes` and `flows` hold what runs: the process, what it contains and what it
    calls; `incoming` and `outgoing` the flows of each element, in the order of its own lists, else by id;
    `boundary` the boundary events of each activity that has any; `handlers` the compensation handler of each boundary
    event that has one; `calls` the processes of this definition that each process calls.
    """

    definitions: Node
    index: Mapping[str, Node]
    process: Node
    scopes: Mapping[str, Scope]
    flows: Mapping[str, Flow]
    incoming: Mapping[str, tuple[str, ...]]
    outgoing: Mapping[str, tuple[str, ...]]
    boundary: Mapping[str, tuple[str, ...]]
    handlers: Mapping[str, str]
    calls: Mapping[str, tuple[str, ...]]

    def elements(self) -> Iterator[tuple[Scope, Node]]:
        """Each flow node that runs, with its scope."""
        for scope in self.scopes.values():
            for node in scope.nodes.values():
                yield scope, node

    def event_definitions(self, node: Node) -> tuple[Node, ...]:
        """The definitions of an event, its own and those that it refers to."""
        referred = (self.index.get(name) for name in node.references("eventDefinitionRef"))
        return (*node.parts("eventDefinitions"), *(found for found in referred if found is not None))


def parse(definition: Mapping[str, Any]) -> Model:
    """The model of a definition, `bpmn:Definitions` as JSON. Raises InvalidDefinition if its structure is wrong."""
    problems = Problems()
    model = read_model(definition, problems)
    problems.refuse_if_any()
    assert model is not None, "a definition without a model has a problem"
    return model


def read_model(definition: Mapping[str, Any], problems: Problems) -> Model | None:
    """The model as far as it can be made; everything wrong goes to `problems`. None if nothing runs."""
    if not is_plain(definition, problems):
        return None
    definitions = Reader(problems).read(definition)
    if definitions is None:
        return None
    index = _index(definitions, problems)
    _check_references(definitions, index, problems)
    roots = _executables(definitions, problems)
    scopes: dict[str, Scope] = {}
    for root in roots:
        _add_process(root, "process", index, scopes, problems)
    if not roots or roots[0].id not in scopes:
        return None
    if sum(len(scope.nodes) for scope in scopes.values()) > MAX_ELEMENTS:
        problems.add(
            roots[0].id, roots[0].path, f"has more than {MAX_ELEMENTS} elements", "split it into several Processes"
        )
        return None
    flows = dict(sorted((flow.node.id, flow) for scope in scopes.values() for flow in flows_of(scope, index, problems)))
    incoming, outgoing = ends_of(scopes, flows, problems)
    return Model(
        definitions,
        index,
        roots[0],
        dict(sorted(scopes.items())),
        flows,
        incoming,
        outgoing,
        _boundary(index),
        _handlers(index),
        _calls(scopes),
    )


def _index(definitions: Node, problems: Problems) -> dict[str, Node]:
    index: dict[str, Node] = {}
    for node in definitions.walk():
        if not node.id:
            continue
        if node.id in index:
            problems.add(
                node.id,
                node.path,
                f"the id {node.id} is taken by {index[node.id].path or 'the definitions'}",
                "change one",
            )
        index.setdefault(node.id, node)
    return index


def _check_references(definitions: Node, index: Mapping[str, Node], problems: Problems) -> None:
    """Each reference leads to an element of the type that the metamodel expects there."""
    for node in definitions.walk():
        for known in node.type.properties.values():
            if known.name not in node.values or known.form not in (Form.REFERENCE, Form.REFERENCES):
                continue
            targets = node.references(known.name) if known.form is Form.REFERENCES else (node.text(known.name),)
            for target in targets:
                found = index.get(target)
                here = f"{node.path}.{known.name}".lstrip(".")
                if found is None:
                    problems.add(
                        node.owner, here, f"no element has the id {target}", "name an element of this definition"
                    )
                elif not found.is_a(known.range):
                    problems.add(
                        node.owner, here, f"{target} is a bpmn:{found.type.name}", f"name a bpmn:{known.range}"
                    )


def _executables(definitions: Node, problems: Problems) -> list[Node]:
    processes = [node for node in definitions.parts("rootElements") if node.is_a("Process")]
    found = [node for node in processes if node.flag("isExecutable")]
    if not found:
        owner = processes[0] if processes else definitions
        problems.add(owner.owner, owner.path, "no process is executable", "set isExecutable: true on the one that runs")
        found = processes[:1]
    for other in found[1:]:
        problems.add(
            other.owner,
            other.path,
            f"{found[0].describe()} ({found[0].id}) is executable too, and a definition runs one process",
            "set isExecutable: false on the others; a call activity can call them",
        )
    return found


def _add_process(
    root: Node, kind: ScopeKind, index: Mapping[str, Node], scopes: dict[str, Scope], problems: Problems
) -> None:
    """Add a process, its sub-processes, and the processes of this definition that it calls."""
    if root.id in scopes:
        return
    if not root.id:
        problems.add(root.owner, root.path, "the process has no id", "give it one: it is the workflow type")
        return
    for scope in scopes_of(root, kind, root, "", problems):
        scopes.setdefault(scope.id, scope)
        for node in scope.nodes.values():
            called = index.get(node.text("calledElement")) if node.is_a("CallActivity") else None
            if called is not None and called.is_a("Process"):
                _add_process(called, "calledProcess", index, scopes, problems)


def _boundary(index: Mapping[str, Node]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for name, node in sorted(index.items()):
        if node.is_a("BoundaryEvent") and node.text("attachedToRef"):
            host = node.text("attachedToRef")
            found[host] = (*found.get(host, ()), name)
    return found


def _handlers(index: Mapping[str, Node]) -> dict[str, str]:
    """The activity that an association joins to each boundary event; the first by the association's id."""
    found: dict[str, str] = {}
    associations = sorted((node for node in index.values() if node.is_a("Association")), key=lambda node: node.id)
    for node in associations:
        source, target = index.get(node.text("sourceRef")), index.get(node.text("targetRef"))
        if source is not None and target is not None and source.is_a("BoundaryEvent") and target.is_a("Activity"):
            found.setdefault(source.id, target.id)
    return found


def _calls(scopes: Mapping[str, Scope]) -> dict[str, tuple[str, ...]]:
    found: dict[str, dict[str, None]] = {}
    for scope in scopes.values():
        for node in scope.nodes.values():
            if node.is_a("CallActivity") and node.text("calledElement") in scopes:
                found.setdefault(scope.root.id, {})[node.text("calledElement")] = None
    return {name: tuple(called) for name, called in found.items()}
