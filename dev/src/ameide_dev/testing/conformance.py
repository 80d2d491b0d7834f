"""What must hold of every status that an operator writes, whatever it was folded from."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema
import yaml

from ameide_dev.operators import CHART
from ameide_dev.testing.resources import merged
from ameide_dev.testing.world import Case
from ameide_shared.kstatus import Verdict, judge
from ameide_shared.kube.resources import ResourceType
from ameide_shared.reasons import CATALOGUE, Reason
from ameide_shared.stages import State, first_blocker
from ameide_shared.status import stamp, status_patch

CONDITION_FIELDS = {"type", "status", "reason", "message", "observedGeneration", "lastTransitionTime"}
NEEDS_REMEDY = {State.WAITING, State.FAILED, State.STALLED}
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_SECRET = re.compile(r"(?i)(password|passwd|token|secret)\s*[=:]\s*(?!<redacted>)\S|://[^/\s:]+:[^<@\s][^@\s]*@")


def check_status(case: Case) -> None:
    """All of the checks below."""
    status = case.status()
    check_conditions(case, status)
    check_ready(case, status)
    check_kstatus(case, status)
    check_secrets(status)
    check_schema(case, status)
    check_fixpoint(case, status)


def by_type(status: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The conditions of a status."""
    return {condition["type"]: condition for condition in status["conditions"]}


def check_conditions(case: Case, status: Mapping[str, Any]) -> None:
    """The generation is stamped; every condition is complete, unique by type, and of a reason in the catalogue."""
    generation = case.resource["metadata"]["generation"]
    assert status["observedGeneration"] == generation
    assert len(by_type(status)) == len(status["conditions"])
    for condition in status["conditions"]:
        assert set(condition) == CONDITION_FIELDS
        assert condition["status"] in ("True", "False", "Unknown")
        assert Reason(condition["reason"]) in CATALOGUE
        assert condition["observedGeneration"] == generation
        assert _TIME.fullmatch(condition["lastTransitionTime"])
        assert len(condition["message"]) <= 1024


def check_ready(case: Case, status: Mapping[str, Any]) -> None:
    """Ready is the AND of the stages; while it is not, blocker, reason, message and remedy agree."""
    stages, conditions = case.plan().stages, by_type(status)
    ready, blocker, first = conditions["Ready"], status.get("blocker"), first_blocker(stages)
    assert (ready["status"] == "True") is all(stage.done for stage in stages)
    assert (blocker is None) is (ready["status"] == "True")
    assert conditions["Progressing"]["status"] in ("True", "False")
    assert conditions["Degraded"]["status"] in ("True", "False")
    if first is None or blocker is None:
        return
    assert blocker["reason"] == ready["reason"] == first.reason
    assert blocker["message"]
    assert ready["message"].startswith(blocker["message"][:500])
    if first.state in NEEDS_REMEDY:
        assert blocker["remedy"]
        assert blocker["remedy"] in ready["message"] or len(ready["message"]) == 1024


def check_kstatus(case: Case, status: Mapping[str, Any]) -> None:
    """Reconciling and Stalled exist only while True, never together, Stalled only for what cannot heal by itself."""
    stages, conditions = case.plan().stages, by_type(status)
    abnormal = {"Reconciling", "Stalled"} & set(conditions)
    assert all(conditions[kind]["status"] == "True" for kind in abnormal)
    stuck = any(stage.state is State.STALLED for stage in stages)
    waits = not all(stage.done for stage in stages)
    assert abnormal == ({"Stalled"} if stuck else {"Reconciling"} if waits else set())
    if case.resource["metadata"].get("deletionTimestamp"):
        wanted = Verdict.TERMINATING
    else:
        wanted = Verdict.FAILED if stuck else Verdict.IN_PROGRESS if waits else Verdict.CURRENT
    assert judge({**case.resource, "status": status}).verdict is wanted


def check_secrets(status: Mapping[str, Any]) -> None:
    """Nothing in a status looks like a credential."""
    assert not _SECRET.search(json.dumps(status))


def check_schema(case: Case, status: Mapping[str, Any]) -> None:
    """The CRD's schema accepts the status, and knows each of its fields: nothing is pruned."""
    schema = status_schema(case.definition.resource)
    jsonschema.validate(status, schema)
    assert list(_unknown(status, schema, "status")) == []


def check_fixpoint(case: Case, status: Mapping[str, Any]) -> None:
    """The fold over its own output changes nothing, be it minutes later; so no status write causes the next one."""
    told = {**case.resource, "status": status}
    for later in (timedelta(0), timedelta(minutes=2)):
        again = replace(case, resource=told, now=case.now + later)
        if later and _states(again) != _states(case):
            continue  # time itself was what it waited for
        assert status_patch(without_retry(status), without_retry(again.status())) == {}


def check_transitions(case: Case) -> None:
    """Had every condition had another status, or the same, an hour ago: only the former get a new time."""
    status, then = case.status(), stamp(case.now - timedelta(hours=1))
    for old in ("True", "False", "Unknown"):
        before = [{**condition, "status": old, "lastTransitionTime": then} for condition in status["conditions"]]
        previous = merged(case.resource.get("status") or {}, {"conditions": before})
        after = replace(case, resource={**case.resource, "status": previous})
        for kind, condition in by_type(after.status()).items():
            moved = condition["status"] != old
            if kind in by_type(status):
                assert condition["lastTransitionTime"] == (stamp(case.now) if moved else then)


def reasons_named_in(*modules: ModuleType) -> set[Reason]:
    """The reasons that the source of modules and packages names: what some golden case should come to."""
    files = [
        file
        for module in modules
        for file in (
            Path(module.__file__ or "").parent.rglob("*.py") if hasattr(module, "__path__") else [module.__file__]
        )
    ]
    named = {name for file in files for name in re.findall(r"\bReason\.([A-Z]\w+)", Path(str(file)).read_text("utf-8"))}
    return {Reason(name) for name in named}


def _states(case: Case) -> list[tuple[State, str]]:
    return [(stage.state, stage.message) for stage in case.plan().stages]


def without_retry(status: Mapping[str, Any]) -> dict[str, Any]:
    """A status without the time of the operator's next look, which may move with each look."""
    blocker = {key: value for key, value in status.get("blocker", {}).items() if key != "retryAt"}
    return {**status, "blocker": blocker}


@cache
def status_schema(resource: ResourceType) -> dict[str, Any]:
    """The schema of a kind's status in the CRD that the chart installs."""
    path = CHART / "files" / "crds" / f"{resource.plural}.{resource.group}.yaml"
    definition = yaml.safe_load(path.read_text(encoding="utf-8"))
    schema: dict[str, Any] = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]
    return schema


def _unknown(value: Any, schema: Mapping[str, Any], path: str) -> Iterator[str]:
    if isinstance(value, Mapping) and "properties" in schema:
        for key, inner in value.items():
            if key not in schema["properties"]:
                yield f"{path}.{key}"
            else:
                yield from _unknown(inner, schema["properties"][key], f"{path}.{key}")
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _unknown(inner, schema["items"], f"{path}[{number}]")
