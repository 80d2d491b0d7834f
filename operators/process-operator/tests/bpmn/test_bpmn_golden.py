"""Definitions and what they compile to, as files: `golden/<case>/` holds a definition and its table or its problems.

`why.txt` says what a case is about. UPDATE_GOLDEN=1 writes the outcomes anew; read what changes.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from process_operator.bpmn import BindingTable, Dependencies, InvalidDefinition, Problem, checksum, compile
from process_operator.bpmn.table import Kind, canonical, json_schema

ROOT = Path(__file__).parent / "golden"
EXAMPLES = Path(__file__).parents[4] / "examples" / "definitions"
BPMN_EXAMPLES = [path for path in sorted(EXAMPLES.glob("*.json")) if '"bpmn:Definitions"' in path.read_text()]
UPDATE = bool(os.environ.get("UPDATE_GOLDEN"))
DOMAINS = "academy bank billing claims crm hotels insurance inventory orders rules shipping tracker travel/flights"
DEPENDENCIES = Dependencies(
    domains=frozenset(DOMAINS.split()),
    agents=frozenset({"coach", "logistics", "shop/underwriter"}),
    namespace="shop",
)
VALIDATOR = jsonschema.Draft202012Validator(json_schema())


def cases() -> list[str]:
    return sorted(path.parent.name for path in ROOT.glob("*/definition.json"))


def load(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


@pytest.mark.parametrize("name", cases())
def test_a_definition_compiles_to_what_is_written_down(name: str) -> None:
    folder = ROOT / name
    try:
        compiled = compile(load(folder / "definition.json"), DEPENDENCIES)
    except InvalidDefinition as refusal:
        outcome = {"problems.yaml": as_yaml(refusal.problems)}
    else:
        outcome = {"table.json": json.dumps(json.loads(compiled.bytes), indent=1, ensure_ascii=False) + "\n"}
        if compiled.warnings:
            outcome["warnings.yaml"] = as_yaml(compiled.warnings)
    if UPDATE:
        for old in ("problems.yaml", "table.json", "warnings.yaml"):
            (folder / old).unlink(missing_ok=True)
        for file, text in outcome.items():
            (folder / file).write_text(text, encoding="utf-8")
    written = {
        path.name: path.read_text(encoding="utf-8")
        for path in folder.iterdir()
        if path.name not in ("definition.json", "why.txt")
    }
    assert outcome == written, f"{folder} differs; UPDATE_GOLDEN=1 writes it anew, read what changes"


def as_yaml(problems: tuple[Problem, ...]) -> str:
    rows = [
        {"element": item.element_id, "path": item.path, "message": item.message, "remedy": item.remedy}
        for item in problems
    ]
    return yaml.safe_dump(rows, sort_keys=False, allow_unicode=True, width=120)


def tables() -> list[Path]:
    return sorted(ROOT.glob("*/table.json"))


@pytest.mark.parametrize("path", tables(), ids=lambda path: path.parent.name)
def test_a_table_meets_its_schema_and_can_be_read_back(path: Path) -> None:
    compiled = compile(load(path.parent / "definition.json"), DEPENDENCIES)
    VALIDATOR.validate(json.loads(compiled.bytes))
    assert BindingTable.model_validate_json(compiled.bytes) == compiled.table
    assert canonical(compiled.table) == compiled.bytes
    assert checksum(compiled.bytes) == compiled.checksum


def test_the_golden_definitions_use_every_kind_of_element_and_event() -> None:
    elements = [element for path in tables() for element in load(path)["elements"].values()]
    assert {element["kind"] for element in elements} == set(Kind.__args__)
    events = {element["event"]["kind"] for element in elements if "event" in element}
    assert events == {
        *("timer", "message", "signal", "error", "escalation"),
        *("conditional", "compensation", "link", "terminate", "cancel"),
    }


@pytest.mark.parametrize("path", BPMN_EXAMPLES, ids=lambda path: path.stem)
def test_an_example_compiles_without_a_warning(path: Path) -> None:
    compiled = compile(load(path), DEPENDENCIES)
    assert compiled.warnings == ()
