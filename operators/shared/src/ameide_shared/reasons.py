"""Every reason that a condition, blocker or Event may carry, each with its cause and remedy.

The enum is API: programs compare these names. The catalogue in the docs is generated from here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """CamelCase reasons, one per distinguishable cause."""

    # Good news
    AllResourcesHealthy = "AllResourcesHealthy"
    AsExpected = "AsExpected"
    Succeeded = "Succeeded"
    Converging = "Converging"
    Available = "Available"
    NotRequired = "NotRequired"
    DatabaseReady = "DatabaseReady"
    MigrationComplete = "MigrationComplete"
    MigrationSkipped = "MigrationSkipped"
    Deleting = "Deleting"
    Paused = "Paused"

    # Waits and refusals common to all kinds
    Blocked = "Blocked"
    InvalidSpec = "InvalidSpec"
    InvalidAnnotation = "InvalidAnnotation"
    ImageNotAllowed = "ImageNotAllowed"
    ImageNotFound = "ImageNotFound"
    RegistryUnavailable = "RegistryUnavailable"
    TenantMismatch = "TenantMismatch"
    TenantLabelMissing = "TenantLabelMissing"
    ReferenceNotPermitted = "ReferenceNotPermitted"
    ServiceAccountNotPermitted = "ServiceAccountNotPermitted"
    ChildConflict = "ChildConflict"
    APINotInstalled = "APINotInstalled"
    ApplyFailed = "ApplyFailed"
    QuotaExceeded = "QuotaExceeded"
    ReconcileTimeout = "ReconcileTimeout"
    InternalError = "InternalError"

    # Workload
    DeploymentNotReady = "DeploymentNotReady"
    RolloutInProgress = "RolloutInProgress"
    CanaryInProgress = "CanaryInProgress"
    CanaryFailed = "CanaryFailed"
    ScaledToZero = "ScaledToZero"

    # Domain
    ClusterNotFound = "ClusterNotFound"
    ClusterNotReady = "ClusterNotReady"
    DatabaseConflict = "DatabaseConflict"
    DatabaseNameTaken = "DatabaseNameTaken"
    DatabaseProvisioning = "DatabaseProvisioning"
    DatabaseRefused = "DatabaseRefused"
    SuperuserAccessDisabled = "SuperuserAccessDisabled"
    SecretNotFound = "SecretNotFound"
    SecretKeyMissing = "SecretKeyMissing"
    PasswordRotating = "PasswordRotating"
    MigrationRunning = "MigrationRunning"
    MigrationPending = "MigrationPending"
    MigrationFailed = "MigrationFailed"
    NoFailure = "NoFailure"
    ProtoMismatch = "ProtoMismatch"
    DeletionBlocked = "DeletionBlocked"
    DataRetained = "DataRetained"
    DataLeftBehind = "DataLeftBehind"


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a reason appears and what to do about it, for the docs and `explain`."""

    cause: str
    remedy: str


CATALOGUE: dict[Reason, Explanation] = {}
