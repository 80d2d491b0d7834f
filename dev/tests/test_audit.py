"""Reading the audit log: filters, and a line that is still being written."""

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest

from ameide_dev import audit


def event(user: str, second: int, verb: str = "get", stage: str = "ResponseComplete") -> dict[str, Any]:
    received = f"2026-01-01T00:00:{second:02d}.000000Z"
    return {"stage": stage, "verb": verb, "user": {"username": user}, "requestReceivedTimestamp": received}


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "audit.log"
    events = [
        event("alice", 1),
        event("bob", 2, "create"),
        event("alice", 3, "watch", "ResponseStarted"),
        event("alice", 4, "patch"),
    ]
    # The server writes without spaces, and the reader relies on that for its quick look.
    path.write_text("".join(json.dumps(item, separators=(",", ":")) + "\n" for item in events))
    return path


def verbs(log: Path, **filters: Any) -> list[str]:
    return [item["verb"] for item in audit.events(log, **filters)]


def test_all_answered_requests(log: Path) -> None:
    assert verbs(log) == ["get", "create", "patch"]


def test_filters(log: Path) -> None:
    assert verbs(log, user="alice") == ["get", "patch"]
    assert verbs(log, user="ali") == []
    assert verbs(log, user="alice", stage=None) == ["get", "watch", "patch"]
    assert verbs(log, since=dt.datetime(2026, 1, 1, 0, 0, 2, tzinfo=dt.UTC)) == ["create", "patch"]


def test_only_what_came_later(log: Path) -> None:
    mark = audit.position(log)
    assert verbs(log, after=mark) == []
    with log.open("a") as lines:
        lines.write(json.dumps(event("bob", 5, "delete"), separators=(",", ":")) + "\n")
        lines.write('{"stage":"ResponseComplete","verb":"li')
    assert verbs(log, after=mark) == ["delete"]


def test_no_log_yet(tmp_path: Path) -> None:
    assert audit.position(tmp_path / "none") == 0
    assert list(audit.events(tmp_path / "none")) == []
