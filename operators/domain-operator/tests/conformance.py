"""What must hold of every status that the Domain operator writes, whatever it was folded from."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import yaml
from golden_cases import Case

from ameide_shared.kstatus import Verdict, judge
from ameide_shared.reasons import CATALOGUE, Reason
from ameide_shared.stages import State, first_blocker
from ameide_shared.status import status_patch

CRD = Path(__file__).parents[1] / "config" / "crd" / "domains.ameide.io.yaml"
CONDITION_FIELDS = {"type", "status", "reason", "message", "observedGeneration", "lastTransitionTime"}
NEEDS_REMEDY = {State.WAITING, State.FAILED, State.STALLED}
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_SECRET = re.compile(r"(?i)(password|passwd|token|secret)\s*[=:]\s*(?!<redacted>)\S|://[^/\s:]+:[^<@\s][^@\s]*@")


def by_type(status: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {condition["type"]: condition for condition in status["conditions"]}


def check_conditions(case: Case, status: Mapping[str, Any]) -> None:
    """The generation is stamped; every condition is complete, unique by type, and of a reason in the catalogue."""
    generation = case.domain["metadata"]["generation"]
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
    if case.domain["metadata"].get("deletionTimestamp"):
        wanted = Verdict.TERMINATING
    else:
        wanted = Verdict.FAILED if stuck else Verdict.IN_PROGRESS if waits else Verdict.CURRENT
    assert judge({**case.domain, "status": status}).verdict is wanted


def check_secrets(status: Mapping[str, Any]) -> None:
    """Nothing in a status looks like a credential."""
    assert not _SECRET.search(json.dumps(status))


def check_schema(status: Mapping[str, Any]) -> None:
    """The CRD's schema accepts the status, and knows each of its fields: nothing is pruned."""
    jsonschema.validate(status, status_schema())
    assert list(_unknown(status, status_schema(), "status")) == []


def check_fixpoint(case: Case, status: Mapping[str, Any]) -> None:
    """The fold over its own output changes nothing, be it minutes later; so no status write causes the next one."""
    told = {**case.domain, "status": status}
    for later in (timedelta(0), timedelta(minutes=2)):
        again = Case(told, case.observed, case.settings, case.now + later)
        if later and _states(again) != _states(case):
            continue  # time itself was what it waited for
        assert status_patch(without_retry(status), without_retry(again.status())) == {}


def _states(case: Case) -> list[tuple[State, str]]:
    return [(stage.state, stage.message) for stage in case.plan().stages]


def without_retry(status: Mapping[str, Any]) -> dict[str, Any]:
    """A status without the time of the operator's next look, which may move with each look."""
    blocker = {key: value for key, value in status.get("blocker", {}).items() if key != "retryAt"}
    return {**status, "blocker": blocker}


@cache
def status_schema() -> dict[str, Any]:
    """The schema of status in the CRD that is installed."""
    definition = yaml.safe_load(CRD.read_text(encoding="utf-8"))
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
