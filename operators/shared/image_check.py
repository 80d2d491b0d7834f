"""Run by the build of a release image, with the image's own Python: is what it holds whole, and nothing else?

`python image_check.py domain-operator` imports every module of the operator and of what the operators share, and fails
when the virtual environment was built by another Python than the one that runs it.
"""

import importlib
import importlib.util
import pkgutil
import sys
from pathlib import Path

SHARED = "ameide_shared"
OPERATORS = ("agent_operator", "domain_operator", "process_operator", "uisurface_operator")
STRANGERS = (*OPERATORS, "ameide_dev", "pip", "pytest")


def built_with(environment: Path) -> str:
    """The version of the Python that made a virtual environment, as its pyvenv.cfg says it."""
    for line in (environment / "pyvenv.cfg").read_text().splitlines():
        key, _, value = line.partition("=")
        if key.strip() in ("version_info", "version"):
            return value.strip()
    raise SystemExit(f"{environment}/pyvenv.cfg does not say which Python made it")


def check_python(environment: Path) -> None:
    """Compiled modules fit one minor version of Python only."""
    runs, built = "{}.{}".format(*sys.version_info), ".".join(built_with(environment).split(".")[:2])
    if runs != built:
        raise SystemExit(
            f"the dependencies were installed for Python {built}, but the runtime image has {runs}: "
            "choose BUILD_IMAGE and RUNTIME_IMAGE of the same release"
        )


def check_imports(package: str) -> int:
    """Import a package with all its modules; how many there were."""
    modules = [
        found.name
        for found in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}.")
        if not found.name.endswith(".__main__")
    ]
    for name in modules:
        importlib.import_module(name)
    return len(modules)


def check_strangers(own: str) -> None:
    """An image holds its own operator; the others would only be more to keep safe."""
    found = [name for name in STRANGERS if name != own and importlib.util.find_spec(name)]
    if found:
        raise SystemExit(f"the image of {own} must not hold {', '.join(found)}")


def main(operator: str) -> None:
    """Check the image of `operator`, such as domain-operator. Raises SystemExit or what an import raises."""
    own = operator.replace("-", "_")
    check_python(Path(sys.prefix))
    check_strangers(own)
    count = check_imports(SHARED) + check_imports(own)
    print(f"{operator}: {count} modules imported by Python {sys.version.split()[0]}")


if __name__ == "__main__":
    main(*sys.argv[1:])
