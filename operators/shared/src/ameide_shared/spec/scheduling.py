"""Where pods run."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from ameide_shared.spec.model import Model
from ameide_shared.spec.rules import matching, rule
from ameide_shared.spec.types import LabelMap, LabelValue, Lenient, ListType, ObjectName, list_map

_KEY: Final = matching(
    r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?([A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9]",
    "is not a label key",
    "write name or domain/name: letters, digits, '-', '_' and '.', the domain in lowercase, the name at most 63 long",
)
LabelKey = Annotated[str, Field(min_length=1, max_length=317), _KEY]


class Toleration(Model):
    """A taint that the pods may run in spite of."""

    key: LabelKey | None = Field(
        default=None, description="Key of the taint; left out with operator Exists: every taint."
    )
    operator: Literal["Exists", "Equal"] = Field(
        default="Equal", description="Equal: key and value match; Exists: any value does."
    )
    value: LabelValue | None = Field(default=None, description="Value of the taint, for Equal.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        default=None, description="Effect of the taint. Default: every effect."
    )
    toleration_seconds: Annotated[int, Field(ge=0, le=31536000)] | None = Field(
        default=None, description="With NoExecute: seconds that a pod stays after the taint appears. Default: for ever."
    )


@rule(
    Toleration,
    cel="has(self.key) || self.operator == 'Exists'",
    message="a toleration without key must have operator Exists",
    remedy="name the key, or set operator to Exists to tolerate every taint",
    field=".operator",
)
def _key_or_exists(toleration: Toleration) -> bool:
    return toleration.key is not None or toleration.operator == "Exists"


@rule(
    Toleration,
    cel="!has(self.value) || self.value == '' || self.operator == 'Equal'",
    message="a toleration with operator Exists has a value",
    remedy="remove value, or set operator to Equal",
    field=".value",
)
def _value_needs_equal(toleration: Toleration) -> bool:
    return not toleration.value or toleration.operator == "Equal"


@rule(
    Toleration,
    cel="!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
    message="tolerationSeconds goes with effect NoExecute only",
    remedy="set effect to NoExecute, or remove tolerationSeconds",
    field=".tolerationSeconds",
)
def _seconds_need_no_execute(toleration: Toleration) -> bool:
    return toleration.toleration_seconds is None or toleration.effect == "NoExecute"


class TopologySpreadConstraint(Model):
    """How evenly the pods of the resource are spread. The operator adds the label selector of its own pods."""

    topology_key: LabelKey = Field(
        description="Node label whose values are the domains, as in topology.kubernetes.io/zone."
    )
    max_skew: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=1, description="Greatest allowed difference in pods between two domains."
    )
    when_unsatisfiable: Literal["DoNotSchedule", "ScheduleAnyway"] = Field(
        default="ScheduleAnyway",
        description="Whether a pod waits, or runs all the same, when the spread cannot be kept.",
    )
    min_domains: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        default=None, description="Fewest domains to spread over, with DoNotSchedule."
    )
    node_affinity_policy: Literal["Honor", "Ignore"] | None = Field(
        default=None, description="Whether nodes that nodeSelector excludes count. Default: Honor."
    )
    node_taints_policy: Literal["Honor", "Ignore"] | None = Field(
        default=None, description="Whether tainted nodes are left out of the count. Default: Ignore."
    )


@rule(
    TopologySpreadConstraint,
    cel="!has(self.minDomains) || self.whenUnsatisfiable == 'DoNotSchedule'",
    message="minDomains goes with whenUnsatisfiable DoNotSchedule only",
    remedy="set whenUnsatisfiable to DoNotSchedule, or remove minDomains",
    field=".minDomains",
)
def _domains_need_do_not_schedule(constraint: TopologySpreadConstraint) -> bool:
    return constraint.min_domains is None or constraint.when_unsatisfiable == "DoNotSchedule"


class Scheduling(Model):
    """Constraints on the nodes that pods run on, and their priority."""

    node_selector: LabelMap | None = Field(default=None, description="Labels that a node must have.")
    tolerations: Annotated[tuple[Toleration, ...], Lenient, Field(max_length=32), ListType("atomic")] = Field(
        default=(), description="Taints that the pods may run in spite of."
    )
    topology_spread_constraints: Annotated[
        tuple[TopologySpreadConstraint, ...],
        Lenient,
        Field(max_length=8),
        list_map("topologyKey", "whenUnsatisfiable"),
    ] = Field(default=(), description="How pods are spread. Default: over hosts and zones where possible.")
    priority_class_name: ObjectName | None = Field(
        default=None, description="PriorityClass of the pods. Default: the cluster's default."
    )
