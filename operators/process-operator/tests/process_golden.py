"""The Process operator's golden cases: besides objects and documents, what only its own deeds in Temporal tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ameide_dev.testing.golden import Golden
from ameide_shared.status import parse_time
from process_operator.main import DEFINITION
from process_operator.observed import Observed
from process_operator.temporal.model import Batch, BatchState, SchedulesPaused


def outside(observed: Observed, seen: Mapping[str, Any]) -> Observed:
    """Keys of `observed.yaml`: `batch`, `schedules` (that were paused), `next_attempt` at fetching the definition."""
    if "batch" in seen:
        told = seen["batch"]
        batch = Batch("job", BatchState(told["state"]), total=told["total"], done=told["done"])
        observed = replace(observed, batch=batch)
    if "schedules" in seen:
        failed = tuple((name, why) for name, why in seen["schedules"]["failed"])
        observed = replace(observed, schedules=SchedulesPaused(failed=failed))
    if "next_attempt" in seen:
        definition = replace(observed.definition, next_attempt=parse_time(str(seen["next_attempt"])))
        observed = replace(observed, definition=definition)
    return observed


GOLDEN = Golden(Path(__file__).with_name("golden"), DEFINITION, outside)
