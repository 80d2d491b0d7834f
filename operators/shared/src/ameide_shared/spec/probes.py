"""Health probes of the application's container."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ameide_shared.spec.model import Model
from ameide_shared.spec.rules import rule
from ameide_shared.spec.types import GrpcService, HttpPath, Port, PositiveSeconds, Seconds

ProbeType = Literal["http", "grpc", "tcp", "none"]


class Probe(Model):
    """How Kubernetes asks the container how it is. Times are in seconds."""

    type: ProbeType = Field(
        default="http",
        description="http: GET a path; grpc: the gRPC health service; tcp: open a connection; none: no probe.",
    )
    path: HttpPath | None = Field(
        default=None,
        description="Path of an http probe. Default: /healthz for liveness and startup, /readyz for readiness.",
    )
    port: Port | None = Field(
        default=None,
        description="Port number. Default: the container's port for the probe's protocol (http 8080, grpc 50051).",
    )
    service: GrpcService | None = Field(
        default=None, description="Service name of a grpc probe. Default: none, which asks for the server as a whole."
    )
    initial_delay_seconds: Seconds | None = Field(default=None, description="Wait before the first probe. Default: 0.")
    period_seconds: PositiveSeconds | None = Field(default=None, description="Time between probes. Default: 10.")
    timeout_seconds: PositiveSeconds | None = Field(
        default=None, description="Time that an answer may take. Default: 1."
    )
    failure_threshold: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        default=None, description="Failures in a row before it counts as failed. Default: 3 (startup: 30)."
    )


class ReadinessProbe(Probe):
    """A probe that may also ask for several successes in a row."""

    success_threshold: Annotated[int, Field(ge=1, le=100)] | None = Field(
        default=None, description="Successes in a row before the container counts as ready. Default: 1."
    )


@rule(
    Probe,
    cel="!has(self.path) || self.type == 'http'",
    message="path is set on a probe that is not of type http",
    remedy="remove path, or set type to http",
    field=".path",
)
def _path_is_http(probe: Probe) -> bool:
    return probe.path is None or probe.type == "http"


@rule(
    Probe,
    cel="!has(self.service) || self.type == 'grpc'",
    message="service is set on a probe that is not of type grpc",
    remedy="remove service, or set type to grpc",
    field=".service",
)
def _service_is_grpc(probe: Probe) -> bool:
    return probe.service is None or probe.type == "grpc"


class Probes(Model):
    """The three probes; what is left out gets the kind's default."""

    liveness: Probe | None = Field(default=None, description="Failing restarts the container.")
    readiness: ReadinessProbe | None = Field(default=None, description="Failing takes the pod out of the Service.")
    startup: Probe | None = Field(
        default=None, description="Holds back the other two until it succeeds once. Default: none."
    )
