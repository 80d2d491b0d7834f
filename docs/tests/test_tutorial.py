"""The tutorial as a reader follows it: every command of the page, and what the page says that it prints."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from docs import links

PAGE = links.ROOT / "docs" / "tutorial.md"
START = "git clone https://github.com/ameide/ameide-operators && cd ameide-operators\nmake tutorial\n"
ENTER = "source /tmp/ameide-tutorial-…/env\n"
_START_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Step:
    """Commands of the page, what they print according to it, and the line that they are on."""

    commands: str
    prints: str | None
    line: int


def steps(page: str) -> list[Step]:
    """The fenced blocks `sh`, each with the block `text` that follows it. Raises ValueError for other blocks."""
    found: list[Step] = []
    fences = [token for token in links.tokens(page) if token.type == "fence"]
    for token in fences:
        line = (token.map or [0])[0] + 1
        if token.info == "sh":
            found.append(Step(token.content, None, line))
        elif token.info == "text" and found and found[-1].prints is None:
            found[-1] = Step(found[-1].commands, token.content, found[-1].line)
        else:
            raise ValueError(f"line {line}: a block {token.info!r} that belongs to no commands")
    return found


def pattern(prints: str) -> re.Pattern[str]:
    """What the page shows as an expression: `…` is anything within a line, a line of it any number of lines."""
    lines = []
    for line in prints.rstrip("\n").split("\n"):
        within = ".*".join(re.escape(part) for part in line.split("…"))
        # kubectl fills its last column with blanks, which no editor would leave on the page.
        lines.append(r"(?:.*\n)*?" if line == "…" else rf"{within}[ ]*\n")
    return re.compile("".join(lines))


@pytest.mark.parametrize(
    ("prints", "printed", "fits"),
    [
        ("a\nb\n", "a\nb\n", True),
        ("a\nb\n", "a\nb\nc\n", False),
        ("a\n", "ab\n", False),
        ("age …\n", "age 5s\n", True),
        ("…\nlast\n", "one\ntwo\nlast\n", True),
        ("…\nlast\n", "last\n", True),
        ("x.y\n", "xzy\n", False),
        ("first\n…\nlast\n", "first\nlost\n", False),
    ],
)
def test_what_is_printed_is_compared(prints: str, printed: str, fits: bool) -> None:
    assert bool(pattern(prints).fullmatch(printed)) is fits


def test_the_page_begins_with_a_clone() -> None:
    first, second, *others = steps(PAGE.read_text())
    assert (first.commands, second.commands) == (START, ENTER)
    assert len(others) >= 8
    assert all(step.prints for step in others), "every command's output is shown, and compared"


class Shell:
    """A reader's second terminal: one bash for all commands, as variables and the folder stay."""

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen(
            ["bash", "--norc", "--noprofile"],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, commands: str) -> str:
        """What commands print. Raises AssertionError when one of them fails."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"set -e\n{commands}\nset +e\necho '=== end'\n")
        self._process.stdin.flush()
        printed = []
        for line in self._process.stdout:
            if line == "=== end\n":
                return "".join(printed)
            printed.append(line)
        raise AssertionError(f"failed with exit code {self._process.wait()}:\n{commands}\n{''.join(printed)}")

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def first_terminal(tmp_path: Path) -> Iterator[str]:
    """`make tutorial`, as its program; the file to source."""
    log = tmp_path / "first-terminal.txt"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "ameide_dev", "tutorial", "--directory", str(tmp_path)],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not (found := re.search(r"\$ source (\S+/ameide-tutorial-\S+/env)$", log.read_text(), re.MULTILINE)):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield found[1]
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0, log.read_text()
        assert not list(tmp_path.glob("ameide-tutorial-*")), "everything that it made is removed"
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(timeout=60)


@pytest.mark.platform
def test_the_tutorial_does_what_it_says(first_terminal: str, tmp_path: Path) -> None:
    folder = tmp_path / "ameide-operators"
    folder.mkdir()
    (folder / "examples").symlink_to(links.ROOT / "examples")
    shell = Shell(folder)
    try:
        shell.run(f"source {first_terminal}")
        for step in steps(PAGE.read_text())[2:]:
            began = time.monotonic()
            printed = shell.run(step.commands)
            assert step.prints
            assert pattern(step.prints).fullmatch(printed), (
                f"{PAGE.name}:{step.line}: printed\n{printed}\ninstead of\n{step.prints}"
            )
            print(f"{PAGE.name}:{step.line}: {time.monotonic() - began:.1f} s")
    finally:
        shell.close()
