"""Answers of the Transformation service as documents in files, as `render --observed` and tests read them. Pure."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Final

from ameide_shared.kube.resources import Manifest
from ameide_shared.transformation.model import Definition, Failure, FetchProblem, Observation

LONG_AGO: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""The time of what a document gives no time for."""


def definition_of(document: Manifest) -> Observation:
    """What a ProcessDefinition or AgentDefinition says that was fetched, or went wrong."""
    spec, error = document.get("spec"), document.get("error")
    definition = problem = None
    if spec is not None:
        canonical = json.dumps(spec["definition"], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        digest = f"sha256:{hashlib.sha256(canonical.encode()).hexdigest()}"
        id_, tenant, version = spec["id"], spec["tenantId"], spec["version"]
        definition = Definition(id_, tenant, version, spec["definition"], "", LONG_AGO, digest)
    if error is not None:
        problem = FetchProblem(Failure(error["reason"]), error["message"], error.get("remedy", ""), LONG_AGO)
    return Observation(definition, problem)
