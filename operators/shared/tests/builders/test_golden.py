"""Builders, by example: each `*.in.yaml` compiles to the `*.out.yaml` beside it, and the API server accepts that.

`UPDATE_GOLDEN=1 pytest …` writes the outputs anew; read the difference before you commit it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import Field

from ameide_dev.client import ForbiddenError, KubeClient
from ameide_shared.builders.configmap import config_map
from ameide_shared.builders.deployment import deployment
from ameide_shared.builders.hpa import hpa
from ameide_shared.builders.identity import Primitive
from ameide_shared.builders.job import job
from ameide_shared.builders.networkpolicy import (
    database_egress,
    endpoint_egress,
    network_policy,
    parse_profiles,
    primitive_egress,
)
from ameide_shared.builders.pdb import pdb, wants_pdb
from ameide_shared.builders.pod import (
    BACKEND,
    FRONTEND,
    Extras,
    NoDefaults,
    job_template,
    one_shot_container,
    one_shot_template,
    pod_template,
)
from ameide_shared.builders.service import endpoints, service
from ameide_shared.builders.serviceaccount import service_account, service_account_name
from ameide_shared.builders.servicemonitor import service_monitor
from ameide_shared.kube.differ import differences
from ameide_shared.revisions import controller_revision, stamp
from ameide_shared.spec.common import CommonSpec
from ameide_shared.spec.rollout import Rollout

GOLDEN = Path(__file__).parent / "golden"
CASES = sorted(GOLDEN.glob("*/*.in.yaml"))
UID = "6f1c2d34-0000-4000-8000-0123456789ab"

Case = Mapping[str, Any]
Manifest = dict[str, Any]


class Spec(CommonSpec):
    """The fields that all kinds have, and the rollout of most."""

    rollout: Rollout = Field(default=Rollout())


def primitive_of(case: Case) -> Primitive:
    return Primitive(
        **{"kind": "Domain", "name": "orders", "namespace": "shop", "uid": UID, "tenant_id": "t123"}
        | case.get("primitive", {})
    )


def spec_of(case: Case) -> Spec:
    return Spec.model_validate({"image": "ghcr.io/ameide/orders-domain:1.12.3"} | case.get("spec", {}))


def template_of(case: Case) -> Manifest:
    arguments = dict(case.get("template", {}))
    extras = Extras(**arguments.pop("extras", {}))
    defaults = NoDefaults(**arguments.pop("defaults", {}))
    profile = FRONTEND if case.get("primitive", {}).get("kind") == "UISurface" else BACKEND
    template = pod_template(
        primitive_of(case), spec_of(case), profile=profile, defaults=defaults, extras=extras, **arguments
    )
    return stamp(template)[0]


def build_deployment(case: Case) -> Manifest:
    arguments = {"replicas": 1} | case.get("arguments", {})
    return deployment(primitive_of(case), template_of(case), spec=spec_of(case), **arguments)


def build_job(case: Case) -> Manifest:
    primitive, spec = primitive_of(case), spec_of(case)
    template_arguments = dict(case.get("template", {}))
    init = [one_shot_container(**container) for container in template_arguments.pop("init", ())]
    extras = Extras(**template_arguments.pop("extras", {}), init_containers=init)
    template = job_template(primitive, spec, extras=extras, **template_arguments)
    return job(primitive, template=template, **case["arguments"])


def build_foreign_job(case: Case) -> Manifest:
    primitive = primitive_of(case)
    return job(primitive, template=one_shot_template(primitive, **case["template"]), **case["arguments"])


def build_network_policy(case: Case) -> Manifest:
    arguments = dict(case.get("arguments", {}))
    profile = parse_profiles(arguments.get("profiles"))[arguments.get("profile", "backend")]
    extra = [database_egress(*arguments["database"])] if "database" in arguments else []
    extra += [primitive_egress(*dependency) for dependency in arguments.get("dependencies", ())]
    if "telemetry" in arguments:
        rule = endpoint_egress(arguments["telemetry"], primitive_of(case).namespace)
        extra += [rule] if rule else []
    return network_policy(primitive_of(case), profile, [8080, 50051], extra_egress=extra)


def build_service(case: Case) -> Manifest:
    profile = FRONTEND if case.get("primitive", {}).get("kind") == "UISurface" else BACKEND
    return service(primitive_of(case), profile)


def build_service_account(case: Case) -> Manifest:
    return service_account(primitive_of(case), service_account_name(primitive_of(case), spec_of(case)))


def build_pdb(case: Case) -> Manifest:
    assert wants_pdb(spec_of(case))
    return pdb(primitive_of(case))


BUILDERS: dict[str, Callable[[Case], Manifest]] = {
    "deployment": build_deployment,
    "job": build_job,
    "foreign-job": build_foreign_job,
    "networkpolicy": build_network_policy,
    "service": build_service,
    "serviceaccount": build_service_account,
    "hpa": lambda case: hpa(primitive_of(case), spec_of(case)),
    "pdb": build_pdb,
    "servicemonitor": lambda case: service_monitor(primitive_of(case), **case.get("arguments", {})),
    "configmap": lambda case: config_map(primitive_of(case), **case["arguments"]),
    "controllerrevision": lambda case: controller_revision(
        primitive_of(case), template_of(case), **case.get("arguments", {})
    ),
}


class Plain(yaml.SafeDumper):
    """YAML as people write it, without anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def out_of(path: Path) -> Path:
    return path.with_name(path.name.replace(".in.yaml", ".out.yaml"))


def name_of(path: Path) -> str:
    return f"{path.parent.name}/{path.name.removesuffix('.in.yaml')}"


@pytest.mark.parametrize("path", CASES, ids=name_of)
def test_builds_as_recorded(path: Path) -> None:
    case = load(path)
    built = BUILDERS[path.parent.name](case)
    text = yaml.dump(built, Dumper=Plain, sort_keys=False, width=120)
    if os.environ.get("UPDATE_GOLDEN"):
        out_of(path).write_text(text)
    assert yaml.safe_load(text) == load(out_of(path)), f"{case['reason']}; UPDATE_GOLDEN=1 records the new output"
    assert BUILDERS[path.parent.name](case) == built, "building again gives the same"


def test_every_builder_has_examples_and_every_output_an_input() -> None:
    assert {path.parent.name for path in CASES} == BUILDERS.keys()
    assert {out_of(path) for path in CASES} == set(GOLDEN.glob("*/*.out.yaml"))


def test_nothing_empty_is_sent() -> None:
    """Empty maps, lists and texts are dropped by the server, and would show as differences for ever."""
    allowed = {"emptyDir", "namespaceSelector", "podSelector"}  # where empty has a meaning

    def look(value: Any, where: str) -> list[str]:
        if isinstance(value, Mapping):
            pairs = list(value.items())
        elif isinstance(value, list):
            pairs = [(str(index), item) for index, item in enumerate(value)]
        else:
            return []
        empty = [f"{where}.{key}" for key, item in pairs if item in ({}, [], "", None) and key not in allowed]
        return empty + [found for key, item in pairs for found in look(item, f"{where}.{key}")]

    assert [found for path in CASES for found in look(load(out_of(path)), name_of(path))] == []


@pytest.fixture(scope="module")
def restricted(platform: object, kube: KubeClient) -> Any:
    """A namespace whose pods must meet the restricted standard; it is gone after the tests."""
    labels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
    name = f"builders-{os.getpid()}"
    kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    yield name
    kube.delete("v1", "Namespace", name)


def dry_run(kube: KubeClient, manifest: Manifest, namespace: str) -> Manifest:
    """Create without creating: every default, validation and admission runs; unknown fields are errors."""
    manifest = {**manifest, "metadata": {**manifest["metadata"], "namespace": namespace}}
    resource = kube.resource(manifest["apiVersion"], manifest["kind"])
    query = {"dryRun": "All", "fieldValidation": "Strict"}
    return kube.request("POST", resource.path(namespace), body=manifest, params=query)


@pytest.mark.parametrize("path", CASES, ids=name_of)
def test_the_api_server_accepts_it(path: Path, kube: KubeClient, restricted: str) -> None:
    manifest = load(out_of(path))
    manifest["metadata"]["namespace"] = restricted
    made = dry_run(kube, manifest, restricted)
    assert differences(manifest, made) == [], "what the server fills in must not look like drift"
    template = (manifest.get("spec") or {}).get("template")
    if template is None:
        return
    # Admission of the restricted standard happens on pods.
    dry_run(kube, pod_of(template), restricted)


def pod_of(template: Mapping[str, Any]) -> Manifest:
    """A pod as the Deployment or Job would make it, but for its ServiceAccount, which does not exist here."""
    spec = {**template["spec"], "serviceAccountName": "default"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {**template["metadata"], "name": "probe"}, "spec": spec}


def test_that_namespace_refuses_what_is_not_restricted(kube: KubeClient, restricted: str) -> None:
    template = load(GOLDEN / "deployment" / "minimal.out.yaml")["spec"]["template"]
    template["spec"]["securityContext"] = {}
    with pytest.raises(ForbiddenError, match=r'violates PodSecurity "restricted:latest".*runAsNonRoot'):
        dry_run(kube, pod_of(template), restricted)


def test_endpoints_name_the_service() -> None:
    primitive = primitive_of({})
    assert endpoints(primitive) == {
        "http": "http://orders-domain.shop.svc:8080",
        "grpc": "orders-domain.shop.svc:50051",
    }
