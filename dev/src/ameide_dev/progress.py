"""Runs a long command with its output in a log file and says on the terminal what is going on and how long it takes."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

# How often a line is written when nobody looks at a terminal (a CI log), in seconds.
PLAIN_INTERVAL = 30.0


class CommandError(Exception):
    """A command failed; the message says which, where its log is and what to do."""


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def _tail(log: Path, lines: int = 12) -> str:
    return "\n".join(f"    {line}" for line in log.read_text(errors="replace").splitlines()[-lines:])


def run_logged(
    command: Sequence[str],
    *,
    what: str,
    log: Path,
    estimate: float,
    remedy: str,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> None:
    """Run `command`, appending its output to `log`; `estimate` is the usual time in seconds.

    Progress goes to standard error. Raises CommandError, with the log's last lines, when the command fails or cannot
    start.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    console = Console(stderr=True)
    began = time.monotonic()
    full_env = {**os.environ, **(env or {})}
    with log.open("ab") as out:
        out.write(f"$ {' '.join(command)}\n".encode())
        out.flush()
        try:
            process = subprocess.Popen(
                command, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=full_env, cwd=cwd
            )
        except OSError as error:
            raise CommandError(f"{what}: cannot start {command[0]}: {error}. {remedy}") from error
        try:
            _follow(process, what, estimate, console)
        except BaseException:
            process.kill()
            process.wait()
            raise
    elapsed = time.monotonic() - began
    if process.returncode != 0:
        raise CommandError(
            f"{what} failed after {_duration(elapsed)} (exit code {process.returncode}). {remedy}\n"
            f"  log: {log}\n  its last lines:\n{_tail(log)}"
        )
    console.print(f"{what}: done in {_duration(elapsed)}", highlight=False)


def _follow(process: subprocess.Popen[bytes], what: str, estimate: float, console: Console) -> None:
    """Wait for `process`, with a live line on a terminal and a line every half minute elsewhere."""
    began = time.monotonic()

    def text() -> str:
        return f"{what}: {_duration(time.monotonic() - began)} (usually about {_duration(estimate)})"

    def finished(within: float) -> bool:
        try:
            process.wait(within)
        except subprocess.TimeoutExpired:
            return False
        return True

    if console.is_terminal:
        with console.status(text()) as status:
            while not finished(1.0):
                status.update(text())
    else:
        print(f"{what} (usually about {_duration(estimate)}) ...", file=sys.stderr, flush=True)
        while not finished(PLAIN_INTERVAL):
            print(text(), file=sys.stderr, flush=True)
