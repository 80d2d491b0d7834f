"""Builds the site of the documentation into `out/site`: `make docs`.

    python -m docs.website

The pages are those of the repository, read where they are: links that stay within the site become links between its
pages, all others links to the repository. Zensical makes the site, strictly. Nothing is fetched, neither while it is
built nor by a page: what draws the pictures is copied from an installed package.
"""

from __future__ import annotations

import fnmatch
import importlib
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import tomli_w

from docs import links

ROOT = links.ROOT
DOCS = ROOT / "docs"
REPOSITORY = "https://github.com/ameide/ameide-operators"

# Pages from outside docs/, and what they are called on the site.
ELSEWHERE = {
    "README.md": "index.md",
    "charts/ameide-operators/README.md": "chart.md",
    "dev/README.md": "local-platform.md",
    "examples/README.md": "examples.md",
}
# The order of the navigation: patterns over pages, or a group's title and its patterns. A page belongs where it is
# first named; one that is nowhere named fails the build.
SECTIONS: Mapping[str, Sequence[str | tuple[str, Sequence[str]]]] = {
    "Start": ("index.md", "tutorial.md", "examples.md"),
    "Kinds": ("domain.md", "process.md", "agent.md", "uisurface.md"),
    "What you bring": (
        "bpmn.md",
        "process-worker.md",
        "agent-policy.md",
        "agent-runtime.md",
        "surface.md",
        "transformation-api.md",
        "grants-api.md",
    ),
    "Running the operators": (
        "operations.md",
        "chart.md",
        "gitops.md",
        "security.md",
        ("Runbooks", ("runbooks/README.md", "runbooks/*")),
    ),
    "Reference": (
        "reference/reasons.md",
        "reference/domain.md",
        "reference/process.md",
        "reference/agent.md",
        "reference/uisurface.md",
        "reference/json.md",
        "reference/metrics.md",
        ("Settings", ("reference/*-settings.md",)),
        ("Programs", ("reference/*-cli.md",)),
    ),
    "Contributing": ("architecture.md", "local-platform.md"),
}


def sources() -> dict[str, Path]:
    """Every file of the site, by its path there: pages, pictures, schemas."""
    found = {name: ROOT / path for path, name in ELSEWHERE.items()}
    for path in sorted(DOCS.rglob("*")):
        name = path.relative_to(DOCS)
        if path.is_file() and path.suffix in (".md", ".json", ".yaml", ".png", ".svg") and name.parts[0] != "tests":
            found[name.as_posix()] = path
    return found


def navigation(pages: Sequence[str]) -> list[dict[str, Any]]:
    """The navigation over pages. Raises ValueError for pages that no section names."""
    left = list(pages)

    def take(patterns: Sequence[str | tuple[str, Sequence[str]]]) -> list[Any]:
        taken: list[Any] = []
        for pattern in patterns:
            if not isinstance(pattern, str):
                title, inner = pattern
                taken.append({title: take(inner)})
                continue
            matching = sorted(fnmatch.filter(left, pattern))
            taken += matching
            left[:] = [page for page in left if page not in matching]
        return taken

    sections = [{title: take(patterns)} for title, patterns in SECTIONS.items()]
    if left:
        raise ValueError(f"no section of docs/website.py names {', '.join(left)}")
    return sections


def rewritten(page: Path, name: str, names: Mapping[Path, str]) -> str:
    """A page's text with its links as they have to be on the site."""
    text = page.read_text()
    for target in sorted(set(links.targets(text)), key=len, reverse=True):
        if not links.is_relative(target) or not urlsplit(target).path:
            continue
        file, anchor = links.resolve(page, target, ROOT)
        # A folder is shown by its README.
        if file.is_dir() and (file / "README.md") in names:
            file = file / "README.md"
        if file in names:
            up = "../" * name.count("/")
            new = f"{up}{names[file]}"
        else:
            new = f"{REPOSITORY}/{'tree' if file.is_dir() else 'blob'}/main/{file.relative_to(ROOT)}"
        new += f"#{anchor}" if anchor else ""
        if f"]({target})" not in text:
            raise ValueError(f"{page.relative_to(ROOT)}: write the link to {target} as [text](target)")
        text = text.replace(f"]({target})", f"]({new})")
    return text


def stage(folder: Path) -> None:
    """Lay out in a folder what Zensical builds from: its configuration, the pages, Mermaid."""
    shutil.rmtree(folder, ignore_errors=True)
    found = sources()
    names = {path: name for name, path in found.items()}
    for name, path in found.items():
        target = folder / "pages" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".md":
            target.write_text(rewritten(path, name, names))
        else:
            shutil.copyfile(path, target)
    assets = folder / "pages" / "assets"
    assets.mkdir()
    (folder / "theme").mkdir()
    shutil.copyfile(DOCS / "theme" / "main.html", folder / "theme" / "main.html")
    shutil.copyfile(DOCS / "theme" / "extra.css", assets / "extra.css")
    (assets / "mermaid.min.js").write_bytes((files("mermaidx") / "assets" / "mermaid.js").read_bytes())
    configuration = tomllib.loads((DOCS / "zensical.toml").read_text())
    configuration["project"] |= {
        "repo_url": REPOSITORY,
        "docs_dir": "pages",
        "site_dir": "site",
        "nav": navigation([name for name, path in found.items() if path.suffix == ".md"]),
    }
    (folder / "zensical.toml").write_text(tomli_w.dumps(configuration))


def pictures(pages: Path) -> int:
    """Draw every Mermaid picture, as a browser would, and count them. Raises ValueError for one that cannot be."""
    mermaid = importlib.import_module("mermaidx")
    count = 0
    for page in sorted(pages.rglob("*.md")):
        for token in links.tokens(page.read_text()):
            if token.type != "fence" or token.info != "mermaid":
                continue
            count += 1
            try:
                mermaid.render(token.content).svg()
            except Exception as error:
                raise ValueError(f"{page.relative_to(pages)}: a picture cannot be drawn: {error}") from error
    return count


class _Fetched(HTMLParser):
    """What a page has a browser fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag in ("script", "img", "iframe", "source"):
            self.addresses.append(given.get("src", ""))
        if tag == "link" and re.search(r"stylesheet|icon|preload|preconnect", given.get("rel", "")):
            self.addresses.append(given.get("href", ""))


def fetched(page: str) -> list[str]:
    """Addresses on other servers that a page has a browser fetch."""
    parser = _Fetched()
    parser.feed(page)
    return [address for address in parser.addresses if urlsplit(address).netloc]


@click.command(help=__doc__.splitlines()[0] if __doc__ else "")
@click.option("--out", type=click.Path(path_type=Path), default=ROOT / "out", help="The folder to make `site` in.")
def main(out: Path) -> None:
    work = out.resolve() / "site-build"
    try:
        stage(work)
        drawn = pictures(work / "pages")
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    if subprocess.run([sys.executable, "-m", "zensical", "build", "--clean", "--strict"], cwd=work).returncode:
        raise click.ClickException("Zensical found faults, see above")
    built = sorted((work / "site").rglob("*.html"))
    for page in built:
        if foreign := fetched(page.read_text()):
            raise click.ClickException(f"{page.name} has a browser fetch {', '.join(foreign)}")
    site = out.resolve() / "site"
    shutil.rmtree(site, ignore_errors=True)
    shutil.move(work / "site", site)
    click.echo(f"{len(built)} pages, {drawn} pictures: {site / 'index.html'}")


if __name__ == "__main__":
    main()
