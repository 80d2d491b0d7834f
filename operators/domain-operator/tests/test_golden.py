"""Plans and statuses of the cases in `golden/`: what every branch does, readable as files. See golden_cases.py."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from golden_cases import as_yaml, cases, load, plan_as_data
from golden_world import ROOT

UPDATE = bool(os.environ.get("UPDATE_GOLDEN"))


@pytest.mark.parametrize("name", cases())
def test_plan_and_status_are_as_written_down(name: str) -> None:
    case = load(name)
    compare(ROOT / name / "out.yaml", as_yaml(plan_as_data(case.plan(), case.observed)))
    compare(ROOT / name / "status.yaml", as_yaml(case.status()))


@pytest.mark.parametrize("name", cases())
def test_a_case_opens_with_its_purpose(name: str) -> None:
    first = (ROOT / name / "in.yaml").read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("# why: ")
    assert first.endswith(".")


def compare(path: Path, text: str) -> None:
    """Assert that a file holds this text, or, with UPDATE_GOLDEN=1, write it."""
    if UPDATE:
        path.write_text(text, encoding="utf-8")
    assert path.exists(), f"{path} is missing; UPDATE_GOLDEN=1 writes it, read what it wrote"
    assert text == path.read_text(encoding="utf-8"), (
        f"{path} differs; UPDATE_GOLDEN=1 writes it anew, read what changes"
    )
