"""The Domain operator's golden cases: besides objects, the logs of migration Jobs, and whether their past is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from ameide_dev.testing.golden import Golden
from ameide_shared.kube.resources import JOB
from domain_operator.main import DEFINITION
from domain_operator.observed import Observed


def own(observed: Observed, seen: Mapping[str, Any]) -> Observed:
    """`logs` in `observed.yaml`: the end of the log by a glob over the names of Jobs; and `past_known`, if not."""
    names = [job["metadata"]["name"] for job in observed.children(JOB)]
    found = {
        name: text for pattern, text in seen.get("logs", {}).items() for name in names if fnmatchcase(name, pattern)
    }
    return replace(observed, logs=found, past_known=seen.get("past_known", True))


GOLDEN = Golden(Path(__file__).with_name("golden"), DEFINITION, own)
