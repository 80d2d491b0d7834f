"""Whom a change wakes besides its own Domain: those that want the same names on the same Cluster. Nobody is dialled."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from ameide_dev.testing.resources import merged
from ameide_shared.controller.runtime import Runtime
from ameide_shared.kube.connection import connect
from ameide_shared.kube.resources import (
    CNPG_DATABASE,
    CNPG_DATABASE_ROLE,
    DOMAIN,
    SECRET,
    Manifest,
    ObjectKey,
    ResourceType,
)
from domain_operator.main import DEFINITION

ORDERS, BILLING = ObjectKey("shop", "orders"), ObjectKey("mall", "billing")
WANTED = {"clusterRef": "cnpg/main", "database": "orders", "schema": "orders", "role": "orders"}


def domain(key: ObjectKey, version: int, **db: Any) -> dict[str, Any]:
    """A Domain that wants the database and roles `orders`, unless `db` says otherwise."""
    metadata = {"namespace": key.namespace, "name": key.name, "uid": str(key), "resourceVersion": str(version)}
    spec = {"image": "ghcr.io/ameide/orders:1", "db": {**WANTED, **db}}
    return {"apiVersion": "ameide.io/v1", "kind": "Domain", "metadata": metadata, "spec": spec}


def left(resource: ResourceType, name: str, more: Mapping[str, Any]) -> dict[str, Any]:
    """What the Domain shop/orders left in the namespace of the Cluster."""
    labels = {"ameide.io/primitive": "domain", "ameide.io/owner-namespace": "shop", "ameide.io/owner-name": "orders"}
    metadata = {"namespace": "cnpg", "name": name, "uid": name, "resourceVersion": "10", "labels": labels}
    return merged({"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata}, more)


def password(**marks: str) -> dict[str, Any]:
    """A password Secret, with what it is the claim to."""
    annotations = {f"ameide.io/{mark}": value for mark, value in {"cluster": "main", **marks}.items()}
    return {"metadata": {"annotations": annotations}}


@pytest.fixture
async def runtime(tmp_path: Path) -> AsyncIterator[Runtime]:
    """The operator, which has seen mall/billing, that wants the names of shop/orders, and another that does not."""
    cluster = {"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}
    context = {"name": "c", "context": {"cluster": "c", "user": "u"}}
    config = {"clusters": [cluster], "contexts": [context], "users": [{"name": "u", "user": {}}]}
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "Config", "current-context": "c", **config}))
    async with connect(path) as connection:
        runtime, _ = DEFINITION.start(DEFINITION.settings(), connection)
        runtime.cache.put(domain(BILLING, 1))
        runtime.cache.put(domain(ObjectKey("mall", "apart"), 2, database="apart", role="apart"))
        runtime.cache.put(domain(ObjectKey("mall", "elsewhere"), 3, clusterRef="cnpg/second"))
        woken(runtime)
        yield runtime


def woken(runtime: Runtime) -> set[ObjectKey]:
    """The keys that are to be looked at; they are taken off the queue."""
    keys = set()
    while (key := runtime.queue.get_nowait()) is not None:
        runtime.queue.done(key)
        keys.add(key)
    return keys


def told(runtime: Runtime, resource: ResourceType, event: str, manifest: Manifest) -> set[ObjectKey]:
    """Whom a watch event wakes."""
    woken(runtime)
    assert runtime.cache.on_event(resource, event, manifest)
    return woken(runtime)


@pytest.mark.parametrize(
    ("resource", "more"),
    [
        (SECRET, password(role="orders")),
        (SECRET, password(role="orders_owner")),
        (SECRET, password(database="orders", role="theirs")),
        (CNPG_DATABASE, {"spec": {"cluster": {"name": "main"}, "name": "orders"}}),
        (CNPG_DATABASE_ROLE, {"spec": {"cluster": {"name": "main"}, "name": "orders_owner"}}),
    ],
    ids=["app", "owner", "shared", "Database", "DatabaseRole"],
)
async def test_claim_that_goes_wakes_who_wants_the_name(
    runtime: Runtime, resource: ResourceType, more: Mapping[str, Any]
) -> None:
    """It stays behind with retained data; deleting it is how a name is freed."""
    claim = left(resource, "shop-orders", more)
    runtime.cache.put(claim)
    gone = merged(claim, {"metadata": {"resourceVersion": "11"}})
    assert told(runtime, resource, "DELETED", gone) == {ORDERS, BILLING}


async def test_claim_that_is_given_up_wakes_who_wants_the_name(runtime: Runtime) -> None:
    claim = left(SECRET, "shop-orders-app", password(role="orders"))
    runtime.cache.put(claim)
    freed = merged(claim, {"metadata": {"resourceVersion": "11", "annotations": {"ameide.io/role": None}}})
    assert told(runtime, SECRET, "MODIFIED", freed) == {ORDERS, BILLING}


async def test_secret_that_claims_nothing_is_its_own_domains_business(runtime: Runtime) -> None:
    secret = left(SECRET, "shop-orders-app", {})
    assert told(runtime, SECRET, "ADDED", secret) == {ORDERS}


async def test_rival_that_goes_wakes_who_wants_its_names(runtime: Runtime) -> None:
    runtime.cache.put(domain(ORDERS, 4))
    assert told(runtime, DOMAIN, "DELETED", domain(ORDERS, 5)) == {ORDERS, BILLING}


async def test_rival_that_is_given_a_database_wakes_who_wants_its_names(runtime: Runtime) -> None:
    runtime.cache.put(domain(ORDERS, 4))
    assert BILLING not in told(runtime, DOMAIN, "MODIFIED", domain(ORDERS, 5, schema="other"))
    given = domain(ORDERS, 6, provisioning="None", connectionSecretRef={"name": "given"})
    assert BILLING in told(runtime, DOMAIN, "MODIFIED", given)
