"""What holds of the plan and status of any Agent in any cluster, whatever policy and servers say."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from hypothesis import given, settings
from random_agents import agents_in_clusters, sane_clusters

from agent_operator.plan.pods import AGENT_PATH
from ameide_dev.testing import properties
from ameide_dev.testing.conformance import check_status
from ameide_dev.testing.world import Case
from ameide_shared.kube.resources import DEPLOYMENT, NETWORK_POLICY
from ameide_shared.plan import Call, Delete, Ensure

# The same examples in every run; HYPOTHESIS_EXAMPLES=5000 searches for new ones.
_WANTED = int(os.environ.get("HYPOTHESIS_EXAMPLES", "0"))
examples = settings(max_examples=_WANTED or 50, derandomize=not _WANTED, deadline=None, database=None)


@examples
@given(agents_in_clusters())
def test_plan_and_status_never_crash_and_are_deterministic(case: Case) -> None:
    properties.check_determinism(case)


@examples
@given(agents_in_clusters())
def test_statuses_conform(case: Case) -> None:
    check_status(case)


@examples
@given(agents_in_clusters())
def test_actions_have_reasons_are_in_order_and_never_contradict_each_other(case: Case) -> None:
    properties.check_actions(case, (*properties.ORDER, ("ConfigMap", "Deployment")))


@examples
@given(agents_in_clusters())
def test_children_are_marked_as_ours_and_bear_names_that_the_api_takes(case: Case) -> None:
    properties.check_children(case)


@examples
@given(sane_clusters())
def test_with_everything_there_the_plan_has_nothing_left_to_do(case: Case) -> None:
    properties.check_settles(case)


@examples
@given(sane_clusters(deleting=True))
def test_deletion_ends_at_the_latest_after_its_deadline(case: Case) -> None:
    properties.check_deletion_ends(case)


@examples
@given(agents_in_clusters())
def test_what_is_quarantined_has_no_way_no_pod_and_nothing_that_starts_one(case: Case) -> None:
    plan = case.plan()
    if not (plan.facts.get("policy") or {}).get("quarantined"):
        return
    borders = [action.manifest for action in ensured(plan.actions, NETWORK_POLICY.kind)]
    assert [border["spec"]["egress"] for border in borders] == [[]]
    assert all(one.manifest["spec"]["replicas"] == 0 for one in ensured(plan.actions, DEPLOYMENT.kind))
    assert not list(ensured(plan.actions, "HorizontalPodAutoscaler"))
    assert not list(ensured(plan.actions, "ScaledObject"))
    called = [action for action in plan.actions if isinstance(action, Call)]
    assert all('"tools":[]' in call.arguments["document"] for call in called)


@examples
@given(agents_in_clusters())
def test_pods_hold_their_grants_and_nothing_of_another_namespace(case: Case) -> None:
    """Each Deployment that is written mounts grants that are written before it, or are there already."""
    actions = case.plan().actions
    there = {
        (live["kind"], live["metadata"]["name"])
        for live in case.objects
        if live["metadata"].get("namespace") == "sales"
    }
    removed = {action.key.name for action in actions if isinstance(action, Delete)}
    for action in actions:
        if not isinstance(action, Ensure):
            continue
        if action.resource is DEPLOYMENT:
            for name in mounted(action.manifest):
                assert name not in removed
                kept = (case.resource.get("status") or {}).get("grants") is not None
                assert ("ConfigMap", name) in there or kept, f"{name} is mounted, and not there"
        there.add((action.resource.kind, action.key.name))


def ensured(actions: Any, kind: str) -> Iterator[Ensure]:
    """The children of a kind that a plan wants."""
    return (action for action in actions if isinstance(action, Ensure) and action.resource.kind == kind)


def mounted(deployment: Mapping[str, Any]) -> Iterator[str]:
    """The ConfigMaps that a Deployment's pods cannot start without."""
    for container in deployment["spec"]["template"]["spec"]["containers"]:
        assert any(mount["mountPath"] == AGENT_PATH for mount in container["volumeMounts"])
    for volume in deployment["spec"]["template"]["spec"]["volumes"]:
        for source in (volume.get("projected") or {}).get("sources") or ():
            if "configMap" in source:
                yield source["configMap"]["name"]
