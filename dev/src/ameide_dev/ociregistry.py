"""A real OCI registry on loopback (the `docker-registry` of the machine's packages), for charts and images."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import httpx
import yaml

from ameide_dev.ports import Ports
from ameide_dev.processes import ProcessError, Server, own_guard, wait_until

PROGRAM: Final = "docker-registry"
MISSING: Final = f"{PROGRAM} is not installed: apt-get install {PROGRAM}"
_START_SECONDS: Final = 20.0


def installed() -> bool:
    """Whether this machine has the program."""
    return shutil.which(PROGRAM) is not None


class OciRegistry:
    """A registry without TLS and without accounts, empty at first; a context manager."""

    def __init__(self) -> None:
        self._ports = Ports()
        self._folder: Path | None = None
        self._server: Server | None = None
        self.address = ""
        """`host:port`, from its start on."""

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start it, and return once it answers. Raises ProcessError, also where the program is missing."""
        program = shutil.which(PROGRAM)
        if program is None:
            raise ProcessError(MISSING)
        self._folder = Path(tempfile.mkdtemp(prefix="ameide-registry-"))
        own_guard().remove_at_end(self._folder)
        self.address = f"127.0.0.1:{self._ports.reserve()}"
        config = {
            "version": 0.1,
            "log": {"level": "info"},
            "storage": {"filesystem": {"rootdirectory": str(self._folder / "data")}},
            "http": {"addr": self.address},
        }
        file = self._folder / "config.yml"
        file.write_text(yaml.safe_dump(config))
        self._server = Server("The registry", [program, "serve", str(file)], log=self._folder / "registry.log")
        self._server.start()
        wait_until("The registry", self._answers, [self._server], _START_SECONDS)

    def stop(self) -> None:
        """Stop it and delete what was pushed."""
        if self._server is not None:
            self._server.stop(1)
            self._server = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            own_guard().keep(self._folder)
            self._folder = None
        self._ports.release()

    def tags(self, repository: str) -> list[str]:
        """The tags that a repository has; none where it was never pushed to."""
        answer = httpx.get(f"http://{self.address}/v2/{repository}/tags/list", timeout=5, trust_env=False)
        return sorted(answer.json().get("tags") or ()) if answer.is_success else []

    def _answers(self) -> bool:
        try:
            return httpx.get(f"http://{self.address}/v2/", timeout=2, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False
