"""The configuration files of a real node's parts: containerd, the pods' network, kubelet and kube-proxy."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ameide_dev.pki import Pki

NAME = "node-0"
HOST_ADDRESS, NODE_ADDRESS, PREFIX = "10.245.0.1", "10.245.0.2", 30
"""The two ends of the cable between this machine and the node."""
PODS = "10.244.0.0/24"
DNS_ADDRESS, DOMAIN = "10.64.0.10", "cluster.local"
PAUSE_IMAGE = "localhost/ameide-pause:1"
_CNI_PLUGINS = ("/usr/lib/cni", "/opt/cni/bin")  # Debian's place, and that of everybody else


@dataclass(frozen=True, slots=True)
class Files:
    """Where a node's files are, below one folder."""

    folder: Path
    cgroup: str
    """The parent of all pods' control groups, without a slash."""

    @property
    def socket(self) -> Path:
        """Where containerd answers."""
        return self.folder / "containerd.sock"

    @property
    def containerd(self) -> Path:
        """containerd's configuration."""
        return self.folder / "containerd.toml"

    @property
    def kubelet(self) -> Path:
        """The kubelet's configuration."""
        return self.folder / "kubelet.yaml"

    @property
    def proxy(self) -> Path:
        """kube-proxy's configuration."""
        return self.folder / "kube-proxy.yaml"


def cni_plugins() -> Path | None:
    """The folder of the network plugins, None where they are not installed."""
    folders = (Path(folder) for folder in _CNI_PLUGINS)
    return next((folder for folder in folders if (folder / "ptp").exists()), None)


def write(files: Files, pki: Pki, kubelet_kubeconfig: Path, proxy_kubeconfig: Path) -> None:
    """Write all of them. The folder is there, and the plugins are."""
    for name in ("cni", "addresses", "logs", "plugins"):
        (files.folder / name).mkdir()
    files.containerd.write_text(_containerd(files))
    (files.folder / "cni" / "10-pods.conflist").write_text(json.dumps(_network(files)))
    # Pods ask the cluster's DNS server and nobody else.
    (files.folder / "resolv.conf").write_text("")
    files.kubelet.write_text(yaml.safe_dump(_kubelet(files, pki)))
    files.proxy.write_text(yaml.safe_dump(_proxy(proxy_kubeconfig)))


def _containerd(files: Files) -> str:
    return f"""\
version = 2
root = "{files.folder}/containerd"
state = "{files.folder}/containerd-state"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs"]

[grpc]
  address = "{files.socket}"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  # In a sandbox of this machine's own, nobody may lower that score.
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true

[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "{cni_plugins()}"
  conf_dir = "{files.folder}/cni"
"""


def _network(files: Files) -> dict[str, Any]:
    # A cable for each pod and no bridge: what pods say to each other is routed, and Services need no br_netfilter.
    return {
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [
            {
                "type": "ptp",
                "ipMasq": True,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": PODS}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                    "dataDir": str(files.folder / "addresses"),
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }


def _kubelet(files: Files, pki: Pki) -> dict[str, Any]:
    certificate, key = pki.server("node", [NODE_ADDRESS, NAME])
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": NODE_ADDRESS,
        "authentication": {"anonymous": {"enabled": False}, "x509": {"clientCAFile": str(pki.ca_file)}},
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(certificate),
        "tlsPrivateKeyFile": str(key),
        "containerRuntimeEndpoint": f"unix://{files.socket}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{files.cgroup}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "clusterDNS": [DNS_ADDRESS],
        "clusterDomain": DOMAIN,
        "resolvConf": str(files.folder / "resolv.conf"),
        "podLogsDir": str(files.folder / "logs"),
        "volumePluginDir": str(files.folder / "plugins"),
        # The machine's disk is its owner's business.
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "0%", "imagefs.available": "0%"},
        "imageGCHighThresholdPercent": 100,
        "nodeStatusUpdateFrequency": "5s",
    }


def _proxy(kubeconfig: Path) -> dict[str, Any]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": str(kubeconfig)},
        "mode": "iptables",
        "clusterCIDR": PODS,
        "hostnameOverride": NAME,
        "bindAddress": NODE_ADDRESS,
        # Limits of the whole machine, which are not a node's to set.
        "conntrack": {"maxPerCore": 0, "min": 0},
    }
