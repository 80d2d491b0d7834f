"""Loopback TCP ports that no other instance of the platform on this machine picks at the same time."""

import fcntl
import os
import random
import socket
import tempfile
from pathlib import Path
from typing import IO

# Below Linux's range for outgoing connections (32768-60999), so that no client socket takes one in between.
FIRST, LAST = 20000, 31999


class NoFreePortError(Exception):
    """Every port of the range is taken."""


class Ports:
    """Ports reserved until `release()`: each is held by a lock file, since a server may bind it only much later."""

    def __init__(self) -> None:
        self._held: list[IO[str]] = []
        # Not in the cache: reservations concern this machine, and a cache may be shared over a network.
        self._folder = Path(tempfile.gettempdir()) / f"ameide-ports-{os.getuid()}"
        self._folder.mkdir(exist_ok=True)

    def reserve(self) -> int:
        """A free TCP port on 127.0.0.1. Raises NoFreePortError."""
        for port in random.sample(range(FIRST, LAST + 1), LAST - FIRST + 1):
            handle = (self._folder / str(port)).open("w")
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                with socket.socket() as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind(("127.0.0.1", port))
            except OSError:
                handle.close()
                continue
            self._held.append(handle)
            return port
        raise NoFreePortError(f"no free TCP port between {FIRST} and {LAST} on 127.0.0.1; stop what holds them")

    def release(self) -> None:
        """Give all ports back."""
        while self._held:
            # The file stays: were it unlinked, a process that has just opened it would hold a lock nobody else sees.
            self._held.pop().close()
