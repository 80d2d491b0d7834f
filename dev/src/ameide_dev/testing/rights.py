"""The chart's rules held against what operators really asked of the API server, both ways.

    python -m ameide_dev.testing.rights      after a run of all tests: nothing missing, nothing that nobody uses

Runs of tests leave what was asked in `out/requests` (`rights_plugin`), each in a folder of its own. What is granted
without having been asked for stands, with its reason, in `charts/ameide-operators/tests/rights-unasked.yaml`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from ameide_dev.operators import CHART, render_chart
from ameide_dev.requests import Requests, Right, read

ROOT: Final = CHART.parents[1]
RUNS: Final = Path("out", "requests")
"""Where, below the project's root, runs leave what was asked."""
UNASKED: Final = CHART / "tests" / "rights-unasked.yaml"
WHOLE: Final = "whole-run"
"""In a run's folder: the run was one of all tests. Holds the tests that were skipped."""


@dataclass(frozen=True, slots=True)
class Unasked:
    """Rights that are granted although no test makes an operator use them, or not in every run, and the reason."""

    operators: tuple[str, ...]
    rights: frozenset[Right]
    reason: str


def granted(manifests: Iterable[Mapping[str, Any]]) -> dict[str, frozenset[Right]]:
    """Operator → all that the roles of the rendered chart grant it."""
    found: dict[str, set[Right]] = {}
    for manifest in manifests:
        labels = manifest["metadata"].get("labels", {})
        if manifest["kind"] not in ("ClusterRole", "Role") or labels.get("app.kubernetes.io/component") != "operator":
            continue
        operator = labels["app.kubernetes.io/name"].removesuffix("-operator")
        found.setdefault(operator, set()).update(_rights(manifest["rules"]))
    return {operator: frozenset(rights) for operator, rights in found.items()}


def _rights(rules: Sequence[Mapping[str, Any]]) -> set[Right]:
    return {
        Right(group, resource, verb)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def unasked(text: str) -> list[Unasked]:
    """The entries of the list. Raises ValueError for one without a reason."""
    found = []
    for entry in yaml.safe_load(text) or ():
        if not str(entry.get("reason", "")).strip():
            raise ValueError(f"{UNASKED.name}: an entry for {', '.join(entry['operators'])} gives no reason; say why")
        found.append(Unasked(tuple(entry["operators"]), frozenset(_rights(entry["rules"])), entry["reason"].strip()))
    return found


def missing(asked: Mapping[str, Requests], chart: Mapping[str, frozenset[Right]]) -> list[str]:
    """What was asked for and is not granted, a line each.

    A request that was denied although the chart grants it is none of these: a release that goes takes its roles away
    while its pods still stop. That nothing is denied before, the chart's own tests see.
    """
    lines = []
    for operator, requests in sorted(asked.items()):
        rules = chart.get(operator, frozenset())
        for right, example in sorted((requests.denied or {}).items()):
            if right not in rules:
                lines.append(f"{operator}-operator was denied {right}: {example}")
        lines += [
            f"{operator}-operator was allowed {right}, but not by the chart"
            for right in sorted(requests.allowed - rules)
        ]
    return lines


def unused(
    asked: Mapping[str, Requests], chart: Mapping[str, frozenset[Right]], listed: Sequence[Unasked]
) -> list[str]:
    """What is granted, was not asked for and is not listed; and what is listed and not granted. A line each."""
    lines = []
    for operator, rules in sorted(chart.items()):
        excused = {right for entry in listed if operator in entry.operators for right in entry.rights}
        used = asked.get(operator, Requests()).allowed
        lines += [
            f"{operator}-operator may {right}, which no test makes it do" for right in sorted(rules - used - excused)
        ]
        lines += [
            f"{UNASKED.name} excuses a right of {operator}-operator that the chart does not grant: {right}"
            for right in sorted(excused - rules)
        ]
    return lines


def skipped(folder: Path) -> list[str] | None:
    """The tests that the run of all tests skipped; None where there was no such run."""
    marks = sorted(folder.glob(f"*/{WHOLE}"))
    return json.loads(marks[-1].read_text()) if marks else None


def main(runs: Path = ROOT / RUNS) -> int:
    """Judge what the last runs have left; the exit code."""
    left_out = skipped(runs)
    if left_out is None:
        print(f"{RUNS} holds no run of all tests: run `make test` without arguments first", file=sys.stderr)
        return 2
    asked, chart = read(runs), granted(render_chart())
    listed = unasked(UNASKED.read_text())
    problems = [*missing(asked, chart), *unused(asked, chart, listed)]
    for line in problems:
        print(line, file=sys.stderr)
    if problems:
        print(
            f"\n{len(problems)} differences between the chart's rules (templates/rules) and what was asked.",
            f"Grant what is missing; take away what is unused, or give its reason in {UNASKED.relative_to(ROOT)}.",
            *([f"Tests were skipped, which may be why: {', '.join(left_out)}"] if left_out else []),
            sep="\n",
            file=sys.stderr,
        )
        return 1
    for operator, rules in sorted(chart.items()):
        used = asked.get(operator, Requests()).allowed
        after_all = {right for entry in listed if operator in entry.operators for right in entry.rights & used}
        for right in sorted(after_all):
            print(f"{operator}-operator: {right} was used after all, and need not stand in {UNASKED.name}")
        print(f"{operator}-operator: {len(rules & used)} of {len(rules)} rights used, the others have their reasons")
    return 0


if __name__ == "__main__":
    sys.exit(main())
