"""The published document: it is what the models say, it is sound, and the file in the docs is current."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from ameide_shared.transformation.model import LONGEST_ID, DefinitionKind, Reference, id_problem
from ameide_shared.transformation.openapi import document, openapi_yaml

PUBLISHED = Path(__file__).resolve().parents[4] / "docs" / "reference" / "transformation-openapi.yaml"


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def test_the_published_file_is_current() -> None:
    assert PUBLISHED.read_text(encoding="utf-8") == openapi_yaml(), "run make generate"
    assert yaml.safe_load(openapi_yaml()) == document()


def test_every_reference_leads_somewhere_and_nothing_is_left_over() -> None:
    whole = document()
    used = set(references(whole))
    defined = {
        f"#/components/{section}/{name}"
        for section, members in whole["components"].items()
        for name in members
        if section != "securitySchemes"
    }
    assert used == defined


def test_every_schema_is_a_schema() -> None:
    components = document()["components"]
    schemas = [*components["schemas"].values()]
    schemas += [item["schema"] for section in ("parameters", "headers") for item in components[section].values()]
    for schema in schemas:
        Draft202012Validator.check_schema(schema)


def test_both_kinds_have_a_path_that_the_client_uses() -> None:
    paths = document()["paths"]
    for kind in DefinitionKind:
        template = next(path for path in paths if kind.value in path)
        assert template.format(tenantId="t123", id="x") == Reference(kind, "t123", "x").path


@pytest.mark.parametrize("value", ["L2O_v3", "a/b", "...", "ü", "a b", "x" * LONGEST_ID])
def test_published_and_accepted_ids_are_the_same(value: str) -> None:
    Draft202012Validator(document()["components"]["parameters"]["id"]["schema"]).validate(value)
    assert id_problem(value) is None


@pytest.mark.parametrize("value", ["", ".", "..", "a\nb", "\x00", "\x7f", "x" * (LONGEST_ID + 1)])
def test_published_and_refused_ids_are_the_same(value: str) -> None:
    with pytest.raises(ValidationError):
        Draft202012Validator(document()["components"]["parameters"]["id"]["schema"]).validate(value)
    assert id_problem(value) is not None
