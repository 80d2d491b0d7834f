"""Checks every relative link of the Markdown files: that the file is there, and the heading that the anchor names.

    python -m docs.links

Needs no network: links to other sites are not followed. Exit code 1 when one leads nowhere, each named with its file.
"""

from __future__ import annotations

import itertools
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

import click
from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).resolve().parents[1]
_PARSER = MarkdownIt("commonmark").enable("table")


def pages(root: Path = ROOT) -> list[Path]:
    """The Markdown files of the repository, those that git does not ignore."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=root,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    # A file that was removed is listed until that is committed.
    return sorted({root / name for name in listed.split("\0") if name and (root / name).is_file()})


def tokens(text: str) -> Iterator[Token]:
    """Every token of a text, the ones within a line included."""
    for token in _PARSER.parse(text):
        yield token
        yield from token.children or ()


def targets(text: str) -> Iterator[str]:
    """Where the links and images of a text point, as they are written there."""
    for token in tokens(text):
        target = token.attrGet("href") or token.attrGet("src")
        if isinstance(target, str):
            yield target


def is_relative(target: str) -> bool:
    parts = urlsplit(target)
    return not parts.scheme and not parts.netloc


def anchors(text: str) -> set[str]:
    """The anchors that the headings of a text get, on the forge and on the site: one rule for both."""
    found: dict[str, int] = {}
    names = set()
    parsed = _PARSER.parse(text)
    for heading, inline in itertools.pairwise(parsed):
        if heading.type != "heading_open":
            continue
        plain = "".join(child.content for child in inline.children or () if child.type in ("text", "code_inline"))
        slug = slug_of(plain)
        seen = found.get(slug, 0)
        found[slug] = seen + 1
        names.add(f"{slug}-{seen}" if seen else slug)
    return names


def slug_of(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def resolve(page: Path, target: str, root: Path = ROOT) -> tuple[Path, str]:
    """The file that a relative link means, and its anchor ("" without one).

    Raises ValueError, with what is wrong, for a link out of the repository or to what is not there.
    """
    parts = urlsplit(target)
    if not parts.path:
        return page, parts.fragment
    if PurePosixPath(parts.path).is_absolute():
        raise ValueError("is absolute; write it relative to the page")
    file = (page.parent / unquote(parts.path)).resolve()
    if not file.is_relative_to(root):
        raise ValueError("leads out of the repository")
    if not file.exists():
        raise ValueError(f"there is no {file.relative_to(root)}")
    return file, parts.fragment


def broken(page: Path, root: Path = ROOT) -> Iterator[str]:
    """What is wrong with the links of a page, one sentence for each."""
    for target in targets(page.read_text()):
        if not is_relative(target):
            continue
        try:
            file, anchor = resolve(page, target, root)
            if anchor and (file.suffix != ".md" or anchor not in anchors(file.read_text())):
                raise ValueError(f"{file.relative_to(root)} has no heading #{anchor}")
        except ValueError as error:
            yield f"{page.relative_to(root)}: ({target}): {error}"


@click.command(help=__doc__.splitlines()[0] if __doc__ else "")
def main() -> None:
    found = pages()
    faults = [fault for page in found for fault in broken(page)]
    for fault in faults:
        click.echo(fault)
    if faults:
        raise SystemExit(1)
    click.echo(f"the links of {len(found)} pages lead somewhere")


if __name__ == "__main__":
    main()
