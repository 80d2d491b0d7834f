"""What operators' tests stand on tells right from wrong: cases are read as written, and what differs is noticed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from ameide_dev.testing.conformance import check_status, reasons_named_in
from ameide_dev.testing.golden import Golden
from ameide_dev.testing.resources import merged
from ameide_dev.testing.waiting import never, until
from ameide_shared import tenancy
from ameide_shared.reasons import Reason
from domain_operator.main import DEFINITION
from domain_operator.observed import Observed

DOMAIN = {
    "apiVersion": "ameide.io/v1",
    "kind": "Domain",
    "metadata": {"name": "orders", "namespace": "shop", "uid": "u", "generation": 1},
    "spec": {"image": "ghcr.io/ameide/orders:1", "replicas": 1},
}
NAMESPACE = {
    "apiVersion": "v1",
    "kind": "Namespace",
    "metadata": {"name": "shop", "labels": {"ameide.io/tenant-id": "t"}},
}


def logs(observed: Observed, seen: Mapping[str, Any]) -> Observed:
    return replace(observed, logs=seen.get("logs", {}))


def golden(folder: Path, domain: Mapping[str, Any], observed: Any, settings: Mapping[str, Any] | None = None) -> Golden:
    """A folder with one case, `one`, over the base `domain`."""
    files = {"bases/domain": DOMAIN, "bases/shop": NAMESPACE, "one/in": {"base": "domain", **domain}}
    files["one/observed"] = observed
    if settings is not None:
        files["one/settings"] = settings
    for name, content in files.items():
        path = folder / f"{name}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"# why: to see.\n{yaml.safe_dump(content)}")
    return Golden(folder, DEFINITION, logs)


def test_a_case_is_its_base_and_what_is_said_over_it(tmp_path: Path) -> None:
    case = golden(tmp_path, {"spec": {"replicas": 3}}, [{"base": "shop"}], {"workers": 2}).load("one")
    assert case.resource["spec"] == {"image": "ghcr.io/ameide/orders:1", "replicas": 3}
    assert [each["kind"] for each in case.objects] == ["Namespace"]
    assert case.settings.workers == 2
    assert case.observed.apis == DEFINITION.apis


def test_a_settled_past_leaves_children_and_a_status(tmp_path: Path) -> None:
    observed = {"objects": [{"base": "shop"}], "before": [{"settle": {}}], "apis": []}
    case = golden(tmp_path, {}, observed).load("one")
    assert "Deployment" in {each["kind"] for each in case.objects}
    assert "ServiceMonitor" not in {each["kind"] for each in case.objects}
    ready = next(each for each in case.resource["status"]["conditions"] if each["type"] == "Ready")
    assert ready["status"] == "True"
    check_status(case)


def test_what_was_seen_in_the_past_lasts_until_something_else_is_said(tmp_path: Path) -> None:
    before = [{"seen": {"logs": {"a": "old", "b": "old"}}}]
    case = golden(tmp_path, {}, {"objects": [{"base": "shop"}], "before": before, "logs": {"a": "new"}}).load("one")
    assert case.observed.logs == {"a": "new", "b": "old"}


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ({"wait": 1}, "there is no step 'wait'"),
        ({"process": {}}, "there is no step 'process'"),
        ({"change": {"Deployment shop/*": None}}, "nothing is called 'Deployment shop/"),
        ({"pods": {"of": "Job *"}}, "shall name one object, and names"),
    ],
)
def test_a_step_that_does_nothing_is_an_error(tmp_path: Path, step: Mapping[str, Any], words: str) -> None:
    with pytest.raises(LookupError) as caught:
        golden(tmp_path, {}, {"objects": [{"base": "shop"}], "before": [step]}).load("one")
    assert words in str(caught.value)


def test_what_is_not_as_written_down_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = golden(tmp_path, {}, [{"base": "shop"}])
    monkeypatch.delenv("UPDATE_GOLDEN", raising=False)
    with pytest.raises(AssertionError, match=r"out\.yaml is missing"):
        cases.compare("one")
    monkeypatch.setenv("UPDATE_GOLDEN", "1")
    cases.compare("one")
    monkeypatch.delenv("UPDATE_GOLDEN")
    cases.compare("one")
    status = tmp_path / "one" / "status.yaml"
    status.write_text(status.read_text().replace("ready: false", "ready: true").replace("Ready", "Reedy"))
    with pytest.raises(AssertionError, match=r"status\.yaml differs"):
        cases.compare("one")


def test_a_case_without_a_purpose_is_noticed(tmp_path: Path) -> None:
    cases = golden(tmp_path, {}, [{"base": "shop"}])
    cases.check_purpose("one")
    (tmp_path / "one" / "in.yaml").write_text("base: domain\n")
    with pytest.raises(AssertionError):
        cases.check_purpose("one")


def test_a_folder_without_cases_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LookupError, match="no golden case"):
        Golden(tmp_path, DEFINITION).names()


@pytest.mark.parametrize(
    "lie",
    [
        {"observedGeneration": 7},
        {"blocker": {"reason": "Blocked", "message": "password=hunter2"}},
        {"made_up": True},
        {"conditions": []},
    ],
    ids=["generation", "secret", "field", "conditions"],
)
def test_a_status_that_does_not_conform_is_noticed(tmp_path: Path, lie: Mapping[str, Any]) -> None:
    def lying(*arguments: Any) -> dict[str, Any]:
        return {**DEFINITION.status(*arguments), **lie}

    case = golden(tmp_path, {}, [{"base": "shop"}]).load("one")
    check_status(case)
    with pytest.raises((AssertionError, KeyError)):
        check_status(replace(case, definition=replace(DEFINITION, status=lying)))


def test_reasons_are_found_in_source() -> None:
    assert reasons_named_in(tenancy) >= {Reason.TenantLabelMissing, Reason.TenantMismatch}


def test_waiting_ends_and_says_for_what() -> None:
    answers = iter([0, "", "there"])
    assert until("an answer", lambda: next(answers)) == "there"
    with pytest.raises(TimeoutError, match=r"not within 0\.1 s: rain"):
        until("rain", lambda: False, timeout=0.1)
    never("rain", lambda: False, 0.1)
    with pytest.raises(AssertionError, match="it rains"):
        never("it rains", lambda: True, 0.1)


def test_a_merge_patch_takes_away_and_leaves_its_parts_alone() -> None:
    base = {"a": {"b": 1, "c": 2}, "d": [1]}
    change = {"a": {"b": None, "e": {"f": 3}}, "d": [2]}
    assert merged(base, change) == {"a": {"c": 2, "e": {"f": 3}}, "d": [2]}
    assert base == {"a": {"b": 1, "c": 2}, "d": [1]}
