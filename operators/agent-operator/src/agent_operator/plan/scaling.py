"""Scaling by waiting sessions through KEDA, where it and a session queue are there; elsewhere CPU use has to do."""

from __future__ import annotations

from typing import Any

from agent_operator.plan.context import Context
from ameide_shared.builders.identity import child_metadata
from ameide_shared.compile.surroundings import unwanted
from ameide_shared.kube.resources import DEPLOYMENT, SCALED_OBJECT
from ameide_shared.plan import Action, Ensure


def by_sessions(ctx: Context) -> bool:
    """Whether KEDA scales the runtime."""
    autoscaling = ctx.spec.autoscaling
    return (
        autoscaling is not None
        and autoscaling.target_queued_sessions is not None
        and bool(ctx.settings.session_queue.trigger)
        and SCALED_OBJECT in ctx.observed.apis
    )


def scaling(ctx: Context) -> list[Action]:
    """The ScaledObject, or that it goes."""
    if not by_sessions(ctx):
        return unwanted(ctx, SCALED_OBJECT, "no session queue scales this Agent")
    return [Ensure(_scaled_object(ctx), "spec.autoscaling")]


def _scaled_object(ctx: Context) -> dict[str, Any]:
    autoscaling, queue = ctx.spec.autoscaling, ctx.settings.session_queue
    assert autoscaling is not None, "asked for only where it is set"
    known = {
        "{tenant}": ctx.primitive.tenant_id,
        "{namespace}": ctx.primitive.namespace,
        "{agent}": ctx.primitive.name,
        "{target}": str(autoscaling.target_queued_sessions),
    }
    trigger: dict[str, Any] = {
        "type": queue.trigger,
        "metadata": {key: _filled(value, known) for key, value in sorted(queue.metadata.items())},
    }
    if queue.authentication:
        trigger["authenticationRef"] = {"name": queue.authentication, "kind": "ClusterTriggerAuthentication"}
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


def _filled(template: str, known: dict[str, str]) -> str:
    for placeholder, value in known.items():
        template = template.replace(placeholder, value)
    return template
