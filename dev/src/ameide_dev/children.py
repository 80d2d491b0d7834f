"""Start child processes that cannot outlive the process that started them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None

# Linux sends the parent-death signal when the *thread* that forked ends, so all children are forked by one thread
# that lives as long as the interpreter.
_FORKER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="forker")


@dataclass(frozen=True, slots=True)
class Identity:
    """The Unix user a child runs as: numeric user and group id."""

    uid: int
    gid: int


def spawn(
    command: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdout: IO[bytes] | int | None = None,
    stderr: IO[bytes] | int | None = None,
    identity: Identity | None = None,
) -> subprocess.Popen[bytes]:
    """Start `command` in a session of its own, killed when this process dies; stdin is empty.

    `identity` needs root. Raises OSError as subprocess.Popen does, when the program cannot be executed.
    """

    def fork() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [str(part) for part in command],
            env=None if env is None else dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
            user=identity.uid if identity else None,
            group=identity.gid if identity else None,
            extra_groups=[] if identity else None,
            preexec_fn=_die_with_parent if _LIBC is not None else None,
        )

    return _FORKER.submit(fork).result()


def _die_with_parent() -> None:
    # Runs between fork and exec, after the change of user, which would have cleared it: one system call, nothing else.
    assert _LIBC is not None
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Send a signal to the child and all that it started; a child that is gone already is no error."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def terminate(
    process: subprocess.Popen[bytes], *, first: signal.Signals = signal.SIGTERM, grace_seconds: float = 10.0
) -> int:
    """Ask the child to stop, wait up to `grace_seconds`, then kill its whole process group. Returns its exit code."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(first)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=grace_seconds)
    signal_group(process, signal.SIGKILL)
    return process.wait()
