"""`diff` and `explain` against a real API server, with the operator at work and without."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from databases import real
from domain_support import SUBJECT, Domains
from tenants import make_cluster

from ameide_dev.client import KubeClient
from ameide_dev.platform import Platform
from ameide_dev.testing.subject import OWN, metric
from ameide_shared.cli import program
from ameide_shared.cli.explanation import collect
from ameide_shared.cli.gather import with_client
from ameide_shared.kube.client import ApiClient
from ameide_shared.kube.resources import DOMAIN, ObjectKey
from ameide_shared.reconcile import utc_now
from domain_operator.main import DEFINITION, main
from domain_operator.settings import DomainSettings

KEYS = [
    "kind", "namespace", "name", "ready", "reason", "message", "source", "generation", "observedGeneration", "paused",
    "deleting", "blocker", "chain", "children", "events", "operator", "advice",
]  # fmt: skip

Run = Callable[..., Result]


@pytest.fixture
def run(chart: Platform) -> Run:
    """Run the program as the cluster's administrator; it may end by an exit code only."""

    def invoke(*arguments: str, manifest: Any = None, kubeconfig: Path | None = None) -> Result:
        environment = {"KUBECONFIG": str(kubeconfig or chart.kubeconfig), "AMEIDE_SETTINGS_FILE": None}
        text = None if manifest is None else yaml.safe_dump(manifest)
        result = CliRunner().invoke(main, list(arguments), input=text, env=environment)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    return invoke


@pytest.fixture
def alone(chart: Platform, kube: KubeClient, make_namespace: Callable[..., str]) -> Domains:
    """Domains in a namespace that no operator looks after."""
    return Domains(kube, make_namespace(OWN.rstrip("-")))


def headings(result: Result) -> list[str]:
    return [line for line in result.stdout.splitlines() if line.startswith(("--- ", "+++ "))]


# --- diff -------------------------------------------------------------------------------------------------------------


def test_diff_of_a_new_domain_makes_nothing(run: Run, alone: Domains) -> None:
    result = run("diff", "-f", "-", manifest=alone.manifest())
    assert result.exit_code == 1, result.stderr
    assert f"+++ Deployment {alone.namespace}/orders-domain (wanted: the workload)" in headings(result)
    assert set(headings(result)[::2]) == {"--- /dev/null (live)"}
    assert alone.child("apps/v1", "Deployment", "orders-domain") is None


def test_diff_tells_the_coming_change_and_is_empty_at_rest(run: Run, domains: Domains) -> None:
    env = [{"name": "GREETING", "value": "hello"}, {"name": "MOOD", "value": "good"}]
    domains.create(env=env)
    domains.ready()
    assert run("diff", "-f", "-", manifest=domains.manifest(env=env)).exit_code == 0

    change = domains.manifest(env=env[:1], image="ghcr.io/ameide/orders-domain:1.13.0")
    result = run("diff", "-f", "-", manifest=change)
    assert result.exit_code == 1, result.stderr
    deployment = result.stdout[result.stdout.index(f"--- Deployment {domains.namespace}/orders-domain") :]
    assert "-          image: ghcr.io/ameide/orders-domain:1.12.3\n" in deployment
    assert "+          image: ghcr.io/ameide/orders-domain:1.13.0\n" in deployment
    assert "-            - name: MOOD\n" in deployment, "what was made by POST and is no longer named goes too"
    gone = [line.split()[-2] for line in deployment.splitlines() if line.startswith("-  ")]
    assert sorted(set(gone)) == ["ameide.io/revision:", "app.kubernetes.io/version:", "image:", "name:", "value:"]

    domains.kube.merge_patch("ameide.io/v1", "Domain", "orders", {"spec": change["spec"]}, domains.namespace)
    domains.until("Ready")
    assert run("diff", "-f", "-", manifest=change).exit_code == 0, "what was told has come true"


def test_diff_of_a_rollback_raises_the_number_of_the_old_revision(run: Run, domains: Domains) -> None:
    domains.create()
    domains.ready()
    domains.patch(image="ghcr.io/ameide/orders-domain:1.13.0")
    domains.ready()
    result = run("diff", "-f", "-", manifest=domains.manifest())
    assert result.exit_code == 1, result.stderr
    revision, deployment = (part for part in result.stdout.split("--- ") if part)
    assert revision.startswith("ControllerRevision ")
    assert [line for line in revision.splitlines()[2:] if line[0] in "+-"] == ["-revision: 1", "+revision: 3"]
    assert "+          image: ghcr.io/ameide/orders-domain:1.12.3\n" in deployment


def test_diff_with_a_database_never_shows_values(run: Run, domains: Domains, cluster: str) -> None:
    name = domains.namespace.replace("-", "_")
    db = {
        "clusterRef": cluster,
        "schema": "orders",
        "database": f"d_{name}"[:63],
        "role": f"r_{name}"[:57],
        "migrationJobImage": "ghcr.io/ameide/hostnode-flyway-migrator:1.1.0",
    }
    spec = {"db": db, "image": "ghcr.io/ameide/hostnode-orders:1.1.0"}
    domains.create(**spec)
    domains.ready(timeout=60)
    assert run("diff", "-f", "-", manifest=domains.manifest(**spec)).exit_code == 0

    rotated = domains.manifest(**spec)
    rotated["metadata"]["annotations"] = {"ameide.io/rotate-password": "1"}
    result = run("diff", "-f", "-", manifest=rotated)
    assert result.exit_code == 1, result.stderr
    assert "+  password: <generated>" in result.stdout
    secret = domains.kube.get("v1", "Secret", "orders-domain-db", domains.namespace)
    for key in ("password", "uri"):
        assert base64.b64decode(secret["data"][key]).decode() not in result.stdout
        assert secret["data"][key] not in result.stdout


@pytest.mark.parametrize("provisioning", ["Database", "Job"])
def test_nothing_is_different_at_rest_with_a_cluster_in_the_same_namespace(
    run: Run, chart: Platform, domains: Domains, provisioning: str
) -> None:
    """What stands beside the Cluster bears other labels than children do, and is found there all the same."""
    make_cluster(domains.kube, "here", namespace=domains.namespace, enableSuperuserAccess=True)
    spec = {
        "image": "ghcr.io/ameide/hostnode-orders:1.1.0",
        "db": real(domains, "here", provisioning=provisioning, deletionPolicy="Delete"),
    }
    domains.create(**spec)
    domains.ready(timeout=60)
    result = run("diff", "-f", "-", manifest=domains.manifest(**spec))
    assert (result.stdout, result.stderr, result.exit_code) == ("", "", 0)
    computed = {c["type"]: c["reason"] for c in seen_by_explain(chart, domains)["conditions"]}
    assert (computed["Ready"], computed["DBReady"]) == ("AllResourcesHealthy", "DatabaseReady")


def seen_by_explain(chart: Platform, domains: Domains) -> Mapping[str, Any]:
    """The status that `explain` makes of what it reads, for where the operator has not written one yet."""
    statuses: list[Mapping[str, Any]] = []

    async def look(client: ApiClient, _namespace: str) -> int:
        key = ObjectKey(domains.namespace, domains.name)
        found = await collect(client, DEFINITION, key, DomainSettings(), utc_now())
        assert found is not None
        statuses.append(found.computed)
        return 0

    with_client(DEFINITION, str(chart.kubeconfig), None, look)
    return statuses[0]


def test_diff_of_what_cannot_change_is_trouble(run: Run, alone: Domains) -> None:
    db = {"clusterRef": "main", "schema": "orders", "migrationJobImage": "ghcr.io/ameide/migrator:1"}
    alone.create(db=db)
    result = run("diff", "-f", "-", manifest=alone.manifest(db={**db, "schema": "other"}))
    assert result.exit_code == 2
    assert "spec.db.schema: schema cannot change" in result.stderr


def test_diff_names_whose_object_is_in_the_way(run: Run, alone: Domains) -> None:
    metadata = {"name": "orders-domain", "namespace": alone.namespace}
    alone.kube.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})
    service = {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": [{"port": 80}]}}
    alone.kube.create(service)
    alone.create()
    result = run("diff", "-f", "-", manifest=alone.manifest())
    assert result.exit_code == 2
    assert f"Service {alone.namespace}/orders-domain exists and belongs to nobody that we know" in result.stderr


# --- explain ----------------------------------------------------------------------------------------------------------


def test_explain_ready(run: Run, domains: Domains) -> None:
    domains.create()
    domains.ready()
    result = run("explain", "orders", "-n", domains.namespace)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"Domain {domains.namespace}/orders is Ready: AllResourcesHealthy\n")
    told = json.loads(run("explain", "orders", "-n", domains.namespace, "-o", "json").stdout)
    assert list(told) == KEYS
    assert (told["ready"], told["source"], told["blocker"], told["chain"]) == (True, "status", None, [])
    assert told["events"], "Events of the Domain and its children are told"


def test_explain_a_crash_down_to_the_container(run: Run, domains: Domains) -> None:
    domains.create(image="ghcr.io/ameide/scenario-crash-loop:1")
    domains.until("Degraded", reason="DeploymentNotReady")
    result = run("explain", "orders", "-n", domains.namespace, "-o", "json")
    told = json.loads(result.stdout)
    assert (result.exit_code, told["ready"]) == (1, False)
    assert "fatal: cannot open configuration" in told["blocker"]["message"]
    assert told["blocker"]["remedy"]
    assert [stage["condition"] for stage in told["chain"]] == ["WorkloadReady"]
    child = next(child for child in told["children"] if child["kind"] == "Deployment")
    assert (child["reason"], child["ready"]) == ("CrashLoopBackOff", False)
    words = run("explain", "orders", "-n", domains.namespace).stdout
    assert f"to do: {told['blocker']['remedy'].replace('`', '')}" in words


def test_explain_without_an_operator(run: Run, alone: Domains) -> None:
    alone.create(db={"clusterRef": "nowhere", "schema": "orders", "migrationJobImage": "ghcr.io/ameide/migrator:1"})
    result = run("explain", "orders", "-n", alone.namespace, "-o", "json")
    told = json.loads(result.stdout)
    assert (result.exit_code, told["source"], told["ready"]) == (1, "plan", False)
    assert told["blocker"]["reason"] == "ClusterNotFound"
    assert told["advice"][0] == "the operator has not seen it yet"
    assert [stage["condition"] for stage in told["chain"]] == ["DBReady", "MigrationSucceeded", "WorkloadReady"]


def test_explain_of_nothing_is_trouble(run: Run, namespace: str) -> None:
    result = run("explain", "orders", "-n", namespace)
    assert result.exit_code == 2
    assert f"there is no Domain {namespace}/orders" in result.stderr


def test_explain_takes_the_namespace_from_the_name(run: Run, alone: Domains) -> None:
    alone.create()
    assert run("explain", f"{alone.namespace}/orders").exit_code == 1
    assert run("explain", f"{alone.namespace}/orders", "-n", "default").exit_code == 2


def test_without_the_crd_its_installation_is_told(chart: Platform, namespace: str) -> None:
    unknown = replace(DOMAIN, kind="Unheard", plural="unheards")
    without = program(replace(DEFINITION, resource=unknown))
    result = CliRunner().invoke(
        without, ["explain", "orders", "-n", namespace], env={"KUBECONFIG": str(chart.kubeconfig)}
    )
    assert result.exit_code == 2
    assert "the cluster does not know unheards.ameide.io; install the CRD: " in result.stderr


def test_explain_makes_do_with_few_rights(run: Run, chart: Platform, alone: Domains) -> None:
    alone.create()
    user = f"reader-{alone.namespace}"
    role = {"apiGroups": ["ameide.io"], "resources": ["domains"], "verbs": ["get"]}
    metadata = {"name": "reader", "namespace": alone.namespace}
    rbac = "rbac.authorization.k8s.io/v1"
    alone.kube.create({"apiVersion": rbac, "kind": "Role", "metadata": metadata, "rules": [role]})
    subject = {"kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io"}
    reference = {"kind": "Role", "name": "reader", "apiGroup": "rbac.authorization.k8s.io"}
    binding = {"apiVersion": rbac, "kind": "RoleBinding", "metadata": metadata, "roleRef": reference}
    alone.kube.create({**binding, "subjects": [subject]})
    kubeconfig = chart.control_plane.kubeconfig_for_user(user)
    result = run("explain", "orders", "-n", alone.namespace, "-o", "json", kubeconfig=kubeconfig)
    told = json.loads(result.stdout)
    assert (result.exit_code, told["reason"], told["operator"]["running"]) == (1, "NotSeen", None)
    assert "children could not be read" in told["advice"][-1]


# --- run --------------------------------------------------------------------------------------------------------------


def test_a_release_says_which_one_it_is(chart: Platform, tmp_path: Path) -> None:
    """In its first log line and in its metrics, as its image has told it."""
    with SUBJECT.process(chart, tmp_path, "own-nothing", AMEIDE_VERSION="1.4.0-rc.1") as process:
        assert metric(process, "ameide_build_info", controller="domain", version="1.4.0-rc.1") == 1
        first = json.loads(next(line for line in process.logs.splitlines() if line.startswith("{")))
    told = {key: first[key] for key in ("message", "operator", "version")}
    assert told == {"message": "starting", "operator": "domain-operator", "version": "1.4.0-rc.1"}
