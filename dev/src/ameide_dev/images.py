"""The images that the host node can run: how each becomes a local process.

An image belongs to the host node when the last part of its repository starts with `hostnode-`, for example
`ghcr.io/ameide/hostnode-orders:1.12.3`. The part after that prefix is looked up here, the tag selects a version.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ameide_dev.postgres import find_binaries

PREFIX = "hostnode-"
IMAGES = Path(__file__).parents[2] / "images"
PROCESS_WORKER = Path(__file__).parents[3] / "examples" / "process-worker" / "src"
SURFACE = Path(__file__).parents[3] / "examples" / "surface"
AGENT_RUNTIME = Path(__file__).parents[3] / "examples" / "agent-runtime" / "src"


@dataclass(frozen=True, slots=True)
class Image:
    """What an image would hold: program, default arguments, environment, and files at their place in the container."""

    entrypoint: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)
    """Absolute path in the container → the file or folder that is there."""
    path: tuple[Path, ...] = ()
    """Folders put in front of PATH."""
    kubeconfig: bool = False
    """Whether the program finds the API server through $KUBECONFIG, with its pod's service account."""


@dataclass(frozen=True, slots=True)
class Reference:
    """The parts of an image reference; `name` is the last part of the repository."""

    repository: str
    name: str
    tag: str


Maker = Callable[[str], Image | None]


def parse(image: str) -> Reference:
    """Split an image reference; a digest is dropped, a missing tag is `latest`."""
    without_digest = image.partition("@")[0]
    head, slash, last = without_digest.rpartition("/")
    name, _, tag = last.partition(":")
    return Reference(head + slash + name, name, tag or "latest")


def runs_on_host(image: str) -> bool:
    """Whether the image belongs to the host node, known to it or not."""
    return parse(image).name.startswith(PREFIX)


def digest(image: str) -> str:
    """A digest that stands for the image's content, which is fixed by its reference here."""
    reference = parse(image)
    content = f"{reference.name}:{reference.tag}".encode()
    return f"{reference.repository}@sha256:{hashlib.sha256(content).hexdigest()}"


class ImageTable:
    """Name (without prefix) → a function from tag to Image, which returns None for a tag that does not exist."""

    def __init__(self, makers: Mapping[str, Maker] | None = None) -> None:
        self._makers: dict[str, Maker] = {**_BUILT_IN, **(makers or {})}

    def add(self, name: str, maker: Maker) -> None:
        """Add or replace an image; `name` is the part after `hostnode-`."""
        self._makers[name] = maker

    def find(self, image: str) -> Image | None:
        """Return what an image reference stands for, None when there is no such repository or tag."""
        reference = parse(image)
        if not reference.name.startswith(PREFIX):
            return None
        name = reference.name.removeprefix(PREFIX)
        if maker := self._makers.get(name):
            return maker(reference.tag)
        return _operator(name)


def migrations(folder: Path) -> Maker:
    """An image of the Flyway migrator per subfolder of `folder`: the tag names the subfolder with its V*.sql files."""

    def make(tag: str) -> Image | None:
        files = folder / tag
        if "/" in tag or tag.startswith(".") or not files.is_dir():
            return None
        return Image(
            entrypoint=(sys.executable, "-m", "ameide_dev.flyway"),
            arguments=("migrate",),
            env={"FLYWAY_LOCATIONS": "filesystem:/flyway/sql"},
            files={"/flyway/sql": files},
        )

    return make


def _orders(tag: str) -> Image:
    return Image(entrypoint=(sys.executable, str(IMAGES / "orders" / "app.py")), env={"ORDERS_VERSION": tag})


def _process_worker(tag: str) -> Image:
    """The example worker of Processes; tags ending -crash exit at once, -nopoll are healthy but never poll."""
    fault = next((fault for fault in ("crash", "nopoll") if tag.endswith(f"-{fault}")), None)
    broken = (str(IMAGES / "process-worker" / "broken.py"), fault) if fault else None
    return Image(
        entrypoint=(sys.executable, *(broken or ("-m", "process_worker"))), env={"PYTHONPATH": str(PROCESS_WORKER)}
    )


def _agent_runtime(tag: str) -> Image:
    """The example runtime of Agents; tags ending -crash exit at once, -bad never become ready."""
    fault = next((fault for fault in ("crash", "bad") if tag.endswith(f"-{fault}")), None)
    broken = (str(IMAGES / "agent-runtime" / "broken.py"), fault) if fault else None
    return Image(
        entrypoint=(sys.executable, *(broken or ("-m", "agent_runtime"))), env={"PYTHONPATH": str(AGENT_RUNTIME)}
    )


def _surface(tag: str) -> Image:
    """The example UISurface, on the machine's Node."""
    return Image(
        entrypoint=("node", str(SURFACE / "src" / "main.js")),
        env={"NODE_OPTIONS": f"--require {IMAGES / 'node' / 'hostnode.cjs'}", "SURFACE_VERSION": tag},
    )


def _echo_model(_: str) -> Image:
    # Which of all addresses a pod's own is, the host node knows.
    return Image(entrypoint=(sys.executable, "-m", "ameide_dev.modelserver"), arguments=("--host", "0.0.0.0"))  # noqa: S104


def _postgres(_: str) -> Image:
    return Image(path=(find_binaries(),))


def _python(_: str) -> Image:
    return Image(arguments=(sys.executable,), path=(Path(sys.executable).parent,))


def _operator(name: str) -> Image | None:
    program = Path(sys.executable).parent / name
    if name.endswith("-operator") and program.exists():
        return Image(entrypoint=(str(program),), arguments=("run",), kubeconfig=True)
    return None


_BUILT_IN: Mapping[str, Maker] = {
    "agent-runtime": _agent_runtime,
    "echo-model": _echo_model,
    "flyway-migrator": migrations(IMAGES / "orders-migrations"),
    "orders": _orders,
    "postgres": _postgres,
    "process-worker": _process_worker,
    "python": _python,
    "surface": _surface,
}
