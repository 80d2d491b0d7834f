"""The fields that the specs of all four kinds share."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ameide_shared.spec.env import EnvVar
from ameide_shared.spec.model import Model
from ameide_shared.spec.probes import Probes
from ameide_shared.spec.resources import Resources
from ameide_shared.spec.rollout import Autoscaling
from ameide_shared.spec.rules import rule
from ameide_shared.spec.scheduling import Scheduling
from ameide_shared.spec.types import (
    HttpPath,
    Image,
    Lenient,
    ListType,
    NonRootId,
    ObjectName,
    PodAnnotations,
    PodLabels,
    ProfileName,
    Replicas,
    WritablePath,
    list_map,
)

LogLevel = Literal["debug", "info", "warn", "error"]


class LocalObjectRef(Model):
    """An object in the namespace of the resource, by name."""

    name: ObjectName = Field(description="Name of the object.")


class Metrics(Model):
    """How Prometheus scrapes the pods."""

    enabled: bool = Field(default=True, description="Whether a ServiceMonitor is made, where that API is installed.")
    path: HttpPath = Field(default="/metrics", description="Path on the http port.")


class Observability(Model):
    """Logs and metrics of the application."""

    log_level: LogLevel = Field(default="info", description="Value of LOG_LEVEL.")
    metrics: Metrics = Field(default=Metrics(), description="Scraping by Prometheus.")


class Security(Model):
    """Identity of the pods, and what they may reach."""

    service_account_name: ObjectName | None = Field(
        default=None,
        description="ServiceAccount of the pods; created when absent. One that the operator did not create must carry"
        ' the annotation ameide.io/allow-use: "true". Default: the name of the Deployment.',
    )
    network_profile: ProfileName = Field(
        default="backend",
        description="Table of network peers: backend, frontend, isolated, open, or one from the operator's settings.",
    )
    allow_internet: bool = Field(
        default=False,
        description="Needed for a profile that lets pods reach every address (0.0.0.0/0 or ::/0).",
    )
    run_as_user: NonRootId | None = Field(
        default=None, description="User id of the processes, not 0. Default: the image's own, which must not be root."
    )
    fs_group: NonRootId | None = Field(
        default=None, description="Group id that owns mounted volumes, not 0. Default: none."
    )


class CommonSpec(Model):
    """What every kind has: an image, and how it runs."""

    image: Image = Field(description="Container image of the application.")
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = Field(
        default=None, description="When the image is pulled. Default: Always for the tag latest, else IfNotPresent."
    )
    image_pull_secrets: Annotated[tuple[LocalObjectRef, ...], Lenient, Field(max_length=16), list_map("name")] = Field(
        default=(), description="Secrets with registry credentials, in the same namespace."
    )
    resources: Resources = Field(default=Resources(), description="CPU and memory of each pod.")
    env: Annotated[tuple[EnvVar, ...], Lenient, Field(max_length=128), list_map("name")] = Field(
        default=(), description="More environment variables. Names that the operator sets are refused."
    )
    replicas: Replicas | None = Field(
        default=None, description="Number of pods. Default: 1. Not applied while autoscaling is set."
    )
    autoscaling: Autoscaling | None = Field(
        default=None, description="Scales with CPU use between two bounds; needs a CPU request."
    )
    probes: Probes = Field(default=Probes(), description="Health probes; each has a default.")
    observability: Observability = Field(default=Observability(), description="Logs and metrics.")
    security: Security = Field(default=Security(), description="Identity and network of the pods.")
    writable_paths: Annotated[tuple[WritablePath, ...], Lenient, Field(max_length=16), ListType("set")] = Field(
        default=(),
        description="Directories that the application writes to; the rest of the file system is read-only. They are"
        " empty at start and gone with the pod. /tmp is always writable.",
    )
    scheduling: Scheduling = Field(default=Scheduling(), description="Where pods run.")
    pod_annotations: PodAnnotations = Field(default={}, description="More annotations of the pods.")
    pod_labels: PodLabels = Field(default={}, description="More labels of the pods.")


@rule(
    CommonSpec,
    cel="!has(self.autoscaling) || (has(self.resources) && (has(self.resources.cpu)"
    " || (has(self.resources.requests) && 'cpu' in self.resources.requests)"
    " || (has(self.resources.limits) && 'cpu' in self.resources.limits)))",
    message="autoscaling needs a CPU request to measure use against",
    remedy="set spec.resources.cpu, or cpu under spec.resources.requests",
    field=".autoscaling",
)
def _autoscaling_needs_cpu(spec: CommonSpec) -> bool:
    return spec.autoscaling is None or spec.resources.requests_cpu
