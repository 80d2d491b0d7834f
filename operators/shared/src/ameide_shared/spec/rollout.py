"""How a new revision replaces the current one, and how many pods run it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ameide_shared.spec.model import Model
from ameide_shared.spec.quantities import IntOrPercent
from ameide_shared.spec.rules import rule
from ameide_shared.spec.types import PositiveReplicas, PositiveSeconds, Seconds


class Autoscaling(Model):
    """A HorizontalPodAutoscaler on CPU use. While it is set, spec.replicas is not applied."""

    min_replicas: PositiveReplicas = Field(default=1, description="Fewest pods.")
    max_replicas: PositiveReplicas = Field(description="Most pods.")
    target_cpu_utilization_percentage: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=80,
        alias="targetCPUUtilizationPercentage",
        description="Average CPU use to aim at, in percent of the CPU request.",
    )


@rule(
    Autoscaling,
    cel="self.minReplicas <= self.maxReplicas",
    message="minReplicas is greater than maxReplicas",
    remedy="raise maxReplicas or lower minReplicas",
    field=".minReplicas",
)
def _min_within_max(autoscaling: Autoscaling) -> bool:
    return autoscaling.min_replicas <= autoscaling.max_replicas


class RolloutBase(Model):
    """What every kind's rollout has; each kind adds its strategies. Times are in seconds."""

    max_surge: IntOrPercent | None = Field(
        default=None, description="Pods above the wanted number during a rolling update. Default: 25%."
    )
    max_unavailable: IntOrPercent | None = Field(
        default=None, description="Pods that may be missing during a rolling update. Default: 0."
    )
    min_ready_seconds: Seconds = Field(
        default=0, description="Time that a pod must stay ready before it counts as available."
    )
    progress_deadline_seconds: PositiveSeconds = Field(
        default=600, description="Time without progress after which a rollout, or a canary, counts as failed."
    )
    revision_history_limit: Annotated[int, Field(ge=1, le=50)] = Field(
        default=10, description="Released revisions that are kept."
    )
    termination_grace_period_seconds: Seconds = Field(
        default=30, description="Time that a pod gets to end its work after SIGTERM."
    )


@rule(
    RolloutBase,
    cel="!(has(self.maxSurge) && string(self.maxSurge) in ['0', '0%']"
    " && (!has(self.maxUnavailable) || string(self.maxUnavailable) in ['0', '0%']))",
    message="maxSurge and maxUnavailable are both 0 (the default of maxUnavailable), so no pod could ever be replaced",
    remedy="set one of them to 1 or more",
    field=".maxSurge",
)
def _something_moves(rollout: RolloutBase) -> bool:
    surge = "" if rollout.max_surge is None else str(rollout.max_surge)
    unavailable = "0" if rollout.max_unavailable is None else str(rollout.max_unavailable)
    return not (surge in ("0", "0%") and unavailable in ("0", "0%"))


@rule(
    RolloutBase,
    cel="self.minReadySeconds < self.progressDeadlineSeconds",
    message="minReadySeconds is not less than progressDeadlineSeconds, so every rollout would count as failed",
    remedy="raise progressDeadlineSeconds above minReadySeconds",
    field=".progressDeadlineSeconds",
)
def _deadline_after_ready(rollout: RolloutBase) -> bool:
    return rollout.min_ready_seconds < rollout.progress_deadline_seconds


class Rollout(RolloutBase):
    """Rollout with the strategies of a Deployment, and an optional canary before it."""

    strategy: Literal["RollingUpdate", "Recreate"] = Field(
        default="RollingUpdate",
        description="RollingUpdate: new pods before old ones go; Recreate: old ones go first (an interruption).",
    )
    canary: bool = Field(
        default=False,
        description="true: a small Deployment of the new revision must stay ready before the main one follows.",
    )
    canary_replicas: Annotated[int, Field(ge=1, le=100)] = Field(default=1, description="Pods of the canary.")
    canary_ready_seconds: Seconds = Field(
        default=60, description="Time that the canary must stay ready before its revision is promoted."
    )


@rule(
    Rollout,
    cel="!(self.canary && self.strategy == 'Recreate')",
    message="canary cannot go with strategy Recreate: a canary runs beside the current revision",
    remedy="set strategy to RollingUpdate, or canary to false",
    field=".canary",
)
def _canary_runs_beside(rollout: Rollout) -> bool:
    return not (rollout.canary and rollout.strategy == "Recreate")


@rule(
    Rollout,
    cel="self.strategy == 'RollingUpdate' || (!has(self.maxSurge) && !has(self.maxUnavailable))",
    message="maxSurge and maxUnavailable apply to strategy RollingUpdate only",
    remedy="remove them, or set strategy to RollingUpdate",
    field=".strategy",
)
def _surge_is_rolling(rollout: Rollout) -> bool:
    return rollout.strategy == "RollingUpdate" or (rollout.max_surge is None and rollout.max_unavailable is None)
