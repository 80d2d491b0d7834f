"""What a pod on the host node asks of the API server: its sources, tokens and kubeconfig, and writes about itself."""

import logging
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ameide_dev.client import KubeClient
from ameide_dev.hostnode_container import timestamp
from ameide_dev.kubeconfig import token_file_user, write_kubeconfig
from ameide_dev.transport import ApiError, UnavailableError

log = logging.getLogger(__name__)

Object = dict[str, Any]

# A kubeconfig is written once, when its container starts.
_KUBECONFIG_TOKEN_SECONDS = 86_400


class ApiLookup:
    """ConfigMaps and Secrets of one namespace, read from the API server each time."""

    def __init__(self, client: KubeClient, namespace: str) -> None:
        self._client = client
        self._namespace = namespace

    def config_map(self, name: str) -> Object | None:
        """A ConfigMap."""
        return self._client.find("v1", "ConfigMap", name, self._namespace)

    def secret(self, name: str) -> Object | None:
        """A Secret."""
        return self._client.find("v1", "Secret", name, self._namespace)


class PodApi:
    """Requests on behalf of pods, with the node's rights."""

    def __init__(self, client: KubeClient, ca: Path, node: str) -> None:
        """`ca`: file of the cluster's authority. `node`: the name of the Node, for events."""
        self._client = client
        self._ca = ca
        self._node = node
        self._tokens: dict[tuple[str, str, int], tuple[str, float]] = {}  # (uid, audience, seconds) → token, renewal

    def lookup(self, namespace: str) -> ApiLookup:
        """Where a pod's ConfigMaps and Secrets come from."""
        return ApiLookup(self._client, namespace)

    def token(self, pod: Object, audience: str, seconds: int) -> str:
        """A token of the pod's service account, bound to the pod; renewed when four fifths of its life are over."""
        metadata, spec = pod["metadata"], pod["spec"]
        key = (metadata["uid"], audience, seconds)
        known, renewal = self._tokens.get(key, ("", 0.0))
        if known and time.monotonic() < renewal:
            return known
        account = spec.get("serviceAccountName", "default")
        answer = self._client.request(
            "POST",
            f"/api/v1/namespaces/{metadata['namespace']}/serviceaccounts/{account}/token",
            body={
                "apiVersion": "authentication.k8s.io/v1",
                "kind": "TokenRequest",
                "spec": {
                    "audiences": [audience] if audience else None,
                    "expirationSeconds": max(seconds, 600),
                    "boundObjectRef": {
                        "apiVersion": "v1",
                        "kind": "Pod",
                        "name": metadata["name"],
                        "uid": metadata["uid"],
                    },
                },
            },
        )
        fresh = str(answer["status"]["token"])
        self._tokens[key] = (fresh, time.monotonic() + 0.8 * max(seconds, 600))
        return fresh

    def kubeconfig(self, pod: Object, folder: Path) -> Path:
        """A kubeconfig of the pod's service account, its token in a file beside it."""
        token = folder / "token"
        token.touch(mode=0o600)
        token.write_text(self.token(pod, "", _KUBECONFIG_TOKEN_SECONDS))
        return write_kubeconfig(
            folder / "config",
            server=self._client.transport.server,
            ca_pem=self._ca.read_bytes(),
            user=token_file_user(token),
            namespace=pod["metadata"]["namespace"],
        )

    def api_address(self) -> tuple[str, int]:
        """Where the API server listens."""
        url = urlsplit(self._client.transport.server)
        return url.hostname or "127.0.0.1", url.port or 443

    def write_status(self, pod: Object, status: Object) -> None:
        """Write a pod's status. Raises NotFoundError, ApiError, UnavailableError."""
        metadata = pod["metadata"]
        patch = {"metadata": {"uid": metadata["uid"]}, "status": status}
        self._client.merge_patch("v1", "Pod", metadata["name"], patch, metadata["namespace"], subresource="status")

    def finish(self, pod: Object) -> None:
        """Let the API server forget a pod whose containers have ended."""
        metadata = pod["metadata"]
        self._client.request(
            "DELETE",
            f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}",
            body={
                "apiVersion": "v1",
                "kind": "DeleteOptions",
                "gracePeriodSeconds": 0,
                "preconditions": {"uid": metadata["uid"]},
            },
        )

    def event(self, pod: Object, reason: str, message: str) -> None:
        """Record a Warning event on a pod, once for each message."""
        metadata = pod["metadata"]
        now = timestamp()
        name = f"{metadata['name'][:200]}.{abs(hash((metadata['uid'], reason, message))):016x}"
        item = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": metadata["namespace"]},
            "involvedObject": {
                "apiVersion": "v1",
                "kind": "Pod",
                "name": metadata["name"],
                "namespace": metadata["namespace"],
                "uid": metadata["uid"],
            },
            "type": "Warning",
            "reason": reason,
            "message": message[:1024],
            "source": {"component": "kubelet", "host": self._node},
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        try:
            self._client.create(item)
        except (ApiError, UnavailableError) as error:
            log.debug("event on pod %s: %s", metadata["name"], error)
