"""What the release workflow decides, as a program: which images to build, how they are called, what the chart pins.

`python -m ameide_dev.release matrix | names | version | refuse | pin | publish`. The workflow only calls it, so that
tests can run it.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from ameide_dev import tools
from ameide_dev.release_images import OPERATORS, ROOT
from ameide_shared.registry import ImageNotFound, RegistryClient, RegistryError

TAG = re.compile(r"refs/tags/operators-v(?P<version>(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?)")
BRANCHES = ("dev", "main")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")

# What goes into every image, besides the operator's own folder.
_COMMON = ("operators/shared/", ".github/workflows/cd-service-images.yml")
_COMMON_FILES = frozenset({"uv.lock", "pyproject.toml", "dev/pyproject.toml", ".dockerignore"})


class ReleaseError(Exception):
    """The release cannot go on; the message says why and what to do."""


def version_of(ref: str) -> str:
    """The version that a tag such as refs/tags/operators-v1.2.3 releases. Raises ReleaseError."""
    match = TAG.fullmatch(ref)
    if match is None:
        raise ReleaseError(f"{ref} releases nothing: a release is a tag operators-vX.Y.Z, or one with -suffix after it")
    return match["version"]


def image_tags(ref: str, revision: str) -> list[str]:
    """The tags of images built for a Git ref: a version alone, or for a branch its name and the commit's."""
    if ref.startswith("refs/tags/"):
        return [version_of(ref)]
    branch = ref.removeprefix("refs/heads/")
    if branch not in BRANCHES:
        raise ReleaseError(f"no images are published for {ref}: only for {', '.join(BRANCHES)} and version tags")
    return [branch, f"{branch}-{revision[:12]}"]


def concerned(changed: Iterable[str]) -> list[str]:
    """The operators whose image holds any of these files of the repository."""
    found: set[str] = set()
    for path in changed:
        parts = path.split("/")
        if path in _COMMON_FILES or (path.startswith(_COMMON) and "tests" not in parts):
            return list(OPERATORS)
        if parts[0] == "operators" and len(parts) > 2:
            if parts[2] == "pyproject.toml":
                # Every build reads those of the whole workspace.
                return list(OPERATORS)
            if parts[2] != "tests" and not path.endswith(".md"):
                found.add(parts[1].removesuffix("-operator"))
    return [operator for operator in OPERATORS if operator in found]


def changed_since(before: str, folder: Path = ROOT) -> list[str] | None:
    """The files that differ from commit `before`; None where that is unknown, as for a new or a rewritten branch."""
    command = ["git", "diff", "--name-only", "--no-renames", before, "HEAD"]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return result.stdout.splitlines() if before.strip("0") and result.returncode == 0 else None


def matrix(ref: str, before: str, folder: Path = ROOT) -> list[str]:
    """The operators to build: all for a version, else those that changed."""
    changed = None if ref.startswith("refs/tags/") else changed_since(before, folder)
    return list(OPERATORS) if changed is None else concerned(changed)


def pin(chart: Path, version: str, registry: str, digests: Mapping[str, str]) -> None:
    """Write version, registry and image digests into a chart's Chart.yaml and values.yaml; comments stay.

    registry: host and path, such as ghcr.io/ameide. Raises ReleaseError, and changes nothing then.
    """
    if set(digests) != set(OPERATORS):
        raise ReleaseError(f"digests of {', '.join(OPERATORS)} are needed; there are those of {', '.join(digests)}")
    bad = [f"{name}: {value!r}" for name, value in digests.items() if not DIGEST.fullmatch(value)]
    if bad:
        raise ReleaseError(f"not a digest sha256:…: {'; '.join(bad)}")
    host, _, path = registry.partition("/")
    changes: dict[tuple[str, ...], str] = {("image", "registry"): host}
    for operator, digest in digests.items():
        place = ("operators", operator, "image")
        changes[*place, "repository"] = "/".join(filter(None, (path, f"{operator}-operator")))
        changes[*place, "digest"] = digest
    values = edited((chart / "values.yaml").read_text(), changes)
    about = edited((chart / "Chart.yaml").read_text(), {("version",): version, ("appVersion",): version})
    (chart / "values.yaml").write_text(values)
    (chart / "Chart.yaml").write_text(about)


def edited(text: str, changes: Mapping[tuple[str, ...], str]) -> str:
    """Block-style YAML with the scalars at these paths replaced, line by line, so that comments stay.

    Raises ReleaseError for a path that is not there.
    """
    lines, open_keys, done = [], list[tuple[int, str]](), set[tuple[str, ...]]()
    for line in text.splitlines():
        match = re.match(r"(?P<indent> *)(?P<key>[A-Za-z0-9_.-]+):(?P<rest>.*)", line)
        if match:
            depth = len(match["indent"])
            open_keys = [*(entry for entry in open_keys if entry[0] < depth), (depth, match["key"])]
            place = tuple(key for _, key in open_keys)
            if place in changes:
                line = f"{match['indent']}{match['key']}: {json.dumps(changes[place])}"
                done.add(place)
        lines.append(line)
    if absent := [".".join(place) for place in changes if place not in done]:
        raise ReleaseError(f"there is no {', '.join(absent)} to write the release into")
    return "\n".join(lines) + "\n"


def publish(chart: Path, registry: str, version: str, folder: Path, options: Sequence[str] = ()) -> str:
    """Package a chart whose version is `version` and push it to `registry`/helm; the digest that it got.

    options: of `helm push`, such as --plain-http. Raises ReleaseError with Helm's words, ToolError.
    """
    _helm("package", str(chart), "--destination", str(folder))
    package = folder / f"{chart.name}-{version}.tgz"
    said = _helm("push", str(package), f"oci://{registry}/helm", *options)
    match = re.search(rf"^Digest: ({DIGEST.pattern})$", said, re.MULTILINE)
    if match is None:
        raise ReleaseError(f"helm push did not tell the digest of {package.name}; it said: {said.strip()}")
    return match[1]


def _helm(*arguments: str) -> str:
    command = [str(tools.find("helm")), *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise ReleaseError(f"helm {arguments[0]} failed: {result.stderr.strip()}")
    return result.stdout + result.stderr


@dataclass(frozen=True, slots=True)
class _Asking:
    timeout: float = 30.0
    cache_seconds: float = 0.0
    credentials_file: Path | None = None
    insecure_registries: Sequence[str] = ()


def existing(references: Sequence[str], credentials: Path | None = None, insecure: Sequence[str] = ()) -> list[str]:
    """Those of the references (images, or charts) that their registry has already. Raises RegistryError.

    credentials: a Docker config.json. insecure: registries (host:port) that are spoken to without TLS.
    """

    async def ask() -> list[str]:
        client = RegistryClient(_Asking(credentials_file=credentials, insecure_registries=insecure))
        found = []
        try:
            for reference in references:
                try:
                    await client.check(reference)
                except ImageNotFound:
                    continue
                found.append(reference)
        finally:
            await client.close()
        return found

    return asyncio.run(ask())


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """What the release workflow decides."""


@main.command("matrix")
@click.option("--ref", required=True, help="The Git ref that was pushed.")
@click.option("--before", required=True, help="The commit that it was at before.")
def print_matrix(ref: str, before: str) -> None:
    """Print the operators to build, as JSON."""
    click.echo(json.dumps(matrix(ref, before)))


@main.command("names")
@click.option("--ref", required=True, help="The Git ref that was pushed.")
@click.option("--revision", required=True, help="Its commit.")
@click.argument("repository")
def print_names(ref: str, revision: str, repository: str) -> None:
    """Print the full names of an image, one a line."""
    for tag in image_tags(ref, revision):
        click.echo(f"{repository}:{tag}")


@main.command("version")
@click.option("--revision", default="", help="Its commit; without one, only a tag has a version.")
@click.argument("ref")
def print_version(ref: str, revision: str) -> None:
    """Print the version of what is built for a Git ref: a release's, or a branch's name with the commit."""
    click.echo(image_tags(ref, revision)[-1] if revision else version_of(ref))


@main.command("pin")
@click.option("--chart", required=True, type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--version", required=True)
@click.option("--registry", required=True, help="Where the images are, such as ghcr.io/ameide.")
@click.option("--digests", required=True, type=click.Path(path_type=Path, exists=True, file_okay=False))
def write_pins(chart: Path, version: str, registry: str, digests: Path) -> None:
    """Write a release into the chart: its version, and the digests that lie in a folder as files named by operator."""
    found = {path.name: path.read_text().strip() for path in sorted(digests.iterdir())}
    pin(chart, version, registry, found)


@main.command("publish")
@click.option("--chart", required=True, type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--version", required=True)
@click.option("--registry", required=True, help="Where the chart goes, into helm below it.")
@click.option("--folder", required=True, type=click.Path(path_type=Path, file_okay=False), help="For the package.")
def push_chart(chart: Path, version: str, registry: str, folder: Path) -> None:
    """Package the chart, push it, and print its digest."""
    click.echo(publish(chart, registry, version, folder))


@main.command("refuse")
@click.option("--credentials", type=click.Path(path_type=Path, exists=True), help="A Docker config.json.")
@click.option("--insecure", multiple=True, help="A registry, host:port, that is spoken to without TLS.")
@click.argument("references", nargs=-1, required=True)
def refuse(credentials: Path | None, insecure: tuple[str, ...], references: tuple[str, ...]) -> None:
    """Fail if a registry has any of these images or charts: what was released is never replaced."""
    if found := existing(references, credentials, insecure):
        raise ReleaseError(f"released already, and not to be replaced: {', '.join(found)}; release another version")
    click.echo(f"{len(references)} names are free")


if __name__ == "__main__":
    try:
        main()
    except (ReleaseError, RegistryError, tools.ToolError) as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
