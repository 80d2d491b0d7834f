"""The chart's admission policies on a real API server: what they refuse, in which words, and what they let pass."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from ameide_dev import tools
from ameide_dev.platform import Platform
from ameide_dev.processes import clean_environment, wait_until
from ameide_shared.imagepolicy import image_problems
from ameide_shared.settings import ImagePolicySettings

CHART = Path(__file__).parents[1]
SYSTEM = "ameide-system"
POLICIES = ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
API = "admissionregistration.k8s.io/v1"
OPERATOR = f"system:serviceaccount:{SYSTEM}:ameide-operators-domain"
DIGEST = "sha256:" + "0" * 64

pytestmark = pytest.mark.platform


@pytest.fixture(scope="module")
def cluster() -> Iterator[Platform]:
    """A control plane with our definitions, and rights for whoever the tests pretend to be: only policies decide."""
    with Platform(crd_sources=[], cnpg=False, host_node=False) as platform:
        for file in (CHART / "files" / "crds").glob("*.yaml"):
            platform.client.apply_file(file)
        subjects = [
            {"kind": "Group", "name": "system:authenticated", "apiGroup": "rbac.authorization.k8s.io"},
        ]
        platform.client.create(
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "ClusterRoleBinding",
                "metadata": {"name": "everybody"},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
                "subjects": subjects,
            }
        )
        yield platform


def rendered(folder: Path, values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The policies and bindings that the chart renders."""
    (folder / "values.yaml").write_text(yaml.safe_dump(dict(values)))
    result = subprocess.run(
        [
            *(str(tools.find("helm")), "template", "ameide-operators", str(CHART)),
            *(f"--namespace={SYSTEM}", f"--values={folder / 'values.yaml'}"),
        ],
        capture_output=True,
        text=True,
        env=clean_environment(),
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return [each for each in yaml.safe_load_all(result.stdout) if each and each["kind"] in POLICIES]


@contextmanager
def in_force(platform: Platform, folder: Path, values: Mapping[str, Any], probe: Mapping[str, Any]) -> Iterator[None]:
    """The chart's policies, from when they refuse what `probe` says until they are gone again.

    Their types are checked by then: the API server has looked at each policy, and warns of nothing.
    """
    objects = rendered(folder, values)
    assert objects
    for each in objects:
        platform.client.create(each)
    try:
        wait_until("The policies", lambda: verdict(platform, **probe) != "", (), timeout=30)
        for each in objects:
            if each["kind"] == POLICIES[0]:
                name = each["metadata"]["name"]
                wait_until(f"The look at {name}", lambda name=name: _looked_at(platform, name), (), timeout=30)
                found = platform.client.get(API, POLICIES[0], name)
                assert found["status"].get("typeChecking", {}) == {}, name
        yield
    finally:
        for each in objects:
            platform.client.delete(API, each["kind"], each["metadata"]["name"], wait=30)
        wait_until("The end of the policies", lambda: verdict(platform, **probe) == "", (), timeout=30)


def _looked_at(platform: Platform, name: str) -> bool:
    found = platform.client.get(API, POLICIES[0], name)
    return bool(found.get("status", {}).get("observedGeneration") == found["metadata"]["generation"])


def verdict(platform: Platform, operation: str, manifest: Mapping[str, Any], user: str = "someone", *more: str) -> str:
    """What the API server says against a change, which it does not store; empty when it would."""
    result = subprocess.run(
        [
            str(tools.find("kubectl")),
            f"--kubeconfig={platform.kubeconfig}",
            operation,
            "--dry-run=server",
            f"--as={user}",
            *(f"--as-group={group}" for group in more),
            "-f",
            "-",
        ],
        input=yaml.safe_dump(dict(manifest)),
        capture_output=True,
        text=True,
        env=clean_environment(),
        check=False,
    )
    if result.returncode == 0:
        return ""
    assert result.stderr
    return result.stderr


def domain(name: str = "orders", namespace: str = "default", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "ameide.io/v1",
        "kind": "Domain",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"image": "ghcr.io/ameide/orders:1.0.0", "resources": {"cpu": "100m", "memory": "64Mi"}, **spec},
    }


@pytest.fixture
def orders(cluster: Platform) -> Iterator[dict[str, Any]]:
    """A Domain that is there, as the API server has it."""
    found = cluster.client.create(domain())
    found.pop("status", None)
    found["metadata"] = {key: found["metadata"][key] for key in ("name", "namespace")}
    yield found
    cluster.client.delete("ameide.io/v1", "Domain", "orders", "default", wait=30)


def changed(resource: Mapping[str, Any], **spec: Any) -> dict[str, Any]:
    return {**resource, "spec": {**resource["spec"], **spec}}


def test_operators_leave_a_spec_as_it_is(cluster: Platform, orders: dict[str, Any], tmp_path: Path) -> None:
    """On by default: an operator's account may set a finalizer and an annotation, but not touch the spec."""
    other = changed(orders, image="ghcr.io/ameide/orders:2.0.0")
    probe = {"operation": "replace", "manifest": other, "user": OPERATOR}
    with in_force(cluster, tmp_path, {}, probe):
        refusal = verdict(cluster, "replace", other, OPERATOR)
        assert "must leave its spec as it is" in refusal
        assert "keep-spec" in refusal
        held = {**orders, "metadata": {**orders["metadata"], "finalizers": ["domain.ameide.io/finalizer"]}}
        assert verdict(cluster, "replace", held, OPERATOR) == ""
        assert verdict(cluster, "replace", other, "someone") == ""
        assert verdict(cluster, "replace", other, f"system:serviceaccount:{SYSTEM}:another") == ""
        both = {**held, "spec": other["spec"]}
        assert "must leave its spec as it is" in verdict(cluster, "replace", both, OPERATOR)
        live = cluster.client.get("ameide.io/v1", "Domain", "orders", "default")
        status = {**live, "status": {"observedGeneration": 1}}
        cluster.client.replace(status, subresource="status")


IMAGES = [
    "ghcr.io/ameide/orders:1.0.0",
    "ghcr.io/ameide/team/orders:1.0.0",
    "GHCR.io/ameide/orders:1.0.0",
    "ghcr.io.example.org/ameide/orders:1.0.0",
    "ghcr.io/ameider/orders:1.0.0",
    f"ghcr.io/ameide/orders@{DIGEST}",
    f"ghcr.io/ameide/orders:1.0.0@{DIGEST}",
    "ghcr.io/ameide/orders",
    "ghcr.io/ameide/orders:latest",
    "quay.io/deep/in/there/app:1",
    "localhost/app:1",
    "localhost:5000/app:1",
    "localhost:5000/app",
    "nginx:1.27",
    "nginx",
    "library/nginx:1.27",
    "docker.io/nginx:1.27",
    "index.docker.io/library/nginx:1.27",
    "registry.example.org:5000/a1/app:1",
    "registry.example.org:5000/b1/app:1",
    "registry.example.org:5000/a1/b/app:1",
    f"quay.io/deep/in/there/app@{DIGEST}",
]
RULES = [
    {"allowed": ["ghcr.io/ameide/*", "quay.io"]},
    {"allowed": ["ghcr.io/ameide", "docker.io/library/nginx", "localhost:5000"], "refuseLatest": True},
    {"allowed": ["**/app", "registry.example.org:5000/[!b]?/**"], "requireDigest": True},
    {"allowed": ["registry.example.org:5000/a?/*", "localhost/*"], "refuseLatest": True},
]


@pytest.mark.parametrize("rules", RULES, ids=lambda rules: rules["allowed"][0])
def test_admission_judges_images_as_the_operator_does(cluster: Platform, tmp_path: Path, rules: dict[str, Any]) -> None:
    """The same rules in CEL and in the operator: the same verdict on every image."""
    values = {"settings": {"images": rules}, "admission": {"imagePolicy": True, "operatorsKeepSpec": False}}
    settings = ImagePolicySettings.model_validate(
        {
            "allowed": rules["allowed"],
            "require_digest": rules.get("requireDigest", False),
            "refuse_latest": rules.get("refuseLatest", False),
        }
    )
    probe = {"operation": "create", "manifest": domain(image="evil.example.org/x:1")}
    with in_force(cluster, tmp_path, values, probe):
        judged = {image: verdict(cluster, "create", domain(image=image)) for image in IMAGES}
    refused = {image for image, words in judged.items() if words}
    assert refused == {image for image in IMAGES if image_problems(image, settings)}
    assert refused
    assert len(refused) < len(IMAGES)
    for image in refused:
        assert image in judged[image]


def test_images_are_judged_when_they_come(cluster: Platform, orders: dict[str, Any], tmp_path: Path) -> None:
    """What was there before stays changeable; a migrator is an image, too; other kinds are held to it as well."""
    values = {
        "settings": {"images": {"allowed": ["registry.example.org"]}},
        "operators": {"process": {"settings": {"images": {"allowed": ["quay.io"]}}}},
        "admission": {"imagePolicy": True},
    }
    probe = {"operation": "create", "manifest": domain("other")}
    with in_force(cluster, tmp_path, values, probe):
        labelled = {**orders, "metadata": {**orders["metadata"], "labels": {"a": "b"}}}
        assert verdict(cluster, "replace", labelled) == ""
        smaller = changed(orders, resources={"cpu": "10m", "memory": "64Mi"})
        assert verdict(cluster, "replace", smaller) == ""
        refusal = verdict(cluster, "replace", changed(orders, image="ghcr.io/ameide/orders:2.0.0"))
        assert "image ghcr.io/ameide/orders:2.0.0 is not among the allowed images (registry.example.org)" in refusal
        db = {"clusterRef": "db/main", "schema": "orders", "migrationJobImage": "ghcr.io/ameide/migrator:1.0.0"}
        good = domain("other", image="registry.example.org/orders:1.0.0")
        assert verdict(cluster, "create", good) == ""
        assert "image ghcr.io/ameide/migrator:1.0.0 is not" in verdict(cluster, "create", changed(good, db=db))


def test_only_those_listed_change_a_spec(cluster: Platform, orders: dict[str, Any], tmp_path: Path) -> None:
    """Users by name, groups by membership; labels and finalizers are everybody's whom RBAC lets."""
    writers = {"enabled": True, "users": ["argo"], "groups": ["platform"]}
    other = changed(orders, image="ghcr.io/ameide/orders:2.0.0")
    labelled = {**orders, "metadata": {**orders["metadata"], "labels": {"a": "b"}}}
    probe = {"operation": "replace", "manifest": other}
    values = {"admission": {"specWriters": writers, "operatorsKeepSpec": False}}
    with in_force(cluster, tmp_path, values, probe):
        refusal = verdict(cluster, "replace", other, "someone", "system:authenticated")
        assert "someone is not among those who may change the spec of domains (admission.specWriters)" in refusal
        assert "not among those" in verdict(cluster, "create", domain("new"), "someone", "system:authenticated")
        assert verdict(cluster, "replace", labelled, "someone", "system:authenticated") == ""
        assert verdict(cluster, "replace", other, "argo", "system:authenticated") == ""
        assert verdict(cluster, "create", domain("new"), "argo", "system:authenticated") == ""
        assert verdict(cluster, "replace", other, "someone", "system:authenticated", "platform") == ""


def test_named_namespaces_alone_are_held_to_it(cluster: Platform, tmp_path: Path) -> None:
    """A release that looks after some namespaces has no say in the others."""
    cluster.client.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "mine"}})
    writers = {"enabled": True, "users": ["argo"]}
    values = {"admission": {"specWriters": writers}, "watch": {"namespaces": ["mine"]}}
    probe = {"operation": "create", "manifest": domain(namespace="mine")}
    with in_force(cluster, tmp_path, values, probe):
        assert "not among those" in verdict(cluster, "create", domain(namespace="mine"))
        assert verdict(cluster, "create", domain(namespace="default")) == ""
