"""Children of every kind that the operators write, and a way to change them."""

from __future__ import annotations

import copy
from typing import Any

OWNER_UID = "11111111-2222-3333-4444-555555555555"
LABELS = {
    "app.kubernetes.io/managed-by": "domain-operator",
    "app.kubernetes.io/name": "orders",
    "app.kubernetes.io/part-of": "ameide",
    "ameide.io/primitive": "domain",
    "ameide.io/name": "orders",
    "ameide.io/tier": "backend",
}
SELECTOR = {"ameide.io/primitive": "domain", "ameide.io/name": "orders", "ameide.io/track": "stable"}


OFFLINE = "shop"
"""The namespace of samples that no API server sees."""


def metadata(name: str, namespace: str = OFFLINE, uid: str = OWNER_UID) -> dict[str, Any]:
    owner = {
        "apiVersion": "ameide.io/v1",
        # On an API server of a kind that none serves: the garbage collector deletes what an owner that it can look up,
        # and that is not there, has left behind.
        "kind": "Domain" if namespace == OFFLINE else "Sample",
        "name": "orders",
        "uid": uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }
    return {"name": name, "namespace": namespace, "labels": dict(LABELS), "ownerReferences": [owner]}


def deployment(namespace: str = "shop", uid: str = OWNER_UID) -> dict[str, Any]:
    def probe(path: str) -> dict[str, Any]:
        return {"httpGet": {"path": path, "port": "http"}, "periodSeconds": 10, "initialDelaySeconds": 0}

    container = {
        "name": "app",
        "image": "ghcr.io/ameide/orders-domain:1.12.3",
        "imagePullPolicy": "IfNotPresent",
        "ports": [{"name": "grpc", "containerPort": 50051}, {"name": "http", "containerPort": 8080}],
        "env": [
            {"name": "AMEIDE_PRIMITIVE_KIND", "value": "Domain"},
            {"name": "AMEIDE_PRIMITIVE_NAME", "value": "orders"},
            {"name": "EMPTY", "value": ""},
            {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "CPUS", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
            *[
                {"name": name, "valueFrom": {"secretKeyRef": {"name": "orders-domain-db", "key": name}}}
                for name in ("PGHOST", "PGPORT", "PGDATABASE", "PGUSER", "PGPASSWORD", "DATABASE_URL", "DB_SCHEMA")
            ],
        ],
        "envFrom": [{"configMapRef": {"name": "extra", "optional": True}}],
        "resources": {"requests": {"cpu": "0.5", "memory": "512Mi"}, "limits": {"cpu": "1000m", "memory": "1024Mi"}},
        "livenessProbe": probe("/healthz"),
        "readinessProbe": probe("/readyz"),
        "startupProbe": {**probe("/readyz"), "failureThreshold": 30},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
        },
        "volumeMounts": [
            {"name": "tmp", "mountPath": "/tmp"},
            {"name": "config", "mountPath": "/etc/app", "readOnly": True},
        ],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata("orders-domain", namespace, uid),
        "spec": {
            "replicas": 2,
            "revisionHistoryLimit": 3,
            "minReadySeconds": 0,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": "25%"}},
            "selector": {"matchLabels": dict(SELECTOR)},
            "template": {
                "metadata": {
                    "labels": {**LABELS, **SELECTOR},
                    "annotations": {"ameide.io/revision": "abcdef0123"},
                },
                "spec": {
                    "serviceAccountName": "orders-domain",
                    "automountServiceAccountToken": False,
                    "hostNetwork": False,
                    "terminationGracePeriodSeconds": 30,
                    "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
                    "imagePullSecrets": [{"name": "registry"}],
                    "nodeSelector": {"kubernetes.io/os": "linux"},
                    "tolerations": [{"key": "dedicated", "operator": "Equal", "value": "apps", "effect": "NoSchedule"}],
                    "topologySpreadConstraints": [
                        {
                            "maxSkew": 1,
                            "topologyKey": "kubernetes.io/hostname",
                            "whenUnsatisfiable": "ScheduleAnyway",
                            "labelSelector": {"matchLabels": dict(SELECTOR)},
                        }
                    ],
                    "initContainers": [
                        {"name": "wait", "image": "ghcr.io/ameide/wait:1", "command": ["wait"], "args": ["db:5432"]},
                        {"name": "warm", "image": "ghcr.io/ameide/warm:1"},
                    ],
                    "containers": [container],
                    "volumes": [
                        {"name": "tmp", "emptyDir": {"sizeLimit": "1024Mi"}},
                        {"name": "work", "emptyDir": {}},
                        {"name": "config", "configMap": {"name": "orders-config"}},
                        {
                            "name": "identity",
                            "projected": {
                                "sources": [
                                    {"serviceAccountToken": {"path": "token", "audience": "vault"}},
                                    {"configMap": {"name": "ca", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                                    {
                                        "downwardAPI": {
                                            "items": [
                                                {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
                                                {
                                                    "path": "cpu",
                                                    "resourceFieldRef": {
                                                        "containerName": "app",
                                                        "resource": "requests.cpu",
                                                    },
                                                },
                                            ]
                                        }
                                    },
                                ]
                            },
                        },
                    ],
                },
            },
        },
    }


def service(namespace: str = "shop", uid: str = OWNER_UID) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata("orders-domain", namespace, uid),
        "spec": {
            "type": "ClusterIP",
            "selector": {"ameide.io/primitive": "domain", "ameide.io/name": "orders"},
            "publishNotReadyAddresses": False,
            "ports": [
                {"name": "grpc", "port": 50051, "targetPort": "grpc", "appProtocol": "kubernetes.io/h2c"},
                {"name": "http", "port": 8080, "targetPort": "http"},
            ],
        },
    }


def network_policy(namespace: str = "shop", uid: str = OWNER_UID) -> dict[str, Any]:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata("orders-domain", namespace, uid),
        "spec": {
            "podSelector": {"matchLabels": {"ameide.io/name": "orders"}},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [
                {
                    "from": [
                        {"podSelector": {}},
                        {"namespaceSelector": {"matchLabels": {"ameide.io/tenant-id": "t1"}}},
                    ],
                    "ports": [{"port": 8080}, {"port": "grpc", "protocol": "TCP"}],
                }
            ],
            "egress": [
                {"to": [{"namespaceSelector": {}}], "ports": [{"port": 53, "protocol": "UDP"}, {"port": 53}]},
                {"to": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.9.0.0/16"]}}]},
            ],
        },
    }


def autoscaler(namespace: str = "shop", uid: str = OWNER_UID) -> dict[str, Any]:
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": metadata("orders-domain", namespace, uid),
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "orders-domain"},
            "minReplicas": 2,
            "maxReplicas": 5,
            "metrics": [
                {
                    "type": "Resource",
                    "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}},
                },
                {
                    "type": "Resource",
                    "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1024Mi"}},
                },
            ],
            "behavior": {"scaleDown": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]}},
        },
    }


def disruption_budget(namespace: str = "shop", uid: str = OWNER_UID) -> dict[str, Any]:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata("orders-domain", namespace, uid),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"ameide.io/name": "orders"}}},
    }


def service_account(namespace: str = "shop", uid: str = OWNER_UID) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata("orders-domain", namespace, uid),
        "automountServiceAccountToken": False,
        "imagePullSecrets": [{"name": "registry"}],
    }


def config_map(namespace: str = "shop", uid: str = OWNER_UID) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata("orders-config", namespace, uid),
        "data": {"app.yaml": "a: 1\n", "empty": ""},
    }


def secret(namespace: str = "shop", uid: str = OWNER_UID) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata("orders-domain-db", namespace, uid),
        "type": "Opaque",
        "stringData": {"PGPASSWORD": "s3cret-value", "PGUSER": "orders"},
    }


def job(namespace: str = "shop", uid: str = OWNER_UID) -> dict[str, Any]:
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata("orders-migrate-3f2a", namespace, uid),
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": 600,
            "podFailurePolicy": {
                "rules": [
                    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]},
                    {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [7, 42]}},
                ]
            },
            "template": {
                "metadata": {"labels": {"ameide.io/track": "job"}},
                "spec": {"restartPolicy": "Never", "containers": [{"name": "migrate", "image": "ghcr.io/ameide/m:1"}]},
            },
        },
    }


def cron_job(namespace: str = "shop", uid: str = OWNER_UID) -> dict[str, Any]:
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": metadata("orders-sweep", namespace, uid),
        "spec": {
            "schedule": "*/5 * * * *",
            "timeZone": "Etc/UTC",
            "concurrencyPolicy": "Forbid",
            "suspend": False,
            "jobTemplate": {"spec": {k: v for k, v in job()["spec"].items() if k != "podFailurePolicy"}},
        },
    }


def ingress(namespace: str = "shop", uid: str = OWNER_UID) -> dict[str, Any]:
    backend = {"service": {"name": "orders-domain", "port": {"name": "http"}}}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": metadata("orders", namespace, uid),
        "spec": {
            "ingressClassName": "public",
            "tls": [{"hosts": ["app.example.com"], "secretName": "tls"}],
            "rules": [
                {
                    "host": "app.example.com",
                    "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]},
                }
            ],
        },
    }


def controller_revision(namespace: str = "shop", uid: str = OWNER_UID) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": metadata("orders-domain-abcdef0123", namespace, uid),
        "revision": 1,
        "data": {"spec": {"template": deployment()["spec"]["template"]}},
    }


BUILT_IN = {
    make.__name__: make
    for make in (
        deployment,
        service,
        network_policy,
        autoscaler,
        disruption_budget,
        service_account,
        config_map,
        secret,
        job,
        cron_job,
        ingress,
        controller_revision,
    )
}


def changed(manifest: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A deep copy with the value at a JSON pointer (without its first slash) replaced; None deletes."""
    result = copy.deepcopy(manifest)
    target: Any = result
    *steps, last = [step.replace("~1", "/") for step in path.split("/")]
    for step in steps:
        target = target[int(step)] if isinstance(target, list) else target[step]
    if isinstance(target, list):
        index = int(last)
        if value is None:
            del target[index]
        elif index == len(target):
            target.append(value)
        else:
            target[index] = value
    elif value is None:
        del target[last]
    else:
        target[last] = value
    return result
