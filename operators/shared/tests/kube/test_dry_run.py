"""Whatever we may write, the API server's own defaults are no difference: generated manifests, really defaulted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ameide_dev.client import KubeClient
from ameide_dev.platform import Platform
from ameide_shared.kube.apply import with_field_set
from ameide_shared.kube.client import ApiClient
from ameide_shared.kube.connection import connect
from ameide_shared.kube.differ import differences
from ameide_shared.kube.errors import Invalid
from ameide_shared.kube.limiter import Limiter

from . import samples

Strategy = st.SearchStrategy[Any]


def some(required: dict[str, Strategy] | None = None, **optional: Strategy) -> Strategy:
    return st.fixed_dictionaries(required or {}, optional=optional)


def named(pair: tuple[str, Any]) -> dict[str, Any]:
    return {"name": pair[0], **pair[1]}


def inlined(value: dict[str, Any], name: str) -> dict[str, Any]:
    """The value with the map under one of its names in place of that name."""
    rest = {key: inner for key, inner in value.items() if key != name}
    return {**value[name], **rest}


names = st.sampled_from(["a", "b", "web", "x-1"])
words = st.sampled_from(["", "a", "b c", "$(A)", "1"])
numbers = st.integers(0, 3)
labels = st.dictionaries(st.sampled_from(["app", "ameide.io/name"]), st.sampled_from(["a", "b", ""]), max_size=2)
cpus = st.sampled_from(["1", "0.5", "500m", "1500m", "2.0", "1e-1", 1])
memory = st.sampled_from(["1Gi", "1024Mi", "1073741824", "0.5Gi", "1G", "1e9", "128974848000m"])
expressions = st.lists(
    some({"key": names, "operator": st.just("In"), "values": st.lists(names, min_size=1, max_size=2)}), max_size=2
)
selectors = some(matchLabels=labels, matchExpressions=expressions)
ports = st.one_of(st.integers(1, 9), names)
protocols = st.sampled_from(["TCP", "UDP"])

probes = some(
    {
        "action": st.sampled_from(
            [
                {"httpGet": {"path": "/", "port": "web"}},
                {"httpGet": {"port": 80, "httpHeaders": [{"name": "X", "value": ""}], "host": "", "scheme": "HTTPS"}},
                {"tcpSocket": {"port": 1}},
                {"grpc": {"port": 1}},
                {"grpc": {"port": 1, "service": ""}},
                {"exec": {"command": ["a"]}},
            ]
        )
    },
    initialDelaySeconds=numbers,
    periodSeconds=st.integers(1, 3),
    failureThreshold=st.integers(1, 3),
).map(lambda probe: inlined(probe, "action"))
sources = st.one_of(
    some(value=words),
    st.sampled_from(
        [
            {"valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"valueFrom": {"fieldRef": {"fieldPath": "status.podIP", "apiVersion": "v1"}}},
            {"valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
            {"valueFrom": {"secretKeyRef": {"name": "s", "key": "k", "optional": False}}},
            {"valueFrom": {"configMapKeyRef": {"name": "s", "key": "k", "optional": True}}},
            {"valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
            {"valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "0.5"}}},
        ]
    ),
)


def unique(items: Strategy, key: Callable[[Any], Any], most: int = 3) -> Strategy:
    return st.lists(items, max_size=most, unique_by=key)


env = unique(
    st.tuples(st.sampled_from(["A", "B", "C"]), sources).map(named),
    lambda variable: variable["name"],
)
container_ports = unique(
    some({"containerPort": st.integers(1, 3)}, protocol=protocols, hostPort=st.just(0)),
    lambda port: (port["containerPort"], port.get("protocol", "TCP")),
)
containers = some(
    {"image": st.sampled_from(["a:1", "b@sha256:" + "0" * 64, "a"])},
    args=st.lists(words, max_size=2),
    command=st.lists(words, max_size=2),
    env=env,
    envFrom=st.lists(some({"configMapRef": some({"name": names})}, prefix=st.sampled_from(["", "P_"])), max_size=1),
    imagePullPolicy=st.sampled_from(["Always", "IfNotPresent"]),
    livenessProbe=probes,
    ports=container_ports,
    readinessProbe=probes,
    resources=some(
        requests=some(cpu=st.just("10m"), memory=st.just("1Mi")),
        limits=some(cpu=cpus, memory=memory),
    ),
    securityContext=some(
        allowPrivilegeEscalation=st.booleans(),
        capabilities=some(add=st.lists(st.just("KILL"), max_size=1), drop=st.lists(st.just("ALL"), max_size=1)),
        readOnlyRootFilesystem=st.booleans(),
        runAsNonRoot=st.booleans(),
        runAsUser=numbers,
    ),
    startupProbe=probes,
    stdin=st.booleans(),
    tty=st.booleans(),
    workingDir=st.sampled_from(["", "/x"]),
    terminationMessagePolicy=st.just("FallbackToLogsOnError"),
)
volumes = unique(
    st.tuples(
        st.sampled_from(["v1", "v2", "v3", "v4"]),
        st.sampled_from(
            [
                {"emptyDir": {}},
                {"emptyDir": {"medium": "", "sizeLimit": "1024Mi"}},
                {"emptyDir": {"medium": "Memory"}},
                {"configMap": {"name": "c", "items": [{"key": "k", "path": "p"}]}},
                {"configMap": {"name": "c", "defaultMode": 256, "optional": False}},
                {"secret": {"secretName": "s"}},
                {"downwardAPI": {"items": [{"path": "p", "fieldRef": {"fieldPath": "metadata.name"}}]}},
                {"projected": {"sources": [{"serviceAccountToken": {"path": "t"}}, {"secret": {"name": "s"}}]}},
                {"csi": {"driver": "d", "readOnly": False, "volumeAttributes": {"a": ""}}},
            ]
        ),
    ).map(named),
    lambda volume: volume["name"],
)
affinity_terms = some({"topologyKey": names, "labelSelector": selectors}, namespaces=st.lists(names, max_size=1))
pod_specs = some(
    {"first": containers},
    affinity=some(
        podAntiAffinity=some(
            preferredDuringSchedulingIgnoredDuringExecution=st.lists(
                some({"weight": st.just(1), "podAffinityTerm": affinity_terms}), max_size=1
            )
        )
    ),
    automountServiceAccountToken=st.booleans(),
    enableServiceLinks=st.booleans(),
    hostNetwork=st.just(False),
    imagePullSecrets=unique(some({"name": names}), lambda item: item["name"]),
    init=containers,
    nodeSelector=labels,
    priorityClassName=st.just(""),
    securityContext=some(
        fsGroup=numbers,
        runAsNonRoot=st.booleans(),
        seccompProfile=some({"type": st.just("RuntimeDefault")}),
        supplementalGroups=st.lists(numbers, max_size=2),
        sysctls=st.lists(some({"name": st.just("net.x"), "value": st.sampled_from(["", "1"])}), max_size=1),
    ),
    serviceAccountName=st.sampled_from(["", "a"]),
    terminationGracePeriodSeconds=numbers,
    tolerations=st.lists(
        st.sampled_from(
            [
                {"operator": "Exists"},
                {"key": "a", "value": "", "effect": ""},
                {"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 0},
            ]
        ),
        max_size=2,
    ),
    topologySpreadConstraints=unique(
        some(
            {"topologyKey": names, "maxSkew": st.just(1), "whenUnsatisfiable": st.just("ScheduleAnyway")},
            labelSelector=selectors,
        ),
        lambda constraint: constraint["topologyKey"],
        2,
    ),
    volumes=volumes,
)


def pod_spec(spec: dict[str, Any]) -> dict[str, Any]:
    """Give containers their names and a way to reach the volumes."""
    spec = dict(spec)
    mounts = [{"name": v["name"], "mountPath": f"/{v['name']}", "readOnly": False} for v in spec.get("volumes", ())]
    spec["containers"] = [{"name": "app", "volumeMounts": mounts, **spec.pop("first")}]
    if init := spec.pop("init", None):
        for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
            init.pop(probe, None)
        spec["initContainers"] = [{"name": "init", **init}]
    return spec


deployment_specs = some(
    {"template": some({"spec": pod_specs.map(pod_spec)}, metadata=some(annotations=labels))},
    minReadySeconds=numbers,
    paused=st.booleans(),
    progressDeadlineSeconds=st.just(600),
    replicas=numbers,
    revisionHistoryLimit=numbers,
    strategy=st.sampled_from(
        [
            {},
            {"type": "Recreate"},
            {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 0}},
            {"rollingUpdate": {"maxSurge": 1}},
        ]
    ),
)


def deployment(spec: dict[str, Any]) -> dict[str, Any]:
    template = dict(spec["template"])
    template["metadata"] = {**template.get("metadata", {}), "labels": {"app": "a"}}
    spec = {**spec, "selector": {"matchLabels": {"app": "a"}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "spec": spec}


def of_kind(api_version: str, kind: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda spec: {"apiVersion": api_version, "kind": kind, "spec": spec}


service_specs = some(
    {
        "ports": st.lists(
            some(
                {"port": st.integers(1, 4)}, targetPort=ports, protocol=protocols, appProtocol=st.just("http"),
                nodePort=st.just(0),
            ),
            min_size=1, max_size=3, unique_by=(lambda port: (port["port"], port.get("protocol", "TCP"))),
        )
    },
    clusterIP=st.just("None"),
    internalTrafficPolicy=st.just("Local"),
    publishNotReadyAddresses=st.booleans(),
    selector=labels,
    sessionAffinity=st.just("None"),
    type=st.just("ClusterIP"),
).map(lambda spec: {**spec, "ports": [{**port, "name": f"p{i}"} for i, port in enumerate(spec["ports"])]})  # fmt: skip
peers = st.one_of(
    some({"podSelector": selectors}, namespaceSelector=selectors),
    some({"namespaceSelector": selectors}),
    some({"ipBlock": st.sampled_from([{"cidr": "10.0.0.0/8"}, {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}])}),
)
policy_ports = st.lists(some(port=ports, protocol=protocols), max_size=2)
policy_specs = some(
    {"podSelector": selectors},
    ingress=st.lists(some({"from": st.lists(peers, max_size=2)}, ports=policy_ports), max_size=2),
    egress=st.lists(some(ports=policy_ports, to=st.lists(peers, max_size=2)), max_size=2),
    policyTypes=st.lists(st.sampled_from(["Ingress", "Egress"]), min_size=1, unique=True),
)
targets = st.sampled_from(
    [
        {"type": "Utilization", "averageUtilization": 50},
        {"type": "AverageValue", "averageValue": "0.5"},
        {"type": "AverageValue", "averageValue": "1024Mi"},
    ]
)
values = st.sampled_from([{"type": "Value", "value": "1000m"}, {"type": "AverageValue", "averageValue": 3}])
metrics = st.one_of(
    some({"type": st.just("Resource"), "resource": some({"name": st.just("cpu"), "target": targets})}),
    some(
        {
            "type": st.just("External"),
            "external": some({"metric": some({"name": names}, selector=selectors), "target": values}),
        }
    ),
    some(
        {
            "type": st.just("ContainerResource"),
            "containerResource": some({"name": st.just("cpu"), "container": names, "target": targets}),
        }
    ),
)
scaling = some(
    policies=st.lists(
        st.sampled_from([{"type": t, "value": 5, "periodSeconds": 60} for t in ("Pods", "Percent")]),
        min_size=1,
        max_size=2,
    ),
    stabilizationWindowSeconds=numbers,
    selectPolicy=st.just("Min"),
)
autoscaler_specs = some(
    {
        "scaleTargetRef": st.just({"apiVersion": "apps/v1", "kind": "Deployment", "name": "a"}),
        "maxReplicas": st.integers(3, 5),
    },
    minReplicas=st.integers(1, 3),
    metrics=st.lists(metrics, min_size=1, max_size=2),
    behavior=some(scaleDown=scaling, scaleUp=scaling),
)
budget_specs = some(
    {"limit": st.sampled_from([{"maxUnavailable": 1}, {"minAvailable": "50%"}, {"minAvailable": 0}])},
    selector=selectors,
    unhealthyPodEvictionPolicy=st.just("AlwaysAllow"),
).map(lambda spec: inlined(spec, "limit"))

GENERATED: dict[str, Strategy] = {
    "Deployment": deployment_specs.map(deployment),
    "Service": service_specs.map(of_kind("v1", "Service")),
    "NetworkPolicy": policy_specs.map(of_kind("networking.k8s.io/v1", "NetworkPolicy")),
    "HorizontalPodAutoscaler": autoscaler_specs.map(of_kind("autoscaling/v2", "HorizontalPodAutoscaler")),
    "PodDisruptionBudget": budget_specs.map(of_kind("policy/v1", "PodDisruptionBudget")),
}


@pytest.mark.parametrize("kind", GENERATED)
def test_generated(platform: Platform, kube: KubeClient, namespace: str, kind: str) -> None:
    """A dry-run create of anything valid leaves no difference; what the API server refuses is left out."""
    accepted = 0
    with asyncio.Runner() as runner:
        connection = connect(platform.kubeconfig)
        client = ApiClient(connection, field_manager="domain-operator", limiter=Limiter(0))

        @settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
        @given(GENERATED[kind])
        def run(manifest: dict[str, Any]) -> None:
            nonlocal accepted
            desired = with_field_set({**manifest, "metadata": samples.metadata("generated", namespace)})
            try:
                answer = runner.run(client.create(desired, dry_run=True))
            except Invalid as refusal:
                if refusal.status != 422:
                    raise  # not even its types are right: the strategy is wrong
                return
            accepted += 1
            assert [str(found) for found in differences(desired, answer)] == []

        try:
            run()
        finally:
            runner.run(connection.close())
    assert accepted >= 40, "most of what is generated should be valid"
