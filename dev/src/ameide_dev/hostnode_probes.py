"""A container's startup, liveness and readiness probes: how one is run, and what its results add up to."""

import http.client
import socket
import ssl
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Object = Mapping[str, Any]

# How often a probe that has never succeeded is tried: a fresh process is noticed at once, and not a period later.
_EAGER_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a probe needs to know of its container."""

    address: str
    ports: Mapping[str, int]
    env: Mapping[str, str]
    directory: Path

    def port(self, port: int | str) -> int:
        """The number of a port given by number or name."""
        return port if isinstance(port, int) else self.ports[port]


@dataclass(slots=True)
class Probe:
    """One probe's counters. `healthy` is the verdict so far; None while there is none."""

    kind: str
    spec: Object
    began: float = field(default_factory=time.monotonic)
    healthy: bool | None = None
    message: str = ""
    _successes: int = 0
    _failures: int = 0
    _due: float = 0.0
    _counted: float = 0.0

    @property
    def due(self) -> float:
        """The monotonic time at which it is to be run next."""
        delay = float(self.spec.get("initialDelaySeconds", 0))
        if self.kind == "liveness":
            delay += float(self.spec.get("periodSeconds", 10))  # a process that has just begun need not answer yet
        return max(self._due, self.began + delay)

    def run(self, surroundings: Surroundings) -> bool:
        """Run it once and return whether the verdict has changed."""
        before = self.healthy
        self.message = attempt(self.spec, surroundings) or ""
        now, period = time.monotonic(), float(self.spec.get("periodSeconds", 10))
        if not self.message:
            self._failures = 0
            self._successes += 1
            if self._successes >= self.spec.get("successThreshold", 1):
                self.healthy = True
            self._due = now + period
            return self.healthy is not before
        self._successes = 0
        if self.healthy is None and self.kind != "liveness":
            # Tried eagerly, but counted only once a period, so that the threshold means what it says.
            self._due = now + min(_EAGER_SECONDS, period)
            if now - max(self._counted, self.began) < period:
                return False
        else:
            self._due = now + period
        self._counted = now
        self._failures += 1
        if self._failures >= self.spec.get("failureThreshold", 3):
            self.healthy = False
        return self.healthy is not before


def attempt(spec: Object, surroundings: Surroundings) -> str | None:
    """Run a probe or a lifecycle handler once; return what is wrong in the kubelet's words, None for success."""
    timeout = float(spec.get("timeoutSeconds", 1))
    if "httpGet" in spec:
        return _http(spec["httpGet"], surroundings, timeout)
    if "exec" in spec:
        return _exec(spec["exec"]["command"], surroundings, timeout)
    # A gRPC probe is taken as far as the connection: the health service itself needs a gRPC stack.
    target = spec.get("tcpSocket") or spec.get("grpc") or {}
    place = (target.get("host") or surroundings.address, surroundings.port(target["port"]))
    try:
        socket.create_connection(place, timeout=timeout).close()
    except OSError as error:
        return f"dial tcp {place[0]}:{place[1]}: {error.strerror or error}"
    return None


def _http(target: Object, surroundings: Surroundings, timeout: float) -> str | None:
    host, port = target.get("host") or surroundings.address, surroundings.port(target["port"])
    connection: http.client.HTTPConnection
    if target.get("scheme") == "HTTPS":
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # as a kubelet probes
        connection = http.client.HTTPSConnection(host, port, timeout=timeout, context=context)
    else:
        connection = http.client.HTTPConnection(host, port, timeout=timeout)
    headers = {"User-Agent": "kube-probe/host", "Accept": "*/*", "Connection": "close"}
    headers |= {header["name"]: header["value"] for header in target.get("httpHeaders", [])}
    try:
        connection.request("GET", target.get("path") or "/", headers=headers)
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return f'Get "http://{host}:{port}{target.get("path") or "/"}": {error}'
    finally:
        connection.close()
    return None if 200 <= status < 400 else f"HTTP probe failed with statuscode: {status}"


def _exec(command: Sequence[str], surroundings: Surroundings, timeout: float) -> str | None:
    try:
        result = subprocess.run(
            command,
            env=dict(surroundings.env),
            cwd=surroundings.directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"command timed out after {timeout:g}s"
    except OSError as error:
        return str(error)
    output = (result.stdout + result.stderr).decode(errors="replace").strip()
    return None if result.returncode == 0 else output[-1024:] or f"exit status {result.returncode}"
