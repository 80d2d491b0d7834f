"""Errors of the Kubernetes API, typed from the Status object that a refusal carries.

    ApiError                 any answer that is not success
    ├── Unauthorized         401: no valid credentials
    ├── Forbidden            403: RBAC or admission says no
    │   ├── QuotaExceeded    403: a ResourceQuota is used up; heals when it is raised or freed
    │   └── AdmissionDenied  403, 422 or what it chose: a policy or webhook of the cluster says no
    ├── NotFound             404
    ├── AlreadyExists        409 on create
    ├── Conflict             409: resourceVersion, uid or field ownership does not match
    ├── Gone                 410: the resourceVersion is too old
    ├── Invalid              422 (and 400): the object is refused; `causes` name the fields
    ├── TooManyRequests      429: slow down for `retry_after` seconds             transient
    └── ServerUnavailable    5xx, no connection, no answer in time                transient
    ChildConflict            a child's name is held by an object that is not ours
    ImmutableField           the API server refuses to change a field of a child in place

`ChildConflict` and `ImmutableField` are raised by `apply.ensure`, the others by `client.ApiClient`.
"""

# ruff: noqa: N818 - these are the API's own words for its refusals: NotFound, Conflict, …

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ameide_shared.kube.resources import Manifest, ObjectKey, ResourceType, key_of


@dataclass(frozen=True, slots=True)
class Cause:
    """One reason for a refusal: `field` is a path such as `spec.replicas`, and may be empty."""

    field: str
    message: str
    reason: str = ""


class ApiError(Exception):
    """The API server's refusal, or its silence.

    `status` is the HTTP status (0 when there was no answer), `reason` the Status reason (`AlreadyExists`),
    `message` the server's own words, `retry_after` seconds that the server asks to wait.
    """

    transient = False
    """True where the same request may well succeed later without anybody changing anything."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 0,
        reason: str = "",
        causes: Sequence[Cause] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.reason = reason
        self.causes = tuple(causes)
        self.retry_after = retry_after


class Unauthorized(ApiError):
    """401: the credentials are missing, wrong or expired."""


class Forbidden(ApiError):
    """403: RBAC does not permit the request, or admission refused it."""


class QuotaExceeded(Forbidden):
    """403 because a ResourceQuota of the namespace is used up."""


class AdmissionDenied(Forbidden):
    """A ValidatingAdmissionPolicy or an admission webhook refused the object: somebody's rule, not the schema or RBAC.

    The code is the policy's choice, 422 unless it says otherwise.
    """


class NotFound(ApiError):
    """404: no such object, or no such API."""


class AlreadyExists(ApiError):
    """409 on create: the name is taken."""


class Conflict(ApiError):
    """409: a precondition (resourceVersion, uid) or another manager's field stands in the way."""


class Gone(ApiError):
    """410: the resourceVersion or the continue token is too old; list anew."""


class Invalid(ApiError):
    """422 or 400: the API server refuses the object as it is; `causes` says which fields."""


class TooManyRequests(ApiError):
    """429: the API server is shedding load."""

    transient = True


class ServerUnavailable(ApiError):
    """5xx, a broken connection, or no answer within the time limit."""

    transient = True


class ChildConflict(Exception):
    """A child cannot be created: an object of that name exists and is not ours. It is never taken over."""

    def __init__(self, resource: ResourceType, live: Manifest) -> None:
        self.resource = resource
        self.key: ObjectKey = key_of(live)
        self.holder = holder_of(live)
        self.message = (
            f"{resource.kind} {self.key} exists and belongs to {self.holder}; "
            f"delete or rename that {resource.kind}, or choose another name for this resource"
        )
        super().__init__(self.message)


class ImmutableField(Exception):
    """A child differs in fields that the API server does not let change; only a new object can have them."""

    def __init__(self, resource: ResourceType, key: ObjectKey, cause: Invalid) -> None:
        self.resource = resource
        self.key = key
        self.fields = tuple(dict.fromkeys(c.field for c in cause.causes if c.field)) or ("?",)
        self.message = (
            f"{resource.kind} {key}: {', '.join(self.fields)} cannot be changed in place; "
            f"delete the {resource.kind} and it is created anew as wanted"
        )
        super().__init__(self.message)


def holder_of(live: Manifest) -> str:
    """Who controls an object, in words: `Domain orders`, else the tool that manages it, else nobody we know."""
    metadata: Mapping[str, Any] = live.get("metadata") or {}
    for reference in metadata.get("ownerReferences") or ():
        if reference.get("controller"):
            return f"{reference.get('kind')} {reference.get('name')}"
    labels: Mapping[str, str] = metadata.get("labels") or {}
    if "ameide.io/owner-name" in labels:
        kind = labels.get("ameide.io/primitive", "resource")
        return f"{kind} {labels.get('ameide.io/owner-namespace')}/{labels['ameide.io/owner-name']}"
    if manager := labels.get("app.kubernetes.io/managed-by"):
        return f"{manager} (no owner)"
    return "nobody that we know"


_DENIAL: Final = re.compile(
    r"ValidatingAdmissionPolicy '[^']*' with binding '[^']*' denied request"
    r'|admission webhook "[^"]*" denied the request'
)

_BY_REASON: dict[str, type[ApiError]] = {
    "Unauthorized": Unauthorized,
    "Forbidden": Forbidden,
    "NotFound": NotFound,
    "AlreadyExists": AlreadyExists,
    "Conflict": Conflict,
    "Gone": Gone,
    "Expired": Gone,
    "Invalid": Invalid,
    "BadRequest": Invalid,
    "TooManyRequests": TooManyRequests,
    "ServerTimeout": ServerUnavailable,
    "Timeout": ServerUnavailable,
    "InternalError": ServerUnavailable,
    "ServiceUnavailable": ServerUnavailable,
}
_BY_STATUS: dict[int, type[ApiError]] = {
    400: Invalid,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    422: Invalid,
    429: TooManyRequests,
}


def error_of(status: int, body: bytes, *, request: str, retry_after: str | None = None) -> ApiError:
    """The error for an answer of 400 and above.

    `request` names what was asked, for answers that are no Status object (a proxy's, say);
    `retry_after` is the header's value, in seconds.
    """
    payload = _status_object(body)
    details: Mapping[str, Any] = payload.get("details") or {}
    reason = str(payload.get("reason") or "")
    message = str(payload.get("message") or "") or f"{request}: the server answered {status}"
    kind = _BY_REASON.get(reason) or _BY_STATUS.get(status) or (ServerUnavailable if status >= 500 else ApiError)
    if kind is Forbidden and "exceeded quota" in message:
        kind = QuotaExceeded
    elif kind in (ApiError, Unauthorized, Forbidden, Invalid) and _DENIAL.search(message):
        kind = AdmissionDenied
    causes = [
        Cause(str(c.get("field") or ""), str(c.get("message") or ""), str(c.get("reason") or ""))
        for c in details.get("causes") or ()
    ]
    return kind(
        message,
        status=status,
        reason=reason,
        causes=causes,
        retry_after=_seconds(retry_after) or _seconds(details.get("retryAfterSeconds")),
    )


def _status_object(body: bytes) -> Mapping[str, Any]:
    try:
        payload = json.loads(body)
    except ValueError:
        return {}
    return payload if isinstance(payload, dict) and payload.get("kind") == "Status" else {}


def _seconds(value: object) -> float | None:
    """A Retry-After in seconds; None when absent or a date, which the API server never sends."""
    try:
        return max(0.0, float(str(value)))
    except ValueError:
        return None
