"""The example agent runtime and the echo model as images of the host node: pods as an Agent's operator makes them."""

import asyncio
import hashlib
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from ameide_dev.client import KubeClient
from ameide_dev.platform import Platform

Object = dict[str, Any]

KEY = "sk-hosted-model-41b4c7"
DEFINITION: Object = {
    "instructions": "You are a clerk.",
    "tools": [{"primitive": "status", "http": {"GetStatus": {"method": "GET", "path": "/healthz"}}}],
}
TEXT = json.dumps(DEFINITION, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def variables(values: dict[str, str]) -> list[Object]:
    own = {"POD_NAME": "metadata.name", "POD_IP": "status.podIP"}
    return [
        *({"name": name, "value": value} for name, value in values.items()),
        *({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in own.items()),
    ]


def model_pod() -> Object:
    container = {
        "name": "model",
        "image": "ghcr.io/ameide/hostnode-echo-model:1.0.0",
        "env": [{"name": "MODEL_API_KEY_FILE", "value": "/etc/model/api-key"}],
        "ports": [{"name": "http", "containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 1, "timeoutSeconds": 3},
        "volumeMounts": [{"name": "key", "mountPath": "/etc/model", "readOnly": True}],
    }
    return {"containers": [container], "volumes": [{"name": "key", "secret": {"secretName": "model-key"}}]}


def runtime_pod(tag: str) -> Object:
    values = {
        "AGENT_DEFINITION_ID": "clerk",
        "AGENT_DEFINITION_VERSION": "1",
        "AGENT_DEFINITION_CHECKSUM": f"sha256:{hashlib.sha256(TEXT.encode()).hexdigest()}",
        "TENANT_ID": "t123",
        "MODEL_PROVIDER": "echo",
        "MODEL_NAME": "echo-1",
        "RISK_TIER": "low",
        "MAX_PARALLEL_SESSIONS": "4",
        "LOG_PROMPTS": "full",
        "EMIT_TOKENS": "true",
        "PORT_HTTP": "8080",
        "AMEIDE_SHUTDOWN_SECONDS": "2",
    }
    sources = [
        {"configMap": {"name": name, "items": [{"key": f"{name}.json", "path": f"{name}.json"}]}}
        for name in ("definition", "grants")
    ]
    container = {
        "name": "agent",
        "image": f"ghcr.io/ameide/hostnode-agent-runtime:{tag}",
        "env": variables(values),
        "ports": [{"name": "http", "containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": "http"}, "periodSeconds": 1, "timeoutSeconds": 3},
        "volumeMounts": [
            {"name": "agent", "mountPath": "/etc/ameide/agent", "readOnly": True},
            {"name": "echo", "mountPath": "/etc/ameide/credentials/echo", "readOnly": True},
        ],
    }
    volumes = [
        {"name": "agent", "projected": {"sources": sources}},
        {"name": "echo", "secret": {"secretName": "model-key"}},
    ]
    return {"containers": [container], "volumes": volumes, "terminationGracePeriodSeconds": 5}


def granted(namespace: str, **changes: Any) -> Object:
    address = f"http://model.{namespace}.svc:8080"
    operations = {"allow": ["Get*"], "deny": []}
    tool = {"kind": "primitive", "name": "status", "address": {"http": address}, "operations": operations}
    return {
        "version": "grants.ameide.io/v1",
        "agent": {"namespace": namespace, "name": "clerk", "tenantId": "t123"},
        "riskTier": "low",
        "model": {"provider": "echo", "name": "echo-1", "address": address, "credentials": ["echo"]},
        "tools": [tool | {"credentials": []}],
        "pending": [],
        "credentials": {"echo": {"values": [{"key": "api-key", "file": "/etc/ameide/credentials/echo/api-key"}]}},
        **changes,
    }


def create(kube: KubeClient, namespace: str, api: str, kind: str, name: str, **body: Any) -> None:
    metadata = {"name": name, "namespace": namespace}
    kube.create({"apiVersion": api, "kind": kind, "metadata": metadata, **body})


def deploy(kube: KubeClient, namespace: str, name: str, spec: Object) -> None:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": spec}
    body = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
    create(kube, namespace, "apps/v1", "Deployment", name, spec=body)
    ports = [{"name": "http", "port": 8080, "targetPort": "http"}]
    create(kube, namespace, "v1", "Service", name, spec={"selector": labels, "ports": ports})


def status(kube: KubeClient, namespace: str, name: str) -> Object:
    pods = kube.list("v1", "Pod", namespace, label_selector=f"app={name}")
    statuses: list[Object] = pods[0].get("status", {}).get("containerStatuses", []) if pods else []
    return statuses[0] if statuses else {}


async def eventually(what: str, holds: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = asyncio.get_running_loop().time() + seconds
    while not holds():
        assert asyncio.get_running_loop().time() < deadline, f"waited {seconds} s for {what}"
        await asyncio.sleep(0.2)


@pytest.fixture
def files(kube: KubeClient, namespace: str) -> None:
    """Definition, grants and key, stored as the operator and the secret store leave them."""
    create(kube, namespace, "v1", "ConfigMap", "definition", data={"definition.json": TEXT + "\n"})
    create(kube, namespace, "v1", "ConfigMap", "grants", data={"grants.json": json.dumps(granted(namespace))})
    create(kube, namespace, "v1", "Secret", "model-key", stringData={"api-key": KEY})


async def test_sessions_in_pods_and_a_quarantine(
    platform: Platform, kube: KubeClient, namespace: str, files: None
) -> None:
    deploy(kube, namespace, "model", model_pod())
    deploy(kube, namespace, "agent", runtime_pod("1.0.0"))
    for name in ("model", "agent"):
        await eventually(f"{name} to be ready", lambda name=name: bool(status(kube, namespace, name).get("ready")))
    [pod] = kube.list("v1", "Pod", namespace, label_selector="app=agent")
    # What the API server knows as 10.x.y.z is 127.x.y.z here.
    address = "127." + pod["status"]["podIP"].partition(".")[2]
    async with httpx.AsyncClient(base_url=f"http://{address}:8080", trust_env=False, timeout=20) as http:
        answer = await http.post("/v1/sessions", json={"input": "call primitive/status GetStatus"})
        assert answer.status_code == 200, answer.text
        assert json.loads(answer.json()["output"]) == {"status": "ok"}
        answer = await http.post("/v1/sessions", json={"input": "call domain/orders GET /orders"})
        assert answer.json()["refusals"][0]["code"] == "ToolNotGranted"
        logs = kube.logs(namespace, pod["metadata"]["name"])
        assert "call primitive/status GetStatus" in logs
        assert KEY not in logs

        empty = json.dumps(granted(namespace, model=None, tools=[], credentials={}))
        kube.merge_patch("v1", "ConfigMap", "grants", {"data": {"grants.json": empty}}, namespace)
        await eventually("the quarantine", lambda: not status(kube, namespace, "agent").get("ready"))
        answer = await http.post("/v1/sessions", json={"input": "hi"})
        assert (answer.status_code, answer.json()["code"]) == (503, "NotReady")


async def test_broken_builds_crash_or_never_become_ready(
    platform: Platform, kube: KubeClient, namespace: str, files: None
) -> None:
    deploy(kube, namespace, "crash", runtime_pod("2.0.0-crash"))
    deploy(kube, namespace, "bad", runtime_pod("2.0.0-bad"))
    await eventually(
        "the crash",
        lambda: status(kube, namespace, "crash").get("lastState", {}).get("terminated", {}).get("exitCode") == 3,
    )
    await eventually("the bad one to run", lambda: "running" in status(kube, namespace, "bad").get("state", {}))
    await asyncio.sleep(2)
    assert not status(kube, namespace, "bad")["ready"]
