"""What the Transformation API's refusals mean: HTTP answers to typed errors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from pydantic import ValidationError

from ameide_shared.logging import known_secrets
from ameide_shared.redact import scrub
from ameide_shared.transformation.errors import (
    DefinitionNotFound,
    TransformationError,
    TransformationRefused,
    TransformationUnavailable,
)
from ameide_shared.transformation.model import ProblemDocument, Reference

LONGEST_WAIT: Final = 300.0
"""Seconds: a longer Retry-After is not followed."""
_LONGEST_DETAIL: Final = 200
_FOR_ALL: Final = frozenset({429, 502, 503, 504})
"""Answers that say nothing of the definition that was asked for."""


def error_of(
    status: int, headers: Mapping[str, str], detail: str, reference: Reference, server: str, now: datetime
) -> TransformationError:
    """The error that a status other than 200, and an expected 304, stands for. `detail` is the server's own words."""
    said = f": {detail}" if detail else ""
    if status in (404, 410):
        return DefinitionNotFound(
            f"{server} has no {reference}{said}",
            "publish it, or correct definitionRef in the spec; it is looked for again",
        )
    if status == 401:
        return TransformationRefused(
            f"{server} does not accept the operator's token (HTTP 401){said}",
            "renew the token in the file that transformation.tokenFile names; a new one is used at once",
        )
    if status == 403:
        return TransformationRefused(
            f"{server} does not let the operator read {reference} (HTTP 403){said}",
            f"have the operator's token permitted to read definitions of tenant {reference.tenant_id!r}",
        )
    if 300 <= status < 400:
        return TransformationUnavailable(
            f"{server} answered HTTP {status}, and redirects are not followed",
            "set transformation.url to the address that the API really has",
            quick_retry=False,
        )
    wait = retry_after(headers.get("retry-after", ""), now)
    remedy = "see whether the Transformation API is well; it is asked again"
    if status == 429:
        remedy = "wait, or raise transformation.pollSeconds or the API's limit for the operator; it is asked again"
    return TransformationUnavailable(
        f"{server} answered HTTP {status}{said}",
        remedy,
        retry_after=wait,
        for_all=status in _FOR_ALL,
        quick_retry=status >= 500 and wait is None,
    )


def retry_after(value: str, now: datetime) -> float | None:
    """Seconds to wait by a Retry-After header, in either of its forms, at most `LONGEST_WAIT`; None without one."""
    value = value.strip()
    if value.isascii() and value.isdigit():
        return min(float(value[:9]), LONGEST_WAIT)
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return min(max((at - now).total_seconds(), 0.0), LONGEST_WAIT)


def problem_text(body: bytes) -> str:
    """The detail, or else the title, of a problem document, scrubbed and cut; empty for any other body."""
    try:
        problem = ProblemDocument.model_validate(json.loads(body))
    except (ValidationError, ValueError, RecursionError):
        return ""
    text = " ".join((problem.detail or problem.title).split())
    text = "".join(character for character in text if character.isprintable())
    text = scrub(text, known_secrets())
    return text if len(text) <= _LONGEST_DETAIL else text[: _LONGEST_DETAIL - 1] + "…"
