"""Admission policies of the local cluster: real scheduler decisions for what kwok alone cannot play."""

from typing import Any

from ameide_dev.client import KubeClient
from ameide_dev.kwok_status import SCENARIO_LABEL

_UNSCHEDULABLE = "scenario-unschedulable.ameide.dev"
_NO_SUCH_NODE = "ameide.dev/no-such-node"


def _policies() -> list[dict[str, Any]]:
    api_version = "admissionregistration.k8s.io/v1"
    by_image = "object.spec.containers.exists(c, c.image.contains('/scenario-unschedulable'))"
    by_label = (
        f"(has(object.metadata.labels) && '{SCENARIO_LABEL}' in object.metadata.labels"
        f" && object.metadata.labels['{SCENARIO_LABEL}'] == 'unschedulable')"
    )
    return [
        {
            "apiVersion": api_version,
            "kind": "MutatingAdmissionPolicy",
            "metadata": {"name": _UNSCHEDULABLE},
            "spec": {
                "failurePolicy": "Fail",
                "reinvocationPolicy": "Never",
                "matchConstraints": {
                    "resourceRules": [
                        {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
                    ]
                },
                "matchConditions": [{"name": "asks-for-it", "expression": f"{by_image} || {by_label}"}],
                "mutations": [
                    {
                        "patchType": "JSONPatch",
                        "jsonPatch": {
                            # A label that no node has. ApplyConfiguration may not touch the atomic nodeSelector.
                            "expression": "[JSONPatch{op: 'add', path: '/spec/nodeSelector', "
                            f"value: {{'{_NO_SUCH_NODE}': 'true'}}}}]"
                        },
                    }
                ],
            },
        },
        {
            "apiVersion": api_version,
            "kind": "MutatingAdmissionPolicyBinding",
            "metadata": {"name": _UNSCHEDULABLE},
            "spec": {"policyName": _UNSCHEDULABLE},
        },
    ]


def install(client: KubeClient) -> None:
    """Apply the policies; the API server heeds them a little later (see `in_force`)."""
    for policy in _policies():
        client.apply(policy)


def in_force(client: KubeClient) -> bool:
    """Whether the API server heeds the policies by now, tried out on a pod that is not stored."""
    probe = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "policy-probe"},
        "spec": {"containers": [{"name": "probe", "image": "ameide.dev/scenario-unschedulable"}]},
    }
    pod = client.request("POST", "/api/v1/namespaces/default/pods", params={"dryRun": "All"}, body=probe)
    return _NO_SUCH_NODE in pod["spec"].get("nodeSelector", {})
