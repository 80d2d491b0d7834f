"""What a Process expects of others, as it would be if all were well, for looking at a Process without a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ameide_shared.kube.resources import PROCESS_DEFINITION, TASK_QUEUE, Manifest
from ameide_shared.spec import InvalidSpec
from ameide_shared.vocabulary import ANNOTATION_ALLOWED_NAMESPACES
from process_operator.plan.dependencies import references
from process_operator.spec import Process


def assumed(manifest: Manifest) -> Iterator[dict[str, Any]]:
    """Its dependencies, Ready and open to it; Temporal with the namespace; and a definition that does nothing.

    The real definition is known to the Transformation service only: `render --observed` reads one from a file.
    """
    try:
        process = Process.parse(manifest)
    except InvalidSpec:
        return
    for reference in references(process.spec, process.namespace):
        yield {
            "apiVersion": reference.resource.api_version,
            "kind": reference.resource.kind,
            "metadata": {
                "namespace": reference.key.namespace,
                "name": reference.key.name,
                "generation": 1,
                "annotations": {ANNOTATION_ALLOWED_NAMESPACES: process.namespace},
            },
            "status": {"conditions": [{"type": "Ready", "status": "True", "observedGeneration": 1}]},
        }
    metadata = {"namespace": process.namespace, "name": process.name}
    wanted = process.spec.definition_ref
    yield {
        "apiVersion": TASK_QUEUE.api_version,
        "kind": TASK_QUEUE.kind,
        "metadata": metadata,
        "status": {"reachable": True, "namespaceState": "Registered", "pollers": []},
    }
    if wanted.checksum is not None:
        return  # only the real one has it
    yield {
        "apiVersion": PROCESS_DEFINITION.api_version,
        "kind": PROCESS_DEFINITION.kind,
        "metadata": metadata,
        "spec": {
            "id": wanted.id,
            "tenantId": wanted.tenant_id,
            "version": wanted.version or 1,
            "definition": _empty(),
        },
    }


def _empty() -> dict[str, Any]:
    start = {"$type": "bpmn:StartEvent", "id": "start", "outgoing": ["flow"]}
    end = {"$type": "bpmn:EndEvent", "id": "end", "incoming": ["flow"]}
    flow = {"$type": "bpmn:SequenceFlow", "id": "flow", "sourceRef": "start", "targetRef": "end"}
    process = {"$type": "bpmn:Process", "id": "assumed", "isExecutable": True, "flowElements": [start, end, flow]}
    return {"$type": "bpmn:Definitions", "id": "definitions", "rootElements": [process]}
