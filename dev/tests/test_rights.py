"""What operators asked for is told from audit logs, and held against the chart's roles both ways."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ameide_dev import requests
from ameide_dev.operators import render_chart
from ameide_dev.processes import clean_environment
from ameide_dev.requests import Requests, Right
from ameide_dev.testing import rights

ACCOUNT = "system:serviceaccount:ameide-system:ameide-operators-domain"
GET_JOBS = Right("batch", "jobs", "get")
READ_LOGS = Right("", "pods/log", "get")


def event(verb: str, resource: str = "jobs", *, user: str = ACCOUNT, decision: str = "allow", **ref: Any) -> Any:
    return {
        "stage": "ResponseComplete",
        "verb": verb,
        "requestURI": f"/of/{resource}",
        "user": {"username": user, "groups": ref.pop("groups", [])},
        "objectRef": {"resource": resource, **({"apiGroup": "batch"} if resource == "jobs" else {}), **ref},
        "annotations": {"authorization.k8s.io/decision": decision},
    }


def test_a_summary_has_each_right_once_and_an_example_of_what_was_denied() -> None:
    found = requests.summarize(
        [
            event("get"),
            event("get"),
            event("get", "pods", subresource="log"),
            event("delete", decision="forbid"),
            event("list", user="somebody"),
            event("watch", user="test", groups=["ameide-dev:like:agent", "system:authenticated"]),
            {**event("get"), "objectRef": None},
            {**event("escalate"), "userAgent": "ameide-dev"},  # a test, with an operator's token
        ]
    )
    assert found == {
        "domain": Requests(frozenset({GET_JOBS, READ_LOGS}), {Right("batch", "jobs", "delete"): "/of/jobs"}),
        "agent": Requests(frozenset({Right("batch", "jobs", "watch")}), {}),
    }


def test_control_planes_leave_summaries_that_add_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "audit.log"
    monkeypatch.delenv(requests.FOLDER, raising=False)
    requests.leave(log)
    for verbs in (["get", "list"], ["watch"]):
        log.write_text("".join(json.dumps(event(verb), separators=(",", ":")) + "\n" for verb in verbs))
        monkeypatch.setenv(requests.FOLDER, str(tmp_path / "runs" / verbs[0]))
        requests.leave(log)
    assert {right.verb for right in requests.read(tmp_path / "runs")["domain"].allowed} == {"get", "list", "watch"}


def test_what_is_missing() -> None:
    asked = {"domain": Requests(frozenset({GET_JOBS, READ_LOGS}), {Right("batch", "jobs", "delete"): "/of/jobs"})}
    assert rights.missing(asked, {"domain": frozenset({GET_JOBS})}) == [
        "domain-operator was denied delete jobs (batch): /of/jobs",
        "domain-operator was allowed get pods/log, but not by the chart",
    ]
    assert rights.missing(asked, {"domain": frozenset({GET_JOBS, READ_LOGS, Right("batch", "jobs", "delete")})}) == []


def test_what_is_unused() -> None:
    chart = {"domain": frozenset({GET_JOBS, READ_LOGS})}
    asked = {"domain": Requests(frozenset({GET_JOBS}), {})}
    assert rights.unused(asked, chart, []) == ["domain-operator may get pods/log, which no test makes it do"]
    excuse = {"operators": ["domain"], "rules": [{"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]}]}
    listed = rights.unasked(yaml.safe_dump([{**excuse, "reason": "seldom"}]))
    assert rights.unused(asked, chart, listed) == []
    (stale,) = rights.unused(asked, {"domain": frozenset({GET_JOBS})}, listed)
    assert "does not grant: get pods/log" in stale
    with pytest.raises(ValueError, match="gives no reason"):
        rights.unasked(yaml.safe_dump([excuse]))


def test_the_list_of_what_is_not_asked_is_current() -> None:
    """Each entry has a reason and excuses what the chart grants."""
    chart = rights.granted(render_chart())
    assert set(chart) == {"domain", "process", "agent", "uisurface"}
    listed = rights.unasked(rights.UNASKED.read_text())
    everything = {operator: Requests(rules, {}) for operator, rules in chart.items()}
    assert rights.unused(everything, chart, listed) == []


RUN = """
import json, os, pathlib
def test_one():
    folder = pathlib.Path(os.environ["AMEIDE_REQUESTS"])
    folder.mkdir(parents=True, exist_ok=True)
    document = {"domain": {"allowed": [["batch", "jobs", "get"]], "denied": DENIED}}
    (folder / f"{os.getpid()}.json").write_text(json.dumps(document))
"""


def run(root: Path, denied: list[list[str]], *arguments: str) -> subprocess.CompletedProcess[str]:
    """A run of tests, in a project of its own, that leaves a summary."""
    (root / "tests").mkdir(exist_ok=True)
    (root / "tests" / "test_run.py").write_text(RUN.replace("DENIED", repr(denied)))
    (root / "pytest.ini").write_text("[pytest]\ntestpaths = tests\n")
    plugin = ("-p", "ameide_dev.testing.rights_plugin", "-p", "no:cacheprovider")
    command = [sys.executable, "-m", "pytest", *plugin, *arguments]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, env=clean_environment(), check=False)


@pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=["alone", "with workers"])
def test_a_run_fails_by_what_the_chart_does_not_grant(tmp_path: Path, workers: tuple[str, ...]) -> None:
    good = run(tmp_path, [], *workers)
    assert good.returncode == 0, good.stdout
    bad = run(tmp_path, [["batch", "jobs", "escalate", "/apis/batch/v1/jobs"]], *workers)
    assert bad.returncode == 1, bad.stdout
    assert "domain-operator was denied escalate jobs (batch): /apis/batch/v1/jobs" in bad.stdout


def test_runs_of_some_tests_add_to_the_run_of_all(tmp_path: Path) -> None:
    runs = tmp_path / rights.RUNS
    run(tmp_path, [], "-k", "one")
    assert rights.skipped(runs) is None
    assert len(list(runs.iterdir())) == 1
    run(tmp_path, [])
    assert rights.skipped(runs) == []
    assert len(list(runs.iterdir())) == 1
    run(tmp_path, [], "tests/test_run.py")
    assert len(list(runs.iterdir())) == 2
    assert rights.skipped(runs) == []
    assert requests.read(runs)["domain"].allowed == {GET_JOBS}


def test_the_verdict_on_a_whole_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Only after a run of all tests; then each difference is told, with what was skipped as a hint."""
    assert rights.main(tmp_path) == 2
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / rights.WHOLE).write_text(json.dumps(["test_skipped"]))
    document = {
        operator: {"allowed": [[right.group, right.resource, right.verb] for right in rules], "denied": []}
        for operator, rules in rights.granted(render_chart()).items()
    }
    (folder / "one.json").write_text(json.dumps(document))
    assert rights.main(tmp_path) == 0
    assert "was used after all" in capsys.readouterr().out
    document["domain"]["allowed"].remove(["", "pods/log", "get"])
    document["agent"]["allowed"].append(["", "nodes", "list"])
    (folder / "one.json").write_text(json.dumps(document))
    assert rights.main(tmp_path) == 1
    told = capsys.readouterr().err
    assert "domain-operator may get pods/log, which no test makes it do" in told
    assert "agent-operator was allowed list nodes, but not by the chart" in told
    assert "test_skipped" in told
