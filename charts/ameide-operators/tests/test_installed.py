"""The chart installed by helm into a real API server, its operator at work with no more rights than the chart grants.

The operator runs as the chart deploys it, its pods being processes on the platform's host node.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from ameide_dev import tools
from ameide_dev.demo_release import host_node_values
from ameide_dev.platform import Platform
from ameide_dev.processes import clean_environment

CHART = Path(__file__).parents[1]
SYSTEM = "ameide-system"
OPERATOR = "ameide-operators-domain"
RBAC = "rbac.authorization.k8s.io/v1"

pytestmark = pytest.mark.platform


@pytest.fixture(scope="module")
def cluster() -> Iterator[Platform]:
    """A platform of its own: the chart brings the definitions, so nobody else may have installed them."""
    with Platform(crd_sources=["cnpg", "prometheus-operator"]) as platform:
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        platform.client.create(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM, "labels": labels}}
        )
        yield platform


def helm(platform: Platform, *arguments: str) -> str:
    result = subprocess.run(
        [str(tools.find("helm")), *arguments, f"--kubeconfig={platform.kubeconfig}", f"--namespace={SYSTEM}"],
        capture_output=True,
        text=True,
        env=clean_environment(),
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@contextmanager
def installed(platform: Platform, folder: Path, values: Mapping[str, Any]) -> Iterator[str]:
    """The chart as a release on the host node, removed at the end with its definitions; yields helm's notes."""
    files = []
    for name, content in (("host-node", host_node_values({}, {}, {})), ("own", {"crds": {"keep": False}, **values})):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(dict(content)))
        files.append(f"--values={folder / name}.yaml")
    notes = helm(platform, "install", "ameide-operators", str(CHART), "--wait", "--timeout=2m", *files)
    try:
        yield notes
    finally:
        helm(platform, "uninstall", "ameide-operators", "--wait", "--timeout=1m")


def domain(namespace: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "ameide.io/v1",
        "kind": "Domain",
        "metadata": {"name": "orders", "namespace": namespace},
        "spec": {
            "image": "ghcr.io/ameide/orders-domain:1.0.0",
            "resources": {"cpu": "100m", "memory": "64Mi"},
            "autoscaling": {"minReplicas": 2, "maxReplicas": 3},
            **spec,
        },
    }


def refusals(platform: Platform, after: int) -> list[str]:
    """What the API server has denied the operators' accounts since a position of its audit log."""
    return [
        f"{name}: {event['verb']} {event['requestURI']}"
        for name in (f"ameide-operators-{key}" for key in ("domain", "process", "agent", "uisurface"))
        for event in platform.control_plane.audit_events(
            user=f"system:serviceaccount:{SYSTEM}:{name}", after=after, stage=None
        )
        if event.get("responseStatus", {}).get("code") == 403
    ]


def make_namespaces(platform: Platform, namespace: str, databases: str) -> None:
    """A tenant's namespace, and one with a database cluster that consents to it."""
    client, labels = platform.client, {"ameide.io/tenant-id": "t1"}
    client.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}})
    client.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": databases}})
    client.create(
        {
            "apiVersion": "postgresql.cnpg.io/v1",
            "kind": "Cluster",
            "metadata": {
                "name": "main",
                "namespace": databases,
                "annotations": {"ameide.io/allowed-namespaces": namespace},
            },
            "spec": {"instances": 1, "storage": {"size": "1Gi"}},
        }
    )


def log_of_operator(platform: Platform, lines: int) -> str:
    pods = platform.client.list("v1", "Pod", SYSTEM)
    return "\n".join(platform.client.logs(SYSTEM, pod["metadata"]["name"], tail=lines) for pod in pods)


@pytest.mark.parametrize("scope", ["cluster", "namespace"])
def test_the_granted_rights_suffice(cluster: Platform, tmp_path: Path, scope: str) -> None:
    """A Domain with a database becomes Ready, changes, and goes, without one request denied.

    The other operators fill their caches meanwhile: helm waits for them to be ready.
    """
    client, namespace, databases = cluster.client, f"team-{scope}", f"db-{scope}"
    make_namespaces(cluster, namespace, databases)
    began = cluster.control_plane.audit_position()
    watch = {"namespaces": [namespace], "referencedNamespaces": [databases]}
    with installed(cluster, tmp_path, {"rbac": {"scope": scope}, "watch": watch}):
        cluster_roles = client.list(RBAC, "ClusterRole", label_selector="app.kubernetes.io/part-of=ameide")
        assert bool(cluster_roles) is (scope == "cluster")
        client.create(
            domain(
                namespace,
                db={
                    "clusterRef": f"{databases}/main",
                    "schema": "orders",
                    "migrationJobImage": "ghcr.io/ameide/hostnode-flyway-migrator:1.0.0",
                    "deletionPolicy": "Delete",
                },
            )
        )
        try:
            client.wait_condition("ameide.io/v1", "Domain", "orders", "Ready", namespace, timeout=120)
            client.merge_patch("ameide.io/v1", "Domain", "orders", {"spec": {"autoscaling": None}}, namespace)
            client.wait_gone("autoscaling/v2", "HorizontalPodAutoscaler", "orders-domain", namespace, timeout=30)
            client.delete("ameide.io/v1", "Domain", "orders", namespace, wait=60)
        except Exception as error:
            denied = sorted(set(refusals(cluster, began)))
            raise AssertionError(f"{error}\n{log_of_operator(cluster, 5)}\ndenied: {denied}") from error
        assert refusals(cluster, began) == []  # before helm takes the rights away, which it does while pods still stop
    assert client.list("postgresql.cnpg.io/v1", "Database", databases) == []


def test_release_is_ready_and_helm_removes_it(cluster: Platform, tmp_path: Path) -> None:
    """Pods pass the restricted Pod Security Standard, users' roles reach Domains, and nothing of it stays behind."""
    client = cluster.client
    with installed(cluster, tmp_path, {}) as notes:
        assert f"deployment/{OPERATOR}" in notes
        deployment = client.get("apps/v1", "Deployment", OPERATOR, SYSTEM)
        assert deployment["status"]["readyReplicas"] == deployment["spec"]["replicas"] == 2
        assert client.get("policy/v1", "PodDisruptionBudget", OPERATOR, SYSTEM)["spec"]["maxUnavailable"] == 1

        def may(verb: str, group: str, *options: str) -> bool:
            who = ("--as=someone", f"--as-group={group}", "--namespace=default")
            arguments = ("auth", "can-i", verb, "domains.ameide.io", *who, *options)
            return cluster.kubectl(*arguments, check=False).strip() == "yes"

        binding = {
            "apiVersion": RBAC,
            "kind": "RoleBinding",
            "metadata": {"name": "editors", "namespace": "default"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
            "subjects": [{"kind": "Group", "name": "editors", "apiGroup": "rbac.authorization.k8s.io"}],
        }
        client.create(binding)
        assert may("create", "editors")
        assert may("get", "editors")
        assert not may("patch", "editors", "--subresource=status")
        assert not may("get", "others")
    for kind in ("ClusterRole", "ClusterRoleBinding"):
        found = client.list(RBAC, kind, label_selector="app.kubernetes.io/part-of=ameide")
        assert found == []
    assert client.find("apiextensions.k8s.io/v1", "CustomResourceDefinition", "domains.ameide.io") is None


def test_every_object_is_accepted_as_written(cluster: Platform) -> None:
    """With all switches on, the API server takes each object without a warning or an unknown field."""
    values = Path(__file__).parent / "render" / "everything.values.yaml"
    rendered = helm(cluster, "template", "ameide-operators", str(CHART), f"--values={values}")
    count = len([document for document in yaml.safe_load_all(rendered) if document])
    answer = cluster.kubectl(
        "apply",
        "--server-side",
        "--dry-run=server",
        "--validate=strict",
        f"--namespace={SYSTEM}",
        "-f",
        "-",
        stdin=rendered,
    )
    assert len(answer.splitlines()) == count
