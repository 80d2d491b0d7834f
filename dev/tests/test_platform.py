"""The platform as a whole: its command line, an existing cluster, its fixtures."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ameide_dev.client import KubeClient
from ameide_dev.platform import Platform, PlatformError, existing_kubeconfig
from ameide_dev.pytest_plugin import NamespaceMaker

pytestmark = pytest.mark.platform


def cli(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ameide_dev", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **env}, check=False)


def test_up_and_down(tmp_path: Path) -> None:
    name = f"test-{os.getpid()}"
    with subprocess.Popen(
        [sys.executable, "-m", "ameide_dev", "up", "--new", "--name", name, "--directory", str(tmp_path / "up")],
        stdout=subprocess.PIPE,
        text=True,
    ) as up:
        assert up.stdout is not None
        try:
            kubeconfig = next(
                line.split("KUBECONFIG=")[1].strip() for line in up.stdout if "export KUBECONFIG=" in line
            )
            with KubeClient.from_kubeconfig(kubeconfig) as client:
                assert client.get("v1", "Node", "kwok-0")["metadata"]["labels"]["type"] == "kwok"
            again = cli("up", "--new", "--name", name)
            assert again.returncode == 1
            assert f"platform '{name}' is already up (process {up.pid})" in again.stderr
            down = cli("down", "--name", name)
            assert (down.returncode, down.stdout) == (0, f"platform '{name}' is down\n")
            assert up.wait(timeout=20) == 0
        finally:
            up.send_signal(signal.SIGKILL)
    assert not (tmp_path / "up").exists()
    assert cli("down", "--name", name).stdout == f"platform '{name}' is not up\n"


def test_errors_are_sentences() -> None:
    result = cli("up", "--kubeconfig", "/nowhere/config", "--name", f"test-{os.getpid()}")
    assert result.returncode == 1
    assert "error: the kubeconfig /nowhere/config does not exist; correct --kubeconfig" in result.stderr
    assert "Traceback" not in result.stderr


def test_an_existing_cluster_is_used_and_left_alone(platform: Platform, tmp_path: Path) -> None:
    crd = "workerdeployments.temporal.io"
    kind = ("apiextensions.k8s.io/v1", "CustomResourceDefinition")
    platform.client.merge_patch(*kind, crd, {"metadata": {"annotations": {"theirs": "yes"}}})
    with Platform(existing=platform.kubeconfig, directory=tmp_path / "existing") as other:
        assert other.client.get("v1", "Node", "kwok-0")["kind"] == "Node"
        assert other.kubeconfig == platform.kubeconfig
        with pytest.raises(PlatformError, match="existing cluster"):
            other.control_plane.restart_apiserver()
        with pytest.raises(PlatformError, match="no host node"):
            _ = other.host_node
    found = platform.client.get(*kind, crd)
    assert found["metadata"]["annotations"]["theirs"] == "yes"


def test_which_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    assert existing_kubeconfig(None) is None
    mine, other = tmp_path / "mine", tmp_path / "other"
    mine.write_text("")
    other.write_text("")
    monkeypatch.setenv("KUBECONFIG", f"{mine}:{other}")
    assert existing_kubeconfig(None) == mine
    assert existing_kubeconfig(other) == other
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(PlatformError, match="does not exist"):
        existing_kubeconfig(None)


def test_kubectl(platform: Platform, namespace: str) -> None:
    platform.kubectl(
        "apply", "-f", "-", stdin=f"{{apiVersion: v1, kind: ConfigMap, metadata: {{name: a, namespace: {namespace}}}}}"
    )
    found = json.loads(platform.kubectl("get", "configmap", "a", "-n", namespace, "-o", "json"))
    assert found["metadata"]["name"] == "a"
    with pytest.raises(PlatformError, match=r"kubectl get pod ghost failed: .*NotFound"):
        platform.kubectl("get", "pod", "ghost")


def test_namespaces_are_the_tests_own(kube: KubeClient, namespace: str) -> None:
    labels = kube.get("v1", "Namespace", namespace)["metadata"]["labels"]
    assert labels["ameide.io/tenant-id"] == "t123"
    assert "namespaces-are-the-tests-own" in namespace


_DONE: list[str] = []


class TestNamespaceLife:
    """In order: what one test makes is gone, or going, in the next."""

    def test_made(self, make_namespace: NamespaceMaker) -> None:
        _DONE.append(make_namespace("first", labels={}))
        _DONE.append(make_namespace("second", labels={"team": "a"}))
        assert _DONE[0].startswith("first-made-")

    def test_gone(self, kube: KubeClient) -> None:
        assert len(_DONE) == 2
        for name in _DONE:
            kube.wait_gone("v1", "Namespace", name, timeout=30)
