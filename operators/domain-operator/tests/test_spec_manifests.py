"""One table of bad manifests, two judges: the offline check and the real API server must agree, and help."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from ameide_dev import tools
from ameide_dev.client import KubeClient
from ameide_dev.platform import Platform
from ameide_dev.testing.manifests import STRICT, Case, Edits, Judged, cases
from ameide_dev.testing.resources import merged
from ameide_dev.testing.subject import OWN
from ameide_shared.check import check_text
from ameide_shared.crd import crd_of
from ameide_shared.kube.resources import DEPLOYMENT, JOB, ResourceType
from ameide_shared.plan import Ensure, EnsureSecret
from ameide_shared.snapshot import Snapshot
from domain_operator.assumed import assumed
from domain_operator.observe import OPTIONAL_APIS
from domain_operator.observed import Observed
from domain_operator.plan import plan
from domain_operator.settings import DomainSettings
from domain_operator.spec import Domain, DomainStatus

JUDGED = Judged(Path(__file__).parent / "bad-manifests", Domain, ["common", "domain"], at_least=60)


def test_the_table_is_large_and_its_names_are_unique() -> None:
    JUDGED.check_size()


@JUDGED.every_bad
def test_check_refuses(case: Case) -> None:
    JUDGED.check_refuses(case)


@JUDGED.every_good
def test_check_accepts(case: Case) -> None:
    JUDGED.check_accepts(case)


@pytest.fixture(scope="module")
def api(kube: KubeClient) -> KubeClient:
    """A client of an API server that serves the kind as this tree defines it."""
    return JUDGED.serve(kube)


@JUDGED.every_bad
def test_api_server_refuses(api: KubeClient, case: Case) -> None:
    JUDGED.server_refuses(api, case)


@JUDGED.every_good
def test_api_server_accepts(api: KubeClient, case: Case) -> None:
    JUDGED.server_accepts(api, case)


def test_a_key_that_occurs_twice_is_refused_by_both(platform: Platform, api: KubeClient, tmp_path: Path) -> None:
    file = tmp_path / "twice.json"
    file.write_text(json.dumps(JUDGED.base)[:-1] + ', "spec": {"image": "other"}}')
    (finding,) = check_text(file.read_text(), [Domain]).findings
    assert "'spec' occurs twice" in finding.problem.message
    answer = subprocess.run(
        [tools.find("kubectl"), "create", f"--raw={JUDGED.collection}?dryRun=All&fieldValidation=Strict", f"-f={file}"],
        env={"KUBECONFIG": str(platform.kubeconfig)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert answer.returncode != 0
    assert 'duplicate field "spec"' in answer.stderr


def test_defaults_of_the_crd_are_those_of_the_model(api: KubeClient) -> None:
    JUDGED.same_defaults(api)


IDENTITY = {"namespace": "default", "uid": "0b7a1c5e-9f0b-4c39-9a70-6f2f4a2d7c11"}
SETTINGS = DomainSettings.model_validate({"network_profiles": {"backend": {}, "my-profile": {}}})
TENANT = {"ameide.io/tenant-id": "t123"}

# What a plan holds depends on how far the database is; these three together show every child.
STAGES: dict[str, Any] = {
    "provisioning": {},
    "migrating": {
        "provisioning": "None",
        "connectionSecretRef": {"name": "given"},
        "deletionPolicy": "Retain",
    },
    "serving": None,
}


@pytest.mark.parametrize("stage", STAGES)
@JUDGED.every_good
def test_what_is_accepted_compiles_to_what_is_accepted(api: KubeClient, case: Case, stage: str) -> None:
    """No spec that the CRD lets through may fail later, as an object that the operator cannot write."""
    domain = JUDGED.manifest_of(case)
    if stage == "serving":
        domain["spec"].pop("db", None)
    elif domain["spec"].get("db"):
        domain["spec"]["db"] |= STAGES[stage]
    made = compiled(domain)
    if stage == "serving":
        assert DEPLOYMENT in made
    if stage == "migrating" and domain["spec"].get("db"):
        assert JOB in made
    for resource, body in made.items():
        for manifest in body:
            api.request("POST", resource.path("default"), params=STRICT, body=manifest)


def compiled(domain: dict[str, Any]) -> dict[ResourceType, list[dict[str, Any]]]:
    """The children that a new Domain compiles to, by type, moved to the namespace default."""
    metadata = {"name": f"{domain['metadata'].get('generateName', '')}x1", **domain["metadata"], **IDENTITY}
    domain = {**domain, "metadata": metadata}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default", "labels": TENANT}}
    observed = Observed(Snapshot([namespace, *assumed(domain)]), frozenset(OPTIONAL_APIS))
    made: dict[ResourceType, list[dict[str, Any]]] = {}
    for action in plan(domain, observed, SETTINGS, datetime(2026, 1, 31, 12, tzinfo=UTC)).actions:
        if not isinstance(action, Ensure | EnsureSecret):
            continue
        # The namespace of a Cluster need not exist for a dry run.
        body = {**action.manifest, "metadata": {**action.manifest["metadata"], "namespace": "default"}}
        if isinstance(action, EnsureSecret):
            body["stringData"] = dict.fromkeys(action.values, "made by converge")
        made.setdefault(action.resource, []).append(body)
    return made


@pytest.fixture
def namespace(make_namespace: Callable[..., str]) -> str:
    """A namespace that no operator watches, whatever other tests have started."""
    return make_namespace(prefix=OWN.rstrip("-"))


def test_a_new_object_shows_generation_minus_one(api: KubeClient, namespace: str) -> None:
    created = api.create(merged(JUDGED.base, {"metadata": {"namespace": namespace}}))
    assert created["status"] == {"observedGeneration": -1}
    assert api.get("ameide.io/v1", "Domain", "orders", namespace)["status"] == {"observedGeneration": -1}


FULL_STATUS: dict[str, Any] = {
    "observedGeneration": 3,
    "conditions": [
        {
            "type": "Ready",
            "status": "False",
            "observedGeneration": 3,
            "lastTransitionTime": "2026-01-31T12:00:00Z",
            "reason": "MigrationFailed",
            "message": "",
        }
    ],
    "blocker": {
        "reason": "MigrationFailed",
        "object": "Job shop/orders-migrate-3f2a",
        "message": "relation exists",
        "remedy": "mend it",
        "since": "2026-01-31T12:00:00Z",
        "retryAt": "2026-01-31T12:05:00Z",
    },
    "revision": {"current": "a", "target": "b"},
    "canary": {"revision": "c", "state": "Failed", "message": "m", "since": "2026-01-31T12:00:00Z"},
    "workload": {
        "name": "orders-domain",
        "image": "i",
        "imageDigest": "sha256:0",
        "desiredReplicas": 1,
        "readyReplicas": 0,
        "updatedReplicas": 0,
    },
    "endpoints": {"http": "http://orders-domain.shop.svc:8080", "grpc": "orders-domain.shop.svc:50051"},
    "children": [
        {"apiVersion": "v1", "kind": "Service", "namespace": "shop", "name": "s", "ready": True, "reason": "AsExpected"}
    ],
    "db": {
        "clusterRef": "cnpg/orders",
        "database": "orders",
        "schema": "orders",
        "secretName": "orders-domain-db",
        "migrationVersion": "7",
        "migratedImage": "i",
        "lastMigrationTime": "2026-01-31T12:00:00Z",
    },
}


def paths_of(value: Any, prefix: str = "") -> set[str]:
    if isinstance(value, Mapping):
        return {path for key, item in value.items() for path in paths_of(item, f"{prefix}.{key}")} or {prefix}
    if isinstance(value, list):
        return {path for item in value for path in paths_of(item, prefix + "[]")}
    return {prefix}


def schema_paths(schema: Mapping[str, Any], prefix: str = "") -> set[str]:
    if "properties" in schema:
        return {path for key, child in schema["properties"].items() for path in schema_paths(child, f"{prefix}.{key}")}
    if "items" in schema:
        return schema_paths(schema["items"], prefix + "[]")
    return {prefix}


def test_every_field_of_the_status_is_kept(api: KubeClient, namespace: str) -> None:
    status_schema = crd_of(Domain)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]
    missing = {path for path in schema_paths(status_schema) if path not in paths_of(FULL_STATUS)}
    assert missing <= {".conditions[]", ".children[]"}, "extend FULL_STATUS: it shall cover the whole schema"
    api.create(merged(JUDGED.base, {"metadata": {"namespace": namespace}}))
    written = api.patch_status("ameide.io/v1", "Domain", "orders", FULL_STATUS, namespace)
    assert written["status"] == FULL_STATUS
    assert (
        DomainStatus.model_validate(FULL_STATUS).model_dump(by_alias=True, exclude_none=True, mode="json")
        == FULL_STATUS
    )


CHANGES: list[Case] = [
    {"name": "another schema", "to": {"db": {"schema": "other"}}, "field": "spec.db.schema"},
    {"name": "another cluster", "to": {"db": {"clusterRef": "cnpg/other"}}, "field": "spec.db.clusterRef"},
    {"name": "a database appears", "to": {"db": {"database": "x"}}, "field": "spec.db.database"},
    {"name": "a role appears", "to": {"db": {"role": "x"}}, "field": "spec.db.role"},
    {"name": "another role", "from": {"db": {"role": "x"}}, "to": {"db": {"role": "y"}}, "field": "spec.db.role"},
    {"name": "the role goes", "from": {"db": {"role": "x"}}, "to": {"db": {"role": None}}, "field": "spec.db.role"},
    {
        "name": "another database",
        "from": {"db": {"database": "x"}},
        "to": {"db": {"database": "y"}},
        "field": "spec.db.database",
    },
    {
        "name": "the database goes",
        "from": {"db": {"database": "x"}},
        "to": {"db": {"database": None}},
        "field": "spec.db.database",
    },
    {"name": "db goes", "to": {"db": None}, "field": "spec.db"},
    {"name": "db appears", "from": {"db": None}, "to": {"db": JUDGED.base["spec"]["db"]}, "field": "spec.db"},
    {
        "name": "a fault of creation too",
        "to": {"rollout": {"strategy": "Recreate", "canary": True}},
        "field": "canary",
        "remedy": False,
    },
    {"name": "another image", "to": {"image": "ghcr.io/ameide/orders-domain:2"}, "field": ""},
    {"name": "another migrator", "to": {"db": {"migrationJobImage": "ghcr.io/ameide/migrator:2"}}, "field": ""},
    {"name": "data to be deleted", "to": {"db": {"deletionPolicy": "Delete"}}, "field": ""},
    {"name": "replicas", "from": {"replicas": 2}, "to": {"replicas": None}, "field": ""},
]


@cases(CHANGES)
def test_changes(api: KubeClient, namespace: str, case: Case) -> None:
    JUDGED.judge_change(api, namespace, case)


WORDS = "orders-domain|Job|PGHOST|postgres|public|pg_x|Delete|Retain|Skip"


@settings(
    max_examples=400, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(edits=JUDGED.edits(WORDS))
def test_both_verdicts_agree_on_what_chance_makes(api: KubeClient, edits: Edits) -> None:
    """And what both accept compiles to a Deployment that the API server accepts."""
    manifest = JUDGED.agree_on(api, edits)
    if manifest is not None:
        manifest["spec"].pop("db", None)
        for body in compiled(manifest).get(DEPLOYMENT, []):
            api.request("POST", DEPLOYMENT.path("default"), params=STRICT, body=body)
