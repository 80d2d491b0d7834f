"""What the release workflow decides: which images, which names, what the chart pins, what is never replaced."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ameide_dev import release, tools
from ameide_dev.operators import CHART
from ameide_dev.ports import Ports
from ameide_dev.processes import Server, wait_until
from ameide_dev.release_images import OPERATORS

REVISION = "0123456789abcdef0123456789abcdef01234567"
DIGESTS = {operator: f"sha256:{index:064x}" for index, operator in enumerate(OPERATORS)}


@pytest.mark.parametrize(
    ("ref", "tags"),
    [
        ("refs/tags/operators-v1.2.3", ["1.2.3"]),
        ("refs/tags/operators-v1.2.3-rc.1", ["1.2.3-rc.1"]),
        ("refs/heads/main", ["main", "main-0123456789ab"]),
        ("refs/heads/dev", ["dev", "dev-0123456789ab"]),
    ],
)
def test_names_of_images(ref: str, tags: list[str]) -> None:
    assert release.image_tags(ref, REVISION) == tags


@pytest.mark.parametrize(
    "ref", ["refs/tags/v1.2.3", "refs/tags/operators-v1.2", "refs/tags/operators-v01.2.3", "refs/heads/feature/x"]
)
def test_what_releases_nothing(ref: str) -> None:
    with pytest.raises(release.ReleaseError):
        release.image_tags(ref, REVISION)


@pytest.mark.parametrize(
    ("path", "operators"),
    [
        ("operators/domain-operator/src/domain_operator/spec.py", ["domain"]),
        ("operators/uisurface-operator/Dockerfile.release", ["uisurface"]),
        ("operators/shared/src/ameide_shared/plan.py", list(OPERATORS)),
        ("operators/agent-operator/pyproject.toml", list(OPERATORS)),
        ("uv.lock", list(OPERATORS)),
        (".github/workflows/cd-service-images.yml", list(OPERATORS)),
        ("operators/shared/tests/test_plan.py", []),
        ("operators/process-operator/tests/test_plan.py", []),
        ("operators/process-operator/README.md", []),
        ("charts/ameide-operators/values.yaml", []),
        ("dev/src/ameide_dev/release.py", []),
    ],
)
def test_only_what_changed_is_built(path: str, operators: list[str]) -> None:
    assert release.concerned([path]) == operators


def test_several_changes_are_built_in_order() -> None:
    changed = ["operators/agent-operator/src/a.py", "docs/x.md", "operators/domain-operator/src/b.py"]
    assert release.concerned(changed) == ["domain", "agent"]


@pytest.fixture
def repository(tmp_path: Path) -> tuple[Path, list[str]]:
    """A Git repository with three commits: the first empty, one of the Domain operator, one of the docs."""

    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "init.defaultBranch=main"]
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    git("init", "--quiet")
    commits = []
    for path in ("a", "operators/domain-operator/src/x.py", "docs/x.md"):
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("x")
        git("add", ".")
        git("commit", "--quiet", "--message", path)
        commits.append(git("rev-parse", "HEAD"))
    return tmp_path, commits


def test_the_matrix_of_a_push(repository: tuple[Path, list[str]]) -> None:
    folder, (first, second, _) = repository
    assert release.matrix("refs/heads/main", first, folder) == ["domain"]
    assert release.matrix("refs/heads/main", second, folder) == []
    assert release.matrix("refs/tags/operators-v1.0.0", second, folder) == list(OPERATORS)
    # A new branch, and one whose old commit is gone after a rewrite: nothing is known, so all are built.
    assert release.matrix("refs/heads/main", "0" * 40, folder) == list(OPERATORS)
    assert release.matrix("refs/heads/main", "f" * 40, folder) == list(OPERATORS)


@pytest.fixture
def chart(tmp_path: Path) -> Path:
    return Path(shutil.copytree(CHART, tmp_path / "chart" / CHART.name))


def test_a_release_is_pinned_in_the_chart(chart: Path) -> None:
    before = yaml.safe_load((chart / "values.yaml").read_text())
    comments = [line for line in (chart / "values.yaml").read_text().splitlines() if "#" in line]
    release.pin(chart, "1.2.3", "registry.example.com:5000/platform/ameide", DIGESTS)
    text = (chart / "values.yaml").read_text()
    assert [line for line in text.splitlines() if "#" in line] == comments
    expected = before
    expected["image"]["registry"] = "registry.example.com:5000"
    for operator in OPERATORS:
        image = expected["operators"][operator]["image"]
        image |= {"repository": f"platform/ameide/{operator}-operator", "digest": DIGESTS[operator]}
    assert yaml.safe_load(text) == expected
    about = yaml.safe_load((chart / "Chart.yaml").read_text())
    assert (about["version"], about["appVersion"]) == ("1.2.3", "1.2.3")
    images = sorted(image_of(item) for item in rendered(chart) if item["kind"] == "Deployment")
    assert images == sorted(
        f"registry.example.com:5000/platform/ameide/{name}-operator@{digest}" for name, digest in DIGESTS.items()
    )


def image_of(deployment: dict[str, Any]) -> str:
    image = str(deployment["spec"]["template"]["spec"]["containers"][0]["image"])
    name, at, digest = image.partition("@")
    # A tag before the digest says to people which version it is.
    return name.removesuffix(":1.2.3") + at + digest


def rendered(chart: Path) -> list[dict[str, Any]]:
    command = [str(tools.find("helm")), "template", "x", str(chart)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return [item for item in yaml.safe_load_all(result.stdout) if item]


@pytest.mark.parametrize(
    ("digests", "words"),
    [
        ({"domain": DIGESTS["domain"]}, "digests of domain, process, agent, uisurface are needed"),
        ({**DIGESTS, "agent": "latest"}, "not a digest sha256:…: agent: 'latest'"),
    ],
)
def test_half_a_release_is_refused(chart: Path, digests: dict[str, str], words: str) -> None:
    before = (chart / "values.yaml").read_text()
    with pytest.raises(release.ReleaseError, match=words):
        release.pin(chart, "1.2.3", "ghcr.io/ameide", digests)
    assert (chart / "values.yaml").read_text() == before


def test_a_value_that_has_moved_is_not_passed_over() -> None:
    with pytest.raises(release.ReleaseError, match=r"there is no image\.registry to write"):
        release.edited("images:\n  registry: x\n", {("image", "registry"): "y"})


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    """A real registry on loopback: Debian's docker-registry."""
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("docker-registry is not installed: apt-get install docker-registry")
    ports = Ports()
    address = f"127.0.0.1:{ports.reserve()}"
    configuration = tmp_path / "registry.yaml"
    storage = {"filesystem": {"rootdirectory": str(tmp_path / "registry")}}
    configuration.write_text(
        yaml.safe_dump({"version": 0.1, "log": {"level": "warn"}, "storage": storage, "http": {"addr": address}})
    )
    server = Server("registry", [program, "serve", str(configuration)], log=tmp_path / "registry.log")
    server.start()
    try:
        wait_until("The registry", lambda: answers(address), [server], timeout=30)
        yield address
    finally:
        server.stop()
        ports.release()


def answers(address: str) -> bool:
    try:
        release.existing([f"{address}/x:1"], insecure=[address])
    except release.RegistryError:
        return False
    return True


def test_a_version_is_published_once(chart: Path, registry: str, tmp_path: Path) -> None:
    reference = f"{registry}/ameide/helm/ameide-operators:1.2.3"
    assert release.existing([reference], insecure=[registry]) == []
    release.pin(chart, "1.2.3", f"{registry}/ameide", DIGESTS)
    digest = release.publish(chart, f"{registry}/ameide", "1.2.3", tmp_path, ["--plain-http"])
    assert release.DIGEST.fullmatch(digest)
    assert release.existing([reference, f"{reference}-rc.1"], insecure=[registry]) == [reference]
    refused = subprocess.run(
        [sys.executable, "-m", "ameide_dev.release", "refuse", "--insecure", registry, reference],
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 1
    assert f"released already, and not to be replaced: {reference}" in refused.stderr


def test_the_program_prints_what_a_workflow_reads() -> None:
    command = [sys.executable, "-m", "ameide_dev.release"]
    ref = "refs/tags/operators-v2.0.0"

    def said(*arguments: str) -> str:
        return subprocess.run([*command, *arguments], capture_output=True, text=True, check=True).stdout.strip()

    assert json.loads(said("matrix", "--ref", ref, "--before", "0" * 40)) == list(OPERATORS)
    assert said("version", ref) == "2.0.0"
    assert said("version", "--revision", REVISION, "refs/heads/main") == "main-0123456789ab"
    assert said("names", "--ref", ref, "--revision", REVISION, "r/x") == "r/x:2.0.0"
