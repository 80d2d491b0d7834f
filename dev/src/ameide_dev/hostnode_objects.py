"""The Kubernetes objects of the host node: its Node, and the admission policy that sends its pods there."""

import os
from typing import Any

Object = dict[str, Any]

LABEL = "ameide.dev/host-node"
"""On the Node, on its taint, and (by the policy) on every pod that runs there."""

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_POLICY = "host-node.ameide.dev"

# Also the node selector and the toleration; both may be absent or may hold the user's own entries.
_PATCH = """\
[
  JSONPatch{op: "add", path: "/metadata/labels", value: has(object.metadata.labels) ? object.metadata.labels : {}},
  JSONPatch{op: "add", path: "/metadata/labels/ameide.dev~1host-node", value: "true"},
  JSONPatch{op: "add", path: "/spec/nodeSelector",
            value: has(object.spec.nodeSelector) ? object.spec.nodeSelector : {}},
  JSONPatch{op: "add", path: "/spec/nodeSelector/ameide.dev~1host-node", value: "true"},
  JSONPatch{op: "add", path: "/spec/tolerations",
            value: has(object.spec.tolerations) ? object.spec.tolerations : []},
  JSONPatch{op: "add", path: "/spec/tolerations/-",
            value: Object.spec.tolerations{key: "ameide.dev/host-node", operator: "Exists"}}
]
"""


def admission() -> list[Object]:
    """A MutatingAdmissionPolicy with its binding: pods with a `/hostnode-` image are labelled and bound to the node."""
    return [
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingAdmissionPolicy",
            "metadata": {"name": _POLICY},
            "spec": {
                "failurePolicy": "Fail",
                "reinvocationPolicy": "Never",
                "matchConstraints": {
                    "resourceRules": [
                        {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
                    ]
                },
                "matchConditions": [
                    {
                        "name": "host-node-image",
                        "expression": (
                            "(object.spec.containers + (has(object.spec.initContainers) ? "
                            "object.spec.initContainers : [])).exists(c, c.image.contains('/hostnode-'))"
                        ),
                    }
                ],
                "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": _PATCH}}],
            },
        },
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingAdmissionPolicyBinding",
            "metadata": {"name": _POLICY},
            "spec": {"policyName": _POLICY},
        },
    ]


def node_object(name: str) -> Object:
    """The Node: tainted, so that only pods of known images are scheduled to it."""
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {LABEL: "true", "kubernetes.io/hostname": name, "kubernetes.io/os": "linux"},
        },
        "spec": {"taints": [{"key": LABEL, "value": "true", "effect": "NoSchedule"}]},
    }


def node_status(name: str, log_port: int, now: str) -> Object:
    """Its status: ready, with room for many pods, and the port of its log server."""
    capacity = {
        "cpu": str(max(os.cpu_count() or 1, 64)),
        "memory": "256Gi",
        "pods": "500",
        "ephemeral-storage": "100Gi",
    }
    conditions = [
        ("MemoryPressure", "False", "KubeletHasSufficientMemory"),
        ("DiskPressure", "False", "KubeletHasNoDiskPressure"),
        ("PIDPressure", "False", "KubeletHasSufficientPID"),
        ("Ready", "True", "KubeletReady"),
    ]
    return {
        "capacity": capacity,
        "allocatable": capacity,
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}, {"type": "Hostname", "address": name}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": log_port}},
        "conditions": [
            {
                "type": kind,
                "status": status,
                "reason": reason,
                "message": "",
                "lastHeartbeatTime": now,
                "lastTransitionTime": now,
            }
            for kind, status, reason in conditions
        ],
        "nodeInfo": {
            "machineID": "",
            "systemUUID": "",
            "bootID": "",
            "kernelVersion": os.uname().release,
            "osImage": "the host itself",
            "containerRuntimeVersion": "host://1",
            "kubeletVersion": "v1.36.3",
            "kubeProxyVersion": "",
            "operatingSystem": "linux",
            "architecture": _ARCHITECTURES.get(os.uname().machine, os.uname().machine),
        },
    }
