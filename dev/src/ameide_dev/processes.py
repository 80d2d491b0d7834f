"""Starts programs as children that cannot outlive this process, and stops them by process group.

A small guard process holds the reading end of a pipe; when the last writer is gone, however this process died, it
kills every group it was told of. (The kernel's parent-death signal is no use here: it fires when the *thread* that
started the child ends, fixtures start servers from short-lived threads, and it spares what the child has started.)
"""

import atexit
import contextlib
import functools
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO

# Seconds a server gets between SIGTERM and SIGKILL.
GRACE = 5.0


class ProcessError(Exception):
    """A server did not start, or ended before its time; the message has the end of its log."""


@dataclass(frozen=True, slots=True)
class Identity:
    """The Unix user a child runs as: numeric user and group id."""

    uid: int
    gid: int


def _guard(fd: int) -> None:
    """The guard's whole life: follow `+PGID`, `-PGID` and `rm PATH` lines until the pipe ends, then clean up."""

    def ignore(_number: int, _frame: FrameType | None) -> None:
        return

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, ignore)
    groups: set[int] = set()
    folders: set[str] = set()
    with os.fdopen(fd) as orders:
        for line in orders:
            verb, _, rest = line.rstrip("\n").partition(" ")
            if verb == "add":
                groups.add(int(rest))
            elif verb == "drop":
                groups.discard(int(rest))
            elif verb == "rm":
                folders.add(rest)
            elif verb == "keep":
                folders.discard(rest)
    for group in groups:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


class Guard:
    """Kills the process groups, and removes the folders, that are still registered when this process is gone."""

    def __init__(self) -> None:
        reader, writer = os.pipe()
        self._writer: int | None = writer
        self._lock = threading.Lock()
        try:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-S",
                    "-c",
                    f"import sys; sys.path[:] = {sys.path!r}\n"
                    f"from ameide_dev.processes import _guard; _guard({reader})",
                ],
                pass_fds=[reader],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        finally:
            os.close(reader)

    def _tell(self, order: str) -> None:
        with self._lock:
            if self._writer is not None:
                os.write(self._writer, f"{order}\n".encode())

    def add(self, group: int) -> None:
        """Kill the process group `group` if this process ends before `drop(group)`."""
        self._tell(f"add {group}")

    def drop(self, group: int) -> None:
        """Forget a group that has ended."""
        self._tell(f"drop {group}")

    def remove_at_end(self, folder: Path) -> None:
        """Remove `folder` when this process is gone, unless `keep(folder)` is said."""
        self._tell(f"rm {folder}")

    def keep(self, folder: Path) -> None:
        """Do not remove `folder`."""
        self._tell(f"keep {folder}")

    def close(self) -> None:
        """End the guard; it kills what is still registered."""
        with self._lock:
            if self._writer is not None:
                os.close(self._writer)
            self._writer = None
        self._process.wait()


_OWN = threading.Lock()


def own_guard() -> Guard:
    """The guard of this process, for whoever has no reason for another: it acts when this process ends."""
    with _OWN:
        return _own_guard()


@functools.cache
def _own_guard() -> Guard:
    guard = Guard()
    atexit.register(guard.close)
    return guard


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without proxies and cluster settings, which would lead a loopback client astray."""
    dropped = {"http_proxy", "https_proxy", "all_proxy", "kubeconfig"}
    env = {
        name: value
        for name, value in os.environ.items()
        if name.lower() not in dropped and not name.startswith("KUBERNETES_")
    }
    return {**env, **(extra or {})}


def spawn(
    command: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdout: IO[bytes] | int | None = None,
    stderr: IO[bytes] | int | None = None,
    identity: Identity | None = None,
    guard: Guard | None = None,
) -> subprocess.Popen[bytes]:
    """Start `command` in a process group of its own, which ends with this process; stdin is empty. See `terminate`.

    `identity` needs root. Raises OSError as subprocess.Popen does, when the program cannot be executed.
    """
    guard = guard or own_guard()
    process = subprocess.Popen(
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
    )
    guard.add(process.pid)
    return process


def terminate(
    process: subprocess.Popen[bytes],
    *,
    first: signal.Signals = signal.SIGTERM,
    grace_seconds: float = 10.0,
    whole_group: bool = False,
    guard: Guard | None = None,
) -> int:
    """Ask a child of `spawn` to stop, wait up to `grace_seconds`, then kill its process group. Returns its exit code.

    whole_group: ask all of the group, not the child alone. No error if it has ended.
    """
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            if whole_group:
                os.killpg(process.pid, first)
            else:
                process.send_signal(first)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=grace_seconds)
    # The child may be gone while others of its group are not.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    code = process.wait()
    (guard or own_guard()).drop(process.pid)
    return code


class Server:
    """A child process in a process group of its own, with its output in `log`."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        guard: Guard | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.name, self.command, self.log = name, list(command), log
        self._guard, self._cwd = guard or own_guard(), cwd
        self._env = clean_environment(env)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; does not wait until it serves. Raises ProcessError when the program cannot be run."""
        if self.alive:
            raise ProcessError(f"{self.name} is already running as process {self.pid}")
        with self.log.open("ab") as out:
            try:
                self._process = spawn(
                    self.command, stdout=out, stderr=subprocess.STDOUT, env=self._env, cwd=self._cwd, guard=self._guard
                )
            except OSError as error:
                raise ProcessError(f"{self.name} cannot be started: {self.command[0]}: {error}") from error

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Its process id, which is also its process group's. Raises ProcessError before `start`."""
        if self._process is None:
            raise ProcessError(f"{self.name} has not been started")
        return self._process.pid

    def check(self) -> None:
        """Raise ProcessError, with the last lines of the log, if the process has ended."""
        if not self.alive:
            code = self._process.returncode if self._process else None
            raise ProcessError(
                f"{self.name} ended with exit code {code}; log: {self.log}; its last lines:\n{self.tail()}"
            )

    def tail(self, lines: int = 15) -> str:
        """The last lines of its log."""
        try:
            text = self.log.read_text(errors="replace")
        except FileNotFoundError:
            return "    (no log)"
        return "\n".join(f"    {line}" for line in text.splitlines()[-lines:])

    def stop(self, grace: float = GRACE) -> None:
        """SIGTERM the group, SIGKILL what is left of it after `grace` seconds; no error if it has ended."""
        if self._process is None:
            return
        first = signal.SIGTERM if grace > 0 else signal.SIGKILL
        terminate(self._process, first=first, grace_seconds=max(grace, 0.01), whole_group=True, guard=self._guard)

    def memory(self) -> int:
        """Resident memory of the process in bytes; 0 when it has ended or /proc is not there (not Linux)."""
        try:
            fields = Path(f"/proc/{self.pid}/statm").read_text().split()
        except OSError:
            return 0
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")


def stop_all(servers: Sequence[Server], grace: float = GRACE) -> None:
    """Stop all at once, in a time that is the slowest one's."""
    threads = [threading.Thread(target=server.stop, args=(grace,)) for server in servers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def wait_until(what: str, ready: Callable[[], bool], servers: Sequence[Server], timeout: float) -> None:
    """Poll `ready` until true. Raises ProcessError when one of `servers` ends meanwhile or `timeout` seconds pass."""
    deadline = time.monotonic() + timeout
    while not ready():
        for server in servers:
            server.check()
        if time.monotonic() > deadline:
            logs = ", ".join(str(server.log) for server in servers)
            raise ProcessError(f"{what} was not ready within {timeout:.0f} s; logs: {logs}")
        time.sleep(0.03)
