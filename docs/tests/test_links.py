"""The links of all pages lead somewhere, and the check would say so if one did not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs import links


def test_all_links_of_the_repository_lead_somewhere() -> None:
    pages = links.pages()
    assert links.ROOT / "README.md" in pages
    assert links.ROOT / "charts" / "ameide-operators" / "README.md" in pages
    assert [fault for page in pages for fault in links.broken(page)] == []


@pytest.mark.parametrize(
    ("link", "fault"),
    [
        ("(other.md)", ""),
        ("(other.md#some-words-say-so--o-json)", ""),
        ("(other.md#twice-1)", ""),
        ("(#here)", ""),
        ("(https://example.com/missing#anchor)", ""),
        ("(missing.md)", "(missing.md): there is no missing.md"),
        ("(other.md#elsewhere)", "(other.md#elsewhere): other.md has no heading #elsewhere"),
        ("(other.md#in-code)", "(other.md#in-code): other.md has no heading #in-code"),
        ("(#nowhere)", "(#nowhere): page.md has no heading #nowhere"),
        ("(/other.md)", "(/other.md): is absolute; write it relative to the page"),
        ("(../outside.md)", "(../outside.md): leads out of the repository"),
    ],
)
def test_a_link_is_judged(tmp_path: Path, link: str, fault: str) -> None:
    (tmp_path / "other.md").write_text(
        "# Other\n\n## Some *words*, say so: `-o json`\n\n## Twice\n\n## Twice\n\n```sh\n# In code\n```\n"
    )
    page = tmp_path / "page.md"
    page.write_text(f"# Here\n\n[text]{link}, `[code](missing.md)`\n\n| a |\n| --- |\n| [b](other.md) |\n")
    assert list(links.broken(page, tmp_path)) == ([f"page.md: {fault}"] if fault else [])


def test_links_in_tables_and_pictures_are_seen() -> None:
    text = "| a |\n| --- |\n| [b](one.md) |\n\n![picture](two.png)\n"
    assert list(links.targets(text)) == ["one.md", "two.png"]


@pytest.mark.parametrize("operator", ["domain", "process", "agent", "uisurface"])
def test_readme_of_an_operator_names_the_parts_of_its_plan_as_they_are(operator: str) -> None:
    """Each file of the folder but what all of them are given, and in the table of parts none that is elsewhere."""
    folder = links.ROOT / "operators" / f"{operator}-operator"
    text = (folder / "README.md").read_text(encoding="utf-8")
    parts = {path.name for path in (folder / "src" / f"{operator}_operator" / "plan").glob("*.py")}
    table = "".join(line for line in text.splitlines() if line.lstrip().startswith("|"))
    named = set(re.findall(r"`(\w+\.py)`", text))
    assert sorted(parts - {"__init__.py", "context.py"} - named) == []
    assert sorted(set(re.findall(r"`(\w+\.py)`", table)) - parts) == []
