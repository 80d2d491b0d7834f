"""The GitOps example: judged by Argo CD's own definitions, its values by the chart's schema, its resources by ours."""

import copy
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ameide_dev import crds, tools
from ameide_dev.client import InvalidError, KubeClient
from ameide_dev.operators import CHART
from ameide_dev.platform import Platform
from ameide_dev.release_images import OPERATORS, ROOT

GITOPS = ROOT / "examples" / "gitops"
ENVIRONMENTS = ("staging", "production")
ARGOCD = crds.Source("github.com/argoproj/argo-cd/v3", "v3.5.1", "manifests/crds", ())
REGISTRY = "ghcr.io/ameide/helm"

Manifest = dict[str, Any]


def documents(*files: Path) -> list[Manifest]:
    return [document for file in files for document in yaml.safe_load_all(file.read_text()) if document]


def applications(environment: str) -> dict[str, Manifest]:
    files = sorted((GITOPS / environment / "applications").glob("*.yaml"))
    return {item["metadata"]["name"]: item for item in documents(*files)}


def sources(application: Manifest) -> list[Manifest]:
    spec = application["spec"]
    return list(spec["sources"]) if "sources" in spec else [spec["source"]]


def of_chart(application: Manifest) -> Manifest:
    return next(source for source in sources(application) if "chart" in source)


def wave(application: Manifest) -> int:
    return int(application["metadata"]["annotations"]["argocd.argoproj.io/sync-wave"])


@pytest.fixture(scope="module")
def argocd(platform: Platform) -> Iterator[KubeClient]:
    """The platform with Argo CD's definitions, and a namespace for it."""
    folder = crds._module_folder(ARGOCD) / ARGOCD.folder
    definitions = documents(folder / "application-crd.yaml", folder / "appproject-crd.yaml")
    crds.install_objects(definitions, platform.client)
    platform.client.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "argocd"}})
    yield platform.client
    for definition in definitions:
        platform.client.delete(crds.API_VERSION, crds.KIND, definition["metadata"]["name"])


def judge(client: KubeClient, item: Manifest) -> None:
    """Have the API server judge an object without keeping it, unknown fields included."""
    resource = client.resource(item["apiVersion"], item["kind"])
    path = resource.path(item["metadata"].get("namespace"))
    client.request("POST", path, params={"dryRun": "All", "fieldValidation": "Strict"}, body=item)


@pytest.mark.platform
def test_argo_cd_knows_every_field(argocd: KubeClient) -> None:
    files = [GITOPS / "project.yaml", *GITOPS.glob("*/root.yaml"), *GITOPS.glob("*/applications/*.yaml")]
    items = documents(*sorted(files))
    assert [item["kind"] for item in items].count("Application") == 8
    for item in items:
        judge(argocd, item)
    misspelt = copy.deepcopy(applications("staging")["ameide-operators"])
    misspelt["spec"]["syncPolicy"]["automatic"] = misspelt["spec"]["syncPolicy"].pop("automated")
    with pytest.raises(Exception, match="automatic"):
        judge(argocd, misspelt)


@pytest.mark.platform
@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_a_teams_resources_are_valid(chart: Platform, environment: str) -> None:
    client = chart.client
    items = documents(*(GITOPS / environment / "shop").glob("*.yaml"))
    for item in items:
        if item["kind"] == "Namespace":
            client.apply(item)
        else:
            judge(client, item)
    domain = next(item for item in items if item["kind"] == "Domain")
    with pytest.raises(InvalidError):
        judge(client, {**domain, "spec": {**domain["spec"], "replicas": -1}})


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_versions_are_pinned_and_definitions_come_first(environment: str) -> None:
    found = applications(environment)
    waves = {name: wave(item) for name, item in found.items()}
    assert waves["ameide-definitions"] < waves["ameide-operators"] < waves["shop"]
    minors = {}
    for name in ("ameide-definitions", "ameide-operators"):
        source = of_chart(found[name])
        assert (source["repoURL"], source["chart"]) == (REGISTRY, CHART.name)
        version = re.fullmatch(r"(\d+)\.(\d+)\.\d+", source["targetRevision"])
        assert version, "a range of versions is no pin"
        minors[name] = int(version[1]), int(version[2])
    definitions, operators = minors["ameide-definitions"], minors["ameide-operators"]
    # What is promised: definitions of N with the operators N and N-1.
    assert definitions[0] == operators[0]
    assert definitions[1] - operators[1] in (0, 1)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_projects_allow_what_is_used(environment: str) -> None:
    project = documents(GITOPS / "project.yaml")[0]["spec"]
    for application in [*applications(environment).values(), *documents(GITOPS / environment / "root.yaml")]:
        assert application["spec"]["destination"] in project["destinations"]
        assert {source["repoURL"] for source in sources(application)} <= set(project["sourceRepos"])
        for source in sources(application):
            if "path" in source:
                assert list((ROOT / source["path"]).glob("*.yaml")), f"{source['path']} holds no manifests"
    allowed = {(entry["group"], entry["kind"]) for entry in project["clusterResourceWhitelist"]}
    names = applications(environment)
    for item in [*rendered(names["ameide-definitions"]), *rendered(names["ameide-operators"])]:
        if "namespace" not in item["metadata"]:
            assert (item["apiVersion"].rpartition("/")[0], item["kind"]) in allowed


def rendered(application: Manifest) -> list[Manifest]:
    """The chart's objects with an Application's values, as Argo CD has Helm render them. Fails on a bad value."""
    source = of_chart(application)
    helm = source["helm"]
    files = [str(ROOT / name.removeprefix("$values/")) for name in helm.get("valueFiles", ())]
    name, namespace = application["metadata"]["name"], application["spec"]["destination"]["namespace"]
    command = [str(tools.find("helm")), "template", helm.get("releaseName", name), str(CHART), "--namespace", namespace]
    # What a cluster with the Prometheus operator answers.
    apis = ("ServiceMonitor", "PodMonitor", "PrometheusRule")
    options = [f"--api-versions=monitoring.coreos.com/v1/{kind}" for kind in apis]
    options += [f"--values={file}" for file in files]
    result = subprocess.run(
        [*command, *options, "--values=-"],
        input=yaml.safe_dump(helm.get("valuesObject", {})),
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return [item for item in yaml.safe_load_all(result.stdout) if item]


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_values_pass_the_chart(environment: str) -> None:
    found = applications(environment)
    assert {item["kind"] for item in rendered(found["ameide-definitions"])} == {"CustomResourceDefinition"}
    operators = rendered(found["ameide-operators"])
    kinds = [item["kind"] for item in operators]
    assert "CustomResourceDefinition" not in kinds
    assert kinds.count("Deployment") == len(OPERATORS)


def test_one_operator_goes_ahead_in_production() -> None:
    deployments = [
        item for item in rendered(applications("production")["ameide-operators"]) if item["kind"] == "Deployment"
    ]
    ahead = [item["metadata"]["name"] for item in deployments if "@sha256:" in str(item["spec"]["template"]["spec"])]
    assert ahead == ["ameide-operators-process"]


def test_a_misspelt_value_is_refused(tmp_path: Path) -> None:
    application = copy.deepcopy(applications("staging")["ameide-operators"])
    bad = tmp_path / "values.yaml"
    bad.write_text("operators: {domian: {enabled: false}}\n")
    of_chart(application)["helm"]["valueFiles"].append(str(bad))
    with pytest.raises(AssertionError, match="domian"):
        rendered(application)
