"""The parts of the real node that need no root: what it refuses, its configuration, the packages of its base images."""

import json
import os
import shutil
from pathlib import Path

import pytest
import yaml

from ameide_dev import acceptance_node, baseimages, buildah, node, node_files
from ameide_dev.pki import Pki


def test_without_root_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert node.missing() == "a node needs root, to run containers: run this as root"
    assert acceptance_node.run() == 2


def test_missing_programs_are_named_by_their_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(node_files, "cni_plugins", lambda: None)
    monkeypatch.setattr(
        shutil, "which", lambda name: None if name in ("containerd", "ctr", "iptables") else f"/x/{name}"
    )
    assert node.missing() == "programs are missing: apt-get install containerd iptables containernetworking-plugins"


def test_missing_image_builders_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acceptance_node, "missing", lambda: "")
    monkeypatch.setattr(shutil, "which", lambda name: None if name in ("buildah", "mvn") else f"/x/{name}")
    assert acceptance_node.unable() == "programs are missing: apt-get install buildah maven"


def test_the_nodes_files_agree_with_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_files, "cni_plugins", lambda: Path("/plugins"))
    folder = tmp_path / "node"
    folder.mkdir()
    files = node_files.Files(folder, "group")
    node_files.write(files, Pki(tmp_path / "pki"), tmp_path / "kubelet.kubeconfig", tmp_path / "proxy.kubeconfig")
    kubelet = yaml.safe_load(files.kubelet.read_text())
    assert kubelet["containerRuntimeEndpoint"] == f"unix://{files.socket}"
    assert f'address = "{files.socket}"' in files.containerd.read_text()
    assert Path(kubelet["tlsCertFile"]).exists()
    network = json.loads((folder / "cni" / "10-pods.conflist").read_text())
    subnet = network["plugins"][0]["ipam"]["ranges"][0][0]["subnet"]
    assert subnet == yaml.safe_load(files.proxy.read_text())["clusterCIDR"] == node_files.PODS


@pytest.mark.skipif(shutil.which("dpkg-query") is None, reason="packages are those of Debian: no dpkg-query here")
def test_a_runtime_holds_what_packages_need_and_no_installer() -> None:
    found = baseimages.closure(Path("/"), ["libstdc++6", "ca-certificates"])
    assert {"libstdc++6", "libc6", "libgcc-s1", "ca-certificates"} <= found
    # ca-certificates needs these only while it is installed.
    assert not {"openssl", "debconf", "dpkg"} & found


def test_an_archive_holds_the_layers_of_its_images_alone(tmp_path: Path) -> None:
    def blob(name: str, text: str = "") -> dict[str, str]:
        file = tmp_path / "blobs" / "sha256" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return {"digest": f"sha256:{name}"}

    layers = {name: blob(name) for name in ("base", "one", "two")}
    manifests = [
        blob(
            f"manifest-{name}", json.dumps({"config": blob(f"config-{name}"), "layers": [layers["base"], layers[name]]})
        )
        for name in ("one", "two")
    ]
    found = buildah._blobs(tmp_path, manifests[:1])
    assert found == {f"blobs/sha256/{name}" for name in ("manifest-one", "config-one", "base", "one")}


def test_a_build_has_its_arguments_in_their_places() -> None:
    dockerfile = 'ARG BASE=debian\nFROM ${BASE}\nARG VERSION\nARG OTHER=1\nLABEL v="${VERSION}"\nRUN echo ${OTHER}\n'
    given = {"BASE": "localhost/x:1", "VERSION": "1.2.3", "UNKNOWN": "y"}
    assert buildah.with_arguments(dockerfile, given).splitlines() == [
        "ARG BASE=localhost/x:1",
        "FROM localhost/x:1",
        "ARG VERSION=1.2.3",
        "ARG OTHER=1",
        'LABEL v="1.2.3"',
        "RUN echo ${OTHER}",
    ]
