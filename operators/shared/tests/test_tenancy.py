"""Borders between tenants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from ameide_shared.builders.identity import Primitive, child_metadata
from ameide_shared.reasons import Reason
from ameide_shared.tenancy import reference_problem, service_account_problem, tenant_of, tenant_problem

ORDERS = Primitive("Domain", "orders", "shop", "uid-1")


@dataclass(frozen=True)
class Grant:
    source: str
    target: str


def cluster(annotation: str | None = None) -> dict[str, Any]:
    annotations = {} if annotation is None else {"ameide.io/allowed-namespaces": annotation}
    return {"kind": "Cluster", "metadata": {"namespace": "cnpg", "name": "main", "annotations": annotations}}


def namespace(tenant: str | None) -> dict[str, Any]:
    labels = {} if tenant is None else {"ameide.io/tenant-id": tenant}
    return {"kind": "Namespace", "metadata": {"name": "shop", "labels": labels}}


@pytest.mark.parametrize("annotation", ["shop", "other, shop", "sh*", "*", "a,shop,b", "team-? shop"])
def test_the_target_consents(annotation: str) -> None:
    assert reference_problem("shop", cluster(annotation)) is None


@pytest.mark.parametrize("annotation", [None, "", "shops", "sho", "!shop", "Shop", "shop-*"])
def test_without_consent_both_ways_are_named(annotation: str | None) -> None:
    problem = reference_problem("shop", cluster(annotation), [Grant("shop", "other")], field="spec.db.clusterRef")
    assert problem is not None
    assert problem.reason is Reason.ReferenceNotPermitted
    assert problem.object == "Cluster cnpg/main"
    assert problem.message == ("spec.db.clusterRef: Cluster cnpg/main does not permit references from namespace shop")
    assert 'ameide.io/allowed-namespaces: "shop"' in problem.remedy
    assert "references.allowed: from shop, to cnpg" in problem.remedy


def test_settings_consent_by_globs_on_both_sides() -> None:
    assert reference_problem("shop", cluster(), [Grant("sh*", "cnpg")]) is None
    assert reference_problem("shop", cluster(), [Grant("*", "cnp")]) is not None
    assert reference_problem("shop", cluster(), [Grant("x", "*")]) is not None


def test_one_namespace_needs_no_consent() -> None:
    assert reference_problem("cnpg", cluster()) is None


def test_no_annotations_at_all() -> None:
    target = {"kind": "Domain", "metadata": {"namespace": "finance", "name": "billing"}}
    assert reference_problem("shop", target) is not None


@pytest.mark.parametrize(
    ("tenant_id", "label", "require", "reason"),
    [
        (None, "t1", True, None),
        ("", "t1", True, None),
        ("t1", "t1", True, None),
        ("t2", "t1", True, Reason.TenantMismatch),
        ("t2", "t1", False, Reason.TenantMismatch),
        (None, None, True, Reason.TenantLabelMissing),
        ("t1", None, True, Reason.TenantLabelMissing),
        ("t1", None, False, None),
        (None, None, False, None),
    ],
)
def test_tenants(tenant_id: str | None, label: str | None, require: bool, reason: Reason | None) -> None:
    problem = tenant_problem(tenant_id, namespace(label), "shop", require_label=require)
    assert (problem.reason if problem else None) is reason
    if problem is not None:
        assert problem.object == "Namespace shop"
        assert problem.remedy


def test_an_unseen_namespace_has_no_tenant() -> None:
    assert tenant_of(None) == ""
    problem = tenant_problem("t1", None, "shop")
    assert problem is not None
    assert "ameide.io/tenant-id=t1" in problem.remedy


def account(**metadata: Any) -> dict[str, Any]:
    return {"kind": "ServiceAccount", "metadata": {"namespace": "shop", "name": "robot", **metadata}}


def test_service_accounts_absent_ours_or_permitted() -> None:
    assert service_account_problem(ORDERS, None) is None
    assert service_account_problem(ORDERS, {"metadata": child_metadata(ORDERS)}) is None
    assert service_account_problem(ORDERS, account(annotations={"ameide.io/allow-use": "true"})) is None


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"annotations": {"ameide.io/allow-use": "yes"}},
        {"ownerReferences": [{"uid": "uid-2", "controller": True}]},
        {"ownerReferences": [{"uid": "uid-1"}]},
        # In our own namespace the annotation that marks foreign children is anybody's to set.
        {"annotations": {"ameide.io/owner-uid": "uid-1"}},
    ],
)
def test_somebody_elses_service_account(metadata: dict[str, Any]) -> None:
    problem = service_account_problem(ORDERS, account(**metadata))
    assert problem is not None
    assert problem.reason is Reason.ServiceAccountNotPermitted
    assert problem.object == "ServiceAccount shop/robot"
    assert 'ameide.io/allow-use: "true"' in problem.remedy
    assert "orders-domain" in problem.remedy
