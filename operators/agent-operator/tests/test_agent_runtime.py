"""The example runtime, really run in an Agent's pods: it may do what is granted, and nothing once it is cut off."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from typing import Any

import httpx
import yaml
from agents import BASE, TENANT, Agents, Around

from ameide_dev.client import KubeClient
from ameide_dev.externalsecrets import ExternalSecrets
from ameide_dev.platform import Platform
from ameide_dev.pytest_plugin import NamespaceMaker
from ameide_dev.testing.resources import merged
from ameide_dev.testing.subject import StartOperator
from ameide_dev.testing.waiting import until

RUNTIME = "ghcr.io/ameide/hostnode-agent-runtime:1.0.0"
MODEL = "ghcr.io/ameide/hostnode-echo-model:1.0.0"
DEFINITION: Mapping[str, Any] = {
    "instructions": "You are a clerk.",
    "tools": [{"primitive": "status", "http": {"GetStatus": {"method": "GET", "path": "/healthz"}}}],
}


def policy(namespace: str, *denied: str) -> str:
    """The base, with a model and a tool in the namespace, which are the same server."""
    address = f"http://model.{namespace}.svc:8080"
    change = {
        "tools": [{"allow": ["primitive/status"], "deny": list(denied)}],
        "providers": {"echo": {"address": address, "credentials": ["echo"]}},
        "credentials": {"echo": {"remoteKey": "{namespace}/echo", "keys": [{"key": "api-key"}]}},
        "primitives": {"status": {"address": address}},
    }
    return yaml.safe_dump(merged(BASE, change))


def serve_model(kube: KubeClient, namespace: str) -> None:
    """The echo model, which asks for a key that is the store's."""
    labels = {"app": "model"}
    container = {
        "name": "model",
        "image": MODEL,
        "env": [{"name": "MODEL_API_KEY_FILE", "value": "/etc/model/api-key"}],
        "ports": [{"name": "http", "containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 1, "timeoutSeconds": 3},
        "volumeMounts": [{"name": "key", "mountPath": "/etc/model", "readOnly": True}],
    }
    spec = {"containers": [container], "volumes": [{"name": "key", "secret": {"secretName": "model-key"}}]}
    metadata = {"name": "model", "namespace": namespace}
    template = {"metadata": {"labels": labels}, "spec": spec}
    deployment = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
    kube.create({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": deployment})
    ports = [{"name": "http", "port": 8080, "targetPort": "http"}]
    service = {"selector": labels, "ports": ports}
    kube.create({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": service})


def session(agents: Agents, said: str) -> dict[str, Any]:
    """What the Agent answers."""
    (pod,) = agents.pods()
    # What the API server knows as 10.x.y.z is 127.x.y.z here.
    address = "127." + pod["status"]["podIP"].partition(".")[2]
    url = f"http://{address}:8080/v1/sessions"
    answer = httpx.post(url, json={"input": said}, headers={"x-tenant-id": TENANT}, timeout=20, trust_env=False)
    answer.raise_for_status()
    told: dict[str, Any] = answer.json()
    return told


def test_runtime_uses_what_is_granted_until_it_is_cut_off(
    platform: Platform,
    kube: KubeClient,
    make_namespace: NamespaceMaker,
    own_around: Around,
    start_operator: StartOperator,
    store: ExternalSecrets,
) -> None:
    """Its own probes say that definition, grants and credentials fit each other; the key is real, and never logged."""
    agents = Agents(kube, make_namespace("own-runtime"), own_around)
    key = f"sk-{secrets.token_hex(16)}"
    store.put(f"{agents.namespace}/echo", key)
    metadata = {"name": "model-key", "namespace": agents.namespace}
    kube.create({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"api-key": key}})
    serve_model(kube, agents.namespace)
    own_around.policy.text(policy(agents.namespace))
    agents.publish(**DEFINITION)
    operator = start_operator(agents.namespace, **own_around.settings())
    agents.create(image=RUNTIME, riskTier="high", **agents.uses({"primitive": "status"}))
    agents.ready(timeout=90)
    granted = until("the model answers", lambda: _quiet(agents, "call primitive/status GetStatus"), timeout=60)
    assert json.loads(granted["output"]) == {"status": "ok"}
    refused = session(agents, "call domain/orders GET /orders")
    assert [one["code"] for one in refused["refusals"]] == ["ToolNotGranted"]
    (pod,) = agents.pods()
    assert key not in kube.logs(agents.namespace, pod["metadata"]["name"])
    assert key not in operator.logs

    address = pod["status"]["podIP"]
    own_around.policy.text(policy(agents.namespace, "primitive/status"))
    agents.until("Ready", "False", reason="Quarantined")
    until(
        "its pod is gone", lambda: not kube.list("v1", "Pod", agents.namespace, label_selector="ameide.io/name=coder")
    )
    until("nobody answers any more", lambda: _is_silent(address))


def _quiet(agents: Agents, said: str) -> dict[str, Any] | None:
    """A session; None while the model is still starting."""
    try:
        return session(agents, said)
    except httpx.HTTPError:
        return None


def _is_silent(address: str) -> bool:
    try:
        httpx.get(f"http://127.{address.partition('.')[2]}:8080/healthz", timeout=2, trust_env=False)
    except httpx.ConnectError:
        return True
    return False
