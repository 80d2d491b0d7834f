"""The workflows: judged by actionlint and zizmor, every action pinned, one registry, Dockerfiles of one form."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ameide_dev import tools
from ameide_dev.release_images import OPERATORS, ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def test_actionlint() -> None:
    command = [str(tools.find("actionlint")), "-no-color", *map(str, WORKFLOWS)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert (result.returncode, result.stdout) == (0, "")


def test_zizmor() -> None:
    # Offline: what it could only ask of the network, such as whether a commit is of a tag, is not its business here.
    program = Path(sys.executable).parent / "zizmor"
    command = [str(program), "--offline", "--no-progress", "--color=never", str(ROOT / ".github")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned_and_rights_are_given_by_job(workflow: Path) -> None:
    text = workflow.read_text()
    for line in text.splitlines():
        if "uses:" in line:
            assert re.search(r"uses: [\w./-]+@[0-9a-f]{40} # v\d", line), line
    content = yaml.safe_load(text)
    assert content["permissions"] == {}
    assert all("permissions" in job and "timeout-minutes" in job for job in content["jobs"].values())


def test_one_registry_everywhere() -> None:
    files = [*WORKFLOWS, *(ROOT / ".github" / "scripts").glob("release-*.sh")]
    named = [line.strip() for path in files for line in path.read_text().splitlines() if "ghcr.io" in line]
    assert named == ["REGISTRY: ${{ vars.REGISTRY || 'ghcr.io/ameide' }}"]


@pytest.mark.parametrize("script", sorted((ROOT / ".github" / "scripts").glob("*.sh")), ids=lambda path: path.name)
def test_scripts_parse(script: Path) -> None:
    assert script.stat().st_mode & 0o111, f"{script} cannot be executed"
    subprocess.run(["bash", "-n", str(script)], check=True)


@pytest.mark.parametrize("kind", ["release", "dev"])
def test_dockerfiles_differ_in_their_operator_alone(kind: str) -> None:
    # The workspace's members are named in all of them.
    member = re.compile(r"^COPY operators/\S+/pyproject\.toml .*\n", re.MULTILINE)
    texts = {name: (ROOT / "operators" / f"{name}-operator" / f"Dockerfile.{kind}").read_text() for name in OPERATORS}
    members = {name: member.findall(text) for name, text in texts.items()}
    assert all(found == members["domain"] for found in members.values())
    forms = {member.sub("", text).replace(f"{name}-operator", "NAME") for name, text in texts.items()}
    assert len(forms) == 1
    if kind == "release":
        folders = sorted(path.parent.name for path in (ROOT / "operators").glob("*/pyproject.toml"))
        assert sorted(line.split("/")[1] for line in members["domain"]) == folders
