"""The user's cache: where built tools and downloads are kept between runs, safe for several processes at once."""

import fcntl
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def cache_dir() -> Path:
    """The cache folder: $AMEIDE_CACHE_DIR, else $XDG_CACHE_HOME/ameide-operators, else ~/.cache/ameide-operators."""
    own = os.environ.get("AMEIDE_CACHE_DIR")
    if own:
        path = Path(own).expanduser()
    else:
        base = os.environ.get("XDG_CACHE_HOME")
        path = (Path(base) if base else Path.home() / ".cache") / "ameide-operators"
    path.mkdir(parents=True, exist_ok=True)
    return path.resolve()


def digest(*inputs: str | bytes) -> str:
    """Sixteen hexadecimal digits that stand for `inputs`; their borders count, so ("ab",) differs from ("a", "b")."""
    h = hashlib.sha256()
    for part in inputs:
        data = part.encode() if isinstance(part, str) else part
        h.update(f"{len(data)}:".encode())
        h.update(data)
    return h.hexdigest()[:16]


@contextmanager
def lock(name: str) -> Iterator[None]:
    """Hold the cache's lock called `name`; other processes wait for it, and say so when a terminal is watching."""
    folder = cache_dir() / "locks"
    folder.mkdir(exist_ok=True)
    with (folder / f"{name}.lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if sys.stderr.isatty():
                print(f"waiting for another process that is preparing {name} ...", file=sys.stderr)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def artefact(name: str, inputs: tuple[str | bytes, ...], make: Callable[[Path], None]) -> Path:
    """The folder `<cache>/<name>/<digest of inputs>`, made once by `make(folder)` and never seen half-made.

    `make` fills an empty folder; when it raises, nothing is kept. Other processes that want the same wait for it.
    """
    final = cache_dir() / name / digest(*inputs)
    if final.is_dir():
        return final
    with lock(name):
        if final.is_dir():
            return final
        final.parent.mkdir(exist_ok=True)
        # A sibling of the final folder, so that the rename at the end stays on one file system and is atomic.
        draft = Path(tempfile.mkdtemp(prefix=f".{final.name}-", dir=final.parent))
        try:
            make(draft)
            draft.chmod(0o755)
            draft.rename(final)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
    return final
