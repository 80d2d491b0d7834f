"""The control plane is a real one: it starts, runs workloads through kwok, keeps its data, counts requests, ends."""

import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ameide_dev import tools
from ameide_dev.client import ApiError, ForbiddenError, KubeClient, NotFoundError, UnavailableError
from ameide_dev.controlplane import ControlPlane

pytestmark = pytest.mark.platform


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    with ControlPlane() as running:
        yield running


def deployment(name: str, image: str = "ghcr.io/ameide/shop:1.0.0", replicas: int = 2) -> dict[str, Any]:
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": image}]}},
        },
    }


def test_it_is_the_version_we_name(plane: ControlPlane) -> None:
    assert plane.client.request("GET", "/version")["gitVersion"] == f"v{tools.KUBERNETES}"


def test_a_deployment_becomes_available(plane: ControlPlane) -> None:
    plane.client.create(deployment("shop"), "default")
    found = plane.client.wait_condition("apps/v1", "Deployment", "shop", "Available", "default")
    assert found["status"]["readyReplicas"] == 2
    pods = plane.client.list("v1", "Pod", "default", label_selector="app=shop")
    digests = {status["imageID"] for pod in pods for status in pod["status"]["containerStatuses"]}
    assert len(pods) == 2
    assert len(digests) == 1
    assert digests.pop().startswith("ghcr.io/ameide/shop@sha256:")

    assert "nothing is logged" in plane.client.logs("default", pods[0]["metadata"]["name"], "main", tail=1)

    plane.client.delete("apps/v1", "Deployment", "shop", "default")
    for pod in pods:
        plane.client.wait_gone("v1", "Pod", pod["metadata"]["name"], "default")


def test_the_rules_of_a_cluster_hold(plane: ControlPlane) -> None:
    """RBAC, the service account controller and Pod Security admission are there."""
    client = plane.client
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    client.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "strict", "labels": labels}})
    client.wait_for("v1", "ServiceAccount", "default", lambda it: it is not None, "strict")
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    }
    with pytest.raises(ForbiddenError, match='violates PodSecurity "restricted'):
        client.create(pod, "strict")
    mounted = client.create(pod, "default")["spec"]["containers"][0]["volumeMounts"]
    assert mounted[0]["mountPath"] == "/var/run/secrets/kubernetes.io/serviceaccount"


def test_data_outlives_the_api_server(plane: ControlPlane) -> None:
    client = plane.client
    client.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kept"}, "data": {"a": "1"}})
    before = plane.servers["apiserver"].pid
    with ThreadPoolExecutor(max_workers=1) as pool:
        restarting = pool.submit(plane.restart_apiserver, 1.0)
        refused = _repeat_until_refused(lambda: client.get("v1", "ConfigMap", "kept", "default"))
        assert isinstance(refused, UnavailableError)
        restarting.result()
    assert plane.servers["apiserver"].pid != before
    assert client.get("v1", "ConfigMap", "kept", "default")["data"] == {"a": "1"}
    # Controllers and kwok find their way back by themselves.
    client.create(deployment("after", replicas=1), "default")
    client.wait_condition("apps/v1", "Deployment", "after", "Available", "default", timeout=60)


def test_waiting_outlasts_an_outage(plane: ControlPlane) -> None:
    client = plane.client
    client.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "patient"}, "data": {"a": "1"}})
    with ThreadPoolExecutor(max_workers=1) as pool:
        waiting = pool.submit(
            client.wait_for,
            "v1",
            "ConfigMap",
            "patient",
            lambda it: it is not None and it["data"] == {"a": "2"},
            "default",
            timeout=60,
        )
        plane.restart_apiserver(down_for=0.5)
        client.merge_patch("v1", "ConfigMap", "patient", {"data": {"a": "2"}}, "default")
        assert waiting.result()["data"] == {"a": "2"}


def test_the_audit_log_counts_requests_by_user(plane: ControlPlane, tmp_path: Path) -> None:
    everyone = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding"}
    plane.client.create(
        {
            **everyone,
            "metadata": {"name": "counted"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
            "subjects": [{"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": "team:counted"}],
        }
    )
    path = plane.kubeconfig_for_user("alice", ["team:counted"], directory=tmp_path)
    mark = plane.audit_position()
    with KubeClient.from_kubeconfig(path) as alice:
        for _ in range(3):
            _eventually_allowed(alice)
        with pytest.raises(ForbiddenError):
            alice.delete("v1", "ConfigMap", "kube-root-ca.crt", "default")
    events = list(plane.audit_events(user="alice", after=mark))
    counted = Counter(
        (event["verb"], event["objectRef"]["resource"], event["responseStatus"]["code"])
        for event in events
        # Discovery has no object; a list may be refused until the binding has reached the authorizer.
        if "objectRef" in event and (event["responseStatus"]["code"] != 403 or event["verb"] == "delete")
    )
    assert counted == {("list", "configmaps", 200): 3, ("delete", "configmaps", 403): 1}
    assert not any("requestObject" in event or "responseObject" in event for event in events)
    assert list(plane.audit_events(user="nobody", after=mark)) == []


def _repeat_until_refused(request: Callable[[], object], within: float = 15.0) -> Exception | None:
    """The error that ends a series of requests; None when all of them went well."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        try:
            request()
        except (ApiError, UnavailableError) as error:
            return error
        time.sleep(0.05)
    return None


def _eventually_allowed(client: KubeClient) -> None:
    """List ConfigMaps; a role binding takes a moment to reach the authorizer."""
    deadline = time.monotonic() + 10
    while True:
        try:
            client.list("v1", "ConfigMap", "default")
            return
        except ForbiddenError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def test_a_service_account_reads_its_token_again(plane: ControlPlane, tmp_path: Path) -> None:
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "robot"}}
    with pytest.raises(NotFoundError, match="robot"):
        plane.kubeconfig_for_service_account("default", "robot", tmp_path)
    plane.client.create(account, "default")
    path = plane.kubeconfig_for_service_account("default", "robot", tmp_path)
    token = tmp_path / "token"
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    with KubeClient.from_kubeconfig(path) as robot:

        def name() -> str:
            answer = robot.request("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", body=review)
            return str(answer["status"]["userInfo"]["username"])

        assert name() == "system:serviceaccount:default:robot"
        first = token.read_text()
        token.write_text("not a token")
        with pytest.raises(ApiError) as refusal:
            name()
        assert refusal.value.status == 401
        plane.refresh_token("default", "robot", token)
        assert token.read_text() not in (first, "not a token")
        assert name() == "system:serviceaccount:default:robot"
        # A deleted account's token is worthless, as in a real cluster.
        plane.client.delete("v1", "ServiceAccount", "robot", "default")
        revoked = _repeat_until_refused(name)
        assert isinstance(revoked, ApiError)
        assert revoked.status == 401
    assert token.stat().st_mode & 0o777 == 0o600


def test_nodes_can_be_added(plane: ControlPlane) -> None:
    plane.add_kwok_node("kwok-east", labels={"topology.kubernetes.io/zone": "east"})
    wanted = deployment("eastern", replicas=1)
    wanted["spec"]["template"]["spec"]["nodeSelector"] = {"topology.kubernetes.io/zone": "east"}
    plane.client.create(wanted, "default")
    plane.client.wait_condition("apps/v1", "Deployment", "eastern", "Available", "default")
    (pod,) = plane.client.list("v1", "Pod", "default", label_selector="app=eastern")
    assert pod["spec"]["nodeName"] == "kwok-east"


def test_two_at_once_do_not_meet(plane: ControlPlane) -> None:
    with ControlPlane() as other:
        assert other.server_url != plane.server_url
        other.client.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "only-there"}})
        assert plane.client.find("v1", "Namespace", "only-there") is None
        pids = [server.pid for server in other.servers.values()]
        directory = other.directory
    assert not directory.exists()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_what_is_kept_stays(tmp_path: Path) -> None:
    with ControlPlane(tmp_path / "kept", keep=True) as plane:
        memory = plane.memory()
    assert (tmp_path / "kept" / "logs" / "apiserver.log").stat().st_size > 0
    assert set(memory) == {"etcd", "apiserver", "controller-manager", "scheduler", "kwok"}
    assert all(10 << 20 < size < 2 << 30 for size in memory.values())
    shutil.rmtree(tmp_path / "kept")
