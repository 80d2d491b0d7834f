"""The published shapes are those of what the programs print: every field of either is in the other."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner

from ameide_dev.testing.golden import Golden
from ameide_shared.cli import program
from ameide_shared.cli.explanation import Found, explanation
from ameide_shared.cli.gather import Gathered
from docs import links, shapes
from docs.generate import OPERATORS

GOLDEN = ("domain_golden", "process_golden", "agent_golden", "surface_golden")
EVENT = {
    "metadata": {"name": "one.1"},
    "type": "Warning",
    "reason": "MigrationFailed",
    "note": "it failed",
    "eventTime": "2026-01-02T03:00:00.000000Z",
    "regarding": {"kind": "Domain", "name": "one"},
}
LEASE = {
    "metadata": {"namespace": "ameide-system", "name": "operator"},
    "spec": {"holderIdentity": "pod", "renewTime": "2026-01-02T03:04:00.000000Z", "leaseDurationSeconds": 15},
}


def strict(schema: Any) -> Any:
    """The schema with no room for fields that it does not name."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    closed = {key: strict(value) for key, value in schema.items()}
    return {"additionalProperties": False, **closed} if schema.get("type") == "object" else closed


def said(value: Any, path: str = "") -> Iterator[str]:
    """The paths of all that a document says: not of empty texts, lists and nulls."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from said(inner, f"{path}.{key}".lstrip("."))
    elif isinstance(value, list):
        for inner in value:
            yield from said(inner, f"{path}.-".lstrip("."))
    elif value not in ("", None):
        yield path


def explanations() -> Iterator[dict[str, Any]]:
    """What `explain` says in every golden case of every operator."""
    for name in GOLDEN:
        golden: Golden = importlib.import_module(name).GOLDEN
        # All operators share the code: a part of the others' cases is enough.
        for case_name in golden.names()[:: 1 if name == "domain_golden" else 8]:
            case = golden.load(case_name)
            status = case.status()
            resource = {**case.resource, "status": status}
            seen = Gathered(resource, tuple(case.objects), frozenset())
            unseen = {"status": {**status, "observedGeneration": 0}}
            yield explanation(
                golden.definition, Found(resource, seen, status, events=[EVENT], leases=[LEASE]), case.now
            )
            yield explanation(golden.definition, Found({**resource, **unseen}, seen, status, leases=None), case.now)


def test_explain() -> None:
    validator = jsonschema.Draft202012Validator(strict(shapes.EXPLAIN))
    paths: set[str] = set()
    sources, ready = set(), set()
    for told in explanations():
        validator.validate(json.loads(json.dumps(told)))
        paths |= set(said(told))
        sources.add(told["source"])
        ready.add(told["ready"])
    assert (sources, ready) == ({"status", "plan"}, {True, False})
    named = {path.strip("`") for path, _, _ in shapes.rows(shapes.EXPLAIN)}
    leaves = {path for path in named if not any(other.startswith(f"{path}.") for other in named)}
    assert leaves - {"advice"} == paths & leaves, "every field says something in some case"


@pytest.mark.parametrize("operator", OPERATORS, ids=lambda operator: str(operator.operator))
def test_check(operator: Any) -> None:
    folder = links.ROOT / "operators" / operator.operator / "tests" / "bad-manifests"
    good = (folder / "base.yaml").read_text()
    bad = good.replace("spec:", "spec:\n  unheardOf: true", 1)
    for manifest, code in ((good, 0), (bad, 1)):
        result = CliRunner().invoke(program(operator), ["check", "-f", "-", "-o", "json", "--no-policies"], manifest)
        assert result.exit_code == code, result.output
        told = json.loads(result.stdout)
        jsonschema.validate(told, strict(shapes.CHECK))
        assert told["ok"] is (code == 0)
        assert bool(told["findings"]) is (code == 1)


@pytest.mark.parametrize("name", ["settings", "reasons"])
def test_catalogues(name: str) -> None:
    result = CliRunner().invoke(program(OPERATORS[0]), [name, "-o", "json"])
    assert result.exit_code == 0
    told = json.loads(result.stdout)
    assert told
    jsonschema.validate(told, strict(shapes.SHAPES[name]))


def test_shapes_are_schemas() -> None:
    for name in shapes.SHAPES:
        jsonschema.Draft202012Validator.check_schema(json.loads(shapes.schema_text(name)))


def test_a_field_that_nobody_told_of_is_noticed() -> None:
    document = {"ok": True, "checked": 0, "skipped": 0, "findings": [], "more": 1}
    with pytest.raises(jsonschema.ValidationError, match="more"):
        jsonschema.validate(document, strict(shapes.CHECK))
    # … but consumers who validate are not broken by what comes later.
    jsonschema.validate(document, json.loads(shapes.schema_text("check")))


def test_every_program_has_these_outputs_and_no_other() -> None:
    """A subcommand that learns to print JSON has to be told of."""
    for operator in OPERATORS:
        found = {
            name
            for name, command in program(operator).commands.items()
            for option in command.params
            if "json" in (getattr(option.type, "choices", None) or ())
        }
        assert found == set(shapes.SHAPES)
