"""The release images of the operators, built from their Dockerfiles as in a release, on base images made here."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ameide_dev import baseimages, buildah

ROOT = Path(__file__).resolve().parents[3]
OPERATORS = ("domain", "process", "agent", "uisurface")
_FORBIDDEN = frozenset({"sh", "bash", "dash", "busybox", "apt", "apt-get", "dpkg", "pip", "pip3", "uv"})


@dataclass(frozen=True, slots=True)
class ReleaseImage:
    """An operator's image: its name, and the unpacked bytes of the base image and of what lies over it."""

    operator: str
    name: str
    labels: Mapping[str, str]
    """What the build was asked to write into its labels."""
    base_bytes: int
    added_bytes: int

    @property
    def total_bytes(self) -> int:
        """All of it."""
        return self.base_bytes + self.added_bytes


def reference(operator: str, tag: str) -> str:
    """The image's name, as the chart's defaults have it."""
    return f"ghcr.io/ameide/{operator}-operator:{tag}"


def build(operator: str, tag: str) -> ReleaseImage:
    """Build one operator's release image. Raises CommandError, BuildError."""
    build_image, runtime_image = baseimages.build_image(), baseimages.runtime_image()
    arguments = {
        "BUILD_IMAGE": build_image,
        "RUNTIME_IMAGE": runtime_image,
        "VERSION": tag,
        "REVISION": _revision(),
    }
    dockerfile = ROOT / "operators" / f"{operator}-operator" / "Dockerfile.release"
    name = buildah.build(reference(operator, tag), dockerfile, ROOT, arguments, estimate=60)
    base = buildah.size(runtime_image)
    labels = {
        "title": f"{operator}-operator",
        "version": tag,
        "revision": arguments["REVISION"],
        "base.name": runtime_image,
    }
    return ReleaseImage(operator, name, labels, base, buildah.size(name) - base)


def faults(image: ReleaseImage) -> list[str]:
    """What an image should not be or hold, as sentences; empty when all is well. Raises BuildError."""
    operator = image.operator
    config, files = buildah.configuration(image.name), buildah.files(image.name)
    found = []
    expected = {
        "User": "65532:65532",
        "Entrypoint": [f"/opt/operator/bin/{operator}-operator"],
        "Cmd": ["run"],
    }
    for key, value in expected.items():
        if config.get(key) != value:
            found.append(f"{key} is {config.get(key)!r}, not {value!r}")
    labels = config.get("Labels") or {}
    for key, value in image.labels.items():
        if labels.get(f"org.opencontainers.image.{key}") != value:
            found.append(f"label {key} is {labels.get(f'org.opencontainers.image.{key}')!r}, not {value!r}")
    if f"AMEIDE_VERSION={image.labels['version']}" not in (config.get("Env") or ()):
        found.append(f"it does not tell its version {image.labels['version']} to the program")
    programs = {Path(file).name for file in files if "/bin/" in file or "/sbin/" in file}
    if forbidden := sorted(programs & _FORBIDDEN):
        found.append(f"it holds {', '.join(forbidden)}")
    packages = {
        Path(file).parts[6] for file in files if "/site-packages/" in file and file.startswith("/opt/operator/")
    }
    strangers = {f"{other}_operator" for other in OPERATORS if other != operator} | {
        "ameide_dev",
        "pytest",
        "pip",
        "uv",
    }
    if present := sorted(packages & strangers):
        found.append(f"it holds the packages {', '.join(present)}")
    if not {f"{operator}_operator", "ameide_shared"} <= packages:
        found.append("it lacks its own package or the shared one")
    return found


def build_all(tag: str) -> list[ReleaseImage]:
    """Build all four. Raises CommandError, BuildError."""
    return [build(operator, tag) for operator in OPERATORS]


def _revision() -> str:
    result = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return result.stdout.strip() or "unknown"
