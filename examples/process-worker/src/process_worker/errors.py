"""What can end an element early: BPMN errors, a cancelled transaction, and incidents, which no model can catch."""

from __future__ import annotations

from typing import Any

from temporalio.exceptions import ApplicationError, FailureError, TimeoutError, TimeoutType


class BpmnError(Exception):
    """An error with a code, raised by an error end event or a failed call, for a boundary event to catch."""

    def __init__(self, code: str, message: str, details: Any = None, cause: FailureError | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details
        self.cause = cause

    @classmethod
    def of(cls, failure: FailureError) -> BpmnError:
        """The BPMN error that a failed activity or child workflow amounts to: its code is the failure's type."""
        cause: BaseException | None = failure
        while isinstance(cause, FailureError):
            if isinstance(cause, ApplicationError):
                details = cause.details[0] if cause.details else None
                return cls(cause.type or "ApplicationError", cause.message, details, failure)
            if isinstance(cause, TimeoutError):
                return cls(f"TIMEOUT_{(cause.type or TimeoutType.START_TO_CLOSE).name}", cause.message, None, failure)
            cause = cause.cause
        return cls(type(failure).__name__, failure.message, None, failure)

    def payload(self) -> dict[str, Any]:
        """What the outputs of the event that catches it see as `result`."""
        return {"code": self.code, "message": self.message, "details": self.details}

    def failure(self) -> ApplicationError:
        """The workflow's failure when nothing has caught it."""
        return ApplicationError(self.message, *self._more(), type=self.code, non_retryable=True)

    def _more(self) -> list[Any]:
        return [] if self.details is None else [self.details]


class TransactionCancelledError(Exception):
    """A cancel end event was reached: the transaction is undone and left by its cancel boundary event."""


def incident(kind: str, message: str) -> ApplicationError:
    """A failure that comes from the model or its data and ends the workflow; `message` names the element."""
    return ApplicationError(message, type=kind, non_retryable=True)
