"""The ServiceAccount that pods run as; it has no rights, and no token of it is mounted."""

from __future__ import annotations

from typing import Any, Protocol

from ameide_shared.builders.identity import Primitive, child_metadata
from ameide_shared.kube.resources import SERVICE_ACCOUNT
from ameide_shared.spec.common import Security


class HasSecurity(Protocol):
    """A spec that says as whom its pods run."""

    @property
    def security(self) -> Security: ...


def service_account_name(primitive: Primitive, spec: HasSecurity) -> str:
    """The ServiceAccount that the spec names, by default the child name."""
    return spec.security.service_account_name or primitive.child_name


def service_account(primitive: Primitive, name: str) -> dict[str, Any]:
    """A ServiceAccount of ours; whether one of that name may be used at all is `tenancy`'s question."""
    return {
        "apiVersion": SERVICE_ACCOUNT.api_version,
        "kind": SERVICE_ACCOUNT.kind,
        "metadata": child_metadata(primitive, name),
        "automountServiceAccountToken": False,
    }
