"""An operator under measurement: its control plane, its account, its process and the Domains that it is given."""

from __future__ import annotations

import copy
import os
import shlex
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ameide_dev import crds
from ameide_dev.client import KubeClient, condition_of
from ameide_dev.cnpg import CnpgStandIn
from ameide_dev.controlplane import ControlPlane
from ameide_dev.processes import Guard, Server
from bench.observe import Ledger, Meter, Watcher, usage

ROOT = Path(__file__).resolve().parents[1]
OWN_CRDS = ROOT / "operators" / "domain-operator" / "config" / "crd"
NAMESPACE = "bench"
ACCOUNTS = "bench-operators"
IMAGE = "ghcr.io/ameide/bench-domain"
CLUSTER = "main"
DATABASE = {
    "clusterRef": f"{NAMESPACE}/{CLUSTER}",
    "schema": "app",
    "migrationJobImage": "ghcr.io/ameide/bench-migrations:1",
}


@dataclass(frozen=True, slots=True)
class Contestant:
    """An operator to measure: how it is started and what it needs otherwise than ours.

    crds: folder with its definition of Domain. patch: JSON merge patch over each Domain that it is given.
    """

    name: str
    command: str
    crds: Path = OWN_CRDS
    patch: Mapping[str, Any] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)


def merge(base: Any, patch: Any) -> Any:
    """JSON merge patch (RFC 7386) without touching `base`."""
    if not isinstance(patch, Mapping):
        return copy.deepcopy(patch)
    result = dict(base) if isinstance(base, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge(result.get(key), value)
    return result


class Subject:
    """One contestant running against a fresh control plane. Use it as a context manager.

    `database`: its Domains have a database on a CloudNativePG Cluster, which a stand-in runs as a real PostgreSQL.
    """

    def __init__(self, contestant: Contestant, directory: Path, *, database: bool = False) -> None:
        self.contestant = contestant
        self._database = database
        self._cnpg: CnpgStandIn | None = None
        self._guard = Guard()
        self._directory = directory
        self.control_plane = ControlPlane(directory / "control-plane", guard=self._guard)
        self.user = f"system:serviceaccount:{ACCOUNTS}:{contestant.name}"
        self.cpu_before = 0.0  # of processes that have ended
        self.peak_rss = 0
        self._local = threading.local()

    def __enter__(self) -> Subject:
        try:
            self.control_plane.start()
            self._prepare()
            self.ledger = Ledger(self.control_plane, self.user)
            self.watcher = Watcher(self.client, NAMESPACE)
            self.start()
            self._await_start()
        except BaseException:
            if self._cnpg is not None:
                self._cnpg.stop()
            self.control_plane.stop()
            self._guard.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.watcher.close()
        self.stop()
        if self._cnpg is not None:
            self._cnpg.stop()
        self.control_plane.stop()
        self._guard.close()

    @property
    def client(self) -> KubeClient:
        """A client with all rights, one for each thread."""
        if not hasattr(self._local, "client"):
            self._local.client = KubeClient.from_kubeconfig(self.control_plane.kubeconfig, user_agent="bench")
        client: KubeClient = self._local.client
        return client

    @property
    def cpu(self) -> float:
        """Processor seconds that the operator has used, restarts included."""
        return self.cpu_before + self.meter.read().cpu

    @property
    def control_plane_cpu(self) -> dict[str, float]:
        """Processor seconds that each process of the control plane has used."""
        return {name: usage(server.pid).cpu for name, server in self.control_plane.servers.items()}

    @property
    def log(self) -> Path:
        return self._directory / "operator.log"

    def start(self) -> None:
        """Start the operator's process."""
        self.server = Server(
            self.contestant.name,
            shlex.split(self.contestant.command),
            log=self.log,
            guard=self._guard,
            env={"KUBECONFIG": str(self._kubeconfig), **self.contestant.env},
            cwd=ROOT,
        )
        self.server.start()
        self.meter = Meter(self.server.pid)

    def _await_start(self, timeout: float = 60.0) -> None:
        """Wait until it watches and is quiet, so that the first scenario does not pay for its start."""
        deadline = time.monotonic() + timeout
        while not self.ledger.read().watches:
            self.server.check()
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.contestant.name} opened no watch within {timeout:.0f} s; log: {self.log}")
            time.sleep(0.1)
        self.ledger.settle(quiet=1.0)

    def stop(self, grace: float = 20.0) -> None:
        """Stop the process and keep what it has used."""
        self.cpu_before = self.cpu
        self.meter.close()
        self.peak_rss = max(self.peak_rss, self.meter.peak_rss)
        self.server.stop(grace)

    def wait_ready(self, generations: Mapping[str, int], timeout: float) -> dict[str, float]:
        """See Watcher.wait_ready. Raises ProcessError as soon as the operator's process has ended."""
        deadline = time.monotonic() + timeout
        while True:
            left = deadline - time.monotonic()
            moments = self.watcher.wait_ready(generations, max(0.0, min(left, 2.0)))
            if len(moments) == len(generations) or left <= 2.0:
                return moments
            self.server.check()

    def domain(self, name: str, tag: str = "1.0.0") -> dict[str, Any]:
        """The manifest of one Domain, as this contestant takes it."""
        manifest = {
            "apiVersion": "ameide.io/v1",
            "kind": "Domain",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {
                "image": f"{IMAGE}:{tag}",
                "resources": {"cpu": "10m", "memory": "16Mi"},
                "env": [{"name": "FEATURE_FLAG_X", "value": "true"}],
                "security": {"networkProfile": "backend"},
                **({"db": DATABASE} if self._database else {}),
            },
        }
        merged: dict[str, Any] = merge(manifest, self.contestant.patch)
        return merged

    def _prepare(self) -> None:
        client = self.client
        own = [yaml.safe_load(path.read_text()) for path in sorted(self.contestant.crds.glob("*.yaml"))]
        domains = [crd for crd in own if crd.get("kind") == "CustomResourceDefinition"]
        crds.install_objects([*domains, *crds.load("prometheus-operator"), *crds.load("cnpg")], client)
        labels = {"ameide.io/tenant-id": "bench"}
        for name in (NAMESPACE, ACCOUNTS):
            client.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
        account = {"name": self.contestant.name, "namespace": ACCOUNTS}
        client.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account})
        # Every contestant may do everything: rights are not what is measured.
        client.create(
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "ClusterRoleBinding",
                "metadata": {"name": f"bench-{self.contestant.name}"},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
                "subjects": [{"kind": "ServiceAccount", **account}],
            }
        )
        if self._database:
            self._start_cluster(client)
        # A service account, so that the API server gives it the priority that operators have in clusters.
        self._kubeconfig = self.control_plane.kubeconfig_for_service_account(
            ACCOUNTS, self.contestant.name, self._directory / "account", lifetime=24 * 3600
        )

    def _start_cluster(self, client: KubeClient, timeout: float = 120.0) -> None:
        """A PostgreSQL server for all Domains, with the Secrets that CloudNativePG makes for a Cluster."""
        self._cnpg = CnpgStandIn(client)
        self._cnpg.start()
        kind, metadata = "Cluster", {"name": CLUSTER, "namespace": NAMESPACE}
        api_version = "postgresql.cnpg.io/v1"
        spec = {"instances": 1, "storage": {"size": "1Gi"}}
        client.create({"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec})
        deadline = time.monotonic() + timeout
        while (condition_of(client.get(api_version, kind, CLUSTER, NAMESPACE), "Ready") or {}).get("status") != "True":
            if time.monotonic() > deadline:
                raise TimeoutError(f"the PostgreSQL server was not ready within {timeout:.0f} s")
            time.sleep(0.2)


def default_environment() -> dict[str, str]:
    """Settings of our operator for a measurement: any free port, and its Lease where it may write it."""
    return {"AMEIDE_HTTP__PORT": "0", "AMEIDE_LEADER_ELECTION__NAMESPACE": ACCOUNTS, "PATH": os.environ["PATH"]}
