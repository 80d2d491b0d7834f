"""The chart as people get it: pushed to a real OCI registry, installed from there by Helm, and taken through its life.

Operators run with the rights and settings of the chart alone, as processes with their service accounts' tokens. Samples
of all kinds are at work meanwhile, on real PostgreSQL and Temporal; what they are made of must not notice a release.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from ameide_dev import demo_agents, demo_processes, demo_release, ociregistry, requests
from ameide_dev.client import ApiError, KubeClient
from ameide_dev.demo_domains import API, EXAMPLES, SHOP
from ameide_dev.demo_release import ReleaseError
from ameide_dev.externalsecrets import ExternalSecrets
from ameide_dev.gateway import GatewayStandIn
from ameide_dev.operators import CHART, NAMESPACE, RELEASE
from ameide_dev.platform import Platform
from ameide_shared.vocabulary import ANNOTATION_FIELD_SET

pytestmark = [
    pytest.mark.platform,
    pytest.mark.skipif(not ociregistry.installed(), reason=ociregistry.MISSING),
]

Object = dict[str, Any]

FIRST, SECOND = "0.1.0", "0.2.0"
CRDS = "apiextensions.k8s.io/v1"
OPERATORS = ("agent", "domain", "process", "uisurface")
SAMPLES = (
    ("Domain", "orders"),
    ("Domain", "catalog"),
    ("Process", "order-to-cash"),
    ("Agent", "order-desk"),
    ("UISurface", "storefront"),
)
REFUSED = {("Domain", "storefront"): "ImageNotAllowed", ("Agent", "refunds"): "PolicyViolation"}
WATCHED = {
    "v1": ("Pod", "Service", "ServiceAccount", "ConfigMap", "Secret"),
    "apps/v1": ("Deployment", "ReplicaSet", "ControllerRevision"),
    "batch/v1": ("Job", "CronJob"),
    "autoscaling/v2": ("HorizontalPodAutoscaler",),
    "networking.k8s.io/v1": ("NetworkPolicy",),
    "policy/v1": ("PodDisruptionBudget",),
    "gateway.networking.k8s.io/v1": ("HTTPRoute",),
    "monitoring.coreos.com/v1": ("ServiceMonitor",),
    "external-secrets.io/v1": ("ExternalSecret",),
    API: ("Domain", "Process", "Agent", "UISurface"),
}


@dataclass(frozen=True, slots=True)
class Release:
    """The chart in a registry, and the cluster that it is installed into."""

    platform: Platform
    chart: str
    folder: Path
    values: Mapping[str, Any] = field(repr=False)

    @property
    def client(self) -> KubeClient:
        return self.platform.client

    def helm(self, *arguments: str) -> str:
        return demo_release.helm(self.platform.kubeconfig, *arguments)

    def go(self, verb: str, version: str, *more: str) -> str:
        """`helm install` or `helm upgrade` from the registry; what helm printed."""
        file = self.folder / "values.yaml"
        file.write_text(yaml.safe_dump(dict(self.values)))
        where = (self.chart, f"--version={version}", "--plain-http", "--create-namespace")
        return self.helm(verb, RELEASE, *where, f"--values={file}", "--wait", "--timeout=2m", *more)

    def revisions(self) -> list[int]:
        return [each["revision"] for each in json.loads(self.helm("history", RELEASE, "--output=json"))]


def packaged(registry: ociregistry.OciRegistry, kubeconfig: Path, chart: Path, version: str, folder: Path) -> str:
    """Package a chart as a version, push it, and say where it is."""
    demo_release.helm(kubeconfig, "package", str(chart), f"--version={version}", f"--destination={folder}")
    where = f"oci://{registry.address}/helm"
    demo_release.helm(kubeconfig, "push", str(folder / f"{RELEASE}-{version}.tgz"), where, "--plain-http")
    return f"{where}/{RELEASE}"


def with_changed_definition(folder: Path) -> Path:
    """A copy of the chart in which Domains have a further field and a further column."""
    chart = folder / "next" / RELEASE
    shutil.copytree(CHART, chart)
    file = chart / "files" / "crds" / "domains.ameide.io.yaml"
    crd = yaml.safe_load(file.read_text())
    (version,) = crd["spec"]["versions"]
    version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["costCentre"] = {
        "type": "string",
        "description": "Who pays.",
    }
    version["additionalPrinterColumns"].append({"name": "Pays", "type": "string", "jsonPath": ".spec.costCentre"})
    file.write_text(yaml.safe_dump(crd))
    return chart


def surface(name: str = "storefront") -> Object:
    return {
        "apiVersion": API,
        "kind": "UISurface",
        "metadata": {"name": name, "namespace": SHOP},
        "spec": {
            "image": "ghcr.io/ameide/storefront:1.0.0",
            "host": "shop.example.com",
            "auth": {"public": True},
            "autoscaling": {"minReplicas": 2, "maxReplicas": 3},
            "dependencies": {"domains": ["orders"], "processes": ["order-to-cash"]},
            "resources": {"cpu": "50m", "memory": "64Mi"},
        },
    }


def values_of(servers: demo_processes.Servers) -> Object:
    """The values of the local platform, for all four operators; one of them with two replicas."""
    routing = {"gateway": {"name": "edge", "namespace": "gateways"}}
    values = demo_release.host_node_values(servers.values(), servers.agent_values(), {"settings": {"routing": routing}})
    for key, block in values["operators"].items():
        block["replicas"] = 2 if key == "domain" else 1
    return {**values, "agentPolicy": {"text": demo_agents.policy_text()}}


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    """A registry with two versions of the chart, a platform that has none of it, and what the samples need besides."""
    folder = tmp_path_factory.mktemp("release")
    with ExitStack() as stack:
        registry = stack.enter_context(ociregistry.OciRegistry())
        platform = stack.enter_context(Platform())
        client = platform.client
        chart = packaged(registry, platform.kubeconfig, CHART, FIRST, folder)
        packaged(registry, platform.kubeconfig, with_changed_definition(folder), SECOND, folder)
        assert registry.tags(f"helm/{RELEASE}") == [FIRST, SECOND]
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        client.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}})
        servers = demo_processes.start(stack)
        servers.prepare(client)
        store = ExternalSecrets(client, folder / "secret-store.json")
        demo_agents.fill_store(store, demo_processes.TENANT)
        stack.enter_context(store)
        gateway = stack.enter_context(GatewayStandIn(client))
        client.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "gateways"}})
        gateway.make_gateway("gateways", "edge")
        for name in ("00-namespaces.yaml", "10-cluster.yaml"):
            client.apply_file(EXAMPLES / name)
        yield Release(platform, chart, folder, values_of(servers))


def snapshot(client: KubeClient) -> dict[str, Any]:
    """Every object in the samples' namespace: who it is, which generation or content, and how often it restarted."""
    found = {}
    for version, kinds in WATCHED.items():
        for kind in kinds:
            for each in client.list(version, kind, SHOP):
                meta = each["metadata"]
                content = json.dumps([each.get("data"), each.get("spec")], sort_keys=True).encode()
                restarts = [c["restartCount"] for c in each.get("status", {}).get("containerStatuses", ())]
                digest = hashlib.sha256(content).hexdigest()[:8]
                found[f"{kind}/{meta['name']}"] = (meta["uid"], meta.get("generation"), digest, restarts)
    return found


def written(release: Release, after: int) -> list[str]:
    """What operators wrote since a position of the audit log, Events, Leases and status apart.

    A status follows what there is: a probe that times out on a busy machine, a dependency that is being rolled. What
    was denied is not written: a release that goes takes rights away while its pods still stop.
    """
    return [
        f"{operator}: {event['verb']} {event['requestURI']}"
        for event in release.platform.control_plane.audit_events(after=after)
        if (operator := requests.operator_of(event))
        if event["verb"] in ("create", "update", "patch", "delete")
        if event["objectRef"]["resource"] not in ("events", "leases")
        if event["objectRef"].get("subresource") != "status" and event["responseStatus"]["code"] < 300
    ]


def denied(release: Release) -> dict[str, Any]:
    """What any operator was denied so far."""
    found = requests.summarize(release.platform.control_plane.audit_events(stage=None))
    return {operator: asked.denied for operator, asked in found.items() if asked.denied}


def deployments(client: KubeClient) -> dict[str, int]:
    """The operators that there are, with their ready replicas."""
    return {
        each["metadata"]["name"].removeprefix(f"{RELEASE}-"): each.get("status", {}).get("readyReplicas", 0)
        for each in client.list("apps/v1", "Deployment", NAMESPACE)
    }


def has_cost_centre(client: KubeClient) -> bool:
    crd = client.get(CRDS, "CustomResourceDefinition", "domains.ameide.io")
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return "costCentre" in schema["properties"]["spec"]["properties"]


def apply_samples(client: KubeClient) -> None:
    """The examples of each kind, two that are refused, and a surface before them."""
    for file in ("orders.yaml", "catalog.yaml", "failing/storefront.yaml", "failing/refunds.yaml"):
        client.apply_file(EXAMPLES / file)
    process, agent = (
        yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text()) for name in ("order-to-cash", "order-desk")
    )
    process["spec"]["schedules"][0]["schedule"] = "0 0 1 1 *"  # a Job that starts meanwhile would look like a change
    agent["spec"]["autoscaling"] = {"minReplicas": 2, "maxReplicas": 3}
    client.apply(process)
    client.apply(agent)
    client.apply(surface())


def wait_for_samples(client: KubeClient) -> None:
    """Every sample Ready at its current generation."""
    for kind, name in SAMPLES:
        client.wait_condition(API, kind, name, "Ready", SHOP, timeout=120)


def error_of(release: Release, *arguments: str) -> str:
    with pytest.raises(ReleaseError) as refused:
        release.go(*arguments)
    return str(refused.value)


def test_life_of_a_release(release: Release) -> None:
    """Install, samples Ready, upgrade with a changed definition, an operator off and on, rollback, uninstall, again."""
    client = release.client

    # What Helm refuses leaves nothing behind.
    assert "replica" in error_of(release, "install", FIRST, "--set=operators.domain.replica=1")
    assert "9.9.9" in error_of(release, "install", "9.9.9")
    assert deployments(client) == {}
    assert client.find(CRDS, "CustomResourceDefinition", "domains.ameide.io") is None

    notes = release.go("install", FIRST)
    assert f"kubectl -n {NAMESPACE} rollout status" in notes
    assert deployments(client) == {"agent": 1, "domain": 2, "process": 1, "uisurface": 1}

    apply_samples(client)
    wait_for_samples(client)
    for (kind, name), expected in REFUSED.items():
        client.wait_condition(API, kind, name, "Ready", SHOP, status="False", reason=expected, timeout=60)
        assert client.find("apps/v1", "Deployment", f"{name}-{kind.lower()}", SHOP) is None
    straighten(client)
    assert denied(release) == {}
    check_rights(release)
    check_metrics(release.platform)
    before = snapshot(client)
    assert {f"Deployment/{name}" for name in ("orders-domain", "order-to-cash-process", "order-desk-agent")} <= set(
        before
    )
    mark = release.platform.control_plane.audit_position()

    # A new version with a changed definition, and without one of the operators.
    release.go("upgrade", SECOND, "--set=operators.process.enabled=false")
    assert deployments(client) == {"agent": 1, "domain": 2, "uisurface": 1}
    assert has_cost_centre(client)
    untouched(release, before, mark)

    # It comes back, and finds everything in place.
    release.go("upgrade", SECOND)
    assert set(deployments(client)) == set(OPERATORS)
    untouched(release, before, mark)

    # The registry does not let a mistake through either; what runs stays as it is.
    assert "scope" in error_of(release, "upgrade", SECOND, "--set=rbac.scope=world")
    assert release.revisions() == [1, 2, 3]

    release.helm("rollback", RELEASE, "1", "--wait", "--timeout=2m")
    assert not has_cost_centre(client)
    assert set(deployments(client)) == set(OPERATORS)
    untouched(release, before, mark)
    # The operator that was switched off found its rights gone while it stopped: at its watches, and when it let go of
    # its Lease. Nothing else was ever denied.
    for operator, rights in denied(release).items():
        reads = {right for right in rights if operator == "process" and right.verb in ("list", "watch")}
        assert {right.resource for right in set(rights) - reads} <= {"leases"}, (operator, rights)

    release.helm("uninstall", RELEASE, "--wait", "--timeout=1m")
    assert deployments(client) == {}
    kept_alone(client)
    untouched(release, before, mark)

    # What was kept is taken up again, by whoever comes next.
    again = release.platform.control_plane.audit_position()
    release.go("install", SECOND)
    assert has_cost_centre(client)
    untouched(release, before, mark)
    client.merge_patch(API, "Process", "order-to-cash", {"spec": {"replicas": 3}}, SHOP)
    client.wait_condition(API, "Process", "order-to-cash", "Ready", SHOP, timeout=60)
    assert [each for each in written(release, again) if "order-to-cash" not in each] == []
    pods = {key: value for key, value in snapshot(client).items() if key.startswith("Pod/")}
    assert {key: value for key, value in before.items() if key.startswith("Pod/")}.items() <= pods.items()
    switch_off(client)
    for kind, name in (("UISurface", "storefront"), ("Agent", "order-desk")):
        client.delete(API, kind, name, SHOP, wait=60)
    client.wait_gone("apps/v1", "Deployment", "order-desk-agent", SHOP, timeout=60)


def untouched(release: Release, before: Mapping[str, Any], after: int) -> None:
    """Nothing that the samples are made of was written, restarted or replaced."""
    now = snapshot(release.client)
    assert {key: now.get(key) for key in before} == dict(before)
    assert set(now) == set(before)
    assert written(release, after) == []
    wait_for_samples(release.client)


def straighten(client: KubeClient) -> None:
    """Whatever somebody bends in a child, of whichever kind, is mended: each is read and applied anew."""
    bent = []
    for kind, name in SAMPLES:
        for child in client.get(API, kind, name, SHOP)["status"]["children"]:
            # Jobs and what is mounted under the name of its content are made once and never written again.
            if child["kind"] in ("Job", "ConfigMap"):
                continue
            where = (child["apiVersion"], child["kind"], child["name"], child["namespace"])
            digest = client.get(*where)["metadata"]["annotations"][ANNOTATION_FIELD_SET]
            client.merge_patch(*where[:3], {"metadata": {"annotations": {ANNOTATION_FIELD_SET: "bent"}}}, where[3])
            bent.append((where, digest))
    assert {kind for (_, kind, _, _), _ in bent} >= {"Deployment", "HorizontalPodAutoscaler", "CronJob", "HTTPRoute"}
    for (version, kind, name, namespace), digest in bent:
        client.wait_for(
            version,
            kind,
            name,
            lambda live, digest=digest: (live or {})["metadata"]["annotations"].get(ANNOTATION_FIELD_SET) == digest,
            namespace,
            timeout=60,
        )


def switch_off(client: KubeClient) -> None:
    """What a spec no longer asks for goes."""
    off = {"autoscaling": None, "replicas": 1, "observability": {"metrics": {"enabled": False}}}
    for kind, name in SAMPLES[1:]:
        more = {"schedules": None} if kind == "Process" else {}
        client.merge_patch(API, kind, name, {"spec": {**off, **more}}, SHOP)
    for kind, name in SAMPLES[1:]:
        child = f"{name}-{'ui' if kind == 'UISurface' else kind.lower()}"
        client.wait_gone("autoscaling/v2", "HorizontalPodAutoscaler", child, SHOP, timeout=60)
        client.wait_gone("policy/v1", "PodDisruptionBudget", child, SHOP, timeout=60)
        client.wait_gone("monitoring.coreos.com/v1", "ServiceMonitor", child, SHOP, timeout=60)
    assert client.list("batch/v1", "CronJob", SHOP) == []


def check_rights(release: Release) -> None:
    """Operators' own tokens do what the chart grants, and neither that nor the spec of a resource beyond it."""
    plane = release.platform.control_plane

    def of(operator: str) -> KubeClient:
        account = f"{RELEASE}-{operator}"
        return KubeClient.from_kubeconfig(
            plane.kubeconfig_for_service_account(NAMESPACE, account, release.folder / account)
        )

    with of("domain") as domain, of("process") as process:
        domain.merge_patch(API, "Domain", "orders", {"metadata": {"annotations": {"example.org/seen": None}}}, SHOP)
        with pytest.raises(ApiError, match="leave its spec as it is"):
            domain.merge_patch(API, "Domain", "orders", {"spec": {"replicas": 5}}, SHOP)
        with pytest.raises(ApiError, match="cannot patch resource"):
            domain.merge_patch(API, "Agent", "order-desk", {"metadata": {"annotations": {"a": "b"}}}, SHOP)
        assert process.list(API, "Domain", SHOP)
        with pytest.raises(ApiError, match="cannot list resource"):
            process.list("v1", "Secret", SHOP)


def check_metrics(platform: Platform) -> None:
    """What alerts and dashboard ask for is what the operators answer with, behind the chart's Services."""
    templates = CHART / "templates" / "_alerts.tpl", CHART / "files" / "dashboards" / "ameide-operators.json"
    wanted = {name for path in templates for name in re.findall(r"\b([a-z][a-z0-9_]+)\{", path.read_text())}
    there: set[str] = set()
    for operator in OPERATORS:
        host, port = platform.host_node.wait_for_service(NAMESPACE, f"{RELEASE}-{operator}", 8080)
        text = httpx.get(f"http://{host}:{port}/metrics", timeout=10, trust_env=False).text
        there |= set(re.findall(r"^# TYPE (\w+) ", text, flags=re.MULTILINE))
    assert len(wanted) > 15
    assert {name for name in wanted if name.removesuffix("_bucket") not in there} == set()


def kept_alone(client: KubeClient) -> None:
    """Definitions and resources are all that an uninstalled release leaves."""
    for kind in ("ClusterRole", "ClusterRoleBinding"):
        assert (
            client.list("rbac.authorization.k8s.io/v1", kind, label_selector="app.kubernetes.io/part-of=ameide") == []
        )
    policies = client.list("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy")
    assert not [each for each in policies if "keep-spec" in each["metadata"]["name"]]
    for plural in ("domains", "processes", "agents", "uisurfaces"):
        crd = client.get(CRDS, "CustomResourceDefinition", f"{plural}.ameide.io")
        assert crd["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
