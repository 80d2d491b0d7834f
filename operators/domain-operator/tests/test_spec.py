"""The typed Domain: what parse gives, what it says when it cannot, and the CRD that comes from it."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from ameide_shared.crd import crd_of, write_crd
from ameide_shared.spec import InvalidSpec
from domain_operator.spec import Domain

CRD_FOLDER = Path(__file__).parents[1] / "config" / "crd"


def manifest(name: str = "orders", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "ameide.io/v1",
        "kind": "Domain",
        "metadata": {"name": name, "namespace": "shop", "uid": "u-1", "generation": 3, "managedFields": [{}]},
        "spec": {"image": "ghcr.io/ameide/orders-domain:1.12.3", **spec},
        "status": {"written": "by another version"},
    }


def database(**fields: Any) -> dict[str, Any]:
    return {"clusterRef": "cnpg/main", "schema": "orders", "migrationJobImage": "ghcr.io/ameide/migrator:1", **fields}


def test_what_is_left_out_has_a_default() -> None:
    domain = Domain.parse(manifest())
    assert (domain.name, domain.namespace, domain.uid, domain.generation) == ("orders", "shop", "u-1", 3)
    assert not domain.deleting
    assert domain.spec.db is None
    assert domain.spec.rollout.strategy == "RollingUpdate"
    assert domain.spec.rollout.canary_ready_seconds == 60
    assert domain.spec.security.network_profile == "backend"
    assert domain.spec.observability.log_level == "info"
    assert domain.spec.resources.effective_requests == {}


def test_names_in_the_database_default_to_the_domain() -> None:
    domain = Domain.parse(manifest(db=database()))
    assert (domain.database, domain.role, domain.owner_role) == ("orders", "orders", "orders_owner")
    assert domain.cluster == ("cnpg", "main")


def test_names_in_the_database_can_be_given() -> None:
    domain = Domain.parse(manifest(db=database(database="shop", role="shop_orders", clusterRef="main")))
    assert (domain.database, domain.role, domain.owner_role) == ("shop", "shop_orders", "shop_orders_owner")
    assert domain.cluster == ("shop", "main"), "a cluster without a namespace is in the Domain's own"


@pytest.mark.parametrize(
    ("resources", "requests", "limits"),
    [
        ({"cpu": 1, "memory": "1Gi"}, {"cpu": "1", "memory": "1Gi"}, {"cpu": "1", "memory": "1Gi"}),
        ({"limits": {"memory": "1Gi", "cpu": 2}}, {}, {"cpu": "2", "memory": "1Gi"}),
        ({"requests": {"cpu": "250m"}, "limits": {"cpu": "1"}}, {"cpu": "250m"}, {"cpu": "1"}),
    ],
)
def test_resources(resources: dict[str, Any], requests: dict[str, str], limits: dict[str, str]) -> None:
    parsed = Domain.parse(manifest(resources=resources)).spec.resources
    assert (parsed.effective_requests, parsed.effective_limits) == (requests, limits)
    assert parsed.requests_cpu


def test_every_problem_is_named_at_once() -> None:
    bad = manifest(rollout={"strategy": "Recreate", "canary": True}, db=database(migrationJobImage=None))
    with pytest.raises(InvalidSpec) as caught:
        Domain.parse(bad)
    assert [problem.field for problem in caught.value.problems] == ["spec.db.migrations.command", "spec.rollout.canary"]
    assert "set spec.db.migrationJobImage" in str(caught.value)


def test_a_misspelt_field_gets_a_suggestion() -> None:
    with pytest.raises(InvalidSpec, match=re.escape("did you mean clusterRef?")):
        Domain.parse(manifest(db=database(clusteRef="x")))


def test_the_value_of_a_variable_is_never_repeated() -> None:
    with pytest.raises(InvalidSpec) as caught:
        Domain.parse(manifest(env=[{"name": "TOKEN", "value": 4711}, {"name": "B", "value": "hunter2" * 8000}]))
    assert "4711" not in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_domain_cannot_be_changed() -> None:
    domain = Domain.parse(manifest())
    with pytest.raises(ValueError, match="frozen"):
        domain.spec.image = "other"  # type: ignore[misc] # this is what must fail


def test_a_long_input_is_refused_quickly() -> None:
    """Patterns run in linear time on what the limits let through."""
    with pytest.raises(InvalidSpec):
        Domain.parse(manifest(image="a" * 511 + "!", podLabels={"a" * 400: "x"}, writablePaths=["/a" * 127 + ":"]))


def test_the_committed_crd_is_current() -> None:
    path, current = write_crd(Domain, CRD_FOLDER, check=True)
    assert current, f"{path} is not what the models say: run make generate"


def nodes(schema: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield path, schema
    for key, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{path}.{key}")
    for keyword in ("items", "additionalProperties"):
        if isinstance(schema.get(keyword), Mapping):
            yield from nodes(schema[keyword], f"{path}[]")


ROOT = crd_of(Domain)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
FIELDS = [(path, schema) for path, schema in nodes(ROOT) if path and not path.endswith("[]")]


def test_every_field_has_a_description() -> None:
    undescribed = [path for path, schema in FIELDS if not schema.get("description")]
    assert undescribed == [".metadata", ".metadata.name"], "the API server describes metadata itself"


def test_every_field_of_the_spec_is_bounded() -> None:
    """The API server estimates the cost of rules from these limits."""
    for path, schema in nodes(ROOT["properties"]["spec"], "spec"):
        kind = schema.get("type")
        if kind == "string" and "enum" not in schema:
            assert "maxLength" in schema, path
        if kind == "array":
            assert "maxItems" in schema, path
        if kind == "integer":
            assert {"minimum", "maximum"} <= schema.keys(), path
        if "additionalProperties" in schema:
            assert "maxProperties" in schema, path


def test_every_rule_says_what_to_do() -> None:
    for path, schema in nodes(ROOT, "root"):
        for entry in schema.get("x-kubernetes-validations", []):
            wrong, _, remedy = entry["message"].partition("; ")
            assert wrong, path
            assert remedy, path
            assert "\n" not in entry["message"]
            assert len(entry["message"]) < 2048


def test_the_status_sets_no_limits() -> None:
    """A status must never be refused, whatever length an error message has."""
    for path, schema in nodes(ROOT["properties"]["status"], "status"):
        limits = {"pattern", "maxLength", "maxItems", "maximum", "minimum", "x-kubernetes-validations"} & schema.keys()
        assert not limits, path
