"""What an Agent expects of others, as it would be if all were well, for looking at an Agent without a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from agent_operator.plan.context import RESOURCES
from agent_operator.policy.subject import tool_requests
from agent_operator.spec import Agent
from ameide_shared.kube.resources import AGENT_DEFINITION, Manifest
from ameide_shared.spec import InvalidSpec
from ameide_shared.vocabulary import ANNOTATION_ALLOWED_NAMESPACES


def assumed(manifest: Manifest) -> Iterator[dict[str, Any]]:
    """Its tools, open to it, and a definition that needs nothing.

    The real definition is known to the Transformation service only: `render --observed` reads one from a file. The
    policy is that of the settings, or stands in the files that are given.
    """
    try:
        agent = Agent.parse(manifest)
    except InvalidSpec:
        return
    for request in tool_requests(manifest["spec"].get("tools", {}).get("allowed", ()), agent.namespace, ""):
        resource = RESOURCES.get(request.tool.kind)
        if resource is None:
            continue
        yield {
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "metadata": {
                "namespace": request.tool.namespace,
                "name": request.tool.name,
                "annotations": {ANNOTATION_ALLOWED_NAMESPACES: agent.namespace},
            },
        }
    wanted = agent.spec.definition_ref
    yield {
        "apiVersion": AGENT_DEFINITION.api_version,
        "kind": AGENT_DEFINITION.kind,
        "metadata": {"namespace": agent.namespace, "name": agent.name},
        "spec": {"id": wanted.id, "tenantId": wanted.tenant_id, "version": wanted.version or 1, "definition": {}},
    }
