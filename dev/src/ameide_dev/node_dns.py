"""CoreDNS for a real node, as a Deployment in kube-system: pods find Services by their names."""

from typing import Any

from ameide_dev.client import KubeClient
from ameide_dev.node_files import DNS_ADDRESS, DOMAIN
from ameide_dev.node_images import COREDNS_IMAGE

_NAMESPACE, _NAME = "kube-system", "coredns"
_PORT = 5353  # port 53 would need a capability
_COREFILE = f"""\
.:{_PORT} {{
  errors
  health :8080
  ready :8181
  kubernetes {DOMAIN} {{
    ttl 5
  }}
}}
"""


def install(client: KubeClient) -> None:
    """Install it, and wait until it answers."""
    for manifest in _manifests():
        client.apply(manifest)
    client.wait_condition("apps/v1", "Deployment", _NAME, "Available", _NAMESPACE, timeout=120)


def _manifests() -> list[dict[str, Any]]:
    labels = {"k8s-app": _NAME}
    metadata = {"name": _NAME, "namespace": _NAMESPACE, "labels": labels}
    rules = [
        {"apiGroups": [""], "resources": ["services", "pods", "namespaces"], "verbs": ["list", "watch"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
    ]
    role = {"name": "system:coredns"}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": role, "rules": rules},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": role,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", **role},
            "subjects": [{"kind": "ServiceAccount", "name": _NAME, "namespace": _NAMESPACE}],
        },
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"Corefile": _COREFILE}},
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata,
            "spec": {
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": _pod()},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {**metadata, "name": "kube-dns"},
            "spec": {
                "selector": labels,
                "clusterIP": DNS_ADDRESS,
                "ports": [
                    {"name": f"dns-{protocol.lower()}", "port": 53, "targetPort": _PORT, "protocol": protocol}
                    for protocol in ("UDP", "TCP")
                ],
            },
        },
    ]


def _pod() -> dict[str, Any]:
    return {
        "serviceAccountName": _NAME,
        "dnsPolicy": "Default",
        "containers": [
            {
                "name": _NAME,
                "image": COREDNS_IMAGE,
                "imagePullPolicy": "Never",
                "args": ["-conf", "/etc/coredns/Corefile"],
                "readinessProbe": {"httpGet": {"path": "/ready", "port": 8181}, "periodSeconds": 1},
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "runAsNonRoot": True,
                    "capabilities": {"drop": ["ALL"]},
                },
                "volumeMounts": [{"name": "config", "mountPath": "/etc/coredns"}],
            }
        ],
        "volumes": [{"name": "config", "configMap": {"name": _NAME}}],
    }
