"""docs/bpmn.md names what there is, and its examples are true: each is evaluated as the example worker does it."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest

from process_operator.bpmn import json_schema_text
from process_operator.bpmn.expression import FUNCTIONS, parse_expression
from process_operator.bpmn.extensions import EXTENSIONS
from process_operator.bpmn.table import Element

ROOT = Path(__file__).parents[4]
PAGE = (ROOT / "docs" / "bpmn.md").read_text(encoding="utf-8")
EVALUATOR = ROOT / "examples" / "process-worker" / "src" / "process_worker" / "expressions.py"
ORDER = json.loads(re.findall(r"With `order = (\{.*\})`:", PAGE)[0])
EXAMPLES = re.findall(
    r"^\| `(.+)` \| `(.+)` \|$", PAGE.partition("With `order = ")[2].partition("\n## ")[0], re.MULTILINE
)


def evaluate(expression: dict[str, Any], variables: dict[str, Any]) -> Any:
    """The example worker's evaluator; the worker is a project of its own, so it is loaded from its file."""
    found = importlib.util.spec_from_file_location("example_worker_expressions", EVALUATOR)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module.evaluate(expression, variables)


@pytest.mark.parametrize(("text", "value"), EXAMPLES)
def test_an_example_of_an_expression_has_the_value_that_the_page_says(text: str, value: str) -> None:
    compiled = parse_expression(text).model_dump(mode="json", exclude_none=True)
    result = evaluate(compiled, {"order": ORDER})
    assert json.dumps(result) == json.dumps(json.loads(value))


def test_the_examples_call_every_function() -> None:
    texts = " ".join(text for text, _ in EXAMPLES)
    assert [name for name in FUNCTIONS if not re.search(rf"(?<![a-z]){name}\(", texts)] == []


def test_the_page_names_every_extension_attribute_function_and_field() -> None:
    for name, kind in EXTENSIONS.items():
        row = next(line for line in PAGE.splitlines() if line.startswith(f"| `ameide:{name}`"))
        assert all(f"`{attribute}`" in row for attribute in kind.attributes), name
        assert all(f"**`{attribute}`**" in row for attribute in kind.required), name
    assert all(f"`{name}`" in PAGE for name in FUNCTIONS)
    fields = {field.alias or name for name, field in Element.model_fields.items()} - {"id", "name", "kind"}
    assert [name for name in sorted(fields) if f"`{name}`" not in PAGE] == []


def test_the_schema_in_the_reference_is_current() -> None:
    written = (ROOT / "docs" / "reference" / "binding-table.schema.json").read_text(encoding="utf-8")
    assert written == json_schema_text(), "write it anew: make generate, or json_schema_text()"
