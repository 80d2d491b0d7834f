"""Children that others change or delete, and children that are somebody else's."""

from __future__ import annotations

from typing import Any

import pytest
from agents import CHILD, RUNTIME, Agents

from ameide_dev.externalsecrets import ExternalSecrets
from ameide_dev.testing.resources import content
from ameide_dev.testing.waiting import never, until

OPENAI: dict[str, Any] = {"model": {"provider": "openai", "name": "gpt-5"}}
EVERYTHING = {**OPENAI, "autoscaling": {"minReplicas": 2, "maxReplicas": 5}}
LABEL = {"metadata": {"labels": {"ameide.io/tier": "frontend"}}}
CHILDREN: dict[str, tuple[str, dict[str, Any]]] = {
    "NetworkPolicy": ("networking.k8s.io/v1", {"spec": {"egress": [{}]}}),
    "ExternalSecret": (
        "external-secrets.io/v1",
        {"spec": {"data": [{"secretKey": "api-key", "remoteRef": {"key": "somebody/else"}}]}},
    ),
    "ControllerRevision": ("apps/v1", {"metadata": {"annotations": {"ameide.io/policy-subject": "{}"}}}),
    "ServiceAccount": ("v1", {"automountServiceAccountToken": True}),
    "Service": ("v1", {"spec": {"selector": {"somebody": "else"}}}),
    "HorizontalPodAutoscaler": ("autoscaling/v2", {"spec": {"maxReplicas": 100}}),
    "PodDisruptionBudget": ("policy/v1", LABEL),
    "ServiceMonitor": (
        "monitoring.coreos.com/v1",
        {"spec": {"endpoints": [{"path": "/else", "port": "http"}]}},
    ),
    "Deployment": ("apps/v1", {"spec": {"template": {"metadata": {"labels": {"ameide.io/risk-tier": "low-ish"}}}}}),
}
"""Every kind of child but ConfigMaps, and an edit that must not stay."""


def of_kind(agents: Agents, kind: str) -> list[dict[str, Any]]:
    """The Agent's children of a kind; of ConfigMaps those of definition and grants."""
    api_version = CHILDREN[kind][0] if kind in CHILDREN else "v1"
    found = agents.kube.list(api_version, kind, agents.namespace)
    return [each for each in found if each["metadata"]["name"].startswith(CHILD)]


def with_everything(agents: Agents, store: ExternalSecrets) -> None:
    """An Agent that has a child of every kind, Ready."""
    store.put(f"{agents.namespace}/openai", {"apiKey": "sk-drift-0123456789"})
    agents.create(**EVERYTHING)
    agents.ready(timeout=60)
    until("it has all kinds of children", lambda: all(of_kind(agents, kind) for kind in CHILDREN))


def test_deleted_children_come_back(agents: Agents, store: ExternalSecrets) -> None:
    """Each kind, as it was."""
    with_everything(agents, store)
    for kind in ("ConfigMap", *CHILDREN):
        for before in of_kind(agents, kind):
            name, uid = before["metadata"]["name"], before["metadata"]["uid"]
            agents.kube.delete(before["apiVersion"], kind, name, agents.namespace)
            after = agents.kube.wait_for(
                before["apiVersion"],
                kind,
                name,
                lambda it, uid=uid: bool(it) and it["metadata"]["uid"] != uid,
                agents.namespace,
            )
            if kind not in ("Service", "Deployment"):  # these get an address, and the autoscaler's count
                assert content(after) == content(before), kind
    agents.ready(timeout=60)


def test_edited_children_are_put_right(agents: Agents, store: ExternalSecrets) -> None:
    """Each kind: what is reached, which secret is fetched, as whom it was judged, and what else one might change."""
    with_everything(agents, store)
    for kind, (api_version, edit) in CHILDREN.items():
        (before,) = of_kind(agents, kind)
        name = before["metadata"]["name"]
        edited = agents.kube.merge_patch(api_version, kind, name, edit, agents.namespace)
        assert content(edited) != content(before), kind
        agents.kube.wait_for(
            api_version,
            kind,
            name,
            lambda it, before=before: bool(it) and content(it) == content(before),
            agents.namespace,
        )
    agents.ready(timeout=60)


@pytest.mark.parametrize("file", ["grants.json", "definition.json"])
def test_replaced_grants_and_definitions_go(agents: Agents, file: str) -> None:
    """They are immutable; whoever deletes them and puts others in their place, with all our marks, is found out."""
    agents.create()
    agents.ready()
    right = next(each for each in of_kind(agents, "ConfigMap") if file in each["data"])
    name = right["metadata"]["name"]
    kept = {key: right["metadata"][key] for key in ("name", "namespace", "labels", "annotations", "ownerReferences")}
    forged = {**right, "metadata": kept, "data": {file: '{"tools":["everything"]}'}}
    agents.annotate(paused="true")
    agents.until("Paused")  # else the operator is quicker than whoever does this
    agents.kube.delete("v1", "ConfigMap", name, agents.namespace)
    agents.kube.create(forged)
    agents.annotate(paused=None)
    agents.kube.wait_for("v1", "ConfigMap", name, lambda it: bool(it) and it["data"] == right["data"], agents.namespace)
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
    [
        ("Service", {"ports": [{"port": 1}]}),
        ("NetworkPolicy", {"podSelector": {}, "policyTypes": ["Ingress"]}),
        (
            "Deployment",
            {
                "replicas": 0,
                "selector": {"matchLabels": {"app": "else"}},
                "template": {
                    "metadata": {"labels": {"app": "else"}},
                    "spec": {"containers": [{"name": "else", "image": "else:1"}]},
                },
            },
        ),
    ],
)
def test_foreign_child_is_never_taken_over(agents: Agents, kind: str, spec: dict[str, Any]) -> None:
    """A border that is somebody else's: without one of ours no pod starts."""
    api, _ = CHILDREN[kind]
    manifest = {"apiVersion": api, "kind": kind, "metadata": {"name": CHILD, "namespace": agents.namespace}}
    made = agents.kube.create({**manifest, "spec": spec})
    agents.create()
    agent = agents.until("Ready", "False", reason="ChildConflict")
    assert CHILD in agent["status"]["blocker"]["message"]

    def written() -> bool:
        live = agents.child(api, kind, CHILD)
        return live is None or live["spec"] != made["spec"] or live["metadata"].get("labels")

    never(f"somebody else's {kind} is written", written, 1)
    if kind == "NetworkPolicy":
        assert agents.pods() == []
    agents.kube.delete(api, kind, CHILD, agents.namespace)
    agents.ready(timeout=60)


def test_no_pod_mounts_grants_that_somebody_else_has_written(agents: Agents) -> None:
    """Who works out the name of grants to come, and puts wider ones there, keeps the Agent from starting."""
    agents.create()
    agents.ready()
    name = next(each["metadata"]["name"] for each in of_kind(agents, "ConfigMap") if "grants.json" in each["data"])
    agents.delete(wait=20)
    until("its children are gone", lambda: not of_kind(agents, "ConfigMap") and not agents.pods(), timeout=60)
    metadata = {"name": name, "namespace": agents.namespace}
    wide = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"grants.json": '{"tools":["all"]}'}}
    agents.kube.create(wide)
    agents.create()
    agent = agents.until("Ready", "False", reason="ChildConflict")
    assert name in agent["status"]["blocker"]["message"]
    never("there is a pod", agents.pods, 1)
    agents.kube.delete("v1", "ConfigMap", name, agents.namespace)
    agents.ready(timeout=60)
