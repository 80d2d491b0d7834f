"""One container as a local process: started, watched, probed, restarted with back-off, and stopped."""

import datetime as dt
import secrets
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ameide_dev.hostnode_probes import Probe, Surroundings, attempt
from ameide_dev.hostnode_volumes import real_path
from ameide_dev.processes import spawn, terminate

Object = dict[str, Any]

_FALLBACK_BYTES, _FALLBACK_LINES = 2048, 80
_MESSAGE_BYTES = 4096
_FORGIVEN_AFTER_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long a container that keeps ending waits: at once the first time, then doubling from `first` to `most`."""

    first: float = 1.0
    most: float = 30.0


def timestamp() -> str:
    """The time now as Kubernetes writes it."""
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Container:
    """The states of one container of a pod. Its methods are called by the pod's thread only."""

    def __init__(self, spec: Mapping[str, Any], folder: Path, policy: str, backoff: Backoff, wake: Callable[[], None]):
        """`policy`: the restart policy that holds for it; `wake` is called from another thread when it ends."""
        self.spec = spec
        self.name: str = spec["name"]
        self.folder = folder
        self.root = folder / "root"
        self.restarts = 0
        self._policy = policy
        self._backoff = backoff
        self._wake = wake
        self._process: subprocess.Popen[bytes] | None = None
        self._id = ""
        self._state: Object = {"waiting": {"reason": "ContainerCreating"}}
        self._last: Object = {}
        self._delay = 0.0
        self._start_at = 0.0
        self._began = 0.0
        self._probes: dict[str, Probe] = {}
        self._surroundings: Surroundings | None = None
        self.folder.mkdir(parents=True, exist_ok=True)
        self.root.mkdir(exist_ok=True)

    @property
    def running(self) -> bool:
        """Whether its process runs, as far as has been seen."""
        return self._process is not None

    @property
    def finished(self) -> bool:
        """Whether it has ended for good."""
        return "terminated" in self._state

    @property
    def succeeded(self) -> bool:
        """Whether it has ended for good with exit code 0."""
        return bool(self.finished and self._state["terminated"]["exitCode"] == 0)

    @property
    def startable_at(self) -> float | None:
        """The monotonic time from which it may be started; None if it runs or has ended for good."""
        return None if self.running or self.finished else self._start_at

    @property
    def termination_log(self) -> Path:
        """Where its program leaves the termination message."""
        return self.folder / "termination-log"

    def with_real_paths(self, text: str) -> str:
        """A part of the command line, or an environment value, with the container's paths replaced by the real ones.

        That is: the termination message's path wherever it stands (in a shell script, say), and a text that as a whole
        is a path in one of the volume mounts.
        """
        message_path = self.spec.get("terminationMessagePath") or "/dev/termination-log"
        return real_path(text, self.root, self.spec).replace(message_path, str(self.termination_log))

    def log_path(self, *, previous: bool = False) -> Path:
        """The log of the current run, or of the one before."""
        return self.folder / f"{self.restarts - (1 if previous else 0)}.log"

    def wait_for(self, reason: str, message: str = "") -> None:
        """Say why it is not started; it may be tried again in a second."""
        self._state = {"waiting": {"reason": reason, **({"message": message} if message else {})}}
        self._start_at = time.monotonic() + 1.0

    def start(self, command: Sequence[str], env: Mapping[str, str], surroundings: Surroundings) -> None:
        """Start its process. A program that cannot be executed counts as ended with exit code 128."""
        self.termination_log.write_bytes(b"")
        self._id = f"host://{secrets.token_hex(32)}"
        self._began = time.monotonic()
        started = timestamp()
        try:
            if not command:
                raise FileNotFoundError("no command specified")
            with self.log_path().open("wb") as log:
                process = spawn(command, env=env, cwd=surroundings.directory, stdout=log, stderr=subprocess.STDOUT)
        except OSError as error:
            self._end({"exitCode": 128, "reason": "StartError", "message": str(error)}, started)
            return
        self._process = process
        self._state = {"running": {"startedAt": started}}
        self._surroundings = surroundings
        self._probes = {
            kind: Probe(kind, self.spec[f"{kind}Probe"])
            for kind in ("startup", "liveness", "readiness")
            if f"{kind}Probe" in self.spec
        }
        threading.Thread(target=self._wait, args=(process,), name=f"wait-{self.name}", daemon=True).start()

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        process.wait()
        self._wake()

    def reap(self) -> bool:
        """Take note if its process has ended; whether it has."""
        if self._process is None or self._process.poll() is None:
            return False
        code = terminate(self._process, grace_seconds=0)  # ends what it left behind in its group
        self._process = None
        end: Object = {"exitCode": code if code >= 0 else 128 - code, "reason": "Completed" if code == 0 else "Error"}
        if message := self._termination_message(code):
            end["message"] = message
        self._end(end, self._state["running"]["startedAt"])
        return True

    def _termination_message(self, code: int) -> str:
        try:
            content = self.termination_log.read_bytes()[:_MESSAGE_BYTES]
        except OSError:
            content = b""
        if not content and code != 0 and self.spec.get("terminationMessagePolicy") == "FallbackToLogsOnError":
            lines = self.log_path().read_bytes()[-_FALLBACK_BYTES:].splitlines(keepends=True)
            content = b"".join(lines[-_FALLBACK_LINES:])
        return content.decode(errors="replace")

    def _end(self, end: Object, started: str) -> None:
        terminated = {**end, "startedAt": started, "finishedAt": timestamp(), "containerID": self._id}
        again = self._policy == "Always" or (self._policy == "OnFailure" and end["exitCode"] != 0)
        if not again:
            self._state = {"terminated": terminated}
            return
        self._last = {"terminated": terminated}
        self.restarts += 1
        if time.monotonic() - self._began > _FORGIVEN_AFTER_SECONDS:
            self._delay = 0.0
        self._start_at = time.monotonic() + self._delay
        message = f"back-off {self._delay:g}s restarting failed container={self.name}"
        self._state = {"waiting": {"reason": "CrashLoopBackOff", "message": message}}
        self._delay = min(max(self._delay * 2, self._backoff.first), self._backoff.most)

    # Probes.

    @property
    def started(self) -> bool:
        """Whether it runs and its startup probe, if any, has succeeded."""
        startup = self._probes.get("startup")
        return self.running and (startup is None or startup.healthy is True)

    @property
    def ready(self) -> bool:
        """Whether it is started and its readiness probe, if any, succeeds."""
        readiness = self._probes.get("readiness")
        return self.started and (readiness is None or readiness.healthy is True)

    def next_probe(self) -> float | None:
        """The monotonic time of the next probe, None when there is none to run."""
        due = [probe.due for probe in self._active_probes()]
        return min(due) if due else None

    def _active_probes(self) -> list[Probe]:
        if not self.running:
            return []
        if not self.started:
            return [self._probes["startup"]]
        return [probe for kind, probe in self._probes.items() if kind != "startup"]

    def probe(self) -> list[str]:
        """Run the probes that are due; kill the process when liveness or startup has failed. Returns what failed."""
        failures: list[str] = []
        assert self._surroundings is not None or not self.running
        for probe in self._active_probes():
            if self._surroundings is None or probe.due > time.monotonic():
                continue
            probe.run(self._surroundings)
            if probe.message and (probe.healthy is False or probe.healthy is True):
                failures.append(f"{probe.kind.capitalize()} probe failed: {probe.message}")
            if probe.healthy is False and probe.kind != "readiness" and self._process is not None:
                terminate(self._process, grace_seconds=float(self.spec.get("terminationGracePeriodSeconds", 2)))
                break
        return failures

    # The end.

    def stop(self, deadline: float) -> None:
        """preStop hook, SIGTERM, and SIGKILL at `deadline` (monotonic); returns when the process has ended."""
        if self._process is None:
            return
        hook = self.spec.get("lifecycle", {}).get("preStop")
        left = max(deadline - time.monotonic(), 0.0)
        if hook and left > 0 and self._surroundings is not None:
            if "sleep" in hook:
                time.sleep(min(float(hook["sleep"]["seconds"]), left))
            else:
                attempt({**hook, "timeoutSeconds": left}, self._surroundings)
        self._policy = "Never"
        left = max(deadline - time.monotonic(), 0.0)
        terminate(self._process, first=signal.SIGTERM if left > 0 else signal.SIGKILL, grace_seconds=left)
        self.reap()

    def give_up(self) -> None:
        """Never start it again: its pod is over."""
        self._policy = "Never"
        if not self.finished and not self.running:
            self._state = (
                self._last
                if "terminated" in self._last
                else {"terminated": {"exitCode": 137, "reason": "ContainerStatusUnknown", "finishedAt": timestamp()}}
            )

    def status(self, image_id: str) -> Object:
        """Its ContainerStatus; for one that has done its work as an init container, `ready` is true."""
        status: Object = {
            "name": self.name,
            "image": self.spec["image"],
            "imageID": image_id if self._id else "",
            "ready": self.ready,
            "started": self.started,
            "restartCount": self.restarts,
            "state": self._state,
            "lastState": self._last,
        }
        return {**status, "containerID": self._id} if self._id else status
