"""Reads the API server's audit log: who asked for what, request by request."""

import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Metadata of every request; never bodies, since those of Secrets would lie on disk.
POLICY: dict[str, Any] = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "omitManagedFields": True,
    "rules": [
        {"level": "None", "nonResourceURLs": ["/healthz*", "/livez*", "/readyz*"]},
        {"level": "Metadata"},
    ],
}


def position(log: Path) -> int:
    """The log's size in bytes: hand it to `events` later to read only what came after."""
    return log.stat().st_size if log.exists() else 0


def events(
    log: Path,
    *,
    user: str | None = None,
    since: dt.datetime | None = None,
    after: int = 0,
    stage: str | None = "ResponseComplete",
) -> Iterator[dict[str, Any]]:
    """Audit events (audit.k8s.io/v1, parsed) in the order they were written.

    user: only this user name; since: only requests received at or after this moment (aware datetime); after: start at
    this byte position (see `position`); stage: only this stage, None for all. A watch that is still open has only
    written its "ResponseStarted".
    """
    if not log.exists():
        return
    needle = f'"username":{json.dumps(user)}'.encode() if user is not None else b""
    with log.open("rb") as lines:
        lines.seek(after)
        for line in lines:
            if not line.endswith(b"\n"):
                return  # The server is still writing it.
            if needle not in line:
                continue
            event: dict[str, Any] = json.loads(line)
            if user is not None and event["user"].get("username") != user:
                continue
            if stage is not None and event["stage"] != stage:
                continue
            if since is not None and dt.datetime.fromisoformat(event["requestReceivedTimestamp"]) < since:
                continue
            yield event
