"""One table of bad manifests, two judges: the offline check and the real API server must agree, and help."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from ameide_dev.client import KubeClient
from ameide_dev.testing.manifests import Case, Edits, Judged, cases
from uisurface_operator.spec import UISurface

JUDGED = Judged(Path(__file__).parent / "bad-manifests", UISurface, ["surface"], at_least=50)

CHANGES: list[Case] = [
    {"name": "another realm", "to": {"auth": {"connection": "other"}}, "field": "spec.auth"},
    {"name": "another host", "to": {"host": "desk.ameide.com"}, "field": ""},
    {"name": "another path", "to": {"pathPrefix": "/desk"}, "field": ""},
    {"name": "for everybody", "to": {"auth": {"public": True}}, "field": ""},
    {"name": "the app logs in", "to": {"auth": {"mode": "Application"}}, "field": ""},
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
@given(edits=JUDGED.edits("Gateway|Application|app.ameide.com|*.ameide.com|/shop|/shop/|orders:read|openid|Live|Roll"))
def test_both_verdicts_agree_on_what_chance_makes(api: KubeClient, edits: Edits) -> None:
    JUDGED.agree_on(api, edits)
