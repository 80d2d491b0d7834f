"""Every alert of the chart has a runbook, and every runbook an alert; and each says what is needed at night."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs import links

ALERTS = links.ROOT / "charts" / "ameide-operators" / "templates" / "_alerts.tpl"
RUNBOOKS = links.ROOT / "docs" / "runbooks"
SECTIONS = ["What it means", "How bad it is", "First look", "Causes", "Over when"]


def alerts() -> dict[str, str]:
    """The severity of each alert by its name, read from the chart's template."""
    return dict(re.findall(r"^- alert: (\w+)\n  severity: (\w+)$", ALERTS.read_text(), re.MULTILINE))


def runbooks() -> dict[str, Path]:
    return {path.stem: path for path in RUNBOOKS.glob("*.md") if path.stem != "README"}


def test_the_template_is_understood() -> None:
    listed = re.search(r'define "ameide.alertNames" -}}\n(.*?)\{\{- end', ALERTS.read_text(), re.DOTALL)
    assert listed
    assert sorted(alerts()) == re.findall(r"^- (\w+)$", listed[1], re.MULTILINE)


def test_alerts_and_runbooks_belong_together() -> None:
    assert sorted(runbooks()) == sorted(alerts())


@pytest.mark.parametrize("name", sorted(runbooks()))
def test_a_runbook_says_what_is_needed(name: str) -> None:
    text = runbooks()[name].read_text()
    assert text.startswith(f"# {name}\n\nSeverity: {alerts()[name]}.\n")
    parts = re.split(r"^## (.+)\n", text, flags=re.MULTILINE)
    assert parts[1::2] == SECTIONS
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    assert all(part.strip() for part in sections.values())
    (commands,) = re.findall(r"^```sh\n(.*?)^```$", sections["First look"], re.MULTILINE | re.DOTALL)
    assert len(commands.replace("\\\n", "").splitlines()) == 3
    rows = re.findall(r"^\| (?!you see|---)(.+) \|$", sections["Causes"], re.MULTILINE)
    assert len(rows) >= 3
    assert all(len(re.split(r"(?<!\\) \| ", row)) == 3 for row in rows), "a cause, what it means, what to do"


def test_the_index_lists_every_runbook() -> None:
    rows = re.findall(r"^\| \[(\w+)\]\(\1\.md\) \| (\w+) \|", (RUNBOOKS / "README.md").read_text(), re.MULTILINE)
    assert dict(rows) == alerts()
    assert len(rows) == len(alerts())
