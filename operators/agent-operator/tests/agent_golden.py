"""The Agent operator's golden cases: besides objects and documents, when a definition will be asked for again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from agent_operator.main import DEFINITION
from agent_operator.observed import Observed
from ameide_dev.testing.golden import Golden
from ameide_shared.status import parse_time


def outside(observed: Observed, seen: Mapping[str, Any]) -> Observed:
    """Keys of `observed.yaml`: `next_attempt` at fetching the definition."""
    if "next_attempt" in seen:
        definition = replace(observed.definition, next_attempt=parse_time(str(seen["next_attempt"])))
        observed = replace(observed, definition=definition)
    return observed


GOLDEN = Golden(Path(__file__).with_name("golden"), DEFINITION, outside)
