"""One table of bad manifests, two judges: the offline check and the real API server must agree, and help."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from ameide_dev.client import ApiError, KubeClient, condition_of
from ameide_dev.testing.resources import merged
from ameide_shared.check import check_manifest, check_text
from ameide_shared.crd import crd_of
from uisurface_operator.spec import UISurface

HERE = Path(__file__).parent / "bad-manifests"
BASE: dict[str, Any] = yaml.safe_load((HERE / "base.yaml").read_text(encoding="utf-8"))
BAD: list[dict[str, Any]] = yaml.safe_load((HERE / "surface.yaml").read_text(encoding="utf-8"))
GOOD: list[dict[str, Any]] = yaml.safe_load((HERE / "good.yaml").read_text(encoding="utf-8"))
STRICT = {"dryRun": "All", "fieldValidation": "Strict"}
COLLECTION = "/apis/ameide.io/v1/namespaces/default/uisurfaces"

CHANGES: list[dict[str, Any]] = [
    {"name": "another realm", "to": {"auth": {"connection": "other"}}, "field": "spec.auth"},
    {"name": "another host", "to": {"host": "desk.ameide.com"}, "field": ""},
    {"name": "another path", "to": {"pathPrefix": "/desk"}, "field": ""},
    {"name": "for everybody", "to": {"auth": {"public": True}}, "field": ""},
    {"name": "the app logs in", "to": {"auth": {"mode": "Application"}}, "field": ""},
]


def case_id(case: Mapping[str, Any]) -> str:
    return str(case["name"])


def manifest_of(case: Mapping[str, Any]) -> dict[str, Any]:
    return merged(BASE, case["patch"])


def test_the_table_is_large_and_its_names_are_unique() -> None:
    names = [case["name"] for case in BAD + GOOD]
    assert len(BAD) >= 50
    assert len(names) == len(set(names))


@pytest.mark.parametrize("case", BAD, ids=case_id)
def test_check_refuses(case: Mapping[str, Any]) -> None:
    findings = check_text(yaml.safe_dump(manifest_of(case)), [UISurface]).findings
    said = "\n".join(str(finding) for finding in findings)
    for words in (case["field"], *case.get("says", ())):
        assert words in said
    assert all(finding.problem.remedy for finding in findings)


@pytest.mark.parametrize("case", GOOD, ids=case_id)
def test_check_accepts(case: Mapping[str, Any]) -> None:
    assert [str(finding) for finding in check_text(yaml.safe_dump(manifest_of(case)), [UISurface]).findings] == []


@pytest.fixture(scope="module")
def api(kube: KubeClient) -> KubeClient:
    """A client of an API server that serves UISurfaces as this tree defines them."""
    crd = crd_of(UISurface)
    kube.apply(crd)
    group, kind, name = "apiextensions.k8s.io/v1", "CustomResourceDefinition", crd["metadata"]["name"]
    kube.wait_for(
        group,
        kind,
        name,
        lambda found: (condition_of(found, "Established") or {}).get("status") == "True",
        timeout=30,
    )
    assert condition_of(kube.get(group, kind, name), "NonStructuralSchema") is None
    return kube


def dry_run(api: KubeClient, manifest: Mapping[str, Any]) -> str:
    """What a strict API server says to a new object: its message, or nothing when it accepts."""
    try:
        api.request("POST", COLLECTION, params=STRICT, body=dict(manifest))
    except ApiError as error:
        if error.status not in (400, 422):
            raise
        return error.message
    return ""


@pytest.mark.parametrize("case", BAD, ids=case_id)
def test_api_server_refuses(api: KubeClient, case: Mapping[str, Any]) -> None:
    said = dry_run(api, manifest_of(case)).lower()
    for words in (case["field"], *case.get("says", ())):
        assert words.lower() in said


@pytest.mark.parametrize("case", GOOD, ids=case_id)
def test_api_server_accepts(api: KubeClient, case: Mapping[str, Any]) -> None:
    assert dry_run(api, manifest_of(case)) == ""


def test_defaults_of_the_crd_are_those_of_the_model(api: KubeClient) -> None:
    for case in GOOD:
        stored = api.request("POST", COLLECTION, params=STRICT, body=manifest_of(case))
        assert UISurface.parse(stored).spec == UISurface.parse(manifest_of(case)).spec


@pytest.mark.parametrize("change", CHANGES, ids=case_id)
def test_changes(api: KubeClient, make_namespace: Any, change: Mapping[str, Any]) -> None:
    namespace = make_namespace(prefix="own")
    old = merged(BASE, {"metadata": {"namespace": namespace}})
    offline = "; ".join(str(problem) for problem in check_manifest(merged(old, {"spec": change["to"]}), UISurface, old))
    api.create(old)
    try:
        api.merge_patch("ameide.io/v1", "UISurface", "shop", {"spec": change["to"]}, namespace)
        online = ""
    except ApiError as error:
        online = error.message
    assert bool(offline) == bool(online) == bool(change["field"]), (offline, online)
    assert change["field"] in offline
    assert change["field"] in online
    if change["field"]:
        assert "set it back" in offline
        assert "set it back" in online
