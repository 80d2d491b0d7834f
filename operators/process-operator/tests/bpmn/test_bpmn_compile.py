"""Dependencies and how targets find them; what is no definition at all; what a checksum depends on."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
from bpmn_documents import Json, binding, definitions, element, flow, formal, process

from process_operator.bpmn import Dependencies, InvalidDefinition, compile, parse


def calling(target: str, **attributes: Any) -> Json:
    """A process with one task, `call`, that is bound to a target."""
    return definitions(
        process(
            "p",
            element("StartEvent", "start"),
            flow("f1", "start", "call"),
            element("ServiceTask", "call", binding(target, "Do"), **attributes),
            flow("f2", "call", "end"),
            element("EndEvent", "end"),
        )
    )


def target_of(target: str, dependencies: Dependencies) -> tuple[str, str | None]:
    bound = compile(calling(target), dependencies).table.elements["call"].binding
    assert bound is not None
    return bound.target.name, bound.target.namespace


SEVERAL = Dependencies(
    domains=frozenset({"sales", "shop/billing", "far/tax", "far/stock", "near/stock"}), namespace="shop"
)


@pytest.mark.parametrize(
    ("target", "found"),
    [
        ("domain/sales", ("sales", None)),
        ("domain/shop/sales", ("sales", None)),
        ("domain/billing", ("billing", None)),
        ("domain/tax", ("tax", "far")),
        ("domain/far/tax", ("tax", "far")),
        ("domain/near/stock", ("stock", "near")),
    ],
)
def test_a_target_is_found_among_the_dependencies(target: str, found: tuple[str, str | None]) -> None:
    assert target_of(target, SEVERAL) == found


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("domain/stock", "domain/stock could be domain/far/stock, domain/near/stock"),
        ("domain/near/tax", "domain/near/tax is not a declared dependency"),
        ("domain/far/sales", "domain/far/sales is not a declared dependency"),
        ("agent/sales", r"agent/sales is not a declared dependency of the Process \(declared: none\)"),
    ],
)
def test_a_target_that_is_ambiguous_or_not_declared_is_refused(target: str, message: str) -> None:
    with pytest.raises(InvalidDefinition, match=f"^call: {message}"):
        compile(calling(target), SEVERAL)


def nested(levels: int) -> Any:
    return {"inner": nested(levels - 1)} if levels else []


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("\ud800", "holds text that is not Unicode"),
        ({"\udfff": 1}, "holds text that is not Unicode"),
        ({1: 2}, "has a key that is not text"),
        (10**15, "holds a number that is too large"),
        (math.nan, "holds a number that is too large"),
        (math.inf, "holds a number that is too large"),
        (("tuple",), "holds a tuple, which is not JSON"),
        (nested(64), "is nested deeper than 64 levels"),
    ],
)
def test_what_cannot_be_written_as_json_again_is_refused_at_the_entrance(value: Any, message: str) -> None:
    with pytest.raises(InvalidDefinition, match=f"^definition: {message}; "):
        compile(calling("domain/sales", documentation=value), SEVERAL)


@pytest.mark.parametrize("definition", [[], "text", None, 1, {}])
def test_what_is_no_definition_is_refused(definition: Any) -> None:
    with pytest.raises(InvalidDefinition, match="is not of type bpmn:Definitions"):
        parse(definition)


def test_the_checksum_follows_what_runs_and_nothing_else() -> None:
    plain = calling("domain/sales")
    first = compile(plain, SEVERAL).checksum

    drawn = copy.deepcopy(plain)
    drawn["exporter"] = "another modeler"
    drawn["diagrams"] = [{"$type": "bpmndi:BPMNDiagram"}]
    drawn["rootElements"][0]["documentation"] = [{"$type": "bpmn:Documentation", "text": "What it is for."}]
    assert compile(drawn, SEVERAL).checksum == first

    for change in ({"name": "Call"}, {"loopCharacteristics": loop()}):
        assert compile(calling("domain/sales", **change), SEVERAL).checksum != first


def loop() -> Json:
    return {"$type": "bpmn:StandardLoopCharacteristics", "loopCondition": formal("more")}


def test_imports_are_warned_of() -> None:
    compiled = compile(calling("domain/sales") | {"imports": [{"$type": "bpmn:Import", "location": "x"}]}, SEVERAL)
    assert [(problem.path, problem.message) for problem in compiled.warnings] == [
        ("imports[0]", "imports are not read")
    ]
