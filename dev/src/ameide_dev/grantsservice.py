"""A reference of the central grants service: real HTTP on loopback, documents in memory, faults on request.

    with GrantsService(token="…") as service:
        service.fault("unavailable", times=2)
        service.grants("t123", "sales", "coder")

`python -m ameide_dev.grantsservice` serves until it is interrupted.
"""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import click

from ameide_dev.grantsservice_app import NO_TENANT, Fault, FaultName, GrantsApp, LoggedRequest
from ameide_dev.webserver import WebServer


class GrantsService(WebServer):
    """The service in a thread of this process; `stop` and `start` keep its port and its documents."""

    def __init__(
        self,
        token: str | None = None,
        *,
        schema: Path | None = None,
        port: int | None = None,
        certificate: tuple[Path, Path] | None = None,
    ) -> None:
        """`token`: none means that anybody is let in. `schema`: file of the JSON Schema that documents must keep to.
        `port`: any free one unless given. `certificate`: files of a certificate and its key, for TLS."""
        content = None if schema is None else json.loads(schema.read_text(encoding="utf-8"))
        self._app = GrantsApp(token, content)
        super().__init__(self._app, "grants-service", port=port, certificate=certificate)

    @property
    def token(self) -> str | None:
        """The token that is asked for; None lets anybody in. May be set while it serves."""
        return self._app.token

    @token.setter
    def token(self, value: str | None) -> None:
        self._app.token = value

    def grants(self, tenant: str, namespace: str, agent: str) -> dict[str, Any] | None:
        """The document of an Agent (no tenant: an empty text); None if there is none."""
        found = self._app.grants().get((tenant or NO_TENANT, f"{namespace}.{agent}"))
        return None if found is None else dict(json.loads(found))

    def agents(self) -> list[tuple[str, str]]:
        """Tenant and id (`<namespace>.<name>`) of all Agents that have grants, sorted."""
        return sorted(self._app.grants())

    def forget(self) -> None:
        """Lose all documents, as a service that was restored from nothing."""
        self._app.forget()

    def fault(self, name: FaultName | None, *, seconds: float = 0.0, only: str = "", times: int = 0) -> None:
        """Have requests go wrong from now on, as `Fault` says; None ends it."""
        self._app.fault = None if name is None else Fault(name, seconds=seconds, only=only, times=times)

    def requests(self) -> list[LoggedRequest]:
        """All requests since the start, or since they were cleared, in the order of their answers."""
        return self._app.requests()

    def count(self, method: str, *, status: int | None = None, part: str = "") -> int:
        """How many requests of a method were answered, with a certain status, and with `part` in their path."""
        return sum(
            one.method == method and status in (None, one.status) and part in one.path for one in self.requests()
        )

    def clear_requests(self) -> None:
        """Begin the log of requests anew."""
        self._app.clear_requests()


@click.command()
@click.option("--port", type=int, default=None, help="Port on 127.0.0.1; any free one unless given.")
@click.option("--token-file", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="With the token.")
@click.option("--schema", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="JSON Schema of grants.")
def main(port: int | None, token_file: Path | None, schema: Path | None) -> None:
    """Serve a grants service that keeps its documents in memory."""
    token = token_file.read_text(encoding="utf-8").strip() if token_file else None
    with GrantsService(token, schema=schema, port=port) as service:
        click.echo(f"serving grants at {service.url}")
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            click.echo("stopped")


if __name__ == "__main__":
    main()
