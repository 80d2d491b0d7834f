"""What an action that was refused or failed means, in words that its owner can act on."""

from __future__ import annotations

from ameide_shared.external import ExternalError
from ameide_shared.kube.errors import (
    AdmissionDenied,
    ApiError,
    ChildConflict,
    Conflict,
    Forbidden,
    ImmutableField,
    Invalid,
    NotFound,
    QuotaExceeded,
)
from ameide_shared.plan import (
    Action,
    AddFinalizer,
    Call,
    Delete,
    Ensure,
    EnsureSecret,
    Failure,
    HandOverReplicas,
    Notify,
    RemoveFinalizer,
)
from ameide_shared.reasons import Reason

DENIED_SECONDS = 60.0
"""When a child that an admission policy refused is tried again: that the policy was lifted no watch shows."""
TRIED_AGAIN = "it is tried again by itself; if it stays, look at the API server and its admission webhooks"


class MissingSourceError(Exception):
    """A value is to be copied from a Secret, or a key of it, that is not there yet."""


def remedy_for(error: ApiError) -> str:
    """What can be done about a refusal that is about no particular action."""
    if isinstance(error, Forbidden) and 'User "' in error.message:  # the words in which rights are denied
        return "grant the operator's service account this right: see rbac and watch in the values of its chart"
    if isinstance(error, Forbidden):
        return "mend what the message names, or have it permitted; it is tried again by itself"
    return TRIED_AGAIN


def describe(action: Action) -> str:
    """One line for logs and people: verb, object, reason."""
    match action:
        case Ensure() | EnsureSecret():
            return f"ensure {action.manifest['kind']} {action.key}: {action.reason}"
        case Delete():
            return f"delete {action.resource.kind} {action.key}: {action.reason}"
        case HandOverReplicas():
            return f"hand over replicas of Deployment {action.key}: {action.reason}"
        case AddFinalizer() | RemoveFinalizer():
            verb = "add" if isinstance(action, AddFinalizer) else "remove"
            return f"{verb} finalizer {action.finalizer}: {action.reason}"
        case Notify():
            return f"event {action.event_reason}: {action.reason}"
        case Call():
            return f"{action.operation}: {action.reason}"


def explain(action: Action, error: Exception) -> Failure:
    """What a refused or failed action means, in words its owner can act on."""
    what = describe(action).split(":")[0]
    if isinstance(error, ChildConflict):
        return Failure(
            action,
            Reason.ChildConflict,
            str(error),
            remedy="rename or delete that object, or rename this resource",
        )
    if isinstance(error, ExternalError):
        return Failure(
            action,
            error.reason,
            error.message,
            remedy=error.remedy,
            terminal=error.terminal,
            retry_after=error.retry_after,
            unanswered=not error.terminal,
        )
    if isinstance(error, MissingSourceError):
        return Failure(action, Reason.SecretNotFound, str(error), remedy="wait for what makes it, or mend that Secret")
    if isinstance(error, QuotaExceeded):
        return Failure(action, Reason.QuotaExceeded, f"could not {what}: {error}", remedy="raise the ResourceQuota")
    if isinstance(error, (Invalid, ImmutableField)):
        return Failure(
            action,
            Reason.ApplyFailed,
            f"could not {what}: the API server refused it: {error}",
            remedy="mend the named field in spec, or report this to the operator's maintainers",
            terminal=True,
        )
    if isinstance(error, AdmissionDenied):
        return Failure(
            action,
            Reason.ApplyFailed,
            f"could not {what}: an admission policy of the cluster refused it: {error}",
            remedy="change spec so that the policy permits it, or have whoever keeps that policy make an exception; it "
            "is tried again every minute",
            terminal=True,
            retry_after=DENIED_SECONDS,
        )
    if isinstance(error, Forbidden):
        return Failure(action, Reason.ApplyFailed, f"could not {what}: forbidden: {error}", remedy=remedy_for(error))
    if isinstance(error, NotFound) and isinstance(action, (Ensure, EnsureSecret)):
        return Failure(
            action,
            Reason.APINotInstalled,
            f"could not {what}: {error}",
            remedy="create the namespace, or install the API, that is missing",
        )
    if isinstance(error, Conflict):
        return Failure(
            action, Reason.ApplyFailed, f"could not {what}: it changed meanwhile", remedy="it is tried again by itself"
        )
    return Failure(
        action,
        Reason.ApplyFailed,
        f"could not {what}: {error}",
        remedy=TRIED_AGAIN,
        retry_after=error.retry_after if isinstance(error, ApiError) else None,
        unanswered=True,
    )
