"""Results as a table for people and JSON for programs: medians over rounds, one line for each operator and scenario."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.scenarios import Result

MEBIBYTE = 1 << 20
COLUMNS = {
    "wall": "wall s",
    "p50": "p50 s",
    "p95": "p95 s",
    "writes": "writes/obj",
    "reads": "reads/obj",
    "cpu": "CPU ms/obj",
    "api": "API CPU ms/obj",
    "rss": "MiB",
    "missing": "missing",
    "unready": "unready",
    "others": "others %",
}


def row(result: Result) -> dict[str, float | None]:
    """The figures of one scenario; None where there is none."""
    objects = max(result.objects, 1)
    return {
        "wall": result.wall,
        "p50": result.percentile(0.50),
        "p95": result.percentile(0.95),
        "writes": result.requests.writes / objects,
        "reads": result.requests.reads / objects,
        "cpu": result.cpu * 1000 / objects,
        "api": result.control_plane.get("apiserver", 0.0) * 1000 / objects,
        "rss": result.peak_rss / MEBIBYTE,
        "missing": float(result.missing),
        "unready": float(result.unready),
        "others": result.others * 100,
    }


def medians(rounds: Sequence[Result]) -> dict[str, float | None]:
    """The median of each figure over rounds; faults are added up, since one is too many."""
    rows = [row(result) for result in rounds]
    figures: dict[str, float | None] = {}
    for key in COLUMNS:
        values = [value for found in rows if (value := found[key]) is not None]
        total = sum if key in ("missing", "unready") else statistics.median
        figures[key] = total(values) if values else None
    return figures


def _text(key: str, value: float | None) -> str:
    if value is None:
        return "-"
    if key in ("missing", "unready", "rss", "others"):
        return f"{value:.0f}"
    return f"{value:.2f}"


def show(results: Mapping[str, Sequence[Result]], console: Console) -> None:
    """Print a table; `results` by operator, all rounds of each."""
    table = Table(
        title="medians over rounds; missing and unready add up; API: the API server; others: what strangers used",
        title_justify="left",
    )
    for heading in ("scenario", "operator", *COLUMNS.values()):
        table.add_column(heading, justify="left" if heading in ("scenario", "operator") else "right")
    scenarios = list(dict.fromkeys(result.scenario for rounds in results.values() for result in rounds))
    for scenario in scenarios:
        for operator, rounds in results.items():
            figures = medians([result for result in rounds if result.scenario == scenario])
            table.add_row(scenario, operator, *(_text(key, value) for key, value in figures.items()))
        table.add_section()
    console.print(table)


def document(
    results: Mapping[str, Sequence[Result]], commands: Mapping[str, str], plan: Mapping[str, Any]
) -> dict[str, Any]:
    """Everything that was measured, round by round, with what it was measured on."""
    return {
        "machine": {"system": platform.platform(), "cpus": os.cpu_count(), "python": platform.python_version()},
        "plan": dict(plan),
        "operators": {
            name: {
                "command": commands[name],
                "rounds": [
                    {
                        "scenario": result.scenario,
                        "objects": result.objects,
                        **row(result),
                        "requests": {
                            f"{verb} {what}": n for (verb, what), n in sorted(result.requests.counted.items())
                        },
                        "aside": result.requests.aside,
                        "watches": result.requests.watches,
                        "refused": result.requests.refused,
                        "control_plane": result.control_plane,
                    }
                    for result in rounds
                ],
            }
            for name, rounds in results.items()
        },
    }


def save(path: Path, content: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n")
