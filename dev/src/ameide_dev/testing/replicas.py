"""Two replicas of an operator, of which one works: who leads, what each has written, and what it has said."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ameide_dev.operators import RELEASE, OperatorProcess
from ameide_dev.platform import Platform
from ameide_dev.testing.apiproxy import ApiProxy, Call
from ameide_dev.testing.subject import Subject, metric
from ameide_dev.testing.waiting import until

LEASE_SECONDS = 3.0
TAKEOVER_SECONDS = LEASE_SECONDS + 3.0
"""Lease duration, a retry, and room for a machine that has other things to do."""


@dataclass(frozen=True, slots=True)
class Replica:
    """One of the replicas, behind a proxy of its own that knows what it asked for."""

    process: OperatorProcess
    proxy: ApiProxy

    @property
    def leads(self) -> bool:
        return metric(self.process, "leader_election_master_status") == 1

    @property
    def writes(self) -> list[str]:
        return [_line(call) for call in self.proxy.calls if call.writes]

    def writes_about(self, name: str) -> list[str]:
        """What it wrote of a resource and its children, which bear the resource's name and a suffix."""
        return [_line(call) for call in self.proxy.calls if call.writes and _is_about(call, name)]

    def said(self, message: str) -> datetime:
        """When the log first says something that begins so."""
        entries = (json.loads(line) for line in self.process.logs.splitlines() if line.startswith("{"))
        return next(datetime.fromisoformat(it["time"]) for it in entries if it["message"].startswith(message))


@contextmanager
def replicas(
    subject: Subject,
    chart: Platform,
    directory: Path,
    watched: str,
    *,
    lease_seconds: float = LEASE_SECONDS,
    **settings: str,
) -> Iterator[tuple[Replica, Replica]]:
    """The replica that leads and one that waits, for the namespaces that the glob names."""
    election = {
        "AMEIDE_LEADER_ELECTION__ENABLED": "true",
        "AMEIDE_LEADER_ELECTION__NAME": f"{RELEASE}-{subject.operator}",  # as the chart has it
        "AMEIDE_LEADER_ELECTION__LEASE_DURATION": f"{lease_seconds:g}",
        "AMEIDE_LEADER_ELECTION__RENEW_DEADLINE": f"{lease_seconds * 2 / 3:g}",
        "AMEIDE_LEADER_ELECTION__RETRY_PERIOD": "0.4",
    }
    with ExitStack() as stack:

        def start(name: str) -> Replica:
            own = directory / name
            own.mkdir()
            proxy = stack.enter_context(ApiProxy(chart.control_plane))
            kubeconfig = proxy.kubeconfig(subject.operator, own)
            process = subject.process(chart, own, watched, kubeconfig=kubeconfig, **settings, **election)
            stack.enter_context(process)
            return Replica(process, proxy)

        first = start("first")
        until("the first replica leads", lambda: first.leads)
        yield first, start("second")


def _line(call: Call) -> str:
    return f"{call.method} {call.path}"


def _is_about(call: Call, name: str) -> bool:
    """What is made has its name in the body only."""
    return f"/{name}" in call.path or any(f'"{name}{end}'.encode() in call.body for end in ('"', "-"))
