"""Children that others change or delete, and children that are somebody else's."""

from __future__ import annotations

from typing import Any

import pytest
from agents import CHILD, RUNTIME, Agents

from ameide_dev.testing.waiting import never, until


def config_map(agents: Agents, file: str) -> dict[str, Any]:
    """The live ConfigMap that holds a file."""
    found = agents.kube.list("v1", "ConfigMap", agents.namespace)
    return next(each for each in found if file in (each.get("data") or {}))


def anew(agents: Agents, api_version: str, kind: str, child: dict[str, Any]) -> None:
    """Delete a child, and wait until there is another of its name."""
    name, uid = child["metadata"]["name"], child["metadata"]["uid"]
    agents.kube.delete(api_version, kind, name, agents.namespace)

    def another() -> bool:
        live = agents.child(api_version, kind, name)
        return live is not None and live["metadata"]["uid"] != uid

    until(f"{kind} {name} is made anew", another)


def test_deleted_children_come_back(agents: Agents) -> None:
    agents.create()
    agents.ready()
    for file in ("grants.json", "definition.json"):
        held = config_map(agents, file)
        anew(agents, "v1", "ConfigMap", held)
        assert config_map(agents, file)["data"] == held["data"]
    for api_version, kind in (("networking.k8s.io/v1", "NetworkPolicy"), ("v1", "Service"), ("apps/v1", "Deployment")):
        child = agents.child(api_version, kind, CHILD)
        assert child is not None
        anew(agents, api_version, kind, child)
    agents.ready()


def test_opened_border_is_closed_again(agents: Agents) -> None:
    """Whoever may write NetworkPolicies opens an Agent's egress for a moment at most."""
    agents.create()
    agents.ready()
    egress = agents.egress()
    api = "networking.k8s.io/v1"
    agents.kube.merge_patch(api, "NetworkPolicy", CHILD, {"spec": {"egress": [{}]}}, agents.namespace)
    until("it is closed", lambda: agents.egress() == egress, timeout=10)


def test_changed_runtime_is_set_back(agents: Agents) -> None:
    """Image, and which grants are mounted."""
    agents.create()
    agents.ready()
    pod = agents.deployment()["spec"]["template"]["spec"]
    changed = {**pod["containers"][0], "image": "else:where"}
    template = {"template": {"spec": {"containers": [changed]}}}
    agents.kube.merge_patch("apps/v1", "Deployment", CHILD, {"spec": template}, agents.namespace)
    until("the image is set back", lambda: agents.container()["image"] == RUNTIME)
    agents.ready()


@pytest.mark.parametrize(
    ("kind", "spec"),
    [("Service", {"ports": [{"port": 1}]}), ("NetworkPolicy", {"podSelector": {}, "policyTypes": ["Ingress"]})],
)
def test_foreign_child_is_never_taken_over(agents: Agents, kind: str, spec: dict[str, Any]) -> None:
    """A border that is somebody else's: without one of ours no pod starts."""
    api = "networking.k8s.io/v1" if kind == "NetworkPolicy" else "v1"
    made = agents.kube.create(
        {
            "apiVersion": api,
            "kind": kind,
            "metadata": {"name": CHILD, "namespace": agents.namespace},
            "spec": spec,
        }
    )
    agents.create()
    agent = agents.until("Ready", "False", reason="ChildConflict")
    assert CHILD in agent["status"]["blocker"]["message"]

    def written() -> bool:
        live = agents.child(api, kind, CHILD)
        return live is None or live["metadata"]["resourceVersion"] != made["metadata"]["resourceVersion"]

    never(f"somebody else's {kind} is written", written, 1)
    if kind == "NetworkPolicy":
        assert agents.pods() == []
    agents.kube.delete(api, kind, CHILD, agents.namespace)
    agents.ready(timeout=60)
