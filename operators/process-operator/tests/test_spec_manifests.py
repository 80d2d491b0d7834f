"""One table of bad manifests, two judges: the offline check and the real API server must agree, and help."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from ameide_dev.client import KubeClient
from ameide_dev.testing.manifests import Case, Edits, Judged, cases
from process_operator.spec import Process

JUDGED = Judged(Path(__file__).parent / "bad-manifests", Process, ["process"], at_least=60)

CHANGES: list[Case] = [
    {"name": "another namespace", "to": {"temporal": {"namespace": "other"}}, "field": "spec.temporal"},
    {"name": "another queue", "to": {"temporal": {"taskQueue": "other"}}, "field": "spec.temporal"},
    {"name": "another image", "to": {"image": "ghcr.io/ameide/l2o-process:2"}, "field": ""},
    {"name": "another definition", "to": {"definitionRef": {"id": "R2C"}}, "field": ""},
    {"name": "versions", "to": {"rollout": {"strategy": "Versioned"}}, "field": ""},
]


def test_the_table_is_large_and_its_names_are_unique() -> None:
    JUDGED.check_size()


@JUDGED.every_bad
def test_check_refuses(case: Case) -> None:
    JUDGED.check_refuses(case)


@JUDGED.every_good
def test_check_accepts(case: Case) -> None:
    JUDGED.check_accepts(case)


@pytest.fixture(scope="module")
def api(kube: KubeClient) -> KubeClient:
    """A client of an API server that serves the kind as this tree defines it."""
    return JUDGED.serve(kube)


@JUDGED.every_bad
def test_api_server_refuses(api: KubeClient, case: Case) -> None:
    JUDGED.server_refuses(api, case)


@JUDGED.every_good
def test_api_server_accepts(api: KubeClient, case: Case) -> None:
    JUDGED.server_accepts(api, case)


def test_defaults_of_the_crd_are_those_of_the_model(api: KubeClient) -> None:
    JUDGED.same_defaults(api)


@cases(CHANGES)
def test_changes(api: KubeClient, make_namespace: Any, case: Case) -> None:
    JUDGED.judge_change(api, make_namespace(prefix="own"), case)


@settings(
    max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(edits=JUDGED.edits("Canary|Versioned|Drain|Terminate|* * * * *|@daily|Europe/Berlin|SLACheck|sha256:0"))
def test_both_verdicts_agree_on_what_chance_makes(api: KubeClient, edits: Edits) -> None:
    JUDGED.agree_on(api, edits)
