"""A real Kubernetes control plane on loopback: etcd, API server, controller manager, scheduler, and kwok nodes."""

import datetime as dt
import shutil
import ssl
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

from ameide_dev import audit, requests, tools
from ameide_dev.client import ApiError, KubeClient
from ameide_dev.components import LOOPBACK, Layout, commands
from ameide_dev.kubeconfig import token_file_user, write_kubeconfig
from ameide_dev.pki import Pki
from ameide_dev.ports import Ports
from ameide_dev.processes import Guard, Server, stop_all, wait_until

START_TIMEOUT = 60.0


class ControlPlane:
    """One throw-away Kubernetes cluster. Use it as a context manager, or call `start` and `stop`.

    directory: where certificates, data and logs go (default: a new temporary folder, removed on `stop` unless `keep`).
    guard: kills everything if this process dies; one is made when none is given.
    address: where the API server listens; pods of a real node cannot reach this machine's loopback.
    """

    def __init__(
        self,
        directory: Path | None = None,
        *,
        keep: bool = False,
        guard: Guard | None = None,
        address: str = LOOPBACK,
    ) -> None:
        self.address = address
        self.directory = directory or Path(tempfile.mkdtemp(prefix="ameide-platform-"))
        self.keep = keep
        self.logs_dir = self.directory / "logs"
        self.audit_log = self.directory / "audit.log"
        self.kubeconfig = self.directory / "admin.kubeconfig"
        self.pki: Pki
        self.servers: dict[str, Server] = {}
        self._own_guard = guard is None
        self._guard = guard or Guard()
        self._ports = Ports()
        self._client: KubeClient | None = None
        self._layout: Layout

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
    def client(self) -> KubeClient:
        """A client with all rights (user `admin`)."""
        if self._client is None:
            self._client = KubeClient.from_kubeconfig(self.kubeconfig)
        return self._client

    @property
    def server_url(self) -> str:
        """Where the API server listens."""
        return self._layout.server_url

    @property
    def ca_pem(self) -> bytes:
        """The certificate authority of this cluster, PEM."""
        return self.pki.ca_pem

    # Life cycle

    def start(self, nodes: Sequence[str] = ("kwok-0",)) -> None:
        """Start everything and wait until pods can run. Raises ToolError or ProcessError.

        nodes: the names of the nodes that kwok plays.
        """
        kube, kwok = tools.find("kube"), tools.find("kwok")
        self.logs_dir.mkdir(parents=True, exist_ok=True)
        if not self.keep:
            self._guard.remove_at_end(self.directory)
        self.pki = Pki(self.directory / "pki")
        etcd, peer, api, kubelet = (self._ports.reserve() for _ in range(4))
        self._layout = Layout(kube, kwok, self.directory, self.pki, etcd, peer, api, kubelet, self.address)
        self._layout.user(self.kubeconfig, "admin", ["system:masters"])
        for name, command in commands(self._layout).items():
            log = self.logs_dir / f"{name}.log"
            # HOME and cwd: what the parts find beside them or at home must not depend on who runs this.
            env = {"HOME": str(self.directory)}
            self.servers[name] = Server(name, command, log=log, guard=self._guard, cwd=self.directory, env=env)
        for name in ("etcd", "apiserver"):
            self.servers[name].start()
        self.wait_for_apiserver()
        # These three would retry a missing API server only once a second, so they start when it is there.
        for name in ("controller-manager", "scheduler", *(("kwok",) if nodes else ())):
            self.servers[name].start()
        for node in nodes:
            self.add_kwok_node(node, wait=False)
        for node in nodes:
            self._wait_for_node(node)
        # Without it no pod is admitted to the namespace.
        wait_until(
            "ServiceAccount default/default",
            lambda: self.client.find("v1", "ServiceAccount", "default", "default") is not None,
            [self.servers["controller-manager"]],
            START_TIMEOUT,
        )

    def stop(self) -> None:
        """Stop everything; removes the directory unless `keep`."""
        if self._client is not None:
            self._client.close()
            self._client = None
        running = [server for name, server in self.servers.items() if name not in ("etcd", "apiserver")]
        # Nothing here is worth an orderly end, and the API server takes seconds over its own.
        stop_all([*running, *(self.servers[name] for name in ("apiserver", "etcd") if name in self.servers)], grace=0)
        self._ports.release()
        requests.leave(self.audit_log)
        if not self.keep:
            shutil.rmtree(self.directory, ignore_errors=True)
        if self._own_guard:
            self._guard.close()

    def stop_apiserver(self) -> None:
        """Make the API server vanish, as in an outage."""
        self.servers["apiserver"].stop(grace=0)

    def start_apiserver(self) -> None:
        """Bring the API server back at the same address and wait until it is ready."""
        self.servers["apiserver"].start()
        self.wait_for_apiserver()

    def restart_apiserver(self, down_for: float = 0.0) -> None:
        """Kill the API server, leave it down for `down_for` seconds, start it again and wait until it is ready."""
        self.stop_apiserver()
        time.sleep(down_for)
        self.start_apiserver()

    def wait_for_apiserver(self, timeout: float = START_TIMEOUT) -> None:
        """Wait until /readyz answers. Raises ProcessError."""
        context = ssl.create_default_context(cadata=self.pki.ca_pem.decode())
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )

        def ready() -> bool:
            try:
                with opener.open(f"{self.server_url}/readyz", timeout=2) as answer:
                    return bool(answer.status == 200)
            except (urllib.error.URLError, OSError):
                return False

        wait_until("The API server", ready, [self.servers["etcd"], self.servers["apiserver"]], timeout)

    # Users

    def kubeconfig_for_user(self, name: str, groups: Sequence[str] = (), *, directory: Path | None = None) -> Path:
        """A kubeconfig of the user `name` in `groups`, by client certificate; what it may do is up to RBAC."""
        folder = directory or self.directory / "users"
        path = folder / f"{name.replace(':', '_')}.kubeconfig"
        return self._layout.user(path, name, groups)

    def kubeconfig_for_service_account(
        self, namespace: str, name: str, directory: Path, *, lifetime: int = 3600
    ) -> Path:
        """A kubeconfig whose token for that ServiceAccount is in the file `directory`/token (see `refresh_token`).

        lifetime: of the token, in seconds, at least 600. Raises NotFoundError when the ServiceAccount does not exist.
        """
        token = directory / "token"
        self.refresh_token(namespace, name, token, lifetime=lifetime)
        return write_kubeconfig(
            directory / "kubeconfig",
            server=self.server_url,
            ca_pem=self.ca_pem,
            user=token_file_user(token),
            namespace=namespace,
        )

    def refresh_token(self, namespace: str, name: str, token_file: Path, *, lifetime: int = 3600) -> None:
        """Replace the token in `token_file` by a new one, atomically, as the kubelet does for a mounted token."""
        answer = self.client.request(
            "POST",
            f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token",
            body={
                "apiVersion": "authentication.k8s.io/v1",
                "kind": "TokenRequest",
                "spec": {"expirationSeconds": lifetime},
            },
        )
        token_file.parent.mkdir(parents=True, exist_ok=True)
        fresh = token_file.with_name(f".{token_file.name}.new")
        fresh.touch(mode=0o600)
        fresh.write_text(answer["status"]["token"])
        fresh.rename(token_file)

    # Audit log

    def audit_position(self) -> int:
        """Where the audit log ends now; hand it to `audit_events(after=...)` later."""
        return audit.position(self.audit_log)

    def audit_events(
        self,
        user: str | None = None,
        since: dt.datetime | None = None,
        *,
        after: int = 0,
        stage: str | None = "ResponseComplete",
    ) -> Iterator[dict[str, Any]]:
        """The requests the API server has answered; see `ameide_dev.audit.events` for the filters."""
        return audit.events(self.audit_log, user=user, since=since, after=after, stage=stage)

    # Nodes

    def add_kwok_node(self, name: str, *, labels: dict[str, str] | None = None, wait: bool = True) -> None:
        """Add a node whose pods kwok plays."""
        node = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": name,
                "labels": {
                    "type": "kwok",
                    "kubernetes.io/hostname": name,
                    "kubernetes.io/os": "linux",
                    **(labels or {}),
                },
            },
        }
        try:
            self.client.create(node)
        except ApiError as error:
            if error.status != 409:
                raise
        if wait:
            self._wait_for_node(name)

    def _wait_for_node(self, name: str) -> None:
        def usable(node: dict[str, Any] | None) -> bool:
            if node is None or node["spec"].get("taints"):
                return False
            conditions = node.get("status", {}).get("conditions", [])
            return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)

        servers = list(self.servers.values())
        wait_until(f"Node {name}", lambda: usable(self.client.find("v1", "Node", name)), servers, START_TIMEOUT)

    # What runs

    def memory(self) -> dict[str, int]:
        """Resident memory of each server, in bytes."""
        return {name: server.memory() for name, server in self.servers.items()}
