"""How the API server merges the kinds that we write: which lists have keys, which parts are replaced whole.

Facts of Kubernetes' own OpenAPI document (x-kubernetes-list-type, -list-map-keys, -map-type), of its defaulting code,
and of the third-party CRDs. A test compares them with what a real API server publishes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """How one field merges. Without more said it is a struct, whose fields merge one by one, or an atomic list.

    `fields`: the children that are not plain. `other`: the shape of all other children, of free keys and of items.
    """

    fields: Mapping[str, Shape] = field(default_factory=dict)
    other: Shape | None = None  # None: a plain Shape
    atomic: bool = False  # replaced whole
    keys: tuple[str, ...] = ()  # a list whose items merge by these fields
    unordered: bool = False  # a set of scalars
    ordered: bool = False  # a list with keys whose order has a meaning of its own
    free: bool = False  # a map of free keys (labels): the API server stores an empty one as absent
    quantity: bool = False  # 500m and 0.5 are the same
    defaults: Mapping[str, Any] = field(default_factory=dict)  # what the API server adds inside something atomic

    def child(self, name: str) -> Shape:
        """The shape of a field, or of a free key."""
        return self.fields.get(name) or self.other or PLAIN


def _struct(**fields: Shape) -> Shape:
    return Shape(fields)


def _keyed(item: Shape | None, *keys: str, ordered: bool = False, **defaults: Any) -> Shape:
    return Shape(other=item, keys=keys, ordered=ordered, defaults=defaults)


def _atomic(defaults: Mapping[str, Any] | None = None, other: Shape | None = None, **fields: Shape) -> Shape:
    return Shape(fields, atomic=True, defaults=defaults or {}, other=other)


def _items(item: Shape) -> Shape:
    return Shape(atomic=True, other=item)


PLAIN = Shape()
_STRINGS = Shape(free=True)  # map[string]string
_SET = Shape(unordered=True)
_QUANTITY = Shape(quantity=True)
_QUANTITIES = Shape(free=True, other=_QUANTITY)
_LABEL_SELECTOR = _atomic(matchLabels=_STRINGS)
_RESOURCES = _struct(limits=_QUANTITIES, requests=_QUANTITIES, claims=_keyed(None, "name"))

# --- metadata and pods ------------------------------------------------------------------------------------------------

_METADATA = _struct(
    labels=_STRINGS, annotations=_STRINGS, finalizers=_SET, ownerReferences=_keyed(_atomic(), "uid")
)  # fmt: skip

_FIELD_REF = _atomic({"apiVersion": "v1"})
_RESOURCE_FIELD_REF = _atomic({"divisor": "0"}, divisor=_QUANTITY)
_ENV_VAR = _struct(
    valueFrom=_struct(
        configMapKeyRef=_atomic(),
        fieldRef=_FIELD_REF,
        fileKeyRef=_atomic({"optional": False}),
        resourceFieldRef=_RESOURCE_FIELD_REF,
        secretKeyRef=_atomic(),
    )
)
_CONTAINER = _struct(
    env=_keyed(_ENV_VAR, "name", ordered=True),
    ports=_keyed(None, "containerPort", "protocol", protocol="TCP"),
    resources=_RESOURCES,
    restartPolicyRules=_items(_struct(exitCodes=_struct(values=_SET))),
    volumeDevices=_keyed(None, "devicePath"),
    volumeMounts=_keyed(None, "mountPath"),
)
_DOWNWARD_FILES = _items(_struct(fieldRef=_FIELD_REF, resourceFieldRef=_RESOURCE_FIELD_REF))
_PROJECTION = _struct(
    downwardAPI=_struct(items=_DOWNWARD_FILES),
    serviceAccountToken=_atomic({"expirationSeconds": 3600}),
    clusterTrustBundle=_struct(labelSelector=_LABEL_SELECTOR),
    podCertificate=_struct(userAnnotations=_STRINGS),
)
_VOLUME = _struct(
    csi=_struct(volumeAttributes=_STRINGS, nodePublishSecretRef=_atomic()),
    downwardAPI=_struct(items=_DOWNWARD_FILES),
    emptyDir=_struct(sizeLimit=_QUANTITY),
    projected=_struct(sources=_items(_PROJECTION)),
    ephemeral=_struct(
        volumeClaimTemplate=_struct(
            metadata=_METADATA,
            spec=_struct(resources=_RESOURCES, selector=_LABEL_SELECTOR, dataSource=_atomic()),
        )
    ),
    flexVolume=_struct(options=_STRINGS, secretRef=_atomic()),
    **{name: _struct(secretRef=_atomic()) for name in ("cephfs", "cinder", "iscsi", "rbd", "scaleIO", "storageos")},
)
_AFFINITY_TERM = _struct(labelSelector=_LABEL_SELECTOR, namespaceSelector=_LABEL_SELECTOR)
_POD_AFFINITY = _struct(
    preferredDuringSchedulingIgnoredDuringExecution=_items(_struct(podAffinityTerm=_AFFINITY_TERM)),
    requiredDuringSchedulingIgnoredDuringExecution=_items(_AFFINITY_TERM),
)
_NODE_AFFINITY = _struct(
    preferredDuringSchedulingIgnoredDuringExecution=_items(_struct(preference=_atomic())),
    requiredDuringSchedulingIgnoredDuringExecution=_atomic(),
)
_POD_SPEC = _struct(
    affinity=_struct(nodeAffinity=_NODE_AFFINITY, podAffinity=_POD_AFFINITY, podAntiAffinity=_POD_AFFINITY),
    containers=_keyed(_CONTAINER, "name"),
    ephemeralContainers=_keyed(_CONTAINER, "name"),
    hostAliases=_keyed(None, "ip"),
    imagePullSecrets=_keyed(_atomic(), "name"),
    initContainers=_keyed(_CONTAINER, "name", ordered=True),
    nodeSelector=Shape(free=True, atomic=True),
    overhead=_QUANTITIES,
    resourceClaims=_keyed(None, "name"),
    resources=_RESOURCES,
    schedulingGates=_keyed(None, "name"),
    topologySpreadConstraints=_keyed(
        _struct(labelSelector=_LABEL_SELECTOR), "topologyKey", "whenUnsatisfiable"
    ),
    volumes=_keyed(_VOLUME, "name"),
)  # fmt: skip
_TEMPLATE = _struct(metadata=_METADATA, spec=_POD_SPEC)
_JOB_SPEC = _struct(
    selector=_LABEL_SELECTOR,
    template=_TEMPLATE,
    podFailurePolicy=_struct(
        rules=_items(
            _struct(onExitCodes=_struct(values=_SET), onPodConditions=_items(Shape(defaults={"status": "True"})))
        )
    ),
)

# --- kinds ------------------------------------------------------------------------------------------------------------

_NETWORK_RULE = _struct(
    ports=_items(Shape(defaults={"protocol": "TCP"})),
    **{
        side: _items(_struct(podSelector=_LABEL_SELECTOR, namespaceSelector=_LABEL_SELECTOR)) for side in ("from", "to")
    },
)
_METRIC_TARGET = _struct(averageValue=_QUANTITY, value=_QUANTITY)
_METRIC_IDENTIFIER = _struct(selector=_LABEL_SELECTOR)
_SCALING_RULES = _struct(tolerance=_QUANTITY)
_SPECS: dict[tuple[str, str], Shape] = {
    ("apps/v1", "Deployment"): _struct(selector=_LABEL_SELECTOR, template=_TEMPLATE),
    ("batch/v1", "Job"): _JOB_SPEC,
    ("batch/v1", "CronJob"): _struct(jobTemplate=_struct(metadata=_METADATA, spec=_JOB_SPEC)),
    ("v1", "Service"): _struct(
        ports=_keyed(None, "port", "protocol", protocol="TCP"),
        selector=Shape(free=True, atomic=True),
    ),
    ("policy/v1", "PodDisruptionBudget"): _struct(selector=_LABEL_SELECTOR),
    ("networking.k8s.io/v1", "NetworkPolicy"): _struct(
        podSelector=_LABEL_SELECTOR, ingress=_items(_NETWORK_RULE), egress=_items(_NETWORK_RULE)
    ),
    ("networking.k8s.io/v1", "Ingress"): _struct(
        defaultBackend=_struct(resource=_atomic(), service=_struct(port=_atomic())),
    ),
    ("autoscaling/v2", "HorizontalPodAutoscaler"): _struct(
        behavior=_struct(scaleUp=_SCALING_RULES, scaleDown=_SCALING_RULES),
        metrics=_items(
            _struct(
                containerResource=_struct(target=_METRIC_TARGET),
                external=_struct(target=_METRIC_TARGET, metric=_METRIC_IDENTIFIER),
                object=_struct(target=_METRIC_TARGET, metric=_METRIC_IDENTIFIER),
                pods=_struct(target=_METRIC_TARGET, metric=_METRIC_IDENTIFIER),
                resource=_struct(target=_METRIC_TARGET),
            )
        ),
    ),
}

# Custom resources: maps merge field by field, lists are atomic unless the CRD says more, and whoever rewrites one may
# drop what is empty, so empty counts as absent, all the way down.
_LOOSE = Shape(free=True)
object.__setattr__(_LOOSE, "other", _LOOSE)


def _custom(defaults: Mapping[str, Any] | None = None, **fields: Shape) -> Shape:
    return Shape(fields, free=True, other=_LOOSE, defaults=defaults or {})


_ENSURED = _items(_custom({"ensure": "present"}))
_REMOTE = _custom({"conversionStrategy": "Default", "decodingStrategy": "None", "metadataPolicy": "None"})
_RELABELINGS = _items(_custom({"action": "replace"}))
_CUSTOM_SPECS: dict[tuple[str, str], Shape] = {
    ("postgresql.cnpg.io", "Database"): _custom(cluster=_atomic(), extensions=_ENSURED, schemas=_ENSURED),
    ("postgresql.cnpg.io", "DatabaseRole"): _custom(cluster=_atomic()),
    ("gateway.envoyproxy.io", "SecurityPolicy"): _custom(
        jwt=_custom(providers=_items(_custom(remoteJWKS=_custom({"cacheDuration": "300s"}))))
    ),
    ("external-secrets.io", "ExternalSecret"): _custom(
        data=_items(_custom(remoteRef=_REMOTE)), dataFrom=_items(_custom(extract=_REMOTE))
    ),
    ("monitoring.coreos.com", "ServiceMonitor"): _custom(
        endpoints=_items(_custom(relabelings=_RELABELINGS, metricRelabelings=_RELABELINGS)),
        scrapeProtocols=_SET,
        selector=_LABEL_SELECTOR,
    ),
}

_ROOTS: dict[tuple[str, str], Shape] = {
    kind: _struct(metadata=_METADATA, spec=spec) for kind, spec in _SPECS.items()
} | {
    ("v1", "ConfigMap"): _struct(metadata=_METADATA, data=_STRINGS, binaryData=_STRINGS),
    ("v1", "Secret"): _struct(metadata=_METADATA, data=_STRINGS, stringData=_STRINGS),
    ("v1", "ServiceAccount"): _struct(metadata=_METADATA, secrets=_keyed(_atomic(), "name")),
    ("apps/v1", "ControllerRevision"): _struct(metadata=_METADATA, data=Shape(atomic=True)),
}
_CUSTOM_ROOTS: dict[tuple[str, str], Shape] = {
    kind: _custom(metadata=_METADATA, spec=spec) for kind, spec in _CUSTOM_SPECS.items()
}
_CUSTOM = _custom(metadata=_METADATA)

# fmt: off
VANISHING = frozenset((
    "audience", "containerName", "effect", "externalName", "healthCheckNodePort", "host", "hostIP", "hostIPC",
    "hostNetwork", "hostPID", "hostPort", "hostname", "image", "initialDelaySeconds", "key", "loadBalancerIP",
    "medium", "minReadySeconds", "nodeName", "nodePort", "operator", "path", "paused", "prefix",
    "priorityClassName", "publishNotReadyAddresses", "readOnly", "secretName", "serviceAccountName", "stdin",
    "stdinOnce", "subPath", "subPathExpr", "subdomain", "tty", "value", "workingDir",
))
# fmt: on
"""Fields that the API server leaves out where they are "", 0 or false. Elsewhere false and absent mean different things
(allowPrivilegeEscalation, automountServiceAccountToken)."""


def shape_of(api_version: str, kind: str) -> Shape:
    """The shape of a kind; any other kind is taken for a custom resource of which we know nothing."""
    return _ROOTS.get((api_version, kind)) or _CUSTOM_ROOTS.get((api_version.partition("/")[0], kind)) or _CUSTOM
