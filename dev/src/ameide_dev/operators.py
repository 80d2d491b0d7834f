"""Operators on the local platform: the chart's identity and rights, and operators as local processes with them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import httpx
import yaml

from ameide_dev import tools
from ameide_dev.client import KubeClient
from ameide_dev.controlplane import ControlPlane
from ameide_dev.ports import Ports
from ameide_dev.processes import Guard, Server, clean_environment, wait_until

CHART = Path(__file__).parents[3] / "charts" / "ameide-operators"
RELEASE = "ameide-operators"
NAMESPACE = "ameide-system"


def render_chart(values: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """The chart's objects, as the real helm renders them with these values over its defaults."""
    command = [str(tools.find("helm")), "template", RELEASE, str(CHART), "--namespace", NAMESPACE, "--values", "-"]
    result = subprocess.run(
        command,
        input=yaml.safe_dump(dict(values or {})),
        capture_output=True,
        text=True,
        env=clean_environment(),
        check=False,
    )
    if result.returncode != 0:
        raise RuntimeError(f"helm could not render {CHART}: {result.stderr.strip()}")
    return [document for document in yaml.safe_load_all(result.stdout) if document]


def service_account(operator: str) -> str:
    """The name of an operator's ServiceAccount, and of its Deployment: of `domain`, `ameide-operators-domain`."""
    return f"{RELEASE}-{operator}"


def install_identities(client: KubeClient, values: Mapping[str, Any] | None = None) -> None:
    """The chart without what runs: CRDs, and ServiceAccounts, roles and bindings of every enabled operator."""
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    client.apply(namespace)
    skipped = ("Deployment", "PodDisruptionBudget", "NetworkPolicy", "Service", "ServiceMonitor", "ConfigMap")
    manifests = [manifest for manifest in render_chart(values) if manifest["kind"] not in skipped]
    for manifest in manifests:
        client.apply(manifest)
    for manifest in manifests:
        if manifest["kind"] == "CustomResourceDefinition":
            name = manifest["metadata"]["name"]
            client.wait_condition(manifest["apiVersion"], manifest["kind"], name, "Established", timeout=30)


class OperatorProcess:
    """One replica of an operator as a process on this machine, with its ServiceAccount's token and rights.

    settings: `AMEIDE_*` variables over what every such process gets (a free port, leader election off).
    kubeconfig: whose user the operator is instead of its ServiceAccount; needed where `control_plane` is None.
    """

    def __init__(
        self,
        control_plane: ControlPlane | None,
        directory: Path,
        *,
        operator: str = "domain",
        settings: Mapping[str, str] | None = None,
        kubeconfig: Path | None = None,
        guard: Guard | None = None,
    ) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.service_account = service_account(operator)
        self.user = f"system:serviceaccount:{NAMESPACE}:{self.service_account}"
        if kubeconfig is None:
            if control_plane is None:
                raise ValueError("an operator needs a control plane of ours to get a token from, or a kubeconfig")
            kubeconfig = control_plane.kubeconfig_for_service_account(NAMESPACE, self.service_account, directory)
        self._kubeconfig = kubeconfig
        self._module = f"{operator}_operator.main"
        self._settings = dict(settings or {})
        self._ports = Ports()
        self._guard = guard
        self._starts = 0
        self.port = 0
        self.server: Server | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def log_file(self) -> Path:
        """The log of the newest start."""
        return self.directory / f"operator-{self._starts}.log"

    @property
    def logs(self) -> str:
        """All that the operator has logged, over all its starts."""
        return "".join(path.read_text() for path in sorted(self.directory.glob("operator-*.log")))

    def start(self, *, wait: bool = True) -> None:
        """Start the process; with `wait` return once it is ready (caches filled)."""
        self.port = self._ports.reserve()
        self._starts += 1
        environment = {
            "KUBECONFIG": str(self._kubeconfig),
            "AMEIDE_HTTP__HOST": "127.0.0.1",
            "AMEIDE_HTTP__PORT": str(self.port),
            "AMEIDE_LEADER_ELECTION__ENABLED": "false",
            "AMEIDE_LEADER_ELECTION__NAMESPACE": NAMESPACE,
            "AMEIDE_LOG_FORMAT": "json",
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
            **self._settings,
        }
        self._ports.release()
        self.server = Server(
            self.service_account,
            [sys.executable, "-m", self._module, "run"],
            log=self.log_file,
            env=environment,
            guard=self._guard,
        )
        self.server.start()
        if wait:
            self.wait_ready()

    def wait_ready(self, timeout: float = 90) -> None:
        """Return once /readyz says so."""
        assert self.server is not None
        wait_until(self.service_account, self.is_ready, [self.server], timeout=timeout)

    def is_ready(self) -> bool:
        """Whether /readyz answers 200."""
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/readyz", timeout=2).status_code == 200
        except httpx.HTTPError:
            return False

    def metrics(self) -> str:
        """The text of /metrics."""
        return httpx.get(f"http://127.0.0.1:{self.port}/metrics", timeout=5).text

    def kill(self) -> None:
        """SIGKILL, as a node that fails would."""
        if self.server is not None and self.server.alive:
            os.killpg(self.server.pid, signal.SIGKILL)
            self.server.stop()

    def stop(self) -> float:
        """SIGTERM; seconds until it had ended."""
        began = time.monotonic()
        if self.server is not None:
            self.server.stop(10.0)
        self.server = None
        return time.monotonic() - began
