"""What the site is made of: every page has its place, and links are turned to where they lead on the site."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from docs import website


def flat(entries: list[Any]) -> list[str]:
    return [
        page
        for entry in entries
        for page in ([entry] if isinstance(entry, str) else [p for inner in entry.values() for p in flat(inner)])
    ]


def test_every_page_has_one_place_in_the_navigation() -> None:
    pages = [name for name, path in website.sources().items() if path.suffix == ".md"]
    assert "index.md" in pages
    assert sorted(flat(website.navigation(pages))) == sorted(pages)


def test_a_page_without_a_place_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no section of docs/website\.py names stray\.md"):
        website.navigation(["index.md", "stray.md"])


def test_links_are_turned_to_where_they_lead_on_the_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(website, "ROOT", tmp_path)
    for name in ("README.md", "docs/a.md", "docs/runbooks/README.md", "docs/runbooks/b.md", "src/code.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("# Title\n")
    page = tmp_path / "docs" / "runbooks" / "b.md"
    page.write_text(
        "[a](../a.md#title) [front](../../README.md) [index](.) [code](../../src/code.py) [folder](../../src)"
        " [out](https://example.com/a.md) [here](#title) `code` <https://example.com>\n"
    )
    names = {
        tmp_path / "README.md": "index.md",
        tmp_path / "docs" / "a.md": "a.md",
        tmp_path / "docs" / "runbooks" / "README.md": "runbooks/README.md",
        page: "runbooks/b.md",
    }
    assert website.rewritten(page, "runbooks/b.md", names) == (
        "[a](../a.md#title) [front](../index.md) [index](../runbooks/README.md)"
        f" [code]({website.REPOSITORY}/blob/main/src/code.py) [folder]({website.REPOSITORY}/tree/main/src)"
        " [out](https://example.com/a.md) [here](#title) `code` <https://example.com>\n"
    )


def test_what_a_browser_would_fetch_from_elsewhere_is_found() -> None:
    page = (
        '<link rel="stylesheet" href="https://fonts.example.com/a.css"><script src="//cdn.example.com/b.js"></script>'
        '<img src="pictures/c.png"><a href="https://example.com">a link</a><link rel="canonical" href="https://x.example">'
    )
    assert website.fetched(page) == ["https://fonts.example.com/a.css", "//cdn.example.com/b.js"]
