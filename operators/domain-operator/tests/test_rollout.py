"""Rollouts: pods roll when what they consume changed and only then; canaries, replicas and going back."""

from __future__ import annotations

from typing import Any

import pytest
from databases import real
from domain_support import Domains

from ameide_dev.client import condition_of
from ameide_dev.platform import Platform
from ameide_dev.testing.waiting import until

V1, V2 = "ghcr.io/ameide/orders-domain:1.0.0", "ghcr.io/ameide/orders-domain:1.1.0"
ODD = [{"name": "TEXT", "value": 'a & <b> "c" é 😀 \u2028 \\n'}]


def deployment(domains: Domains, name: str = "orders-domain") -> dict[str, Any]:
    found = domains.child("apps/v1", "Deployment", name)
    assert found is not None, name
    return found


def image(domains: Domains, name: str = "orders-domain") -> str:
    return deployment(domains, name)["spec"]["template"]["spec"]["containers"][0]["image"]


def replicas(domains: Domains) -> int:
    return deployment(domains)["spec"]["replicas"]


def pods(domains: Domains) -> set[str]:
    """Names of the serving pods."""
    found = domains.kube.list("v1", "Pod", domains.namespace, label_selector="ameide.io/track=stable")
    return {pod["metadata"]["name"] for pod in found if "deletionTimestamp" not in pod["metadata"]}


def until_replicas(domains: Domains, count: int) -> None:
    domains.kube.wait_for(
        "apps/v1",
        "Deployment",
        "orders-domain",
        lambda it: bool(it) and it["spec"]["replicas"] == count,
        domains.namespace,
        timeout=10,
    )


def test_new_image_is_rolled_out(domains: Domains) -> None:
    domains.create(image=V1)
    first = domains.ready()
    domains.patch(image=V2)
    second = domains.ready()
    assert image(domains) == V2
    assert second["status"]["workload"]["image"] == V2
    assert second["status"]["revision"]["current"] != first["status"]["revision"]["current"]
    assert second["status"]["revision"]["current"] == second["status"]["revision"]["target"]


def test_going_back_releases_the_old_revision_again(domains: Domains) -> None:
    """Whatever characters its template has: the API server compares ControllerRevisions byte by byte."""
    domains.create(image=V1, env=ODD)
    first = domains.ready()["status"]["revision"]["current"]
    for wanted in (V2, V1, V2, V1):
        domains.patch(image=wanted)
        domain = domains.ready()
        assert image(domains) == wanted
    assert domain["status"]["revision"]["current"] == first
    assert len(domains.kube.list("apps/v1", "ControllerRevision", domains.namespace)) == 2


def test_drifted_odd_text_is_put_right(domains: Domains) -> None:
    domains.create(env=ODD)
    domains.ready()
    before = deployment(domains)["spec"]
    domains.kube.merge_patch("apps/v1", "Deployment", "orders-domain", {"spec": {"paused": True}}, domains.namespace)
    patch = [{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "evil:1"}]
    domains.kube.json_patch("apps/v1", "Deployment", "orders-domain", patch, domains.namespace)
    domains.kube.wait_for(
        "apps/v1",
        "Deployment",
        "orders-domain",
        lambda it: bool(it) and it["spec"]["template"] == before["template"],
        domains.namespace,
        timeout=10,
    )


def test_history_is_limited(domains: Domains) -> None:
    domains.create(image=V1, rollout={"revisionHistoryLimit": 2})
    domains.ready()
    for minor in range(1, 5):
        domains.patch(image=f"ghcr.io/ameide/orders-domain:1.{minor}.0")
        domains.ready()
    until(
        "two revisions",
        lambda: len(domains.kube.list("apps/v1", "ControllerRevision", domains.namespace)) == 2,
        timeout=10,
    )


@pytest.mark.parametrize(
    ("change", "rolls"),
    [
        ({"env": [{"name": "FEATURE_FLAG_X", "value": "true"}]}, True),
        ({"resources": {"cpu": "200m", "memory": "64Mi"}}, True),
        ({"observability": {"logLevel": "debug"}}, True),
        ({"podAnnotations": {"example.com/team": "sales"}}, True),
        ({"security": {"networkProfile": "open", "allowInternet": True}}, False),
        ({"replicas": 2}, False),
        ({"observability": {"metrics": {"enabled": False}}}, False),
        ({"rollout": {"progressDeadlineSeconds": 300, "canaryReadySeconds": 5}}, False),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_pods_roll_only_when_what_they_consume_changed(domains: Domains, change: dict[str, Any], rolls: bool) -> None:
    domains.create()
    domains.ready()
    before = pods(domains)
    domains.patch(**change)
    domains.ready()
    if rolls:
        until("new pods only", lambda: pods(domains) and not pods(domains) & before, timeout=10)
    else:
        assert before <= pods(domains)


def test_recreate_strategy_reaches_the_deployment(domains: Domains) -> None:
    domains.create(rollout={"strategy": "Recreate"})
    domains.ready()
    assert deployment(domains)["spec"]["strategy"] == {"type": "Recreate"}
    domains.patch(rollout={"strategy": "RollingUpdate", "maxSurge": 1, "maxUnavailable": 0})
    domains.ready()
    strategy = deployment(domains)["spec"]["strategy"]
    assert strategy == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}


def test_replicas_and_disruption_budget_follow_the_spec(domains: Domains) -> None:
    domains.create(replicas=1)
    domains.ready()
    assert domains.child("policy/v1", "PodDisruptionBudget", "orders-domain") is None
    domains.patch(replicas=3)
    assert domains.ready()["status"]["workload"]["readyReplicas"] == 3
    assert domains.child("policy/v1", "PodDisruptionBudget", "orders-domain") is not None
    domains.patch(replicas=1)
    domains.ready()
    domains.kube.wait_gone("policy/v1", "PodDisruptionBudget", "orders-domain", domains.namespace, timeout=10)


def test_scaled_to_zero_is_ready(domains: Domains) -> None:
    domains.create(replicas=0)
    domain = domains.ready()
    assert condition_of(domain, "WorkloadReady")["reason"] == "ScaledToZero"


def test_scaled_by_hand_stays_where_the_spec_is_silent(domains: Domains) -> None:
    domains.create()
    domains.ready()
    scale = {"spec": {"replicas": 4}}
    domains.kube.merge_patch("apps/v1", "Deployment", "orders-domain", scale, domains.namespace, subresource="scale")
    domains.patch(image=V2)
    assert domains.ready()["status"]["workload"]["readyReplicas"] == 4


def test_autoscaling_on_keeps_the_live_count(domains: Domains) -> None:
    """Dropping the field would reset it to 1; afterwards the count is the autoscaler's."""
    domains.create(replicas=3)
    domains.ready()
    seen = _replica_counts(
        domains, lambda: domains.patch(replicas=None, autoscaling={"minReplicas": 2, "maxReplicas": 6})
    )
    assert domains.child("autoscaling/v2", "HorizontalPodAutoscaler", "orders-domain") is not None
    assert seen == {3}
    domains.kube.merge_patch(
        "apps/v1", "Deployment", "orders-domain", {"spec": {"replicas": 5}}, domains.namespace, subresource="scale"
    )
    domains.patch(image=V2)
    domains.ready()
    assert replicas(domains) == 5


def test_autoscaling_off_starts_from_the_live_count(domains: Domains) -> None:
    domains.create(autoscaling={"minReplicas": 2, "maxReplicas": 6})
    domains.ready()
    domains.kube.merge_patch(
        "apps/v1", "Deployment", "orders-domain", {"spec": {"replicas": 5}}, domains.namespace, subresource="scale"
    )
    domains.ready()
    seen = _replica_counts(domains, lambda: domains.patch(autoscaling=None))
    domains.kube.wait_gone("autoscaling/v2", "HorizontalPodAutoscaler", "orders-domain", domains.namespace, timeout=10)
    assert seen == {5}
    domains.patch(replicas=2)
    until_replicas(domains, 2)


def _replica_counts(domains: Domains, change: Any) -> set[int]:
    """Every replica count that the Deployment had from before a change until it was done."""
    version = deployment(domains)["metadata"]["resourceVersion"]
    change()
    domains.ready()
    domains.patch(podAnnotations={"example.com/done": "true"})
    seen = set()
    for _, live in domains.kube.watch(
        "apps/v1", "Deployment", domains.namespace, name="orders-domain", resource_version=version, timeout=15
    ):
        seen.add(live["spec"]["replicas"])
        if "example.com/done" in live["spec"]["template"]["metadata"].get("annotations", {}):
            break
    return seen


def test_cluster_that_goes_away_later_stops_nothing_that_runs(chart: Platform, domains: Domains, cluster: str) -> None:
    """A dependency gates the first start only. What needs a migration waits, everything else is rolled out."""
    domains.create(image=V1, db=real(domains, cluster))
    domains.ready(timeout=60)
    chart.cnpg.set_cluster_unready("cnpg", "main")
    try:
        domain = domains.until("DBReady", "False", reason="ClusterNotReady")
        assert condition_of(domain, "WorkloadReady")["status"] == "True"
        assert condition_of(domain, "Ready")["status"] == "False"
        domains.patch(replicas=2, env=[{"name": "FEATURE_FLAG_X", "value": "true"}])
        until_replicas(domains, 2)
        domains.until("WorkloadReady")
        domains.patch(image=V2)
        domain = domains.until("MigrationSucceeded", "Unknown", reason="Blocked")
        assert image(domains) == V1
    finally:
        chart.cnpg.set_cluster_ready("cnpg", "main")
    domains.ready()
    assert image(domains) == V2
