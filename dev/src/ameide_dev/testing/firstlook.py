"""What a new process observes of a resource at its first look, by the program's own parts: no watch, no request."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from ameide_shared.cli import Definition
from ameide_shared.kube.connection import Connection
from ameide_shared.kube.kubeconfig import ClusterAccess
from ameide_shared.kube.resources import POD, Manifest


async def first_look(definition: Definition, manifest: Mapping[str, Any], *objects: Manifest) -> Any:
    """The `Observed` of a resource, with it and these objects in the caches of an operator that has just started."""
    runtime, kind = definition.start(definition.settings(), Connection(ClusterAccess("http://127.0.0.1:9")))
    for number, each in enumerate((manifest, *objects)):
        runtime.cache.put({**each, "metadata": {"resourceVersion": str(number + 1), **each["metadata"]}})
    return await kind.observe(dict(manifest))


def secret_of(manifest: Mapping[str, Any], name: str, **values: str) -> dict[str, Any]:
    """A Secret with the labels of a child of the resource."""
    data = {key.replace("_", "-"): base64.b64encode(value.encode()).decode() for key, value in values.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, **_of(manifest)}, "data": data}


def pod_that_said(manifest: Mapping[str, Any], words: str) -> dict[str, Any]:
    """A pod of the resource whose container said this and failed."""
    ended = {"exitCode": 1, "reason": "Error", "message": words}
    container = {"name": "main", "state": {"terminated": ended}, "ready": False, "restartCount": 0}
    status = {"phase": "Failed", "containerStatuses": [container]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a-pod", **_of(manifest)}, "status": status}


async def passed_on(definition: Definition, manifest: Mapping[str, Any], words: str, *secrets: Manifest) -> str:
    """What a plan is given of the last words of a container of the resource."""
    observed = await first_look(definition, manifest, pod_that_said(manifest, words), *secrets)
    (pod,) = observed.objects.list(POD)
    (container,) = pod["status"]["containerStatuses"]
    return str(container["state"]["terminated"]["message"])


def _of(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The part of metadata that says whose child something is."""
    metadata = manifest["metadata"]
    labels = {"ameide.io/primitive": str(manifest["kind"]).lower(), "ameide.io/name": metadata["name"]}
    return {"namespace": metadata["namespace"], "uid": f"uid-of-{metadata['name']}", "labels": labels}
