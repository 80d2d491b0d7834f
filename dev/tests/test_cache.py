"""The cache: made once, never seen half-made, shared by processes."""

import multiprocessing
import time
from pathlib import Path

import pytest

from ameide_dev.cache import artefact, cache_dir, digest


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMEIDE_CACHE_DIR", str(tmp_path / "cache"))


def test_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_dir() == (tmp_path / "cache").resolve()
    monkeypatch.delenv("AMEIDE_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_dir() == (tmp_path / "xdg" / "ameide-operators").resolve()
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_dir() == (tmp_path / ".cache" / "ameide-operators").resolve()


def test_digest_tells_borders_apart() -> None:
    assert digest("ab", "c") != digest("a", "bc")
    assert digest("a") == digest(b"a")


def test_made_once_for_the_same_inputs() -> None:
    made: list[Path] = []

    def make(folder: Path) -> None:
        made.append(folder)
        (folder / "file").write_text("x")

    first, again, other = (artefact("thing", inputs, make) for inputs in (("1",), ("1",), ("2",)))
    assert first == again != other
    assert len(made) == 2
    assert (first / "file").read_text() == "x"


def test_a_failure_leaves_nothing_behind() -> None:
    def fail(folder: Path) -> None:
        (folder / "half").write_text("")
        raise RuntimeError("no disk")

    with pytest.raises(RuntimeError, match="no disk"):
        artefact("thing", ("1",), fail)
    assert list((cache_dir() / "thing").iterdir()) == []
    assert artefact("thing", ("1",), lambda folder: None).is_dir()


def _slow(folder: Path) -> None:
    (folder / "begun").write_text("")
    time.sleep(0.5)
    (folder / "done").write_text("")


def _make_and_look(log: str) -> bool:
    def make(folder: Path) -> None:
        with Path(log).open("a") as lines:
            lines.write("made\n")
        _slow(folder)

    return (artefact("slow", ("1",), make) / "done").exists()


def test_processes_share_one_making(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        assert pool.map(_make_and_look, [str(log)] * 3) == [True] * 3
    assert log.read_text() == "made\n"
