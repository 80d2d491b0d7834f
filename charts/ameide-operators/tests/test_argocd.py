"""Argo CD's view of our resources: its health script, run by a real Lua over the status of every golden case."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import lupa
import pytest
import yaml

from ameide_dev.testing.golden import Golden
from ameide_shared import vocabulary as v
from ameide_shared.kstatus import Verdict, judge

ROOT = Path(__file__).parents[3]
ARGOCD = ROOT / "charts" / "ameide-operators" / "files" / "argocd"
SCRIPT = (ARGOCD / "health.lua").read_text()


def health(resource: dict[str, Any]) -> tuple[str, str]:
    """What the script says of a resource, run as Argo CD does: without the libraries that it does not offer."""
    lua: Any = lupa.LuaRuntime(unpack_returned_tuples=True, register_eval=False, register_builtins=False)
    lua.execute(
        "getmetatable('').__index = nil; string = nil; io = nil; os = nil; debug = nil; math = nil; utf8 = nil; "
        "require = nil; load = nil; dofile = nil"
    )
    lua.globals().obj = lua.table_from(resource, recursive=True)
    verdict = lua.execute(SCRIPT)
    return verdict["status"], verdict["message"]


@cache
def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"argocd_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def operators() -> list[str]:
    """The kinds that have golden cases."""
    return sorted(path.parent.name for path in (ROOT / "operators").glob("*/tests") if list(path.glob("*_golden.py")))


def cases(tests: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(name, resource with its status) of each golden case of an operator."""
    golden: Golden = _module(next(tests.glob("*_golden.py"))).GOLDEN
    for name in golden.names():
        case = golden.load(name)
        status = yaml.load((golden.root / name / "status.yaml").read_text(), Loader=yaml.CSafeLoader)
        yield name, {**case.resource, "status": status}


@pytest.fixture
def golden_modules(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Path:
    tests: Path = ROOT / "operators" / request.param / "tests"
    monkeypatch.syspath_prepend(str(tests))
    return tests


@pytest.mark.parametrize("golden_modules", operators(), indirect=True)
def test_argo_cd_judges_every_golden_status_rightly(golden_modules: Path) -> None:
    """Healthy only what is Ready and whole; Degraded what is stalled; and never waiting where kstatus gives up."""
    seen = set()
    for name, resource in cases(golden_modules):
        status, message = health(resource)
        holds = {one["type"]: one["status"] == "True" for one in (resource["status"] or {}).get("conditions") or ()}
        deleting = bool(resource["metadata"].get("deletionTimestamp"))
        if deleting or not holds:
            wanted = "Progressing"
        elif holds.get(v.STALLED):
            wanted = "Degraded"
        elif holds.get(v.PAUSED):
            wanted = "Suspended"
        elif not holds[v.READY]:
            wanted = "Progressing"
        else:
            wanted = "Degraded" if holds[v.DEGRADED] else "Healthy"
        assert (name, status) == (name, wanted)
        assert message
        verdict = judge(resource).verdict
        if status == "Healthy":
            assert verdict is Verdict.CURRENT, name
        if verdict is Verdict.FAILED:
            assert status == "Degraded", name
        if verdict is Verdict.TERMINATING:
            assert status == "Progressing", name
        seen.add(status)
    assert {"Healthy", "Progressing", "Degraded"} <= seen


def _condition(kind: str, status: str, message: str = "") -> dict[str, str]:
    return {"type": kind, "status": status, "reason": "Because", "message": message}


READY = _condition(v.READY, "True")


@pytest.mark.parametrize(
    ("status", "wanted"),
    [
        (None, ("Progressing", "no operator has looked at it yet")),
        ({"observedGeneration": -1}, ("Progressing", "no operator has looked at it yet")),
        (
            {"observedGeneration": 1, "conditions": [READY]},
            ("Progressing", "the operator has not seen the latest change of the spec yet"),
        ),
        ({"observedGeneration": 2, "conditions": [READY]}, ("Healthy", "Ready")),
        (
            {"observedGeneration": 2, "conditions": [_condition(v.READY, "False", "it is being made")]},
            ("Progressing", "it is being made"),
        ),
        (
            {"observedGeneration": 2, "conditions": [READY, _condition(v.DEGRADED, "True", "less")]},
            ("Degraded", "less"),
        ),
        ({"observedGeneration": 2, "conditions": [_condition(v.STALLED, "True")]}, ("Degraded", "Because")),
        ({"observedGeneration": 2, "conditions": [READY, _condition(v.PAUSED, "True", "p")]}, ("Suspended", "p")),
        ({"observedGeneration": 2, "conditions": [READY, _condition(v.PAUSED, "False", "p")]}, ("Healthy", "Ready")),
    ],
)
def test_verdicts(status: dict[str, Any] | None, wanted: tuple[str, str]) -> None:
    assert health({"metadata": {"generation": 2}, **({"status": status} if status else {})}) == wanted


def test_deletion_comes_before_all_else() -> None:
    resource = {
        "metadata": {"generation": 2, "deletionTimestamp": "2026-03-01T12:00:00Z"},
        "status": {"observedGeneration": 2, "conditions": [READY]},
    }
    assert health(resource) == ("Progressing", "is being deleted")


def test_the_patch_names_every_kind() -> None:
    """`make generate` writes it from the script."""
    patch = yaml.safe_load((ARGOCD / "argocd-cm.yaml").read_text())
    assert patch["metadata"]["name"] == "argocd-cm"
    assert patch["data"] == {f"resource.customizations.health.{v.GROUP}_{kind}": SCRIPT for kind in v.KINDS}
