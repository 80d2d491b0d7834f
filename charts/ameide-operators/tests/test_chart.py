"""The chart, rendered by the real helm: golden renders, refused values, definitions, and the API server's verdict."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from ameide_dev import tools
from ameide_dev.chart_schema import with_settings
from ameide_shared.cli import Definition
from ameide_shared.settings import describe, load

CHART = Path(__file__).parents[1]
CASES = sorted((Path(__file__).parent / "render").glob("*.values.yaml"))
UPDATE_GOLDEN = bool(os.environ.get("UPDATE_GOLDEN"))


@cache
def _helm_path() -> str:
    return str(tools.find("helm"))


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run helm; the caller looks at its exit code."""
    return subprocess.run([_helm_path(), *arguments], capture_output=True, text=True, check=False)


def template(*arguments: str) -> str:
    """What the chart renders to, as text."""
    result = helm("template", "ameide-operators", str(CHART), "--namespace", "ameide-system", *arguments)
    assert result.returncode == 0, result.stderr
    return result.stdout


def objects(rendered: str) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(rendered) if document]


def definition_of(key: str) -> Definition:
    """What an operator is, by its key in the values."""
    definition: Definition = importlib.import_module(f"{key}_operator.main").DEFINITION
    return definition


def refusal(*arguments: str) -> str:
    """The error with which helm refuses to render."""
    result = helm("template", "ameide-operators", str(CHART), *arguments)
    assert result.returncode != 0, "these values were accepted"
    return result.stderr


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.name.removesuffix(".values.yaml"))
def test_golden_render(case: Path) -> None:
    """A reviewer sees what a change to the chart does as a diff; UPDATE_GOLDEN=1 rewrites the files."""
    golden = case.with_name(case.name.replace(".values.yaml", ".golden.yaml"))
    rendered = template("--values", str(case))
    if UPDATE_GOLDEN:
        golden.write_text(rendered)
    assert rendered == golden.read_text()


def test_lint() -> None:
    result = helm("lint", "--strict", str(CHART), *(f"--values={case}" for case in CASES[:1]))
    assert result.returncode == 0, result.stdout


REFUSED = {
    "a misspelt key": ("crds.enabld=true", "enabld"),
    "a misspelt key of an operator": ("operators.domain.replica=3", "replica"),
    "an operator that does not exist": ("operators.damain.enabled=true", "damain"),
    "a scope that does not exist": ("rbac.scope=world", "/rbac/scope"),
    "a digest that is none": ("operators.domain.image.digest=sha256:123", "/operators/domain/image/digest"),
    "an upper-case namespace": ("watch.namespaces={Orders}", "/watch/namespaces/0"),
    "too short a time to stop": ("defaults.terminationGracePeriodSeconds=1", "terminationGracePeriodSeconds"),
    "a budget that stops all draining": ("defaults.podDisruptionBudget.maxUnavailable=0", "maxUnavailable"),
    "namespaced rights for everything": ("rbac.scope=namespace", "watch.namespaces is empty: name the namespaces"),
    "namespaced rights for a glob": (
        "rbac.scope=namespace,watch.namespaces={team-*}",
        'the glob "team-*", but rbac.scope is namespace',
    ),
    "namespaced rights with exclusions": (
        "rbac.scope=namespace,watch.namespaces={a},watch.excludeNamespaces={b}",
        "excludeNamespaces needs to see all namespaces",
    ),
    "replicas without election": ("defaults.leaderElection.enabled=false", "2 replicas without leader election"),
    "an election that two can win": (
        "operators.agent.leaderElection.renewDeadline=20",
        "operators.agent.leaderElection: expected 1.2 times retryPeriod < renewDeadline < leaseDuration",
    ),
    "a setting that is the chart's": ("settings.http.port=1", "use the chart's own port"),
    "an election by settings": (
        "settings.leaderElection.leaseDuration=60",
        "use leaderElection of defaults or of an operator",
    ),
    "network profiles by settings": ("settings.networkProfiles.a.allowInternet=true", "use the value networkProfiles"),
    "a misspelt setting": ("settings.images.alowed={a}", "alowed"),
    "a setting of another type": ("settings.workers=many", "/settings/workers"),
    "a setting that not all operators have": ("settings.database.sslMode=require", "database"),
    "another operator's setting": ("operators.agent.settings.database.sslMode=require", "database"),
    "a misspelt setting of an operator": ("operators.domain.settings.database.sslmode=require", "sslmode"),
    "an operator's setting out of range": (
        "operators.process.settings.temporal.connections.default.address=nowhere",
        "/operators/process/settings/temporal/connections/default/address",
    ),
    "a profile with a misspelt part": ("networkProfiles.backend.ingres[0].peers[0].cidr=192.0.2.0/24", "ingres"),
    "a toleration with a misspelt part": ("defaults.tolerations[0].efect=NoSchedule", "efect"),
    "resources of no kind": ("operators.agent.resources.request.cpu=1", "request"),
    "a number as a name": ("operators.domain.priorityClassName=1", "/operators/domain/priorityClassName"),
    "a switch that is a word": ("operators.domain.enabled=maybe", "/operators/domain/enabled"),
    "other namespaces besides all": (
        "watch.referencedNamespaces={cnpg}",
        "watch.referencedNamespaces adds to the namespaces that watch.namespaces lists",
    ),
    "rights for everybody's account": (
        "operators.agent.serviceAccount.create=false",
        "its rights would go to the account default",
    ),
    "rights for two operators at once": (
        "operators.agent.serviceAccount.name=one,operators.domain.serviceAccount.name=one",
        "operators.agent and operators.domain share a ServiceAccount",
    ),
    "two monitors of an operator": (
        "operators.process.metrics.podMonitor.enabled=true,metrics.serviceMonitor.enabled=true",
        "both enabled for operators.process",
    ),
    "watching by settings": ("operators.domain.settings.watch.namespaces={a}", "use watch.namespaces"),
    "definitions alone, and not at all": ("crds.only=true,crds.enabled=false", "set one of the two"),
    "two monitors": (
        "metrics.serviceMonitor.enabled=true,metrics.podMonitor.enabled=true",
        "each pod would be counted twice",
    ),
    "alerts about nothing": ("alerts.enabled=true", "alerts.enabled needs the metrics of a monitor"),
    "a dashboard of nothing": ("dashboard.enabled=true", "dashboard.enabled needs the metrics of a monitor"),
    "an alert that there is not": ("alerts.disabled={AmeideMissing}", "AmeideMissing, which is no alert of this chart"),
    "an image policy without rules": ("admission.imagePolicy=true", "has no rules to go by"),
    "writers that are nobody": ("admission.specWriters.enabled=true", "enabled for nobody"),
    "a mount of no volume": (
        "operators.domain.volumeMounts[0].name=a,operators.domain.volumeMounts[0].mountPath=/a",
        "operators.domain.volumeMounts names the volume a",
    ),
    "a volume of the chart's name": ("defaults.volumes[0].name=tmp", "the name tmp is the chart's own"),
    "a variable that is the chart's": ("defaults.env[0].name=POD_NAME", "POD_NAME is set by the chart"),
    "a label by which pods are selected": (
        "defaults.podLabels.app\\.kubernetes\\.io/name=a",
        "selects its pods by app.kubernetes.io/name",
    ),
    "a runbook's address with a slash": ("alerts.runbookUrl=https://example.org/", "/alerts/runbookUrl"),
}


@pytest.mark.parametrize(("values", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_refused_values(values: str, words: str) -> None:
    assert words in refusal("--set", values)


def test_schema_is_one_and_knows_every_default() -> None:
    """Every value of values.yaml has its place in the schema, so that a new one cannot be forgotten there."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)

    def open_objects(node: Any, path: str) -> list[str]:
        if not isinstance(node, dict):
            return []
        closed = "properties" not in node or {"additionalProperties", "unevaluatedProperties"} & set(node)
        found = [] if closed else [path]
        return found + [hit for key, child in node.items() for hit in open_objects(child, f"{path}/{key}")]

    assert open_objects(schema, "") == []
    jsonschema.validate(yaml.safe_load((CHART / "values.yaml").read_text()), schema)


def test_definitions_are_rendered_as_generated() -> None:
    """The chart adds labels and the keep annotation to the generated definitions, and changes nothing else."""
    sources = {}
    for path in (CHART / "files" / "crds").glob("*.yaml"):
        document = yaml.safe_load(path.read_text())
        sources[document["metadata"]["name"]] = document
    rendered = [found for found in objects(template()) if found["kind"] == "CustomResourceDefinition"]
    assert {found["metadata"]["name"] for found in rendered} == set(sources)
    assert "domains.ameide.io" in sources
    for found in rendered:
        source = sources[found["metadata"]["name"]]
        assert found["spec"] == source["spec"]
        assert found["metadata"]["annotations"] == {
            **(source["metadata"].get("annotations") or {}),
            "helm.sh/resource-policy": "keep",
        }
    kept = [found["metadata"].get("annotations") or {} for found in objects(template("--set", "crds.keep=false"))]
    assert not any("helm.sh/resource-policy" in annotations for annotations in kept)


def test_a_release_of_the_definitions_alone() -> None:
    kinds = {found["kind"] for found in objects(template("--set", "crds.only=true"))}
    assert kinds == {"CustomResourceDefinition"}
    everything = template("--values", str(CASES[0]), "--set", "crds.only=true,crds.enabled=true,extraObjects=null")
    assert {found["kind"] for found in objects(everything)} == {"CustomResourceDefinition"}
    result = helm("install", "crds", str(CHART), "--dry-run=client", "--set", "crds.only=true", "--namespace", "crds")
    assert result.returncode == 0, result.stderr
    assert "nothing but the custom resource definitions" in result.stdout


EXAMPLES = sorted((CHART / "examples").glob("*.yaml"))


@pytest.mark.parametrize("values", EXAMPLES, ids=lambda path: path.stem)
def test_examples_are_accepted_and_each_is_what_it_says(values: Path) -> None:
    found = objects(template("--values", str(values)))
    replicas = {each["spec"]["replicas"] for each in found if each["kind"] == "Deployment"}
    assert replicas == {{"dev": 1, "staging": 2, "production": 3}[values.stem]}
    rules_found = [each for each in found if each["kind"] == "PrometheusRule"]
    assert bool(rules_found) is (values.stem != "dev")
    policies = [each["metadata"]["name"] for each in found if each["kind"] == "ValidatingAdmissionPolicy"]
    assert any(name.endswith("spec-writers") for name in policies) is (values.stem == "production")


def test_there_is_an_example_for_each_environment() -> None:
    assert [path.stem for path in EXAMPLES] == ["dev", "production", "staging"]


@pytest.mark.parametrize(
    ("values", "image", "secrets"),
    [
        ("image.registry=a.example", "a.example/ameide/domain-operator:0.1.0", []),
        ("global.imageRegistry=b.example,image.registry=a.example", "b.example/ameide/domain-operator:0.1.0", []),
        (
            "global.imageRegistry=b.example,operators.domain.image.registry=c.example",
            "c.example/ameide/domain-operator:0.1.0",
            [],
        ),
        (
            "image.pullSecrets={a},operators.domain.image.pullSecrets={c},global.imagePullSecrets={b,a}",
            "ghcr.io/ameide/domain-operator:0.1.0",
            ["a", "c", "b"],
        ),
        ("global.imagePullSecrets[0].name=b", "ghcr.io/ameide/domain-operator:0.1.0", ["b"]),
    ],
)
def test_where_images_come_from(values: str, image: str, secrets: list[str]) -> None:
    found = objects(template("--set", values))
    pods = [
        each["spec"]["template"]["spec"]
        for each in found
        if each["kind"] == "Deployment" and each["metadata"]["name"].endswith("-domain")
    ]
    assert pods[0]["containers"][0]["image"] == image
    assert [secret["name"] for secret in pods[0].get("imagePullSecrets", [])] == secrets


def test_an_operator_may_differ_in_everything() -> None:
    """Whatever `defaults`, `metrics` and `networkPolicy` say, an operator's own block comes before it."""
    found = objects(template("--values", str(next(case for case in CASES if case.name.startswith("everything")))))

    def one(kind: str, operator: str) -> list[dict[str, Any]]:
        return [each for each in found if each["kind"] == kind and each["metadata"]["name"] == f"ameide-{operator}"]

    def resources(operator: str) -> Any:
        return one("Deployment", operator)[0]["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]

    assert resources("process") == {"cpu": "300m", "memory": "256Mi"}
    assert resources("domain") == {"cpu": "200m", "memory": "256Mi"}
    assert [len(one("ServiceMonitor", key)) for key in ("domain", "process", "agent")] == [1, 0, 0]
    assert [len(one("PodMonitor", key)) for key in ("domain", "process", "agent")] == [0, 1, 0]
    assert one("NetworkPolicy", "agent") == []
    (policy,) = one("NetworkPolicy", "process")
    assert policy["spec"]["ingress"][0]["from"] == [{"podSelector": {"matchLabels": {"app": "own-prometheus"}}}]
    elections = {
        key: yaml.safe_load(one("ConfigMap", key)[0]["data"]["settings.yaml"])["leaderElection"]["retryPeriod"]
        for key in ("domain", "process")
    }
    assert elections == {"domain": 2, "process": 5}


def test_every_default_has_its_place_in_an_operators_block() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    overrides = set(schema["$defs"]["operator"]["properties"])
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert set(values["defaults"]) | {"metrics", "networkPolicy", "settings", "enabled", "image"} == overrides


def test_two_releases_make_the_whole() -> None:
    """The definitions by one release and all else by another are what one release is, and have nothing in common."""

    def names(*arguments: str) -> set[tuple[str, str, str]]:
        return {
            (each["kind"], each["metadata"].get("namespace", ""), each["metadata"]["name"])
            for each in objects(template(*arguments))
        }

    definitions, rest = names("--set", "crds.only=true"), names("--set", "crds.enabled=false")
    assert definitions | rest == names()
    assert definitions & rest == set()


def test_schema_has_every_setting() -> None:
    """Helm knows the settings of each operator as the operator reads them: `make generate` wrote them there."""
    text = (CHART / "values.schema.json").read_text()
    keys = yaml.safe_load((CHART / "values.yaml").read_text())["operators"]
    assert with_settings(text, {key: definition_of(key).settings for key in keys}) == text
    schema = json.loads(text)
    for key in keys:
        for setting in describe(definition_of(key).settings):
            node: Any = {"$ref": f"#/$defs/settings-{key}"}
            for part in setting.path.split("."):
                while "$ref" in node:
                    node = schema["$defs"][node["$ref"].removeprefix("#/$defs/")]
                node = node["properties"][part]
            assert node.get("description") == " ".join(setting.description.split())


def test_each_promise_of_the_readme_is_shown_by_a_test() -> None:
    """The table names tests that there are, and each test of a promise is where the project's tests are."""
    readme = (CHART / "README.md").read_text()
    table = readme.partition("## What shows it")[2].partition("\n`tests/render`")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ")][2:]
    assert len(rows) > 20
    root = CHART.parents[1]
    files = [*(CHART / "tests").glob("test_*.py"), *(root / "dev" / "tests").glob("test_*.py")]
    there = {name for file in files for name in re.findall(r"^def (test_\w+)", file.read_text(), flags=re.MULTILINE)}
    for row in rows:
        named = re.findall(r"`(test_\w+)`", row)
        assert named, row
        assert set(named) <= there, row


def test_notes_tell_the_next_step() -> None:
    def notes(*arguments: str) -> str:
        result = helm("install", "ameide-operators", str(CHART), "--dry-run=client", "-n", "ameide-system", *arguments)
        assert result.returncode == 0, result.stderr
        return result.stdout.partition("NOTES:")[2]

    plain = notes()
    assert "rollout status deployment/ameide-operators-agent deployment/ameide-operators-domain" in plain
    assert "settings.images.allowed" in plain
    assert "ConfigMap agent-policy" in plain
    told = notes("--set", "settings.images.allowed={ghcr.io/ameide/*}", "--set", "agentPolicy.text=a: b")
    assert "settings.images.allowed" not in told
    assert "ConfigMap agent-policy" not in told
    assert "argocd" in notes("--set", "admission.specWriters.enabled=true,admission.specWriters.users={argocd}")


def test_the_readme_tells_every_value() -> None:
    """`make generate` writes the table; this is that it is whole."""
    readme = (CHART / "README.md").read_text()

    def leaves(node: Any, path: str) -> list[str]:
        if not isinstance(node, dict) or not node:
            return [path]
        return [leaf for key, child in node.items() for leaf in leaves(child, f"{path}.{key}" if path else key)]

    told = set(re.findall(r"^\| `([^`]+)` \|", readme, flags=re.MULTILINE))
    for leaf in leaves(yaml.safe_load((CHART / "values.yaml").read_text()), ""):
        parts = leaf.split(".")
        assert told & {".".join(parts[:end]) for end in range(1, len(parts) + 1)}, f"{leaf}: run make generate"


def rules(found: list[dict[str, Any]], kind: str, namespace: str | None = None) -> set[tuple[str, str, str]]:
    """(group, resource, verb) that roles of a kind grant, named Leases apart."""
    return {
        (group, resource, verb)
        for role in found
        if role["kind"] == kind and role["metadata"].get("namespace") == namespace
        if not role["metadata"]["name"].endswith(("-view", "-edit", "-leader"))
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def test_namespaced_rights_are_narrow() -> None:
    """In namespace scope nothing is granted in the whole cluster, and of Namespaces only the own one can be read."""
    values = next(case for case in CASES if case.name.startswith("namespaced"))
    found = objects(template("--values", str(values)))
    assert not [each for each in found if each["kind"].startswith("ClusterRole")]
    for role in found:
        reads = [rule for rule in role.get("rules", ()) if "namespaces" in rule["resources"]]
        if role["kind"] == "Role" and role["metadata"]["namespace"] != "ameide-system":
            assert [(rule["resourceNames"], rule["verbs"]) for rule in reads] == [
                ([role["metadata"]["namespace"]], ["get"])
            ]
    assert ("postgresql.cnpg.io", "databases", "create") not in rules(found, "Role", "orders")
    assert ("apps", "deployments", "create") not in rules(found, "Role", "cnpg")
    together = rules(found, "Role", "sales")
    assert rules(found, "Role", "orders") | rules(found, "Role", "cnpg") == together
    written = {resource for _, resource, verb in rules(found, "Role", "cnpg") if verb not in ("get", "list", "watch")}
    assert written == {"secrets", "jobs", "databases", "databaseroles"}


@pytest.mark.parametrize("key", yaml.safe_load((CHART / "values.yaml").read_text())["operators"])
def test_an_operator_has_all_that_the_chart_needs_of_it(key: str) -> None:
    """Its block in values and schema, its file of rules, its definition, its place in the users' roles."""
    resource = definition_of(key).resource
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert key in schema["properties"]["operators"]["properties"]
    file = (CHART / "templates" / "rules" / f"_{key}.tpl").read_text()
    assert set(re.findall(r'define "ameide\.rules\.(\S+)"', file)) == {
        f"{key}.{each}" for each in ("cluster", "watched", "referenced", "outside")
    }
    assert (CHART / "files" / "crds" / f"{resource.plural}.{resource.group}.yaml").exists()
    found = objects(template("--set", f"operators.{key}.enabled=true"))
    users = [each for each in found if each["kind"] == "ClusterRole" and each["metadata"]["name"].endswith("-edit")]
    assert resource.plural in users[0]["rules"][0]["resources"]


def test_policy_of_agents_is_where_their_operator_reads_it() -> None:
    """Its ConfigMap is the chart's or somebody else's, may come later, and lies where settings say by default."""
    text = "version: policy.ameide.io/v1\nmodels: []\n"
    found = objects(template("--set-string", f"agentPolicy.text={text}"))
    made = [each for each in found if each["kind"] == "ConfigMap" and "policy.yaml" in each["data"]]
    assert [each["metadata"]["name"] for each in made] == ["agent-policy"]
    assert made[0]["data"]["policy.yaml"].strip() == text.strip()
    assert not [each for each in objects(template()) if "policy.yaml" in (each.get("data") or {})]
    (deployment,) = (
        each
        for each in objects(template("--set", "agentPolicy.configMap=ours"))
        if each["kind"] == "Deployment" and each["metadata"]["name"].endswith("-agent")
    )
    pod = deployment["spec"]["template"]["spec"]
    volume = next(each for each in pod["volumes"] if each["name"] == "settings")
    mount = next(each for each in pod["containers"][0]["volumeMounts"] if each["name"] == "settings")
    source = next(each["configMap"] for each in volume["projected"]["sources"] if each["configMap"]["name"] == "ours")
    assert source["optional"] is True
    file = Path(mount["mountPath"]) / source["items"][0]["path"]
    assert file == definition_of("agent").settings().policy.file  # type: ignore[attr-defined] # the Agent's own section


def test_agent_operator_writes_no_secrets() -> None:
    found = objects(template("--set", "operators.domain.enabled=false"))
    roles = [each for each in found if each["kind"] == "ClusterRole" and each["metadata"]["name"].endswith("-agent")]
    rights = {
        (resource, verb)
        for each in roles
        for rule in each["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert {verb for resource, verb in rights if resource == "secrets"} == {"get", "list", "watch"}
    assert ("pods", "create") not in rights


@pytest.mark.parametrize("values", CASES, ids=lambda path: path.name.removesuffix(".values.yaml"))
def test_no_wildcards_and_no_power_over_roles(values: Path) -> None:
    granted = {
        (group, resource, verb)
        for role in objects(template("--values", str(values)))
        if role["kind"] in ("Role", "ClusterRole")
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert not {right for right in granted if "*" in "".join(right)}
    assert not {right for right in granted if right[0] == "rbac.authorization.k8s.io"}
    assert not {verb for _, _, verb in granted} & {"escalate", "bind", "impersonate"}


@pytest.mark.parametrize("values", [*CASES, *EXAMPLES], ids=lambda path: path.name.removesuffix(".yaml"))
def test_rendered_settings_are_settings(values: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each operator reads the file that the chart writes for it."""
    found = objects(template("--values", str(values)))
    texts = {
        each["metadata"]["labels"]["app.kubernetes.io/name"].removesuffix("-operator"): each["data"]["settings.yaml"]
        for each in found
        if "settings.yaml" in each.get("data", {})
    }
    assert "domain" in texts
    for key, text in texts.items():
        (tmp_path / "settings.yaml").write_text(text)
        monkeypatch.setenv("AMEIDE_SETTINGS_FILE", str(tmp_path / "settings.yaml"))
        settings = load(definition_of(key).settings)
        assert settings.leader_election.namespace == "ameide-system"
        if values.name.startswith("everything"):
            assert settings.images.require_digest
            assert settings.watch.namespaces == ("team-*",)
            assert settings.images.refuse_latest is (key == "domain")  # said for that operator alone
