"""From Temporal's messages to our data, and back."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.common.v1 import Payload
from temporalio.api.taskqueue.v1 import PollerInfo

from process_operator.temporal.model import Poller


def pollers_of(workflows: Iterable[PollerInfo], activities: Iterable[PollerInfo]) -> tuple[Poller, ...]:
    """One poller per identity and version, the latest word of each, in order of identity."""
    merged: dict[tuple[str, str, str], Poller] = {}
    for infos, of_workflows in ((workflows, True), (activities, False)):
        for info in infos:
            deployment, build_id = _version(info)
            key = (info.identity, deployment, build_id)
            at = moment(info.last_access_time)
            known = merged.get(key)
            merged[key] = Poller(
                info.identity,
                max(at, known.last_access) if known else at,
                of_workflows or (known is not None and known.workflows),
                not of_workflows or (known is not None and known.activities),
                deployment,
                build_id,
            )
    return tuple(merged[key] for key in sorted(merged))


def _version(info: PollerInfo) -> tuple[str, str]:
    """Deployment and build id, both empty unless the worker takes part in Worker Versioning."""
    options = info.deployment_options
    if options.deployment_name:
        return options.deployment_name, options.build_id
    return "", ""


def text_of(payload: Payload | None) -> str:
    """The text in a payload of JSON; empty for anything else, such as an encrypted one."""
    if payload is None or payload.metadata.get("encoding") != b"json/plain":
        return ""
    try:
        value = json.loads(payload.data)
    except ValueError:
        return ""
    return value if isinstance(value, str) else ""


def moment(at: Timestamp) -> datetime:
    """A protobuf time as ours; UTC."""
    return at.ToDatetime(tzinfo=UTC)


def duration(value: timedelta) -> Duration:
    """A time span as a protobuf one."""
    made = Duration()
    made.FromTimedelta(value)
    return made
