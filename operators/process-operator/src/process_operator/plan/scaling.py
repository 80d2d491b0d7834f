"""Scaling by the task queue's backlog through KEDA, where it is installed; elsewhere CPU use has to do."""

from __future__ import annotations

from typing import Any

from ameide_shared.builders.identity import child_metadata
from ameide_shared.compile.surroundings import unwanted
from ameide_shared.kube.resources import DEPLOYMENT, SCALED_OBJECT, TRIGGER_AUTHENTICATION
from ameide_shared.plan import Action, Ensure
from process_operator.plan.context import Context
from process_operator.temporal.settings import credentials


def by_backlog(ctx: Context) -> bool:
    """Whether KEDA scales the workers."""
    return ctx.spec.autoscaling is not None and SCALED_OBJECT in ctx.observed.apis


def scaling(ctx: Context) -> list[Action]:
    """The ScaledObject with its TriggerAuthentication, or that they go."""
    if not by_backlog(ctx):
        reason = "spec.autoscaling is not set"
        return [*unwanted(ctx, SCALED_OBJECT, reason), *unwanted(ctx, TRIGGER_AUTHENTICATION, reason)]
    actions: list[Action] = []
    if credentials(ctx.connection):
        actions.append(Ensure(_authentication(ctx), "credentials for counting the backlog"))
    else:
        actions += unwanted(ctx, TRIGGER_AUTHENTICATION, "the connection needs no credentials")
    return [*actions, Ensure(_scaled_object(ctx), "spec.autoscaling")]


def _scaled_object(ctx: Context) -> dict[str, Any]:
    autoscaling, temporal = ctx.spec.autoscaling, ctx.spec.temporal
    assert autoscaling is not None, "asked for only where it is set"
    trigger: dict[str, Any] = {
        "type": "temporal",
        "metadata": {
            "endpoint": ctx.connection.address if ctx.connection is not None else "",
            "namespace": temporal.namespace,
            "taskQueue": temporal.task_queue,
            "queueTypes": "workflow,activity",
            "targetQueueSize": str(autoscaling.target_backlog),
            "activationTargetQueueSize": str(autoscaling.activation_backlog),
        },
    }
    if ctx.connection is not None and ctx.connection.tls is not None and ctx.connection.tls.server_name:
        trigger["metadata"]["tlsServerName"] = ctx.connection.tls.server_name
    if credentials(ctx.connection):
        trigger["authenticationRef"] = {"name": ctx.primitive.child_name}
    return {
        "apiVersion": SCALED_OBJECT.api_version,
        "kind": SCALED_OBJECT.kind,
        "metadata": child_metadata(ctx.primitive),
        "spec": {
            "scaleTargetRef": {
                "apiVersion": DEPLOYMENT.api_version,
                "kind": DEPLOYMENT.kind,
                "name": ctx.primitive.child_name,
            },
            "minReplicaCount": autoscaling.min_replicas,
            "maxReplicaCount": autoscaling.max_replicas,
            "triggers": [trigger],
        },
    }


def _authentication(ctx: Context) -> dict[str, Any]:
    secret = ctx.connection.worker_secret if ctx.connection is not None else None
    return {
        "apiVersion": TRIGGER_AUTHENTICATION.api_version,
        "kind": TRIGGER_AUTHENTICATION.kind,
        "metadata": child_metadata(ctx.primitive),
        "spec": {
            "secretTargetRef": [
                {"parameter": file.parameter, "name": secret, "key": file.key} for file in credentials(ctx.connection)
            ]
        },
    }
