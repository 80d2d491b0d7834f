"""The benchmark itself, small, on a real control plane: it measures our operator, and our operator keeps its budget."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.__main__ import main

pytestmark = pytest.mark.platform


def test_a_small_run_measures_every_scenario(tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    result = CliRunner().invoke(main, ["--domains", "4", "--rest", "3", "--out", str(out)])
    assert result.exit_code == 0, result.output + str(result.exception)
    assert "domain-operator" in result.output
    rounds = json.loads(out.read_text())["operators"]["domain-operator"]["rounds"]
    found = {measured["scenario"]: measured for measured in rounds}
    assert list(found) == ["single", "cold", "rest", "fanout", "drift", "restart", "recovery", "delete"]
    assert [
        (name, part["missing"], part["unready"]) for name, part in found.items() if part["missing"] + part["unready"]
    ] == []
    # A Domain without a database: six children, and at most two phases that a person could see.
    assert found["cold"]["requests"]["create deployments"] == 4
    assert found["cold"]["writes"] <= 8
    assert (found["rest"]["writes"], found["rest"]["reads"]) == (0, 0)
    assert found["restart"]["writes"] == 0
    assert found["fanout"]["requests"]["patch deployments"] == 4
    assert all(part["rss"] > 10 and part["refused"] <= 2 for part in rounds)


def test_domains_with_a_database_cost_one_write_for_each_child_and_phase(tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    result = CliRunner().invoke(main, ["--domains", "3", "--database", "--scenario", "cold", "--out", str(out)])
    assert result.exit_code == 0, result.output + str(result.exception)
    (cold,) = json.loads(out.read_text())["operators"]["domain-operator"]["rounds"]
    assert (cold["missing"], cold["unready"]) == (0, 0)
    children = {
        f"create {what}": 3 * count
        for what, count in {
            "controllerrevisions": 1,
            "databaseroles": 2,
            "databases": 1,
            "deployments": 1,
            "jobs": 2,  # one looks whether the names are free, and is deleted; one migrates
            "networkpolicies": 1,
            "secrets": 4,  # passwords and connections, of owner and application
            "serviceaccounts": 1,
            "servicemonitors": 1,
            "services": 1,
        }.items()
    }
    written = {what: count for what, count in cold["requests"].items() if what.split()[0] in ("create", "patch")}
    assert {what: count for what, count in written.items() if what.startswith("create")} == children
    assert written["patch domains"] == 3
    assert written["patch domains/status"] <= 3 * 4
