"""What holds for every definition: equal content has equal bytes, each element is there once, refusals name them."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from bpmn_random import mutated, places, shuffled, texts_of, valid_definitions
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from process_operator.bpmn import Compiled, Dependencies, InvalidDefinition, Problem, compile, parse
from process_operator.bpmn.table import json_schema

GOLDEN = sorted((Path(__file__).parent / "golden").glob("*/definition.json"))
DEPENDENCIES = Dependencies(
    domains=frozenset({"orders", "travel/flights", "bank", "crm", "flights", "hotels", "tracker"}),
    agents=frozenset({"coach", "underwriter"}),
)
VALIDATOR = jsonschema.Draft202012Validator(json_schema())
NESTED = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None)


def flow_nodes(definition: Any, process: str) -> list[str]:
    """The ids of everything in one process that tokens pass through."""
    found = next(item for item in definition["rootElements"] if item["id"] == process)
    boxes = [box[key] for box, key in places(found) if isinstance(box[key], dict) and "incoming" not in box]
    other = ("SequenceFlow", "Association", "Characteristics", "Definition", "Expression", "ExtensionElements")
    return [
        box["id"]
        for box in boxes
        if box.get("$type", "").startswith("bpmn:") and not box["$type"].endswith(other) and "id" in box
    ]


@settings(NESTED, max_examples=60)
@given(st.data())
def test_the_order_in_a_document_does_not_matter(data: st.DataObject) -> None:
    definition = data.draw(valid_definitions())
    compiled = compile(definition, DEPENDENCIES)
    again = compile(data.draw(shuffled(definition)), DEPENDENCIES)
    assert again.bytes == compiled.bytes
    assert again.checksum == compiled.checksum


@settings(NESTED, max_examples=60)
@given(valid_definitions())
def test_a_valid_definition_compiles_to_a_table_with_every_element_once(definition: Any) -> None:
    before = copy.deepcopy(definition)
    compiled = compile(definition, DEPENDENCIES)
    assert definition == before
    content = json.loads(compiled.bytes)
    VALIDATOR.validate(content)
    assert sorted(flow_nodes(definition, "main")) == sorted(content["elements"])
    placed = [name for scope in content["scopes"].values() for name in scope["elements"]]
    assert sorted(placed) == sorted(content["elements"])
    assert sorted(texts_of(definition["rootElements"][1], "sourceRef")) == sorted(
        [flow["source"] for flow in content["flows"].values()]
        + [item["sourceRef"] for item in all_of(definition, "bpmn:Association")]
    )


def all_of(definition: Any, kind: str) -> list[Any]:
    return [box[key] for box, key in places(definition) if isinstance(box[key], dict) and box[key].get("$type") == kind]


@settings(NESTED, max_examples=200)
@given(st.data())
def test_a_mutation_of_a_random_definition_is_reported_or_harmless(data: st.DataObject) -> None:
    judge(data.draw(mutated(data.draw(valid_definitions()))))


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.parent.name)
@settings(NESTED, max_examples=15)
@given(data=st.data())
def test_a_mutation_of_a_golden_definition_is_reported_or_harmless(path: Path, data: st.DataObject) -> None:
    judge(data.draw(mutated(json.loads(path.read_text(encoding="utf-8")))))


def judge(definition: Any) -> None:
    """Compile: every problem names an element that is there, and a table, if there is one, is sound."""
    compiled, problems = attempt(definition)
    known = {*texts_of(definition, "id"), ""}
    named = isinstance(definition.get("id"), str) and definition["id"]
    assert (compiled is None) == bool(problems)
    for problem in problems:
        assert problem.element_id in known, problem
        assert problem.element_id or not named or not problem.path, problem
        assert problem.message, problem
        assert problem.remedy, problem
    if compiled is None:
        return
    content = json.loads(compiled.bytes)
    VALIDATOR.validate(content)
    for name, element in content["elements"].items():
        assert element["id"] == name
        assert name in content["scopes"][element["scope"]]["elements"]
        for flow in (*element["incoming"], *element["outgoing"]):
            assert name in (content["flows"][flow]["source"], content["flows"][flow]["target"])
    assert parse(definition).process.id == content["process"]


def attempt(definition: Any) -> tuple[Compiled | None, tuple[Problem, ...]]:
    try:
        return compile(definition, DEPENDENCIES), ()
    except InvalidDefinition as refusal:
        return None, refusal.problems
