"""The Kubernetes resource types that the operators read and write, and their URL paths."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import quote

Manifest = Mapping[str, Any]
"""A Kubernetes object as parsed from JSON or YAML."""


@dataclass(frozen=True, slots=True)
class ResourceType:
    """One kind of the API: `group` is empty for the core group."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """`apiVersion` as manifests spell it: `v1`, `apps/v1`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """The URL path of a collection (no name) or of one object; every segment is percent-encoded."""
        parts = ["apis", self.group, self.version] if self.group else ["api", self.version]
        if self.namespaced and namespace:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        if name:
            parts.append(name)
        if subresource:
            parts.append(subresource)
        return "/" + "/".join(quote(part, safe="") for part in parts)

    def __str__(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural


NAMESPACE = ResourceType("", "v1", "Namespace", "namespaces", namespaced=False)
POD = ResourceType("", "v1", "Pod", "pods")
SERVICE = ResourceType("", "v1", "Service", "services")
SERVICE_ACCOUNT = ResourceType("", "v1", "ServiceAccount", "serviceaccounts")
SECRET = ResourceType("", "v1", "Secret", "secrets")
CONFIG_MAP = ResourceType("", "v1", "ConfigMap", "configmaps")
EVENT = ResourceType("events.k8s.io", "v1", "Event", "events")
DEPLOYMENT = ResourceType("apps", "v1", "Deployment", "deployments")
REPLICA_SET = ResourceType("apps", "v1", "ReplicaSet", "replicasets")
CONTROLLER_REVISION = ResourceType("apps", "v1", "ControllerRevision", "controllerrevisions")
JOB = ResourceType("batch", "v1", "Job", "jobs")
CRON_JOB = ResourceType("batch", "v1", "CronJob", "cronjobs")
HORIZONTAL_POD_AUTOSCALER = ResourceType("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers")
POD_DISRUPTION_BUDGET = ResourceType("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets")
NETWORK_POLICY = ResourceType("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies")
INGRESS = ResourceType("networking.k8s.io", "v1", "Ingress", "ingresses")
LEASE = ResourceType("coordination.k8s.io", "v1", "Lease", "leases")
CUSTOM_RESOURCE_DEFINITION = ResourceType(
    "apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", namespaced=False
)

DOMAIN = ResourceType("ameide.io", "v1", "Domain", "domains")
PROCESS = ResourceType("ameide.io", "v1", "Process", "processes")
AGENT = ResourceType("ameide.io", "v1", "Agent", "agents")
UI_SURFACE = ResourceType("ameide.io", "v1", "UISurface", "uisurfaces")

SERVICE_MONITOR = ResourceType("monitoring.coreos.com", "v1", "ServiceMonitor", "servicemonitors")
EXTERNAL_SECRET = ResourceType("external-secrets.io", "v1", "ExternalSecret", "externalsecrets")
CNPG_CLUSTER = ResourceType("postgresql.cnpg.io", "v1", "Cluster", "clusters")
CNPG_DATABASE = ResourceType("postgresql.cnpg.io", "v1", "Database", "databases")
CNPG_DATABASE_ROLE = ResourceType("postgresql.cnpg.io", "v1", "DatabaseRole", "databaseroles")
SCALED_OBJECT = ResourceType("keda.sh", "v1alpha1", "ScaledObject", "scaledobjects")
TRIGGER_AUTHENTICATION = ResourceType("keda.sh", "v1alpha1", "TriggerAuthentication", "triggerauthentications")
TEMPORAL_CONNECTION = ResourceType("temporal.io", "v1alpha1", "Connection", "connections")
WORKER_DEPLOYMENT = ResourceType("temporal.io", "v1alpha1", "WorkerDeployment", "workerdeployments")
HTTP_ROUTE = ResourceType("gateway.networking.k8s.io", "v1", "HTTPRoute", "httproutes")
GATEWAY = ResourceType("gateway.networking.k8s.io", "v1", "Gateway", "gateways")
REFERENCE_GRANT = ResourceType("gateway.networking.k8s.io", "v1beta1", "ReferenceGrant", "referencegrants")
SECURITY_POLICY = ResourceType("gateway.envoyproxy.io", "v1alpha1", "SecurityPolicy", "securitypolicies")

# Not of any API server: what systems outside the cluster know, as documents that `render` reads from files.
PROCESS_DEFINITION = ResourceType("transformation.ameide.io", "v1", "ProcessDefinition", "processdefinitions")
AGENT_DEFINITION = ResourceType("transformation.ameide.io", "v1", "AgentDefinition", "agentdefinitions")
TASK_QUEUE = ResourceType("temporal.ameide.io", "v1", "TaskQueue", "taskqueues")
AGENT_POLICY = ResourceType("policy.ameide.io", "v1", "AgentPolicy", "agentpolicies")
KEYCLOAK_CLIENT = ResourceType("keycloak.ameide.io", "v1", "KeycloakClient", "keycloakclients")

ALL: tuple[ResourceType, ...] = tuple(value for value in list(globals().values()) if isinstance(value, ResourceType))

_BY_KIND = {(resource.api_version, resource.kind): resource for resource in ALL}


def resource_of(manifest: Manifest) -> ResourceType:
    """The resource type of a manifest, by its apiVersion and kind; KeyError names what is not known."""
    key = (str(manifest.get("apiVersion", "")), str(manifest.get("kind", "")))
    try:
        return _BY_KIND[key]
    except KeyError:
        raise KeyError(f"no resource type for apiVersion {key[0]!r}, kind {key[1]!r}") from None


class ObjectKey(NamedTuple):
    """Namespace and name of an object; the namespace is empty for cluster-scoped ones.

    A tuple, because it is the key of every cache and queue and is hashed on every event.
    """

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


def key_of(manifest: Manifest) -> ObjectKey:
    """The key of an object, from its metadata."""
    metadata = manifest.get("metadata") or {}
    return ObjectKey(metadata.get("namespace") or "", metadata["name"])
