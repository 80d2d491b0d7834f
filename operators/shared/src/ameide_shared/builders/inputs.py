"""What pod templates are built from: the fields of a spec that matter, the operator's defaults, what a kind adds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol

from ameide_shared.builders.environment import EnvVar
from ameide_shared.spec.common import LocalObjectRef, Observability, Security
from ameide_shared.spec.env import EnvVar as SpecEnvVar
from ameide_shared.spec.probes import Probes
from ameide_shared.spec.resources import Resources
from ameide_shared.spec.rollout import RolloutBase
from ameide_shared.spec.scheduling import Scheduling

Fields = Mapping[str, Any]
"""Part of a manifest, in Kubernetes' spelling."""


class PodDefaults(Protocol):
    """The operator's defaults for pods (settings `pods`); a spec's own values win."""

    @property
    def image_pull_secrets(self) -> Sequence[str]: ...

    @property
    def priority_class_name(self) -> str | None: ...

    @property
    def node_selector(self) -> Mapping[str, str]: ...

    @property
    def annotations(self) -> Mapping[str, str]: ...


@dataclass(frozen=True, slots=True)
class NoDefaults:
    """Pod defaults that add nothing."""

    image_pull_secrets: tuple[str, ...] = ()
    priority_class_name: str | None = None
    node_selector: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)


class PodSpec(Protocol):
    """What these builders read of a spec; `CommonSpec` has it all."""

    @property
    def image(self) -> str: ...

    @property
    def image_pull_policy(self) -> str | None: ...

    @property
    def image_pull_secrets(self) -> Sequence[LocalObjectRef]: ...

    @property
    def resources(self) -> Resources: ...

    @property
    def env(self) -> Sequence[SpecEnvVar]: ...

    @property
    def probes(self) -> Probes: ...

    @property
    def observability(self) -> Observability: ...

    @property
    def security(self) -> Security: ...

    @property
    def writable_paths(self) -> Sequence[str]: ...

    @property
    def scheduling(self) -> Scheduling: ...

    @property
    def pod_annotations(self) -> Mapping[str, str]: ...

    @property
    def pod_labels(self) -> Mapping[str, str]: ...


class ServingSpec(PodSpec, Protocol):
    """The spec of pods that serve also says how they are rolled out."""

    @property
    def rollout(self) -> RolloutBase: ...


@dataclass(frozen=True, slots=True)
class DefaultProbe:
    """What a kind's pods are asked where the spec does not say; the port follows from the type."""

    type: Literal["http", "grpc", "tcp", "none"] = "http"
    path: str = "/healthz"


@dataclass(frozen=True, slots=True)
class Port:
    """A named port of the main container."""

    name: str
    number: int


@dataclass(frozen=True, slots=True)
class PodProfile:
    """How pods of a kind serve: ports by name, default probes, and seconds between leaving the Service and SIGTERM.

    Without that pause, requests still routed to a pod that is going away would be refused. `metric_labels` are labels
    of pods that their metrics carry too.
    """

    ports: tuple[Port, ...] = (Port("http", 8080), Port("grpc", 50051))
    liveness: DefaultProbe = DefaultProbe("http", "/healthz")
    readiness: DefaultProbe = DefaultProbe("http", "/readyz")
    drain_seconds: int = 5
    metric_labels: tuple[str, ...] = ()

    def port(self, name: str) -> int:
        """The number of a port; the first one's where there is none of that name."""
        return next((port.number for port in self.ports if port.name == name), self.ports[0].number)


BACKEND: Final = PodProfile()
"""Domains, Processes and Agents: HTTP on 8080, gRPC on 50051."""

FRONTEND: Final = PodProfile(ports=(Port("http", 3000),))
"""UISurfaces: HTTP on 3000."""


@dataclass(frozen=True, slots=True)
class Extras:
    """What a kind adds to the pods, in Kubernetes' spelling; entries with the names of ours are not meant.

    `config_digest` is over the ConfigMaps and Secrets of ours that the pods consume: a new one rolls them.
    """

    env: Sequence[EnvVar] = ()
    volumes: Sequence[Fields] = ()
    mounts: Sequence[Fields] = ()
    containers: Sequence[Fields] = ()
    init_containers: Sequence[Fields] = ()
    command: Sequence[str] = ()
    args: Sequence[str] = ()
    annotations: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    config_digest: str = ""


NO_EXTRAS: Final = Extras()
