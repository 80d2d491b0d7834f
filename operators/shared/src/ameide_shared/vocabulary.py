"""Names that are API: labels, annotations, condition types and finalizers of `ameide.io`."""

from __future__ import annotations

from typing import Final

GROUP: Final = "ameide.io"
VERSION: Final = "v1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
KINDS: Final = ("Domain", "Process", "Agent", "UISurface")

# Labels of children and their pods. Selectors use only PRIMITIVE, NAME and TRACK.
LABEL_PRIMITIVE: Final = "ameide.io/primitive"  # domain, process, agent, uisurface
LABEL_NAME: Final = "ameide.io/name"
LABEL_TIER: Final = "ameide.io/tier"
LABEL_TRACK: Final = "ameide.io/track"  # stable, canary, job
LABEL_OWNER_NAMESPACE: Final = "ameide.io/owner-namespace"
LABEL_OWNER_NAME: Final = "ameide.io/owner-name"
LABEL_MANAGED_BY: Final = "app.kubernetes.io/managed-by"  # the operator: domain-operator, …
LABEL_TENANT: Final = "ameide.io/tenant-id"  # on Namespaces

TRACK_STABLE: Final = "stable"
TRACK_CANARY: Final = "canary"
TRACK_JOB: Final = "job"

# Annotations that users set on a resource.
ANNOTATION_PAUSED: Final = "ameide.io/paused"
ANNOTATION_RECONCILE_AT: Final = "ameide.io/reconcile-at"
ANNOTATION_RETRY_MIGRATION: Final = "ameide.io/retry-migration"
ANNOTATION_ROTATE_PASSWORD: Final = "ameide.io/rotate-password"  # noqa: S105 - the name of an annotation
ANNOTATION_ROTATE_SECRET: Final = "ameide.io/rotate-secret"  # noqa: S105 - the name of an annotation

# Annotations that owners of other objects set to consent.
ANNOTATION_ALLOWED_NAMESPACES: Final = "ameide.io/allowed-namespaces"
ANNOTATION_ALLOW_USE: Final = "ameide.io/allow-use"

# Annotations that operators set on children.
ANNOTATION_OWNER_UID: Final = "ameide.io/owner-uid"  # children in another namespace
ANNOTATION_REVISION: Final = "ameide.io/revision"  # pod templates: which revision this is
ANNOTATION_FIELD_SET: Final = "ameide.io/field-set"  # which fields we own: digest of their paths
ANNOTATION_CONFIG_DIGEST: Final = "ameide.io/config-digest"  # pod templates: digest of consumed ConfigMaps and Secrets

# Condition types that every kind has, and the two that exist only while True (kstatus).
READY: Final = "Ready"
PROGRESSING: Final = "Progressing"
DEGRADED: Final = "Degraded"
WORKLOAD_READY: Final = "WorkloadReady"
RECONCILING: Final = "Reconciling"
STALLED: Final = "Stalled"
PAUSED: Final = "Paused"


def finalizer(kind: str) -> str:
    """The finalizer of a kind: `domain.ameide.io/finalizer`."""
    return f"{kind.lower()}.{GROUP}/finalizer"
