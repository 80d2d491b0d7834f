"""One table of bad manifests, two judges: the offline check and the real API server must agree, and help."""

import copy
import json
import subprocess
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ameide_dev import tools
from ameide_dev.client import ApiError, KubeClient, condition_of
from ameide_dev.platform import Platform
from ameide_dev.testing.subject import OWN
from ameide_shared.check import check_manifest, check_text
from ameide_shared.crd import crd_of
from ameide_shared.kube.resources import DEPLOYMENT, JOB, ResourceType
from ameide_shared.plan import Ensure, EnsureSecret
from ameide_shared.snapshot import Snapshot
from ameide_shared.spec.documents import read_documents
from domain_operator.assumed import assumed
from domain_operator.observe import OPTIONAL_APIS
from domain_operator.observed import Observed
from domain_operator.plan import plan
from domain_operator.settings import DomainSettings
from domain_operator.spec import Domain, DomainStatus

HERE = Path(__file__).parent / "bad-manifests"
BASE: dict[str, Any] = yaml.safe_load((HERE / "base.yaml").read_text())
BAD = [case for name in ("common", "domain") for case in yaml.safe_load((HERE / f"{name}.yaml").read_text())]
GOOD = yaml.safe_load((HERE / "good.yaml").read_text())


def case_id(case: Mapping[str, Any]) -> str:
    return str(case["name"])


def patched(base: Any, patch: Any) -> Any:
    """RFC 7386: null takes a field away."""
    if not isinstance(patch, dict) or not isinstance(base, dict):
        return copy.deepcopy(patch)
    result = dict(base)
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict):
            result[key] = patched(result.get(key, {}), value)
        else:
            result[key] = copy.deepcopy(value)
    return result


def manifest_of(case: Mapping[str, Any]) -> Any:
    """The manifest of a case, read as kubectl would."""
    (document,) = read_documents(text_of(case))
    assert document.problem is None, document.problem
    return document.manifest


def text_of(case: Mapping[str, Any]) -> str:
    """The manifest of a case, as a user would hand it in."""
    manifest = patched(BASE, case["patch"])
    for path in case.get("nulls", ()):
        *parents, last = path.split(".")
        owner = manifest
        for part in parents:
            owner = owner[part]
        owner[last] = None
    return yaml.safe_dump(manifest, sort_keys=False, allow_unicode=True)


# --- offline ----------------------------------------------------------------------------------------------------


def test_the_table_is_large_and_its_names_are_unique() -> None:
    names = [case["name"] for case in BAD + GOOD]
    assert len(BAD) >= 60
    assert len(names) == len(set(names))


@pytest.mark.parametrize("case", BAD, ids=case_id)
def test_check_refuses(case: Mapping[str, Any]) -> None:
    report = check_text(text_of(case), [Domain])
    said = "\n".join(str(finding) for finding in report.findings)
    assert case["field"] in said
    for words in case.get("says", ()):
        assert words in said
    for finding in report.findings:
        assert finding.problem.remedy, f"no remedy: {finding}"


@pytest.mark.parametrize("case", GOOD, ids=case_id)
def test_check_accepts(case: Mapping[str, Any]) -> None:
    report = check_text(text_of(case), [Domain])
    assert [str(finding) for finding in report.findings] == []
    assert report.checked == 1


# --- the API server ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def api(kube: KubeClient) -> KubeClient:
    """A client of an API server that serves Domains as this tree defines them."""
    crd = crd_of(Domain)
    kube.apply(crd)
    kube.wait_for(
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        crd["metadata"]["name"],
        lambda found: (condition_of(found, "Established") or {}).get("status") == "True",
        timeout=30,
    )
    found = kube.get("apiextensions.k8s.io/v1", "CustomResourceDefinition", crd["metadata"]["name"])
    assert condition_of(found, "NonStructuralSchema") is None
    return kube


IDENTITY = {"namespace": "default", "uid": "0b7a1c5e-9f0b-4c39-9a70-6f2f4a2d7c11"}
SETTINGS = DomainSettings.model_validate({"network_profiles": {"backend": {}, "my-profile": {}}})
TENANT = {"ameide.io/tenant-id": "t123"}
COLLECTION = "/apis/ameide.io/v1/namespaces/default/domains"


STRICT = {"dryRun": "All", "fieldValidation": "Strict"}


def dry_run(api: KubeClient, manifest: Any) -> str:
    """What a strict API server says to a new object: its message, or nothing when it accepts."""
    try:
        api.request("POST", COLLECTION, params=STRICT, body=manifest)
    except ApiError as error:
        if error.status not in (400, 422):
            raise
        return error.message
    return ""


@pytest.mark.parametrize("case", BAD, ids=case_id)
def test_api_server_refuses(api: KubeClient, case: Mapping[str, Any]) -> None:
    said = dry_run(api, manifest_of(case))
    assert said, "accepted"
    assert case["field"].lower() in said.lower()
    for words in case.get("says", ()):
        assert words.lower() in said.lower()


def test_a_key_that_occurs_twice_is_refused_by_both(platform: Platform, api: KubeClient, tmp_path: Path) -> None:
    file = tmp_path / "twice.json"
    file.write_text(json.dumps(BASE)[:-1] + ', "spec": {"image": "other"}}')
    (finding,) = check_text(file.read_text(), [Domain]).findings
    assert "'spec' occurs twice" in finding.problem.message
    answer = subprocess.run(
        [tools.find("kubectl"), "create", f"--raw={COLLECTION}?dryRun=All&fieldValidation=Strict", f"-f={file}"],
        env={"KUBECONFIG": str(platform.kubeconfig)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert answer.returncode != 0
    assert 'duplicate field "spec"' in answer.stderr


@pytest.mark.parametrize("case", GOOD, ids=case_id)
def test_api_server_accepts(api: KubeClient, case: Mapping[str, Any]) -> None:
    assert dry_run(api, manifest_of(case)) == ""


def test_defaults_of_the_crd_are_those_of_the_model(api: KubeClient) -> None:
    """What the API server fills in, the model would have filled in itself: the operator sees the same either way."""
    for case in GOOD:
        manifest = manifest_of(case)
        manifest.pop("status", None)
        if "generateName" in manifest["metadata"]:
            continue
        stored = api.request("POST", COLLECTION, params=STRICT, body=manifest)
        assert Domain.parse(stored).spec == Domain.parse(manifest).spec


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
@pytest.mark.parametrize("case", GOOD, ids=case_id)
def test_what_is_accepted_compiles_to_what_is_accepted(api: KubeClient, case: Mapping[str, Any], stage: str) -> None:
    """No spec that the CRD lets through may fail later, as an object that the operator cannot write."""
    domain = manifest_of(case)
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
    created = api.create(patched(BASE, {"metadata": {"namespace": namespace}}))
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
    "revision": {"current": "a", "target": "b", "rejected": {"name": "c", "reason": "CanaryFailed", "message": "m"}},
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
        "role": "orders",
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
    api.create(patched(BASE, {"metadata": {"namespace": namespace}}))
    written = api.patch_status("ameide.io/v1", "Domain", "orders", FULL_STATUS, namespace)
    assert written["status"] == FULL_STATUS
    assert (
        DomainStatus.model_validate(FULL_STATUS).model_dump(by_alias=True, exclude_none=True, mode="json")
        == FULL_STATUS
    )


# --- changes ----------------------------------------------------------------------------------------------------

CHANGES: list[dict[str, Any]] = [
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
    {"name": "db appears", "from": {"db": None}, "to": {"db": BASE["spec"]["db"]}, "field": "spec.db"},
    {"name": "a fault of creation too", "to": {"rollout": {"strategy": "Recreate", "canary": True}}, "field": "canary"},
    {"name": "another image", "to": {"image": "ghcr.io/ameide/orders-domain:2"}, "field": ""},
    {"name": "another migrator", "to": {"db": {"migrationJobImage": "ghcr.io/ameide/migrator:2"}}, "field": ""},
    {"name": "data to be deleted", "to": {"db": {"deletionPolicy": "Delete"}}, "field": ""},
    {"name": "replicas", "from": {"replicas": 2}, "to": {"replicas": None}, "field": ""},
]


@pytest.mark.parametrize("change", CHANGES, ids=case_id)
def test_changes(api: KubeClient, namespace: str, change: Mapping[str, Any]) -> None:
    old = patched(BASE, {"metadata": {"namespace": namespace}, "spec": change.get("from", {})})
    new = patched(old, {"spec": change["to"]})
    offline = "; ".join(str(problem) for problem in check_manifest(new, Domain, old))
    api.create(old)
    try:
        api.merge_patch("ameide.io/v1", "Domain", "orders", {"spec": change["to"]}, namespace)
        online = ""
    except ApiError as error:
        online = error.message
    assert bool(offline) == bool(online) == bool(change["field"]), (offline, online)
    assert change["field"] in offline
    assert change["field"] in online
    if change["field"].startswith("spec.db"):
        assert "set it back" in offline
        assert "set it back" in online


# --- agreement on made-up manifests -----------------------------------------------------------------------------

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([-1, 0, 1, 2, 30, 600, 1000, 1001, 65536, 2**31, 0.5]),
    st.sampled_from(
        "|a|A|orders|orders-domain|http|grpc|none|None|Recreate|RollingUpdate|Job|0|0%|25%|500m|1Gi|1e3|.5|1.|Exists"
        "|Equal|NoExecute|latest|a/b|a.b|/tmp|/a/../b|x y|line\nbreak|a\n|ü|PGHOST|POD_X|postgres|public|pg_x"
        f"|DoNotSchedule|Delete|Retain|Skip|v1|metadata.uid|limits.cpu|{'x' * 58}|{'x' * 64}".split("|")
    ),
)
MAPS = st.dictionaries(
    st.sampled_from(["a", "cpu", "memory", "ameide.io/tier", "x/y", "-", "name"]), SCALARS, max_size=2
)
VALUES = st.one_of(SCALARS, MAPS, st.lists(st.one_of(SCALARS, MAPS), max_size=2))


def all_paths(schema: Mapping[str, Any], prefix: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every field of a schema, the first item of a list standing for all."""
    for key, child in schema.get("properties", {}).items():
        yield (*prefix, key)
        yield from all_paths(child, (*prefix, key))
    if "items" in schema:
        yield (*prefix, 0)
        yield from all_paths(schema["items"], (*prefix, 0))


SPEC_PATHS = sorted(
    all_paths(crd_of(Domain)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"], ("spec",)),
    key=str,
)


def put(manifest: dict[str, Any], path: tuple[str | int, ...], value: Any) -> None:
    """Set a field, making objects and lists on the way."""
    owner: Any = manifest
    for part, following in pairwise(path):
        wanted: Any = [] if isinstance(following, int) else {}
        if isinstance(part, int):
            if not owner:
                owner.append(wanted)
            if not isinstance(owner[0], type(wanted)):
                owner[0] = wanted
            owner = owner[0]
        else:
            if not isinstance(owner.get(part), type(wanted)):
                owner[part] = wanted
            owner = owner[part]
    last = path[-1]
    if isinstance(last, int):
        owner[:] = [value]
    else:
        owner[last] = value


@settings(
    max_examples=400, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(edits=st.lists(st.tuples(st.sampled_from(SPEC_PATHS), VALUES), min_size=1, max_size=3))
def test_both_verdicts_agree(api: KubeClient, edits: list[tuple[tuple[str | int, ...], Any]]) -> None:
    manifest = copy.deepcopy(BASE)
    for path, value in edits:
        put(manifest, path, copy.deepcopy(value))
    offline = [str(problem) for problem in check_manifest(manifest, Domain)]
    online = dry_run(api, manifest)
    assert bool(offline) == bool(online), f"check: {offline}\nAPI server: {online!r}\n{yaml.safe_dump(edits)}"
    if not online:
        manifest["spec"].pop("db", None)
        for body in compiled(manifest).get(DEPLOYMENT, []):
            api.request("POST", DEPLOYMENT.path("default"), params=STRICT, body=body)
