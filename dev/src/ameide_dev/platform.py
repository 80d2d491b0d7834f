"""The whole local platform: a control plane (or an existing cluster), CRDs, and the stand-ins around them."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

from ameide_dev import crds, policies, tools
from ameide_dev.client import KubeClient
from ameide_dev.cnpg import CnpgStandIn
from ameide_dev.controlplane import ControlPlane
from ameide_dev.hostnode import HostNode
from ameide_dev.processes import Guard, clean_environment, wait_until


class PlatformError(Exception):
    """Something was asked of the platform that it cannot do in this mode."""


class Platform:
    """A running platform. Use it as a context manager, or call `start` and `stop`.

    crd_sources: the systems whose CRDs are installed (keys of `ameide_dev.crds.SOURCES`; default: all).
    cnpg: run the CloudNativePG stand-in with its real PostgreSQL servers (needs the CRDs of "cnpg").
    host_node: run the node that starts `/hostnode-` images as local processes.
    existing: the kubeconfig of a cluster to use instead of starting one; it gets the CRDs that it lacks, but neither
    stand-in nor host node, since its pods could not reach what runs on this machine's loopback.
    directory, keep: see ControlPlane.
    """

    def __init__(
        self,
        *,
        crd_sources: Collection[str] = tuple(crds.SOURCES),
        cnpg: bool = True,
        host_node: bool = True,
        existing: Path | None = None,
        directory: Path | None = None,
        keep: bool = False,
    ) -> None:
        self.crd_sources = tuple(crd_sources)
        self.existing = existing
        self._wants_cnpg = cnpg and existing is None and "cnpg" in self.crd_sources
        self._wants_host_node = host_node and existing is None
        self.directory = directory or Path(tempfile.mkdtemp(prefix="ameide-platform-"))
        self.keep = keep
        self._guard = Guard()
        self._control_plane: ControlPlane | None = None
        self._client: KubeClient | None = None
        self._cnpg: CnpgStandIn | None = None
        self._host_node: HostNode | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def control_plane(self) -> ControlPlane:
        """The control plane this platform started. Raises PlatformError with an existing cluster."""
        if self._control_plane is None:
            raise PlatformError("this platform runs on an existing cluster, whose control plane it does not manage")
        return self._control_plane

    @property
    def client(self) -> KubeClient:
        """A client with the rights of the administrator (or of the existing kubeconfig)."""
        if self._client is None:
            raise PlatformError("the platform has not been started")
        return self._client

    @property
    def cnpg(self) -> CnpgStandIn:
        """The CloudNativePG stand-in. Raises PlatformError when this platform runs none."""
        if self._cnpg is None:
            raise PlatformError("this platform runs no CloudNativePG stand-in")
        return self._cnpg

    @property
    def host_node(self) -> HostNode:
        """The node whose pods are local processes. Raises PlatformError when this platform runs none."""
        if self._host_node is None:
            raise PlatformError("this platform runs no host node")
        return self._host_node

    @property
    def kubeconfig(self) -> Path:
        """The kubeconfig that `client` uses."""
        return self.existing or self.control_plane.kubeconfig

    def start(self) -> None:
        """Start everything. Raises ToolError, CrdError or ProcessError, each with a remedy."""
        self.directory.mkdir(parents=True, exist_ok=True)
        if not self.keep:
            self._guard.remove_at_end(self.directory)
        if self.existing is not None:
            self._client = KubeClient.from_kubeconfig(self.existing)
            self._install_missing_crds(self._client)
            return
        control_plane = ControlPlane(self.directory / "control-plane", keep=self.keep, guard=self._guard)
        self._control_plane = control_plane
        with ThreadPoolExecutor(max_workers=1) as pool:
            # CRDs are read (the first time: fetched into the cache) while the servers start.
            loading = pool.submit(lambda: [crds.load(name) for name in self.crd_sources])
            control_plane.start()
            loaded = [crd for group in loading.result() for crd in group]
        client = self._client = control_plane.client
        policies.install(client)
        crds.install_objects(loaded, client)
        if self._wants_host_node:
            self._host_node = HostNode.of(control_plane)
            self._host_node.start()
        if self._wants_cnpg:
            self._cnpg = CnpgStandIn(client)
            self._cnpg.start()
        servers = list(control_plane.servers.values())
        wait_until("The admission policies", lambda: policies.in_force(client), servers, timeout=30)

    def _install_missing_crds(self, client: KubeClient) -> None:
        present = {crd["metadata"]["name"] for crd in client.list(crds.API_VERSION, crds.KIND)}
        wanted = [crd for name in self.crd_sources for crd in crds.load(name)]
        # What the cluster has belongs to whoever installed it.
        crds.install_objects([crd for crd in wanted if crd["metadata"]["name"] not in present], client)

    def stop(self) -> None:
        """Stop what was started; an existing cluster keeps what was installed into it."""
        # The stand-ins still talk to the API server while they stop.
        for part in (self._host_node, self._cnpg):
            if part is not None:
                part.stop()
        self._host_node = self._cnpg = None
        if self._control_plane is not None:
            self._control_plane.stop()
            self._control_plane = None
        elif self._client is not None:
            self._client.close()
        self._client = None
        if not self.keep:
            shutil.rmtree(self.directory, ignore_errors=True)
        self._guard.close()

    def kubectl(self, *arguments: str, check: bool = True, stdin: str | None = None) -> str:
        """Run kubectl against this cluster; returns its standard output. Raises PlatformError when it fails."""
        command = [str(tools.find("kubectl")), f"--kubeconfig={self.kubeconfig}", *arguments]
        result = subprocess.run(
            command, capture_output=True, text=True, input=stdin, env=clean_environment(), check=False
        )
        if check and result.returncode != 0:
            raise PlatformError(f"kubectl {' '.join(arguments)} failed: {result.stderr.strip()}")
        return result.stdout


def existing_kubeconfig(option: Path | None) -> Path | None:
    """The kubeconfig of a cluster to use, from the command line or $KUBECONFIG; None to start one.

    Raises PlatformError.
    """
    if option is not None:
        chosen = option
    elif os.environ.get("KUBECONFIG"):
        chosen = Path(os.environ["KUBECONFIG"].split(os.pathsep)[0])
    else:
        return None
    if not chosen.is_file():
        raise PlatformError(f"the kubeconfig {chosen} does not exist; correct --kubeconfig or unset KUBECONFIG")
    return chosen
