"""One Keycloak for all test processes of a user that run at the same time: the first has it started, the last ends it.

A keeper process runs the server, and waits for a lock that every user of it shares: however those end, the kernel
takes their locks away, and the keeper ends with the last of them.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO

from ameide_dev.keycloak import KeycloakServer, KeycloakServerError
from ameide_dev.keycloak_realm import Admin

_READY_SECONDS = 600.0  # a machine's first start fetches the distribution


class SharedKeycloak:
    """A server that others use too: make realms of your own in it, and do not stop it."""

    def __init__(self, folder: Path | None = None) -> None:
        """`folder`: where users meet; by default one for each Unix user of the machine."""
        self._folder = folder or Path(tempfile.gettempdir()) / f"ameide-keycloak-shared-{os.getuid()}"
        self._use: IO[bytes] | None = None
        self._admin: Admin | None = None
        self._state: dict[str, str] = {}

    @property
    def url(self) -> str:
        """Base URL without TLS."""
        return self._state["url"]

    @property
    def https_url(self) -> str:
        """Base URL with TLS; its certificate is of the authority in `ca_file`."""
        return self._state["httpsUrl"]

    @property
    def ca_file(self) -> Path:
        """The certificate authority of `https_url`, PEM."""
        return Path(self._state["caFile"])

    @property
    def admin(self) -> Admin:
        """Everything that tests do as the administrator of the server."""
        if self._admin is None:
            self._admin = Admin(self.url, self._state["user"], self._state["password"])
        return self._admin

    def start(self) -> None:
        """See that a server is on its way, and hold it until `release`; does not wait for it."""
        if self._use is not None:
            return
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self._use = (self._folder / "users.lock").open("wb")
        fcntl.flock(self._use, fcntl.LOCK_SH)  # waits only while a keeper is clearing up
        keeper = (self._folder / "keeper.lock").open("wb")
        try:
            fcntl.flock(keeper, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            keeper.close()
            return
        with keeper, (self._folder / "keeper.log").open("wb") as log:
            # The keeper inherits the lock, so there is no moment in which nobody has it.
            self._state_file.unlink(missing_ok=True)
            subprocess.Popen(
                [sys.executable, "-m", "ameide_dev.keycloak_shared", str(self._folder)],
                pass_fds=[keeper.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait_ready(self, timeout: float = _READY_SECONDS) -> None:
        """Return once it serves. Raises KeycloakServerError."""
        self.start()
        deadline = time.monotonic() + timeout
        while not self._state_file.exists():
            if not self._kept() or time.monotonic() > deadline:
                log = (self._folder / "keeper.log").read_text(errors="replace")
                raise KeycloakServerError(f"the shared Keycloak did not start:\n{log[-2000:]}")
            time.sleep(0.05)
        self._state = json.loads(self._state_file.read_text())

    def release(self) -> None:
        """Use it no longer."""
        if self._admin is not None:
            self._admin.close()
            self._admin = None
        if self._use is not None:
            self._use.close()
            self._use = None

    @property
    def _state_file(self) -> Path:
        return self._folder / "state.json"

    def _kept(self) -> bool:
        with (self._folder / "keeper.lock").open("rb") as keeper:
            try:
                fcntl.flock(keeper, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False


def _keep(folder: Path) -> None:
    with KeycloakServer("shared") as server:
        state = {
            "url": server.url,
            "httpsUrl": server.https_url,
            "caFile": str(server.ca_file),
            "user": server.admin.user,
            "password": server.admin.password,
        }
        draft = folder / "state.new"
        draft.touch(mode=0o600)
        draft.write_text(json.dumps(state))
        draft.rename(folder / "state.json")
        with (folder / "users.lock").open("wb") as users:
            fcntl.flock(users, fcntl.LOCK_EX)
            (folder / "state.json").unlink()
            server.remove()
            os._exit(0)  # both locks go at once: whoever waits for one finds nobody keeping a server


if __name__ == "__main__":
    _keep(Path(sys.argv[1]))
