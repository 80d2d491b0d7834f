"""The subcommands that need no cluster, by example: each `*.in.yaml` renders to the `*.out.yaml` beside it.

`UPDATE_GOLDEN=1 pytest …` writes the outputs anew; read the difference before you commit it.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from ameide_shared.cli.inputs import wanted
from ameide_shared.cli.render import surroundings
from ameide_shared.cli.simulate import Simulation, simulate
from ameide_shared.kube.resources import CNPG_CLUSTER, JOB, SECRET, key_of, resource_of
from ameide_shared.reasons import Reason
from ameide_shared.reconcile import ready_of
from ameide_shared.stages import first_blocker
from domain_operator.main import DEFINITION, main
from domain_operator.settings import DomainSettings

GOLDEN = Path(__file__).parent / "test_cli_golden"
RENDERED = sorted(GOLDEN.glob("*.in.yaml"))
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
NO_FILE = {"AMEIDE_SETTINGS_FILE": None}


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AMEIDE_")]:
        monkeypatch.delenv(name)


def run(*arguments: str | Path, text: str | None = None, **environment: str) -> Result:
    """Run the program; whatever ends it must be an exit code, never a traceback."""
    result = CliRunner().invoke(main, [str(a) for a in arguments], input=text, env={**NO_FILE, **environment})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def golden(path: Path, text: str) -> None:
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == text


def case(name: str) -> Path:
    return GOLDEN / f"{name}.in.yaml"


# --- render ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", RENDERED, ids=lambda path: path.name.removesuffix(".in.yaml"))
def test_render_shows_all_children(path: Path) -> None:
    result = run("render", "-f", path)
    assert (result.exit_code, result.stderr) == (0, "")
    golden(path.with_name(path.name.replace(".in.", ".out.")), result.stdout)


@pytest.mark.parametrize("path", RENDERED, ids=lambda path: path.name.removesuffix(".in.yaml"))
def test_render_is_valid_yaml_without_values_of_secrets(path: Path) -> None:
    documents = [d for d in yaml.safe_load_all(run("render", "-f", path).stdout) if d]
    assert len({(d["kind"], d["metadata"]["namespace"], d["metadata"]["name"]) for d in documents}) == len(documents)
    for document in documents:
        assert "data" not in document or document["kind"] != "Secret"
        for value in (document.get("stringData") or {}).values():
            assert re.fullmatch(r"<redacted sha256:[0-9a-f]{8}>|<generated>|<from Secret .+>|<composed with .+>", value)


def test_render_says_what_the_operator_would_refuse() -> None:
    result = run("render", "-f", case("plain"), AMEIDE_IMAGES__ALLOWED="registry.example")
    assert result.exit_code == 1
    assert result.stderr.startswith("Domain shop/orders does not get Ready: ImageNotAllowed: spec.image: ")


def test_render_with_observed_objects_shows_the_plan_for_now(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    seen.mkdir()
    text = run("render", "-f", case("plain")).stdout.replace(
        "ghcr.io/ameide/orders-domain:1.12.3", "ghcr.io/ameide/o:1"
    )
    namespace = "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {ameide.io/tenant-id: t1}}\n"
    (seen / "children.yaml").write_text(namespace + text)
    result = run("render", "-f", case("plain"), "--observed", seen)
    assert result.exit_code == 0
    assert "# 1. ensure ServiceAccount shop/orders-domain: identity of the pods\n# is there, as wanted" in result.stdout
    assert "# changes spec.template.spec.containers[name=domain].image: ghcr.io/ameide/o:1 should be" in result.stdout


def test_render_of_the_next_step_stops_where_the_operator_would() -> None:
    result = run("render", "-f", case("database"), "--stage", "next")
    assert result.exit_code == 0
    kinds = [document["kind"] for document in yaml.safe_load_all(result.stdout) if document]
    assert kinds.count("Job") == 1  # that looks whether the names are free
    assert not {"DatabaseRole", "Deployment"} & set(kinds)
    assert "DBReady: progressing, DatabaseProvisioning" in result.stdout


def test_render_with_nothing_observed_waits_for_the_namespace(tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text("apiVersion: example.org/v1\nkind: Thing\nmetadata: {name: x}\n")
    result = run("render", "-f", case("plain"), "--observed", tmp_path)
    assert "Accepted: stalled, TenantLabelMissing" in result.stdout
    assert "example.org/v1 Thing is not a kind" in result.stderr


def test_objects_in_the_same_file_count() -> None:
    text = case("database").read_text() + (
        "---\napiVersion: postgresql.cnpg.io/v1\nkind: Cluster\nmetadata: {name: main, namespace: data}\n"
        "spec: {bootstrap: {initdb: {database: orders}}}\n"
    )
    result = run("render", "-f", "-", text=text)
    assert result.exit_code == 1
    assert "DatabaseNameTaken" in result.stderr


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "holds no Domain"),
        ("kind: [", "is not readable as YAML"),
        ("just text", "is not a Kubernetes object with metadata"),
        ("apiVersion: ameide.io/v1\nkind: Domain\nmetadata: {name: a}\nspec: {}\n", "spec.image: is required"),
    ],
)
def test_what_cannot_be_rendered_is_told_without_a_traceback(text: str, told: str) -> None:
    result = run("render", "-f", "-", text=text)
    assert result.exit_code == 2
    assert told in result.stderr


def test_namespace_is_for_manifests_that_name_none() -> None:
    manifest = "apiVersion: ameide.io/v1\nkind: Domain\nmetadata: {name: a}\nspec: {image: a/b:1}\n"
    assert "Domain team/a: " in run("render", "-f", "-", "-n", "team", text=manifest).stdout
    assert run("render", "-f", case("plain"), "-n", "team").exit_code == 2


# --- the simulation ---------------------------------------------------------------------------------------------------


def simulated(path: Path) -> Iterator[tuple[Any, list[Any], Simulation]]:
    given = wanted(DEFINITION, [str(path)])
    for manifest in given.resources:
        objects = surroundings(DEFINITION, manifest, given.others, "t1")
        yield manifest, objects, simulate(DEFINITION, manifest, objects, DomainSettings(), NOW)


@pytest.mark.parametrize("path", RENDERED, ids=lambda path: path.name.removesuffix(".in.yaml"))
def test_every_example_gets_ready_and_then_rests(path: Path) -> None:
    for _, _, end in simulated(path):
        assert first_blocker(end.plan.stages) is None
        ready = ready_of(end.resource["status"])
        assert ready is not None
        assert ready["status"] == "True"
        again = simulate(DEFINITION, end.resource, end.objects, DomainSettings(), NOW)
        assert len(again.plans) == 1, "a resource at rest asks for nothing"
        assert again.removed == ()
        assert {key_of(o) for o in again.objects} == {key_of(o) for o in end.objects}


def test_a_failed_migration_stays_failed() -> None:
    manifest, _, end = next(simulated(case("database")))
    failed = [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}]
    objects = [o for o in end.objects if o["kind"] not in ("Deployment", "ControllerRevision")]
    objects = [{**o, "status": {"conditions": failed}} if resource_of(o) is JOB else o for o in objects]
    again = simulate(DEFINITION, manifest, objects, DomainSettings(), NOW)
    blocker = first_blocker(again.plan.stages)
    assert blocker is not None
    assert blocker.reason is Reason.MigrationFailed
    assert not [action for action in again.wanted if action.resource.kind == "Deployment"]


def test_a_cluster_that_is_not_ready_holds_everything_up() -> None:
    manifest, objects, _ = next(simulated(case("database")))
    objects = [{**o, "status": {}} if resource_of(o) is CNPG_CLUSTER else o for o in objects]
    end = simulate(DEFINITION, manifest, objects, DomainSettings(), NOW)
    blocker = first_blocker(end.plan.stages)
    assert blocker is not None
    assert blocker.reason is Reason.ClusterNotReady
    assert not [action for action in end.wanted if action.resource is SECRET]


# --- check ------------------------------------------------------------------------------------------------------------


def test_check_names_file_line_field_and_remedy() -> None:
    bad = GOLDEN / "bad.check.yaml"
    result = run("check", "-f", bad, AMEIDE_IMAGES__REFUSE_LATEST="true")
    assert result.exit_code == 1
    golden(GOLDEN / "bad.check.txt", result.stdout.replace(f"{GOLDEN}/", ""))
    answer = run("check", "-f", bad, "-o", "json", AMEIDE_IMAGES__REFUSE_LATEST="true").stdout
    golden(GOLDEN / "bad.check.json", answer.replace(f"{GOLDEN}/", ""))
    assert not json.loads(answer)["ok"]


def test_check_without_policies_knows_only_the_schema() -> None:
    bad = GOLDEN / "bad.check.yaml"
    reasons = {finding["reason"] for finding in json.loads(run("check", "-f", bad, "-o", "json").stdout)["findings"]}
    assert reasons == {"InvalidSpec"}
    findings = json.loads(run("check", "-f", bad, "-o", "json", "--no-policies").stdout)["findings"]
    assert [finding["object"] for finding in findings] == ["Domain shop/misspelt"] * 2


def test_check_and_status_tell_the_same_at_once() -> None:
    """Who mends what the check names has mended what the operator would refuse, and the other way round."""
    refused = {"AMEIDE_IMAGES__ALLOWED": "registry.example", "AMEIDE_IMAGES__REQUIRE_DIGEST": "true"}
    spec = {"image": "ghcr.io/a/b:1", "security": {"networkProfile": "nonesuch"}}
    manifest = {"apiVersion": "ameide.io/v1", "kind": "Domain", "metadata": {"name": "orders"}, "spec": spec}
    text = yaml.safe_dump(manifest)
    findings = json.loads(run("check", "-f", "-", "-o", "json", text=text, **refused).stdout)["findings"]
    assert [(found["field"], found["reason"]) for found in findings] == [
        ("spec.image", "ImageNotAllowed"),
        ("spec.image", "ImageNotAllowed"),
        ("spec.security.networkProfile", "InvalidSpec"),
    ]
    told = run("render", "-f", "-", text=text, **refused).stderr
    for found in findings:
        assert f"{found['field']}: {found['message']}" in told
        assert found["remedy"] in told


def test_check_takes_settings_from_a_file(tmp_path: Path) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text("images: {requireDigest: true}\n")
    result = run("check", "-f", case("plain"), "--settings", settings)
    assert result.exit_code == 1
    assert "is not pinned by a digest" in result.stdout
    settings.write_text("images: {requireDigests: true}\n")
    result = run("check", "-f", case("plain"), "--settings", settings)
    assert result.exit_code == 2
    assert "images.requireDigests" in result.stderr


def test_check_of_good_manifests_is_quiet_and_succeeds() -> None:
    result = run("check", *(argument for path in RENDERED for argument in ("-f", path)))
    assert (result.exit_code, result.stdout) == (0, f"{len(RENDERED)} checked: no problems\n")


def test_check_of_a_file_that_is_not_there_is_trouble() -> None:
    result = run("check", "-f", "/nowhere/at/all.yaml")
    assert (result.exit_code, result.stderr) == (2, "Error: /nowhere/at/all.yaml: No such file or directory\n")


@pytest.mark.parametrize(
    ("text", "code", "told"),
    [
        ("- a\n", 1, "document: is not an object"),
        ("just text\n", 1, "document: is not an object"),
        ("apiVersion: v1\nkind: List\nitems: [1]\n", 1, "is not an object"),
        ("apiVersion: v1\nkind: List\nitems: 3\n", 0, "0 checked, 1 of other kinds skipped"),
    ],
)
def test_check_of_what_is_no_object_is_told_without_a_traceback(text: str, code: int, told: str) -> None:
    result = run("check", "-f", "-", text=text)
    assert (result.exit_code, result.stderr) == (code, "")
    assert told in result.stdout


# --- the rest ---------------------------------------------------------------------------------------------------------


def test_crd_is_the_committed_one() -> None:
    committed = Path(__file__).parents[1] / "config" / "crd" / "domains.ameide.io.yaml"
    assert run("crd").stdout == committed.read_text(encoding="utf-8")


def test_every_subcommand_has_help() -> None:
    listed = run("--help").stdout
    for name in main.commands:
        assert name in listed
        assert run(name, "--help").exit_code == 0
    assert "AMEIDE_DATABASE__CLIENT_IMAGE" in run("run", "--help").stdout
    assert "AMEIDE_DATABASE__CLIENT_IMAGE" in run("settings").stdout


@pytest.mark.parametrize("arguments", [("run",), ("explain", "orders"), ("diff", "-f", str(case("plain")))])
def test_without_a_cluster_the_way_to_one_is_told(arguments: tuple[str, ...], tmp_path: Path) -> None:
    nowhere = {"KUBECONFIG": str(tmp_path / "none"), "KUBERNETES_SERVICE_HOST": ""}
    result = run(*arguments, **nowhere)
    assert result.exit_code == 2
    assert "set KUBECONFIG or pass --kubeconfig" in result.stderr


def test_run_warns_of_variables_that_nothing_reads(tmp_path: Path) -> None:
    result = run("run", KUBECONFIG=str(tmp_path / "none"), AMEIDE_LOGLEVEL="debug")
    assert "warning: AMEIDE_LOGLEVEL is not a setting" in result.stderr
