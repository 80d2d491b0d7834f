"""Walks over flow graphs, compared with what their definition says, and large definitions in little time."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from bpmn_documents import Json, binding, definitions, element, event, flow, process
from hypothesis import given
from hypothesis import strategies as st

from process_operator.bpmn import Dependencies, InvalidDefinition, compile
from process_operator.bpmn.graph import cycles, reachable, reverse
from process_operator.bpmn.model import MAX_ELEMENTS

NODES = "abcdefg"
GRAPHS = st.dictionaries(st.sampled_from(NODES), st.lists(st.sampled_from(NODES), max_size=4), max_size=7)


@given(GRAPHS, st.frozensets(st.sampled_from(NODES)))
def test_cycles_are_what_reaches_each_other(edges: dict[str, list[str]], among: frozenset[str]) -> None:
    inner = {node: [target for target in edges.get(node, []) if target in among] for node in among}
    onward = {node: reachable(inner, inner[node]) for node in among}
    expected = {
        tuple(sorted(other for other in onward[node] if node in onward[other]))
        for node in among
        if node in onward[node]
    }
    assert cycles(edges, among) == sorted(expected)


@given(GRAPHS, st.sampled_from(NODES), st.sampled_from(NODES))
def test_what_reaches_a_node_is_reached_backwards_from_it(edges: dict[str, list[str]], start: str, end: str) -> None:
    assert (end in reachable(edges, [start])) == (start in reachable(reverse(edges), [end]))


def line(*between: Json) -> Json:
    """A process that passes through elements one after the other."""
    names = ["start", *(item["id"] for item in between), "end"]
    flows = [flow(f"f{at}", source, target) for at, (source, target) in enumerate(pairwise(names))]
    return process("p", element("StartEvent", "start"), *between, element("EndEvent", "end"), *flows)


COUNT = MAX_ELEMENTS - 2
TASKS = line(*(element("ServiceTask", f"t{at}", binding("domain/orders", "Do")) for at in range(COUNT // 2)))
GATEWAYS = line(*(element("ExclusiveGateway", f"t{at}") for at in range(COUNT)))
RING = line(*(element("ExclusiveGateway", f"t{at}") for at in range(COUNT)))
RING["flowElements"].append(flow("back", f"t{COUNT - 1}", "t0", "again"))
LINKS = line(*(event("IntermediateThrowEvent", f"t{at}", "Link", link="x") for at in range(COUNT)))
CALLS = line(*(element("CallActivity", f"t{at}", calledElement="p") for at in range(COUNT)))
UNKNOWN = line(*(element("Teapot", f"t{at}") for at in range(COUNT)))


@pytest.mark.parametrize(
    "main",
    [TASKS, GATEWAYS, RING, LINKS, CALLS, UNKNOWN],
    ids=["tasks", "gateways", "ring", "links", "calls", "unknown"],
)
def test_large_definitions_are_judged_in_little_time(main: Json) -> None:
    before = time.process_time()
    try:
        compile(definitions(main), Dependencies(domains=frozenset({"orders"})))
    except InvalidDefinition as refusal:
        text = str(refusal)
    else:
        text = ""
    assert time.process_time() - before < 2
    assert len(text) < 10_000


def test_more_elements_than_a_process_may_have_are_refused() -> None:
    with pytest.raises(InvalidDefinition, match=f"has more than {MAX_ELEMENTS} elements"):
        compile(definitions(line(*(element("ManualTask", f"t{at}") for at in range(COUNT + 1)))), Dependencies())


def test_a_table_that_cannot_be_stored_is_refused_with_its_size() -> None:
    with pytest.raises(InvalidDefinition, match=r"p: compiles to \d{6} bytes, and 100000 can be stored"):
        compile(definitions(TASKS), Dependencies(domains=frozenset({"orders"})), max_bytes=100_000)
