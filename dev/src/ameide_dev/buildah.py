"""Container images without a container engine: Debian's buildah, with its storage in the user's cache."""

import io
import json
import os
import re
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ameide_dev.cache import cache_dir, lock
from ameide_dev.progress import run_logged

# Where a build finds the certificate authorities of this machine: the base images know only the public ones.
_CERTIFICATES = Path(os.environ.get("SSL_CERT_FILE") or "/etc/ssl/certs/ca-certificates.crt")
_MOUNTED = Path("/machine-certificates")
_NAME = "org.opencontainers.image.ref.name"


def _environment() -> dict[str, str]:
    overlay = "overlay" in Path("/proc/filesystems").read_text()
    # chroot: a build needs no network or process namespaces of its own, which not every machine grants.
    return {
        "STORAGE_DRIVER": os.environ.get("STORAGE_DRIVER") or ("overlay" if overlay else "vfs"),
        "BUILDAH_ISOLATION": "chroot",
    }


def _command(*arguments: str) -> list[str]:
    storage = cache_dir() / "buildah"
    return ["buildah", f"--root={storage / 'storage'}", f"--runroot={storage / 'run'}", *arguments]


def _run(*arguments: str) -> str:
    result = subprocess.run(
        _command(*arguments), capture_output=True, text=True, env={**os.environ, **_environment()}, check=False
    )
    if result.returncode != 0:
        raise BuildError(f"buildah {arguments[0]} failed: {result.stderr.strip()}")
    return result.stdout


class BuildError(Exception):
    """An image could not be made or looked at; the message has what buildah said."""


def exists(name: str) -> bool:
    """Whether the storage has an image of this name."""
    images = _run("images", "--format={{.Name}}:{{.Tag}}")
    return name in images.split()


def build(
    name: str,
    dockerfile: Path,
    context: Path,
    arguments: Mapping[str, str],
    *,
    estimate: float,
) -> str:
    """Build an image and return its name; layers of earlier builds are used again. Raises progress.CommandError.

    arguments: of the build, those that the Dockerfile declares. estimate: the usual time, in seconds.
    """
    given = {"SSL_CERT_FILE": str(_MOUNTED / _CERTIFICATES.name), **arguments}
    short = name.rpartition("/")[2].replace(":", "-")
    # One at a time: two builds would only fill each other's missing layers.
    with lock("buildah"), tempfile.TemporaryDirectory(prefix="ameide-build-") as folder:
        file = Path(folder) / "Dockerfile"
        file.write_text(with_arguments(dockerfile.read_text(), given))
        run_logged(
            _command(
                "build",
                "--layers",
                "--pull-never",
                f"--tag={name}",
                f"--file={file}",
                f"--volume={_CERTIFICATES.resolve().parent}:{_MOUNTED}:ro",
                str(context),
            ),
            what=f"Building the image {name}",
            log=cache_dir() / "logs" / f"image-{short}.log",
            estimate=estimate,
            remedy="Look at the log; package indexes must be within reach.",
            env=_environment(),
        )
    return name


def with_arguments(dockerfile: str, arguments: Mapping[str, str]) -> str:
    """A Dockerfile with the values of these arguments in their places.

    buildah keeps apart what an instruction says, and not what its arguments are: it would take a label or a variable of
    an earlier build, with the value of that time.
    """
    said = re.sub(
        r"^ARG (\w+)(?:=.*)?$",
        lambda match: f"ARG {match[1]}={arguments[match[1]]}" if match[1] in arguments else match[0],
        dockerfile,
        flags=re.MULTILINE,
    )
    return re.sub(r"\$\{(\w+)\}", lambda match: arguments.get(match[1], match[0]), said)


def import_root(name: str, root: Path, *, user: str = "", path: str = "") -> None:
    """Make an image of one layer from a folder with a root file system."""
    with lock("buildah"):
        container = _run("from", "scratch").strip()
        try:
            _run("add", "--quiet", container, str(root), "/")
            options = [*([f"--user={user}"] if user else []), *([f"--env=PATH={path}"] if path else [])]
            _run("config", *options, container)
            _run("commit", "--quiet", container, name)
        finally:
            _run("rm", container)


def size(name: str) -> int:
    """The bytes of all files of an image, unpacked."""
    with _mounted(name) as root:
        return sum(path.lstat().st_size for path in root.rglob("*") if not path.is_dir() or path.is_symlink())


def configuration(name: str) -> dict[str, Any]:
    """The OCI configuration of an image: user, entry point, labels."""
    config: dict[str, Any] = json.loads(_run("inspect", "--type=image", name))["OCIv1"]["config"]
    return config


def files(name: str) -> list[str]:
    """The paths of all files of an image, absolute, sorted."""
    with _mounted(name) as root:
        found = [path for path in root.rglob("*") if path.is_symlink() or not path.is_dir()]
        return sorted(f"/{path.relative_to(root)}" for path in found)


def export(names: Sequence[str], archive: Path) -> Path:
    """Write images as one OCI archive, in which they share layers, for `ctr images import`; returns `archive`."""
    # Kept, so that layers which are there already need not be read from the storage again.
    layout = cache_dir() / "buildah" / "layout"
    with lock("buildah"):
        there = _configurations(layout)
        for name in names:
            if there.get(name) != _identity(name):
                _run("push", "--quiet", "--disable-compression", name, f"oci:{layout}:{name}")
        index = json.loads((layout / "index.json").read_text())
        wanted = [entry for entry in index["manifests"] if _name_in(entry) in names]
        for entry in wanted:
            # containerd would put a prefix of its own before a name that stands only in OCI's annotation.
            entry["annotations"]["io.containerd.image.name"] = entry["annotations"][_NAME]
        text = json.dumps({**index, "manifests": wanted}).encode()
        with tarfile.open(archive, "w") as tar:
            tar.add(layout / "oci-layout", "oci-layout")
            member = tarfile.TarInfo("index.json")
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text))
            for blob in sorted(_blobs(layout, wanted)):
                tar.add(layout / blob, blob)
    return archive


def _configurations(layout: Path) -> dict[str, str]:
    """The digest of the configuration, which stands for all of it, of each image in `layout` by name."""
    index = layout / "index.json"
    manifests = json.loads(index.read_text())["manifests"] if index.exists() else []
    # What was pushed again lies there without a name.
    named = {_name_in(entry): entry for entry in manifests}
    return {
        name: json.loads((layout / _blob(entry)).read_text())["config"]["digest"]
        for name, entry in named.items()
        if name
    }


def _name_in(entry: Mapping[str, Any]) -> str:
    return str(entry.get("annotations", {}).get(_NAME, ""))


def _identity(name: str) -> str:
    return f"sha256:{_run('inspect', '--type=image', '--format={{.FromImageID}}', name).strip()}"


def _blobs(layout: Path, manifests: Sequence[Mapping[str, Any]]) -> set[str]:
    """The files below `layout` that hold these manifests and all that they name."""
    found = set()
    for entry in manifests:
        path = _blob(entry)
        manifest = json.loads((layout / path).read_text())
        found |= {path, _blob(manifest["config"]), *(_blob(layer) for layer in manifest["layers"])}
    return found


def _blob(descriptor: Mapping[str, Any]) -> str:
    return f"blobs/{descriptor['digest'].replace(':', '/')}"


@contextmanager
def _mounted(name: str) -> Iterator[Path]:
    container = _run("from", "--pull-never", name).strip()
    try:
        yield Path(_run("mount", container).strip())
        _run("umount", container)
    finally:
        _run("rm", container)
