"""Typed specs and statuses: base models, common fields, and rules that hold in the CRD and offline alike."""

from ameide_shared.spec.common import CommonSpec, LocalObjectRef, Metrics, Observability, Security
from ameide_shared.spec.env import EnvSource, EnvVar, FieldRef, KeyRef, ResourceFieldRef
from ameide_shared.spec.model import Model
from ameide_shared.spec.probes import Probe, Probes, ReadinessProbe
from ameide_shared.spec.problems import InvalidSpec, Problem
from ameide_shared.spec.resource import Metadata, ResourceModel
from ameide_shared.spec.resources import Resources
from ameide_shared.spec.rollout import Autoscaling, Rollout, RolloutBase
from ameide_shared.spec.rules import Check, Rule, fixed, matching, not_matching, rule, transition_rule
from ameide_shared.spec.scheduling import Scheduling, Toleration, TopologySpreadConstraint
from ameide_shared.spec.status import CommonStatus, StatusModel
from ameide_shared.spec.types import Argument, Image, Lenient, ListType, ObjectName, Timestamp, list_map

__all__ = [
    "Argument",
    "Autoscaling",
    "Check",
    "CommonSpec",
    "CommonStatus",
    "EnvSource",
    "EnvVar",
    "FieldRef",
    "Image",
    "InvalidSpec",
    "KeyRef",
    "Lenient",
    "ListType",
    "LocalObjectRef",
    "Metadata",
    "Metrics",
    "Model",
    "ObjectName",
    "Observability",
    "Probe",
    "Probes",
    "Problem",
    "ReadinessProbe",
    "ResourceFieldRef",
    "ResourceModel",
    "Resources",
    "Rollout",
    "RolloutBase",
    "Rule",
    "Scheduling",
    "Security",
    "StatusModel",
    "Timestamp",
    "Toleration",
    "TopologySpreadConstraint",
    "fixed",
    "list_map",
    "matching",
    "not_matching",
    "rule",
    "transition_rule",
]
