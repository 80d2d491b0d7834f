"""The base images of the release images where no registry can be reached: made from Debian's packages by debootstrap.

`BUILD` is a small Debian with Python, as `debian:13-slim` becomes in the build. `RUNTIME` holds what distroless' Python
image holds: the interpreter with the libraries that it needs, certificates, time zones and the user 65532; no shell, no
package manager.
"""

import re
import shutil
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

from ameide_dev import buildah
from ameide_dev.cache import artefact, cache_dir
from ameide_dev.progress import run_logged

RELEASE = "trixie"
_INSTALLED = ("python3", "python3-venv", "ca-certificates", "netbase", "tzdata")
_RUNTIME = ("python3-minimal", "libpython3-stdlib", "ca-certificates", "netbase", "tzdata", "libstdc++6", "libgcc-s1")
# What only installs or configures packages, and what needs a shell.
_LEFT_OUT = frozenset({"debconf", "debconf-2.0", "dpkg", "openssl", "perl-base", "init-system-helpers"})
_MERGED = ("bin", "lib", "lib64", "sbin")
_FORMAT = "2"  # of what this module makes: a change makes the images anew


def build_image() -> str:
    """The name of the image to build in, made first if need be. Raises CommandError, BuildError."""
    return _image("build", _debian)


def runtime_image() -> str:
    """The name of the image to run in, made first if need be. Raises CommandError, BuildError."""
    return _image("runtime", _runtime)


def _image(kind: str, root: Callable[[], Path]) -> str:
    folder = root()
    name = f"localhost/ameide-{kind}:{RELEASE}-{folder.parent.name}"
    if not buildah.exists(name):
        user = "65532:65532" if kind == "runtime" else ""
        buildah.import_root(name, folder, user=user, path="/usr/local/bin:/usr/bin:/bin:/usr/sbin")
    return name


def _debian() -> Path:
    """A root file system with Debian and Python, in the cache."""

    def make(folder: Path) -> None:
        run_logged(
            [
                "debootstrap",
                "--variant=minbase",
                f"--include={','.join(_INSTALLED)}",
                RELEASE,
                str(folder / "root"),
            ],
            what=f"Making a Debian {RELEASE} by debootstrap",
            log=cache_dir() / "logs" / "debootstrap.log",
            estimate=60,
            remedy="Look at the log; debootstrap runs as root and needs Debian's packages within reach.",
        )
        for archive in (folder / "root" / "var" / "cache" / "apt" / "archives").glob("*.deb"):
            archive.unlink()

    return artefact("debian", (RELEASE, *_INSTALLED, _FORMAT), make) / "root"


def _runtime() -> Path:
    """A root file system with nothing but Python and what it needs, in the cache."""
    debian = _debian()

    def make(folder: Path) -> None:
        root = folder / "root"
        root.mkdir(mode=0o755)
        for name in _MERGED:
            (root / "usr" / name).mkdir(parents=True, exist_ok=True)
            (root / name).symlink_to(f"usr/{name}")
        for path in sorted(_files_of(debian, closure(debian, _RUNTIME))):
            _copy(debian, root, path)
        # Made by the packages' scripts, so no package lists it.
        shutil.copytree(
            debian / "etc" / "ssl" / "certs", root / "etc" / "ssl" / "certs", symlinks=True, dirs_exist_ok=True
        )
        (root / "etc" / "passwd").write_text(
            "root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532::/home/nonroot:/sbin/nologin\n"
        )
        (root / "etc" / "group").write_text("root:x:0:\nnonroot:x:65532:\n")
        (root / "tmp").mkdir()
        (root / "tmp").chmod(0o1777)
        (root / "home" / "nonroot").mkdir(parents=True)
        shutil.chown(root / "home" / "nonroot", 65532, 65532)

    return artefact("runtime", (RELEASE, *_INSTALLED, *_RUNTIME, *sorted(_LEFT_OUT), _FORMAT), make) / "root"


def _query(root: Path, *arguments: str) -> str:
    command = ["dpkg-query", f"--admindir={root / 'var' / 'lib' / 'dpkg'}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def closure(root: Path, packages: Iterable[str]) -> set[str]:
    """The packages and all that they depend on, of those installed in `root`, without what only installing needs."""
    depends: dict[str, set[str]] = {}
    for line in _query(root, "--show", "--showformat=${Package}|${Depends}, ${Pre-Depends}\n").splitlines():
        name, _, text = line.partition("|")
        # An alternative that is not installed is not in the table.
        depends[name] = set(re.findall(r"(?:^|[,|])\s*([a-z0-9][a-z0-9+.-]*)", text))
    found: set[str] = set()
    waiting = list(packages)
    while waiting:
        name = waiting.pop()
        if name in found or name in _LEFT_OUT or name not in depends:
            continue
        found.add(name)
        waiting.extend(depends[name])
    return found


def _files_of(root: Path, packages: Iterable[str]) -> set[str]:
    """The paths in packages, below /usr where /bin and its like are links; of the documentation the licences alone."""
    listed = _query(root, "--listfiles", *sorted(packages)).splitlines()
    paths = {
        f"/usr{path}" if path.split("/")[1:2] and path.split("/")[1] in _MERGED else path
        for path in listed
        if path.startswith("/")
    }
    return {path for path in paths if not _documentation(path)}


def _documentation(path: str) -> bool:
    below = ("/usr/share/man", "/usr/share/locale", "/usr/share/lintian", "/usr/share/info")
    return path.startswith(below) or (
        path.startswith("/usr/share/doc/") and path.count("/") > 4 and not path.endswith("/copyright")
    )


def _copy(source: Path, target: Path, path: str) -> None:
    original, copy = source / path.lstrip("/"), target / path.lstrip("/")
    if original.is_symlink() or original.is_file():
        copy.parent.mkdir(parents=True, exist_ok=True)
        if not copy.is_symlink() and not copy.exists():
            shutil.copy2(original, copy, follow_symlinks=False)
    elif original.is_dir():
        copy.mkdir(parents=True, exist_ok=True)
