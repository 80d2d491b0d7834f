"""The Kubernetes objects that CloudNativePG keeps beside a Cluster, built as plain data."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any
from urllib.parse import quote, urlencode

Object = dict[str, Any]

API_VERSION = "postgresql.cnpg.io/v1"
POSTGRES_PORT = 5432
PHASE_HEALTHY = "Cluster in healthy state"
PHASE_SETTING_UP = "Setting up primary"
PHASE_FAILING_OVER = "Failing over"

# The API server refuses loopback addresses in an EndpointSlice. The slice therefore shows an address reserved for
# documentation, and this annotation says where the server really listens; the host node's service proxy follows it.
LOCAL_ADDRESS_ANNOTATION = "ameide.dev/local-address"
PLACEHOLDER_ADDRESS = "192.0.2.1"


def application(cluster: Mapping[str, Any]) -> tuple[str, str]:
    """The bootstrap database and its owner; both default to `app`, as CloudNativePG's webhook sets them."""
    initdb = cluster["spec"].get("bootstrap", {}).get("initdb", {})
    database = initdb.get("database") or "app"
    return database, initdb.get("owner") or database


def host_names(namespace: str, cluster: str) -> list[str]:
    """All names under which the cluster's services can be reached."""
    return [
        f"{cluster}-{suffix}{domain}"
        for suffix in ("rw", "r", "ro")
        for domain in ("", f".{namespace}", f".{namespace}.svc", f".{namespace}.svc.cluster.local")
    ]


def _metadata(cluster: Mapping[str, Any], name: str, labels: Mapping[str, str] | None = None) -> Object:
    metadata: Mapping[str, Any] = cluster["metadata"]
    return {
        "name": name,
        "namespace": metadata["namespace"],
        "labels": {
            "cnpg.io/cluster": metadata["name"],
            "app.kubernetes.io/managed-by": "cloudnative-pg",
            **(labels or {}),
        },
        "ownerReferences": [
            {
                "apiVersion": API_VERSION,
                "kind": "Cluster",
                "name": metadata["name"],
                "uid": metadata["uid"],
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ],
    }


def services(cluster: Mapping[str, Any], port: int) -> list[Object]:
    """The services `-rw`, `-r` and `-ro`, without selectors as there are no pods behind them."""
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": _metadata(cluster, f"{cluster['metadata']['name']}-{suffix}"),
            "spec": {
                "type": "ClusterIP",
                "ports": [{"name": "postgres", "protocol": "TCP", "port": POSTGRES_PORT, "targetPort": port}],
            },
        }
        for suffix in ("rw", "r", "ro")
    ]


def endpoint_slices(cluster: Mapping[str, Any], host: str, port: int) -> list[Object]:
    """The endpoints of `-rw` and `-r`; with a single instance there is no replica for `-ro`."""
    slices: list[Object] = []
    address = PLACEHOLDER_ADDRESS if ip_address(host).is_loopback else host
    for suffix in ("rw", "r"):
        name = f"{cluster['metadata']['name']}-{suffix}"
        metadata: Object = _metadata(
            cluster,
            name,
            {"kubernetes.io/service-name": name, "endpointslice.kubernetes.io/managed-by": "ameide-dev"},
        )
        slices.append(
            {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {**metadata, "annotations": {LOCAL_ADDRESS_ANNOTATION: host}},
                "addressType": "IPv4",
                "ports": [{"name": "postgres", "protocol": "TCP", "port": port}],
                "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
            }
        )
    return slices


def credential_secret(cluster: Mapping[str, Any], suffix: str, user: str, password: str, database: str) -> Object:
    """The Secret `<cluster>-app` or `<cluster>-superuser`; its URIs hold the password, percent-encoded."""
    name, namespace = cluster["metadata"]["name"], cluster["metadata"]["namespace"]
    host = f"{name}-rw"
    login = f"{quote(user, safe='')}:{quote(password, safe='')}"
    path = quote(database, safe="*")
    query = urlencode({"password": password, "user": user})
    short, full = f"{host}.{namespace}", f"{host}.{namespace}.svc.cluster.local"
    values = {
        "username": user,
        "user": user,
        "password": password,
        "dbname": database,
        "host": host,
        "port": str(POSTGRES_PORT),
        "pgpass": f"{host}:{POSTGRES_PORT}:{database}:{user}:{password}\n",
        "uri": f"postgresql://{login}@{short}:{POSTGRES_PORT}/{path}",
        "jdbc-uri": f"jdbc:postgresql://{short}:{POSTGRES_PORT}/{path}?{query}",
        "fqdn-uri": f"postgresql://{login}@{full}:{POSTGRES_PORT}/{path}",
        "fqdn-jdbc-uri": f"jdbc:postgresql://{full}:{POSTGRES_PORT}/{path}?{query}",
    }
    metadata = _metadata(cluster, f"{name}-{suffix}", {"cnpg.io/userType": suffix, "cnpg.io/reload": "true"})
    return _secret(metadata, "kubernetes.io/basic-auth", {key: value.encode() for key, value in values.items()})


def certificate_secrets(
    cluster: Mapping[str, Any], ca_certificate: bytes, server_certificate: bytes, server_key: bytes
) -> list[Object]:
    """The Secrets `<cluster>-ca` (to verify the server by) and `<cluster>-server`, from PEM texts."""
    name = cluster["metadata"]["name"]
    return [
        _secret(
            _metadata(cluster, f"{name}-ca"),
            "Opaque",
            {"ca.crt": ca_certificate},
        ),
        _secret(
            _metadata(cluster, f"{name}-server"),
            "kubernetes.io/tls",
            {"tls.crt": server_certificate, "tls.key": server_key},
        ),
    ]


def _secret(metadata: Object, kind: str, data: Mapping[str, bytes]) -> Object:
    encoded = {key: base64.b64encode(value).decode() for key, value in data.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": kind, "data": encoded}


def cluster_status(cluster: Mapping[str, Any], phase: str, reason: str, now: str) -> Object:
    """The part of a Cluster's status that the stand-in keeps; `now` is an RFC 3339 time for conditions that change."""
    name, instances = cluster["metadata"]["name"], cluster["spec"].get("instances", 1)
    healthy = phase == PHASE_HEALTHY
    ready = {
        "type": "Ready",
        "status": "True" if healthy else "False",
        "reason": "ClusterIsReady" if healthy else "ClusterIsNotReady",
        "message": "Cluster is Ready" if healthy else "Cluster Is Not Ready",
    }
    return {
        "phase": phase,
        "phaseReason": reason,
        "conditions": merge_condition(cluster.get("status", {}).get("conditions", []), ready, now),
        "instances": instances,
        "readyInstances": instances if healthy else 0,
        "instanceNames": [f"{name}-1"],
        "currentPrimary": f"{name}-1",
        "targetPrimary": f"{name}-1",
        "writeService": f"{name}-rw",
        "readService": f"{name}-r",
        "certificates": {"serverCASecret": f"{name}-ca", "serverTLSSecret": f"{name}-server"},
    }


def merge_condition(conditions: list[Object], new: Object, now: str) -> list[Object]:
    """Put `new` in place of the condition of its type; its lastTransitionTime moves only when its status does."""
    old = next((entry for entry in conditions if entry["type"] == new["type"]), None)
    since = old["lastTransitionTime"] if old and old["status"] == new["status"] else now
    merged = {**new, "lastTransitionTime": since}
    if old is None:
        return [*conditions, merged]
    return [merged if entry["type"] == new["type"] else entry for entry in conditions]
