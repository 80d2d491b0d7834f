"""A violation in the form that all offline checks share, so that `check` can name the line of a manifest."""

from __future__ import annotations

import re
from typing import Final

from agent_operator.policy.verdict import Violation
from ameide_shared.spec.problems import Location, Problem

_STEP: Final = re.compile(r"\[([0-9]+)\]|([^.\[\]]+)")


def problem_of(violation: Violation) -> Problem:
    """The violation as a problem of a field of the manifest."""
    message = f"{violation.message} (policy: {violation.rule})"
    return Problem(violation.field, message, violation.remedy, location_of(violation.field))


def location_of(field: str) -> Location:
    """The keys and indices of a path such as `spec.tools.allowed[1].operations[0]`."""
    return tuple(int(index) if index else key for index, key in _STEP.findall(field))
