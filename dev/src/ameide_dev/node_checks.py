"""What the acceptance looks at on a real node: pods, their memory, who leads, and the example Domain over HTTP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx

from ameide_dev.client import ForbiddenError, KubeClient
from ameide_dev.node_files import NAME
from ameide_dev.operators import NAMESPACE, RELEASE
from ameide_dev.release_images import OPERATORS

_TENANT_HEADER = "x-tenant-id"


class AcceptanceError(Exception):
    """Something is not as the release promises; the message has what was expected and what is there."""


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod of one container: its address, the id of the container, how often that was started anew."""

    name: str
    address: str
    container: str
    restarts: int
    ready: bool


def deployment_pods(client: KubeClient, namespace: str, name: str) -> list[Pod]:
    """The pods of a Deployment that have been started and are not ending, by name."""
    labels = client.get("apps/v1", "Deployment", name, namespace)["spec"]["selector"]["matchLabels"]
    selector = ",".join(f"{key}={value}" for key, value in labels.items())
    found = client.list("v1", "Pod", namespace, label_selector=selector)
    staying = [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]
    return [_pod(pod) for pod in sorted(staying, key=_name) if pod.get("status", {}).get("containerStatuses")]


def operator_pods(client: KubeClient, operator: str) -> list[Pod]:
    """The pods of an operator's Deployment."""
    return deployment_pods(client, NAMESPACE, f"{RELEASE}-{operator}")


def _name(item: dict[str, Any]) -> str:
    return str(item["metadata"]["name"])


def _pod(pod: dict[str, Any]) -> Pod:
    status = pod["status"]["containerStatuses"][0]
    return Pod(
        name=_name(pod),
        address=pod["status"].get("podIP", ""),
        container=status.get("containerID", "").partition("://")[2],
        restarts=status["restartCount"],
        ready=status["ready"],
    )


def all_ready(client: KubeClient) -> str:
    """How many replicas of each operator are ready. Raises AcceptanceError when one is not, or has been restarted."""
    parts = []
    for operator in OPERATORS:
        found = operator_pods(client, operator)
        bad = [pod for pod in found if not pod.ready or pod.restarts]
        if bad or not found:
            raise AcceptanceError(f"operator {operator}: not all pods are ready at their first start: {found}")
        parts.append(f"{operator} {len(found)}")
    return ", ".join(parts)


def memory(client: KubeClient) -> dict[str, int]:
    """The working set of each pod, in bytes, by namespace/name: what the kubelet measures."""
    summary = client.request("GET", f"/api/v1/nodes/{NAME}/proxy/stats/summary")
    return {
        f"{pod['podRef']['namespace']}/{pod['podRef']['name']}": pod["memory"]["workingSetBytes"]
        for pod in summary["pods"]
        if pod.get("memory", {}).get("workingSetBytes")
    }


def leader(client: KubeClient, operator: str) -> str:
    """Who holds an operator's Lease, as it is written there; empty when nobody does."""
    lease = client.find("coordination.k8s.io/v1", "Lease", f"{RELEASE}-{operator}", NAMESPACE)
    return str(((lease or {}).get("spec") or {}).get("holderIdentity") or "")


def refuses_ordinary_pod(client: KubeClient) -> None:
    """The operators' namespace takes no pod that is not restricted as theirs are. Raises AcceptanceError."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "ordinary", "namespace": NAMESPACE},
        "spec": {"containers": [{"name": "main", "image": "x:1"}]},
    }
    try:
        client.create(pod)
    except ForbiddenError as refusal:
        if "PodSecurity" in refusal.message:
            return
        raise
    raise AcceptanceError(
        f"namespace {NAMESPACE} took an unrestricted pod, so nothing was shown by those it took before"
    )


def probe(pod: Pod, path: str) -> httpx.Response:
    """What a pod answers on its own address. Raises AcceptanceError when that is not 200."""
    answer = httpx.get(f"http://{pod.address}:8080{path}", timeout=10, trust_env=False)
    if answer.status_code != 200:
        raise AcceptanceError(f"pod {pod.name} answers {answer.status_code} to {path}: {answer.text[:200]}")
    return answer


def order_is_kept(client: KubeClient, namespace: str) -> str:
    """Add an order through one pod of the example Domain, and look at it through the other. Raises AcceptanceError."""
    found = [pod for pod in deployment_pods(client, namespace, "orders-domain") if pod.ready]
    if len(found) != 2:
        raise AcceptanceError(f"Domain {namespace}/orders has not two ready pods: {found}")
    first, last = (f"http://{pod.address}:8080/orders" for pod in found)
    acme = {_TENANT_HEADER: "acme"}
    sent = httpx.post(first, json={"item": "lamp", "quantity": 2}, headers=acme, timeout=10, trust_env=False)
    sent.raise_for_status()
    theirs, others = _orders(last, acme), _orders(last, {_TENANT_HEADER: "someone-else"})
    if not any(order["item"] == "lamp" for order in theirs) or others:
        raise AcceptanceError(f"an order of acme: {theirs} for acme, {others} for another tenant")
    return f"{len(theirs)} of acme, none for another tenant"


def _orders(url: str, headers: dict[str, str]) -> list[Any]:
    answer = httpx.get(url, headers=headers, timeout=10, trust_env=False)
    answer.raise_for_status()
    orders: list[Any] = answer.json()["orders"]
    return orders
