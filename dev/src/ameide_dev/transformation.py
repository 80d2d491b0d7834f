"""A stand-in for the Transformation API: real HTTP on loopback, definitions in a folder, faults on request.

    with TransformationServer(token="…") as server:
        server.put("process", "t123", "L2O_v3", {...})
        server.fault("rate-limited", seconds=7)

`python -m ameide_dev.transformation --folder FOLDER` serves a folder until it is interrupted.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ameide_dev.transformation_app import Fault, FaultName, LoggedRequest, TransformationApp
from ameide_dev.transformation_store import DefinitionStore, Kind
from ameide_dev.webserver import WebServer


class TransformationServer(WebServer):
    """The server in a thread of this process; `stop` and `start` keep its port and its definitions."""

    def __init__(
        self,
        folder: Path | None = None,
        token: str | None = None,
        *,
        port: int | None = None,
        certificate: tuple[Path, Path] | None = None,
    ) -> None:
        """`folder`: a temporary one unless given. `token`: none means that anybody may read. `port`: any free one
        unless given. `certificate`: files of a certificate and its key, for TLS."""
        self._temporary = Path(tempfile.mkdtemp(prefix="ameide-transformation-")) if folder is None else None
        self._folder = folder or self._temporary or Path()
        self.store = DefinitionStore(self._folder)
        self._app = TransformationApp(self.store, token)
        super().__init__(self._app, "transformation-api", port=port, certificate=certificate)

    def close(self) -> None:
        """Stop, and give back the port and the temporary folder."""
        super().close()
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)

    @property
    def token(self) -> str | None:
        """The token that is asked for; None lets anybody read. May be set while it serves."""
        return self._app.token

    @token.setter
    def token(self, value: str | None) -> None:
        self._app.token = value

    def put(self, kind: Kind, tenant: str, name: str, definition: Mapping[str, Any], version: int | None = None) -> int:
        """Publish a version of a definition, the next one unless it is given; its number."""
        return self.store.put(kind, tenant, name, definition, version)

    def remove(self, kind: Kind, tenant: str, name: str, version: int | None = None) -> None:
        """Withdraw one version of a definition, or all of them."""
        self.store.remove(kind, tenant, name, version)

    def fault(
        self,
        name: FaultName | None,
        *,
        seconds: float = 0.0,
        body: bytes | None = None,
        content_type: str = "application/json",
        only: str = "",
        times: int = 0,
    ) -> None:
        """Let something go wrong from now on, as `Fault` says; None ends it."""
        if name is None:
            self._app.fault = None
            return
        told = {} if body is None else {"body": body}
        self._app.fault = Fault(name, seconds=seconds, content_type=content_type, only=only, times=times, **told)

    def requests(self) -> list[LoggedRequest]:
        """All requests since the start, or since they were cleared, in the order of their answers."""
        return self._app.requests()

    def clear_requests(self) -> None:
        """Begin the log of requests anew."""
        self._app.clear_requests()


@click.command()
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False), required=True, help="With definitions.")
@click.option("--port", type=int, default=None, help="Port on 127.0.0.1; any free one unless given.")
@click.option("--token-file", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="With the token.")
def main(folder: Path, port: int | None, token_file: Path | None) -> None:
    """Serve the definitions in a folder: TENANT/process-definitions/ID/VERSION.json."""
    token = token_file.read_text(encoding="utf-8").strip() if token_file else None
    with TransformationServer(folder, token, port=port) as server:
        click.echo(f"serving {folder} at {server.url}")
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            click.echo("stopped")


if __name__ == "__main__":
    main()
