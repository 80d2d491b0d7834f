"""The command lines of the control plane's parts."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ameide_dev import audit
from ameide_dev.kubeconfig import certificate_user, write_kubeconfig
from ameide_dev.pki import Pki
from ameide_dev.stages import NO_LOG, kwok_configuration

# Requests per second that controller manager and scheduler may send; their defaults (20 and 50) would be what a
# benchmark measures.
CLIENT_QPS = 2000
SERVICE_RANGE, FIRST_SERVICE_ADDRESS = "10.64.0.0/12", "10.64.0.1"
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Layout:
    """Programs, files and loopback ports of one control plane."""

    kube: Path
    kwok: Path
    directory: Path
    pki: Pki
    etcd_port: int
    etcd_peer_port: int
    api_port: int
    kubelet_port: int
    address: str = LOOPBACK
    """Where the API server listens."""

    @property
    def server_url(self) -> str:
        """Where the API server listens, as a URL."""
        return f"https://{self.address}:{self.api_port}"

    @property
    def audit_log(self) -> Path:
        """The API server's audit log, one JSON document a line."""
        return self.directory / "audit.log"

    def user(self, path: Path, name: str, groups: Sequence[str] = ()) -> Path:
        """Write a kubeconfig of the user `name` in `groups`, by client certificate."""
        user = certificate_user(*self.pki.client(name, groups))
        return write_kubeconfig(path, server=self.server_url, ca_pem=self.pki.ca_pem, user=user)


def commands(layout: Layout) -> dict[str, list[str]]:
    """The command line of each part by name, in starting order; writes the files that they name."""
    return {
        "etcd": _etcd(layout),
        "apiserver": _apiserver(layout),
        "controller-manager": _controller_manager(layout),
        "scheduler": _scheduler(layout),
        "kwok": _kwok(layout),
    }


def _etcd(layout: Layout) -> list[str]:
    client, peer = f"http://127.0.0.1:{layout.etcd_port}", f"http://127.0.0.1:{layout.etcd_peer_port}"
    return [
        str(layout.kube),
        "etcd",
        f"--data-dir={layout.directory / 'etcd'}",
        "--unsafe-no-fsync",
        "--log-level=warn",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        f"--quota-backend-bytes={8 << 30}",
    ]


def _apiserver(layout: Layout) -> list[str]:
    pki = layout.pki
    names = [LOOPBACK, "localhost", "kubernetes.default.svc", FIRST_SERVICE_ADDRESS, layout.address]
    certificate, key = pki.server("apiserver", names)
    kubelet_certificate, kubelet_key = pki.client("kube-apiserver-kubelet-client", ["system:masters"])
    public, private = pki.signing_key("service-account")
    policy = layout.directory / "audit-policy.json"
    policy.write_text(json.dumps(audit.POLICY))
    return [
        str(layout.kube),
        "kube-apiserver",
        f"--etcd-servers=http://127.0.0.1:{layout.etcd_port}",
        f"--bind-address={layout.address}",
        f"--secure-port={layout.api_port}",
        f"--tls-cert-file={certificate}",
        f"--tls-private-key-file={key}",
        f"--client-ca-file={pki.ca_file}",
        "--authorization-mode=Node,RBAC",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={public}",
        f"--service-account-signing-key-file={private}",
        f"--service-cluster-ip-range={SERVICE_RANGE}",
        # A loopback address may not stand in an Endpoints object; any other is that of the Service `kubernetes`.
        "--endpoint-reconciler-type=none" if layout.address == LOOPBACK else f"--advertise-address={layout.address}",
        f"--kubelet-client-certificate={kubelet_certificate}",
        f"--kubelet-client-key={kubelet_key}",
        f"--kubelet-certificate-authority={pki.ca_file}",
        "--kubelet-preferred-address-types=InternalIP",
        f"--audit-policy-file={policy}",
        f"--audit-log-path={layout.audit_log}",
        "--audit-log-maxsize=0",
        "--profiling=false",
    ]


def _controller_manager(layout: Layout) -> list[str]:
    # As one mighty user, not controller by controller as service accounts: fewer connections, no wait for tokens.
    user = layout.user(
        layout.directory / "controller-manager.kubeconfig", "system:kube-controller-manager", ["system:masters"]
    )
    return [
        str(layout.kube),
        "kube-controller-manager",
        f"--kubeconfig={user}",
        "--secure-port=0",
        "--leader-elect=false",
        f"--root-ca-file={layout.pki.ca_file}",
        f"--service-account-private-key-file={layout.pki.folder / 'service-account.key'}",
        # A machine under full load must not look like a dead node.
        "--node-monitor-grace-period=5m",
        f"--kube-api-qps={CLIENT_QPS}",
        f"--kube-api-burst={2 * CLIENT_QPS}",
        "--profiling=false",
    ]


def _scheduler(layout: Layout) -> list[str]:
    user = layout.user(layout.directory / "scheduler.kubeconfig", "system:kube-scheduler")
    return [
        str(layout.kube),
        "kube-scheduler",
        f"--kubeconfig={user}",
        "--secure-port=0",
        "--leader-elect=false",
        f"--kube-api-qps={CLIENT_QPS}",
        f"--kube-api-burst={2 * CLIENT_QPS}",
        "--profiling=false",
    ]


def _kwok(layout: Layout) -> list[str]:
    user = layout.user(layout.directory / "kwok.kubeconfig", "kwok", ["system:masters"])
    certificate, key = layout.pki.server("kubelet", ["127.0.0.1", "localhost"])
    configuration = layout.directory / "kwok.yaml"
    log = layout.directory / "kwok-container.log"
    log.write_text(NO_LOG)
    configuration.write_text(kwok_configuration(log))
    return [
        str(layout.kwok),
        f"--kubeconfig={user}",
        f"--config={configuration}",
        f"--server-address=127.0.0.1:{layout.kubelet_port}",
        "--node-ip=127.0.0.1",
        f"--node-port={layout.kubelet_port}",
        f"--tls-cert-file={certificate}",
        f"--tls-private-key-file={key}",
    ]
