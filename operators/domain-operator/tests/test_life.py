"""A Domain's life on a real API server: from creation to Ready, through changes and drift, to deletion."""

from __future__ import annotations

from harness import Domains, condition_of


def test_becomes_ready_with_all_children(domains: Domains) -> None:
    domains.create()
    domain = domains.ready()
    assert domain["status"]["workload"]["readyReplicas"] == 1
    assert domain["status"]["endpoints"]["grpc"] == f"orders-domain.{domains.namespace}.svc:50051"
    for api_version, kind in (("apps/v1", "Deployment"), ("v1", "Service"), ("networking.k8s.io/v1", "NetworkPolicy")):
        child = domains.child(api_version, kind, "orders-domain")
        assert child is not None
        assert child["metadata"]["ownerReferences"][0]["uid"] == domain["metadata"]["uid"]


def test_database_migrates_before_rollout(domains: Domains, cluster: str) -> None:
    domains.create(
        db={
            "clusterRef": cluster,
            "schema": "orders",
            "database": f"db_{domains.namespace}"[:63],
            "role": f"r_{domains.namespace}"[:57],
            "migrationJobImage": "ghcr.io/ameide/hostnode-flyway-migrator:1.1.0",
        },
        image="ghcr.io/ameide/hostnode-orders:1.1.0",
    )
    domain = domains.ready(timeout=60)
    assert domain["status"]["db"].get("migrationVersion") == "2", domain["status"]["db"]
    assert condition_of(domain, "MigrationSucceeded")["status"] == "True"
