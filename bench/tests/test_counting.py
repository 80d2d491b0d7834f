"""What the benchmark makes of audit events, of Ready conditions and of its command line."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import click
import pytest

from bench.__main__ import OURS, contestants
from bench.observe import Meter, count, ready_generation, usage
from bench.report import document, medians
from bench.scenarios import Result
from bench.subject import merge


def event(
    verb: str, resource: str = "", *, code: int = 200, stage: str = "ResponseComplete", subresource: str = ""
) -> dict[str, Any]:
    reference = {"resource": resource, "subresource": subresource} if resource else {}
    return {"verb": verb, "stage": stage, "objectRef": reference, "responseStatus": {"code": code}}


def test_requests_are_counted_by_verb_and_resource() -> None:
    requests = count(
        [
            event("get"),  # discovery
            event("list", "domains"),
            event("watch", "domains", stage="ResponseStarted"),
            event("watch", "domains"),  # the same one, ended
            event("create", "services"),
            event("create", "services", code=409),
            event("patch", "domains", subresource="status"),
            event("create", "events"),
            event("update", "leases"),
        ]
    )
    assert requests.counted == {("list", "domains"): 1, ("create", "services"): 2, ("patch", "domains/status"): 1}
    assert (requests.writes, requests.reads, requests.watches, requests.aside, requests.refused) == (3, 1, 1, 2, 1)


@pytest.mark.parametrize(
    ("status", "observed", "expected"),
    [("True", 3, 3), ("True", 2, None), ("False", 3, None)],
    ids=["ready", "ready for an older generation", "not ready"],
)
def test_ready_counts_for_the_present_generation_only(status: str, observed: int, expected: int | None) -> None:
    condition = {"type": "Ready", "status": status}
    domain = {"metadata": {"generation": 3}, "status": {"observedGeneration": observed, "conditions": [condition]}}
    assert ready_generation(domain) == expected
    condition["observedGeneration"] = observed  # type: ignore[assignment]  # the condition's own goes first
    domain["status"]["observedGeneration"] = 99  # type: ignore[index]
    assert ready_generation(domain) == expected


def test_usage_covers_a_whole_process_group() -> None:
    burn = "import os, time\nos.fork()\nwhile time.process_time() < 0.4: pass\ntime.sleep(30)"
    process = subprocess.Popen(["python3", "-c", burn], start_new_session=True)
    meter = Meter(process.pid)
    try:
        deadline = time.monotonic() + 20
        while meter.read().cpu < 0.6 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert meter.last.cpu >= 0.6, "the forked child's time is missing"
        assert meter.peak_rss > 1_000_000
    finally:
        os.killpg(process.pid, 9)
        process.wait()
        meter.close()
    deadline = time.monotonic() + 20
    while usage(process.pid).rss and time.monotonic() < deadline:  # the child is an orphan now, and ends by itself
        time.sleep(0.05)
    assert usage(process.pid).rss == 0
    assert meter.read().cpu >= 0.6, "what it used is kept after its end"


def test_medians_over_rounds_and_faults_added_up() -> None:
    rounds = [
        Result("cold", 10, wall=wall, latencies=[wall], missing=missing) for wall, missing in ((1, 0), (5, 2), (2, 1))
    ]
    figures = medians(rounds)
    assert (figures["wall"], figures["p50"], figures["missing"]) == (2, 2, 3)
    assert medians([Result("rest", 10)])["p50"] is None
    written = document({"a": rounds}, {"a": "./a"}, {"size": 10})
    assert len(json.loads(json.dumps(written))["operators"]["a"]["rounds"]) == 3


def test_contestants_ours_first_then_others_with_their_own_definition_and_patch() -> None:
    ours, other = contestants(("go=./manager --fast",), ("go=/crds",), ('go={"spec": {"db": null}}',), False)
    assert ours.name == OURS
    assert (other.command, other.crds, other.patch) == ("./manager --fast", Path("/crds"), {"spec": {"db": None}})
    assert [one.name for one in contestants(("go=./m",), (), (), True)] == ["go"]


@pytest.mark.parametrize(
    ("operators", "crds"),
    [(("go",), ()), (("=x",), ()), ((), ("go=/crds",))],
    ids=["no command", "no name", "no operator"],
)
def test_a_wrong_option_is_named(operators: tuple[str, ...], crds: tuple[str, ...]) -> None:
    with pytest.raises(click.BadParameter, match=r"NAME=VALUE|names no operator"):
        contestants(operators, crds, (), False)


def test_merge_is_rfc_7386() -> None:
    assert merge({"a": {"b": 1, "c": 2}, "d": [1]}, {"a": {"b": None, "e": 3}, "d": [2]}) == {
        "a": {"c": 2, "e": 3},
        "d": [2],
    }
