"""What each operator asked of the API server, in short: left behind by every control plane that stops.

Where `$AMEIDE_REQUESTS` names a folder, a control plane writes a file into it when it stops, whichever process started
it. The files hold kinds and verbs, with an example of each request that was denied; see `testing.rights` for what is
made of them.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ameide_dev import audit
from ameide_dev.transport import USER_AGENT

FOLDER: Final = "AMEIDE_REQUESTS"
"""The environment variable that names the folder."""
LIKE: Final = "ameide-dev:like:"
"""A user in the group of this prefix and an operator's name counts as that operator."""
_ACCOUNT: Final = "system:serviceaccount:ameide-system:ameide-operators-"
_DECISION: Final = "authorization.k8s.io/decision"


@dataclass(frozen=True, slots=True, order=True)
class Right:
    """A verb on a resource, which has its subresource in its name (`pods/log`); the core group is empty."""

    group: str
    resource: str
    verb: str

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}{f' ({self.group})' if self.group else ''}"


@dataclass(frozen=True, slots=True)
class Requests:
    """What one operator was allowed, and what it was denied, the latter with an example of a request."""

    allowed: frozenset[Right] = frozenset()
    denied: Mapping[Right, str] | None = None

    def __or__(self, other: Requests) -> Requests:
        return Requests(self.allowed | other.allowed, {**(other.denied or {}), **(self.denied or {})})


def operator_of(event: Mapping[str, Any]) -> str:
    """Whose request an audit event tells of: `domain`; empty where no operator asked.

    A client of ours with an operator's token, by which a test tries what it may, is no operator.
    """
    if event.get("userAgent") == USER_AGENT:
        return ""
    user = event["user"]
    if str(user.get("username", "")).startswith(_ACCOUNT):
        return str(user["username"]).removeprefix(_ACCOUNT)
    return next((str(group).removeprefix(LIKE) for group in user.get("groups", ()) if group.startswith(LIKE)), "")


def summarize(events: Iterable[Mapping[str, Any]]) -> dict[str, Requests]:
    """Operator → its requests. A denial is one of rights: quotas and admission deny, too, but that is not told here."""
    allowed: dict[str, set[Right]] = {}
    denied: dict[str, dict[Right, str]] = {}
    for event in events:
        ref = event.get("objectRef")
        operator = operator_of(event)
        if not operator or not ref:
            continue  # discovery and the like, which every account may
        resource = "/".join(part for part in (ref["resource"], ref.get("subresource")) if part)
        right = Right(ref.get("apiGroup", ""), resource, event["verb"])
        if event.get("annotations", {}).get(_DECISION) == "forbid":
            denied.setdefault(operator, {})[right] = event["requestURI"]
        else:
            allowed.setdefault(operator, set()).add(right)
    return {
        operator: Requests(frozenset(allowed.get(operator, ())), denied.get(operator, {}))
        for operator in sorted({*allowed, *denied})
    }


def leave(log: Path) -> None:
    """Write the summary of an audit log into the folder that the environment names, if it names one."""
    folder = os.environ.get(FOLDER)
    if not folder or not log.exists():
        return
    found = summarize(audit.events(log, stage=None))
    document = {
        operator: {
            "allowed": [[right.group, right.resource, right.verb] for right in sorted(requests.allowed)],
            "denied": [
                [right.group, right.resource, right.verb, example]
                for right, example in sorted((requests.denied or {}).items())
            ],
        }
        for operator, requests in found.items()
    }
    if document:
        path = Path(folder) / f"{secrets.token_hex(8)}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document))


def read(folder: Path) -> dict[str, Requests]:
    """All summaries in a folder and those below it, together."""
    found: dict[str, Requests] = {}
    for path in sorted(folder.rglob("*.json")):
        for operator, part in json.loads(path.read_text()).items():
            requests = Requests(
                frozenset(Right(*item) for item in part["allowed"]),
                {Right(*item[:3]): item[3] for item in part["denied"]},
            )
            found[operator] = found.get(operator, Requests()) | requests
    return found
