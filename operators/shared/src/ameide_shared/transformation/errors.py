# ruff: noqa: N818 - the names are those of the reasons that conditions carry
"""What goes wrong with the Transformation API.

Errors: TransformationError
        ├── DefinitionNotFound          it has no such tenant, definition or version
        ├── DefinitionInvalid           it sent something else than its contract says
        ├── TransformationRefused       our token, or none, does not suffice
        └── TransformationUnavailable   it cannot be reached, or cannot answer now: worth another try
"""

from __future__ import annotations

from typing import ClassVar

from ameide_shared.transformation.model import Failure


class TransformationError(Exception):
    """A definition could not be fetched; `message` and `remedy` are fit for a status and hold no secrets."""

    reason: ClassVar[Failure]

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


class DefinitionNotFound(TransformationError):
    """There is no such definition, or not in that version."""

    reason = Failure.NOT_FOUND


class DefinitionInvalid(TransformationError):
    """The answer is not what the API promises."""

    reason = Failure.INVALID


class TransformationRefused(TransformationError):
    """The API refuses the operator's token, or there is none to send. Another token is worth another try at once."""

    reason = Failure.REFUSED


class TransformationUnavailable(TransformationError):
    """The API did not answer as it should, and may do so later.

    `retry_after`: seconds that it asks to be left alone. `for_all`: other definitions will fare no better, so there is
    no use in asking for them. `silent`: it was connected to, and said nothing in time.
    """

    reason = Failure.UNAVAILABLE

    def __init__(
        self,
        message: str,
        remedy: str,
        *,
        retry_after: float | None = None,
        for_all: bool = False,
        silent: bool = False,
        quick_retry: bool = True,
    ) -> None:
        super().__init__(message, remedy)
        self.retry_after = retry_after
        self.for_all = for_all
        self.silent = silent
        self.quick_retry = quick_retry
