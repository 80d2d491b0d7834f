"""The host node: a small kubelet that runs pods of known images as local processes, without root or containers.

A pod belongs to it when one of its images has a repository whose last part starts with `hostnode-`. An admission
policy labels such pods and sends them to the Node `host`; this agent does the rest: environment, volumes, probes,
restarts, termination messages, status, logs, and a proxy for Services. What a container would find at /etc/x lies at
$AMEIDE_HOST_ROOT/etc/x; a path in a mounted volume is rewritten in environment values and arguments.
"""

import datetime as dt
import logging
import shutil
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Self

from ameide_dev.client import KubeClient
from ameide_dev.controlplane import ControlPlane
from ameide_dev.hostnode_api import PodApi
from ameide_dev.hostnode_container import Backoff, Container, timestamp
from ameide_dev.hostnode_network import Network
from ameide_dev.hostnode_objects import LABEL, admission, node_object, node_status
from ameide_dev.hostnode_pod import Node, Pod
from ameide_dev.hostnode_server import LogServer
from ameide_dev.images import ImageTable
from ameide_dev.informer import Informer, Key, key_of
from ameide_dev.transport import ApiError, NotFoundError, UnavailableError

log = logging.getLogger(__name__)

Object = dict[str, Any]

_LEASE_SECONDS = 40
_HEARTBEAT_SECONDS = 10.0


class HostNode:
    """The agent of the Node called `name`. `images` may be added to at any time."""

    def __init__(
        self,
        client: KubeClient,
        *,
        ca: Path,
        certificate: Path,
        key: Path,
        images: ImageTable | None = None,
        name: str = "host",
        directory: Path | None = None,
        backoff: Backoff | None = None,
        refresh_seconds: float = 10.0,
    ) -> None:
        """`client` needs an administrator's rights.

        ca, certificate, key: PEM files of the cluster's authority, which also signs the clients that may read logs, and
        of this node's own server certificate for 127.0.0.1. backoff: between restarts of a container.
        refresh_seconds: how often mounted ConfigMaps, Secrets and tokens are looked at for changes.
        """
        self.name = name
        self.images = images or ImageTable()
        self._temporary = directory is None
        self.directory = directory or Path(tempfile.mkdtemp(prefix="ameide-hostnode-"))
        self.network = Network(name, self.directory / "hosts")
        self._client = client
        api = PodApi(client, ca, name)
        self._node = Node(self.images, self.network, api, backoff or Backoff(), refresh_seconds)
        self._pods: dict[Key, Pod] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._heartbeat = threading.Thread(target=self._beat, name="hostnode-heartbeat", daemon=True)
        self._server = LogServer(self._find, certificate=certificate, key=key, client_ca=ca, port=0)
        self._informers = [
            Informer(client, "v1", "Service", self.network.service_changed),
            Informer(client, "discovery.k8s.io/v1", "EndpointSlice", self.network.endpoints_changed),
            Informer(client, "v1", "Pod", self._pod_changed, label_selector=f"{LABEL}=true"),
        ]

    @classmethod
    def of(cls, control_plane: ControlPlane, images: ImageTable | None = None, **options: Any) -> Self:
        """The host node of a local control plane; `options` as in the constructor."""
        certificate, key = control_plane.pki.server("host-node", ["127.0.0.1", "localhost"])
        options.setdefault("directory", control_plane.directory / "hostnode")
        return cls(
            control_plane.client,
            ca=control_plane.pki.ca_file,
            certificate=certificate,
            key=key,
            images=images,
            **options,
        )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Register the node and start running pods; returns once its admission policy is in force."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self.network.start()
        self._server.start()
        for item in (*admission(), node_object(self.name)):
            self._client.apply(item, field_manager="host-node")
        self._write_node_status()
        # Takes off the not-ready taint of a new Node, which the controller manager would do within five seconds.
        self._client.apply(node_object(self.name), field_manager="host-node")
        self._heartbeat.start()
        for informer in self._informers:
            informer.start()
        self._wait_for_admission()

    def stop(self) -> None:
        """Kill all pods' processes and stop serving; the Node object stays, and counts as lost after a while."""
        self._stopped.set()
        for informer in self._informers:
            informer.stop()
        with self._lock:
            pods = list(self._pods.values())
        for pod in pods:
            pod.vanish()
        for pod in pods:
            pod.join(timeout=5)
        self._server.stop()
        self.network.stop()
        if self._temporary:
            shutil.rmtree(self.directory, ignore_errors=True)

    # For tests and the demo.

    def service_address(self, namespace: str, service: str, port: int) -> tuple[str, int]:
        """Where this machine reaches a Service's port. Raises KeyError while the Service is not known."""
        address = self.network.resolve(namespace, service)
        if address is None:
            raise KeyError(f"Service {namespace}/{service}")
        return address, port

    def wait_for_service(self, namespace: str, service: str, port: int, timeout: float = 15.0) -> tuple[str, int]:
        """Wait until a Service's port has a ready pod on this node; return where it is reached. Raises TimeoutError."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            address = self.network.resolve(namespace, service)
            if address is not None and self.network.listens(address, port):
                return address, port
            time.sleep(0.05)
        raise TimeoutError(f"Service {namespace}/{service} had no ready pod on node {self.name} within {timeout:g} s")

    def pod_address(self, namespace: str, name: str) -> str:
        """The loopback address of a pod. Raises KeyError if it does not run here."""
        with self._lock:
            return self._pods[namespace, name].address

    # Pods.

    def _pod_changed(self, event: str, item: Object) -> None:
        if item["spec"].get("nodeName") != self.name:
            return
        key = key_of(item)
        with self._lock:
            pod = self._pods.get(key)
            if pod is not None and (event == "DELETED" or pod.uid != item["metadata"]["uid"]):
                pod.vanish()
                self._pods.pop(key)
                pod = None
            if event == "DELETED":
                return
            if pod is not None:
                pod.update(item)
                return
            over = item.get("status", {}).get("phase") in ("Succeeded", "Failed")
            if over and not item["metadata"].get("deletionTimestamp"):
                return
            pod = Pod(self._node, item, self.directory / "pods" / item["metadata"]["uid"])
            self._pods[key] = pod
        pod.start()

    def _find(self, namespace: str, pod: str, container: str) -> Container | None:
        with self._lock:
            found = self._pods.get((namespace, pod))
        return found.container(container) if found else None

    # The node itself.

    def _write_node_status(self) -> None:
        status = node_status(self.name, self._server.port, timestamp())
        self._client.patch_status("v1", "Node", self.name, status)

    def _beat(self) -> None:
        while not self._stopped.is_set():
            try:
                self._renew_lease()
            except (ApiError, UnavailableError) as error:
                log.debug("heartbeat: %s", error)
            except Exception:
                if not self._stopped.is_set():  # a client that was closed meanwhile raises what it likes
                    log.exception("heartbeat")
            self._stopped.wait(_HEARTBEAT_SECONDS)

    def _renew_lease(self) -> None:
        now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        self._client.apply(
            {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": {"name": self.name, "namespace": "kube-node-lease"},
                "spec": {
                    "holderIdentity": self.name,
                    "leaseDurationSeconds": _LEASE_SECONDS,
                    "renewTime": now,
                },
            },
            field_manager="host-node",
        )

    def _wait_for_admission(self) -> None:
        """Try with dry runs until a pod is sent here: a new policy takes the API server a moment to load."""
        probe = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"generateName": "host-node-probe-", "namespace": "default"},
            "spec": {"containers": [{"name": "probe", "image": "example.invalid/hostnode-probe:1"}]},
        }
        for _ in range(200):
            try:
                answer = self._client.request(
                    "POST", "/api/v1/namespaces/default/pods", params={"dryRun": "All"}, body=probe
                )
                if LABEL in answer["metadata"].get("labels", {}):
                    return
            except ApiError as error:
                log.debug("admission policy: %s", error)
            if self._stopped.wait(0.1):
                return
        raise NotFoundError(
            "POST",
            "/api/v1/namespaces/default/pods",
            404,
            "NotLabelled",
            "the host node's admission policy has no effect",
        )
