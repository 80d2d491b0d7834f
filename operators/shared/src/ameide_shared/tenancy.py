"""Borders between tenants: who may refer to whose objects, and whether a resource is of its namespace's tenant."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Protocol

from ameide_shared import vocabulary as names
from ameide_shared.builders.identity import Primitive, is_owned
from ameide_shared.kube.resources import Manifest
from ameide_shared.reasons import Reason

__all__ = [
    "Problem",
    "consents",
    "is_owned",
    "reference_problem",
    "service_account_problem",
    "tenant_of",
    "tenant_problem",
]


@dataclass(frozen=True, slots=True)
class Problem:
    """Why something is not permitted: the object in the way, a message, and every way to mend it."""

    reason: Reason
    object: str
    message: str
    remedy: str


class Grant(Protocol):
    """Consent given in the operator's settings: globs over the namespaces that refer and are referred to."""

    @property
    def source(self) -> str: ...

    @property
    def target(self) -> str: ...


def consents(target: Manifest, from_namespace: str) -> bool:
    """Whether the target's annotation `ameide.io/allowed-namespaces` (globs between commas) names a namespace."""
    annotations = target["metadata"].get("annotations") or {}
    globs = annotations.get(names.ANNOTATION_ALLOWED_NAMESPACES, "").replace(",", " ").split()
    return any(fnmatchcase(from_namespace, glob) for glob in globs)


def reference_problem(
    from_namespace: str, target: Manifest, allowed: Iterable[Grant] = (), *, field: str = "reference"
) -> Problem | None:
    """Why a resource in `from_namespace` may not refer to `target`, or None.

    References within a namespace are free. `field` is the field of the spec that refers, such as `spec.db.clusterRef`.
    """
    metadata = target["metadata"]
    namespace = metadata["namespace"]
    if namespace == from_namespace or consents(target, from_namespace):
        return None
    if any(fnmatchcase(from_namespace, grant.source) and fnmatchcase(namespace, grant.target) for grant in allowed):
        return None
    kind, name = target["kind"], metadata["name"]
    return Problem(
        Reason.ReferenceNotPermitted,
        f"{kind} {namespace}/{name}",
        f"{field}: {kind} {namespace}/{name} does not permit references from namespace {from_namespace}",
        f'annotate it with {names.ANNOTATION_ALLOWED_NAMESPACES}: "{from_namespace}", or have the operator\'s settings '
        f"allow it (references.allowed: from {from_namespace}, to {namespace})",
    )


def tenant_of(namespace: Manifest | None) -> str:
    """The tenant that a Namespace's label names; empty if none."""
    if namespace is None:
        return ""
    return str((namespace["metadata"].get("labels") or {}).get(names.LABEL_TENANT, ""))


def tenant_problem(
    tenant_id: str | None, namespace: Manifest | None, namespace_name: str, *, require_label: bool = True
) -> Problem | None:
    """Why a resource is not of its namespace's tenant, or None.

    `tenant_id` is what the spec says (`definitionRef.tenantId`), None or empty where it says nothing.
    """
    labelled = tenant_of(namespace)
    if not labelled:
        if not require_label:
            return None
        wanted = tenant_id or "<tenant>"
        return Problem(
            Reason.TenantLabelMissing,
            f"Namespace {namespace_name}",
            f"Namespace {namespace_name} has no label {names.LABEL_TENANT}, so the tenant is not known",
            f"label it with {names.LABEL_TENANT}={wanted}, or set tenancy.requireLabel: false in the settings",
        )
    if tenant_id and tenant_id != labelled:
        return Problem(
            Reason.TenantMismatch,
            f"Namespace {namespace_name}",
            f"spec.definitionRef.tenantId: {tenant_id!r} is not the tenant of Namespace {namespace_name}, which "
            f"belongs to {labelled!r} by its label {names.LABEL_TENANT}",
            f"set the field to {labelled!r}, or move the resource to a namespace of tenant {tenant_id!r}",
        )
    return None


def service_account_problem(primitive: Primitive, service_account: Manifest | None) -> Problem | None:
    """Why the pods may not run as a ServiceAccount, or None. An absent one is created, so it is no problem."""
    if service_account is None or is_owned(primitive, service_account):
        return None
    metadata = service_account["metadata"]
    annotations = metadata.get("annotations") or {}
    if annotations.get(names.ANNOTATION_ALLOW_USE) == "true":
        return None
    where = f"{metadata['namespace']}/{metadata['name']}"
    return Problem(
        Reason.ServiceAccountNotPermitted,
        f"ServiceAccount {where}",
        f"spec.security.serviceAccountName: ServiceAccount {where} exists, is not this {primitive.kind}'s own, "
        f"and does not permit its use",
        f'annotate it with {names.ANNOTATION_ALLOW_USE}: "true", or name another ServiceAccount '
        f"(the default is {primitive.child_name})",
    )
