"""The status that all kinds share. Whatever an operator writes must be in here: the API server prunes the rest."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from ameide_shared.spec.model import Model
from ameide_shared.spec.types import Lenient, ListType, Timestamp, list_map


class StatusModel(Model):
    """An object of the status: no limits on values, so that no status is ever refused."""

    model_config = ConfigDict(extra="ignore")


class Condition(StatusModel):
    """One aspect of the resource's state."""

    type: str = Field(description="Aspect, as in Ready; the reference lists those of each kind.")
    status: Literal["True", "False", "Unknown"] = Field(description="Whether it holds.")
    observed_generation: int | None = Field(default=None, description="metadata.generation that this was judged for.")
    last_transition_time: Timestamp = Field(description="When status last changed.")
    reason: str = Field(description="CamelCase cause; the reference lists all, with remedies.")
    message: str = Field(description="The same in words.")


class Blocker(StatusModel):
    """The first thing that keeps the resource from being Ready."""

    reason: str = Field(description="CamelCase cause, the same as the reason of Ready.")
    object: str | None = Field(default=None, description="What is in the way, as in Job orders-migrate-3f2a.")
    message: str = Field(description="What is wrong.")
    remedy: str | None = Field(default=None, description="Who can do what about it.")
    since: Timestamp | None = Field(default=None, description="When it got in the way.")
    retry_at: Timestamp | None = Field(default=None, description="When the operator itself looks again.")


class Revision(StatusModel):
    """Revisions of the pod template."""

    current: str | None = Field(default=None, description="Revision that serves.")
    target: str | None = Field(default=None, description="Revision that spec asks for; differs while it is held back.")


class Canary(StatusModel):
    """The canary, while there is one, and the last one that failed."""

    revision: str = Field(description="Revision that it runs.")
    state: str = Field(description="Progressing, Promoted or Failed.")
    message: str | None = Field(default=None, description="The same in words.")
    since: Timestamp | None = Field(default=None, description="When it got into this state.")


class Workload(StatusModel):
    """The Deployment."""

    name: str | None = Field(default=None, description="Name of the Deployment.")
    image: str | None = Field(default=None, description="Image that it runs.")
    image_digest: str | None = Field(default=None, description="Digest that the nodes pulled for that image.")
    desired_replicas: int | None = Field(default=None, description="Pods wanted.")
    ready_replicas: int | None = Field(default=None, description="Pods that are ready.")
    updated_replicas: int | None = Field(default=None, description="Pods of the current revision.")


class Endpoints(StatusModel):
    """Addresses inside the cluster."""

    http: str | None = Field(default=None, description="Base URL of the http port.")
    grpc: str | None = Field(default=None, description="host:port of the grpc port.")


class Child(StatusModel):
    """One object that the operator made for the resource."""

    api_version: str = Field(description="apiVersion of the object.")
    kind: str = Field(description="Kind of the object.")
    namespace: str = Field(default="", description="Namespace of the object.")
    name: str = Field(description="Name of the object.")
    ready: bool | None = Field(default=None, description="Whether it does its work.")
    reason: str | None = Field(default=None, description="Why not, when it does not.")


class CommonStatus(StatusModel):
    """What every kind reports."""

    observed_generation: Annotated[int, Field(json_schema_extra={"format": "int64"})] = Field(
        default=-1, description="metadata.generation that this status is about; -1 before the operator has looked."
    )
    conditions: Annotated[tuple[Condition, ...], Lenient, list_map("type")] = Field(
        default=(), description="State by aspect; Ready is the sum."
    )
    blocker: Blocker | None = Field(
        default=None, description="The first thing that keeps it from being Ready; absent when Ready."
    )
    revision: Revision | None = Field(default=None, description="Revisions of the pod template.")
    canary: Canary | None = Field(default=None, description="The canary, when rollout asks for one.")
    workload: Workload | None = Field(default=None, description="The Deployment.")
    endpoints: Endpoints | None = Field(default=None, description="Addresses inside the cluster.")
    children: Annotated[tuple[Child, ...], Lenient, ListType("atomic")] = Field(
        default=(), description="Objects that the operator made."
    )
