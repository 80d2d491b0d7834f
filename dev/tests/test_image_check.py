"""What the build of a release image checks, with the image's own Python."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from ameide_dev.release_images import ROOT


@pytest.fixture(scope="module")
def check() -> ModuleType:
    spec = importlib.util.spec_from_file_location("image_check", ROOT / "operators" / "shared" / "image_check.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def environment(folder: Path, version: str) -> Path:
    (folder / "pyvenv.cfg").write_text(f"home = /usr/bin\nimplementation = CPython\nversion_info = {version}\n")
    return folder


def test_the_python_that_runs_is_the_one_that_built(check: ModuleType, tmp_path: Path) -> None:
    check.check_python(environment(tmp_path, "{}.{}.99".format(*sys.version_info)))
    with pytest.raises(SystemExit, match=r"installed for Python 3\.9, but the runtime image has 3\.\d+: choose"):
        check.check_python(environment(tmp_path, "3.9.2"))


def test_every_module_is_imported(check: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "some_operator"
    (package / "plan").mkdir(parents=True)
    for file in ("__init__.py", "main.py", "plan/__init__.py", "plan/rollout.py", "__main__.py"):
        (package / file).write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert check.check_imports("some_operator") == 3
    for name in [name for name in sys.modules if name.startswith("some_operator")]:
        monkeypatch.delitem(sys.modules, name)
    (package / "plan" / "rollout.py").write_text("import nothing_of_that_name\n")
    with pytest.raises(ModuleNotFoundError, match="nothing_of_that_name"):
        check.check_imports("some_operator")


def test_an_image_holds_no_other_operator(check: ModuleType) -> None:
    # Here, in the workspace, all of them are installed.
    with pytest.raises(SystemExit, match="image of domain_operator must not hold agent_operator, process_operator"):
        check.check_strangers("domain_operator")
