"""What holds of the plan and status of any Domain in any cluster, also one whose objects are half written or odd."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

from conformance import check_conditions, check_fixpoint, check_kstatus, check_ready, check_schema, check_secrets
from golden_cases import Case
from hypothesis import given, settings
from random_domains import domains_in_clusters, sane_clusters

from ameide_shared.cli.simulate import simulate
from ameide_shared.kube.differ import differences
from ameide_shared.kube.resources import ObjectKey, ResourceType
from ameide_shared.plan import (
    Action,
    AddFinalizer,
    Delete,
    Ensure,
    EnsureSecret,
    HandOverReplicas,
    Notify,
    Plan,
    RemoveFinalizer,
)
from ameide_shared.snapshot import Snapshot
from domain_operator.main import DEFINITION
from domain_operator.observed import Observed

# The same examples in every run; HYPOTHESIS_EXAMPLES=5000 searches for new ones.
_WANTED = int(os.environ.get("HYPOTHESIS_EXAMPLES", "0"))
examples = settings(max_examples=_WANTED or 50, derandomize=not _WANTED, deadline=None, database=None)
_ORDER = (
    ("ServiceAccount", "Job"),
    ("ServiceAccount", "Deployment"),
    ("NetworkPolicy", "Job"),
    ("NetworkPolicy", "Deployment"),
    ("DatabaseRole", "Database"),
    ("ControllerRevision", "Deployment"),
)


@examples
@given(domains_in_clusters())
def test_plan_and_status_never_crash_and_are_deterministic(case: Case) -> None:
    assert case.plan() == case.plan()
    assert case.status() == case.status()


@examples
@given(domains_in_clusters())
def test_statuses_conform(case: Case) -> None:
    status = case.status()
    check_conditions(case, status)
    check_ready(case, status)
    check_kstatus(case, status)
    check_secrets(status)
    check_schema(status)
    check_fixpoint(case, status)


@examples
@given(domains_in_clusters())
def test_actions_have_reasons_are_in_order_and_never_contradict_each_other(case: Case) -> None:
    plan = case.plan()
    assert all(action.reason for action in plan.actions)
    check_one_action_for_each_object(plan)
    kinds = [type(action) for action in plan.actions]
    assert AddFinalizer not in kinds[1:]
    assert RemoveFinalizer not in kinds[:-1]
    made = [action.manifest["kind"] for action in plan.actions if isinstance(action, (Ensure, EnsureSecret))]
    for first, then in _ORDER:
        if first in made and then in made:
            assert made.index(first) < made.index(then)


@examples
@given(domains_in_clusters())
def test_children_are_marked_as_ours_and_bear_names_that_the_api_takes(case: Case) -> None:
    metadata = case.domain["metadata"]
    for action in case.plan().actions:
        if not isinstance(action, (Ensure, EnsureSecret)):
            continue
        child = action.manifest["metadata"]
        assert len(child["name"]) <= 63
        assert all(len(value) <= 63 for value in child["labels"].values())
        foreign = child["annotations"].get("ameide.io/owner-uid") if child.get("annotations") else None
        owners = [owner["uid"] for owner in child.get("ownerReferences", ())]
        assert owners == [metadata["uid"]] or foreign == metadata["uid"]
        assert child["namespace"] == metadata["namespace"] or not owners


@examples
@given(sane_clusters())
def test_with_everything_applied_the_plan_has_nothing_left_to_do(case: Case) -> None:
    """Whatever state it starts from: in a cluster where all goes well the plan ends, and asks for what is there."""
    end = simulate(
        DEFINITION, case.domain, case.observed.objects, case.settings, case.now, frozenset(case.observed.apis)
    )
    live = Snapshot(end.objects)
    for action in end.plan.actions:
        assert isinstance(action, (Ensure, EnsureSecret, Notify, RemoveFinalizer))
        if isinstance(action, (Ensure, EnsureSecret)):
            found = live.get(action.resource, action.key.namespace, action.key.name)
            assert found is not None
            assert (isinstance(action, Ensure) and action.create_only) or not differences(action.manifest, found)
    settled = Case(dict(end.resource), Observed(live, case.observed.apis), case.settings, case.now)
    assert settled.status() == end.resource["status"]


@examples
@given(sane_clusters(deleting=True))
def test_deletion_ends_at_the_latest_after_its_deadline(case: Case) -> None:
    end = simulate(
        DEFINITION, case.domain, case.observed.objects, case.settings, case.now, frozenset(case.observed.apis)
    )
    if end.resource["metadata"].get("finalizers"):
        late = case.now + timedelta(seconds=case.settings.deletion_timeout)
        objects = [each for each in end.objects if each["kind"] != "Pod"]
        end = simulate(DEFINITION, end.resource, objects, case.settings, late, frozenset(case.observed.apis))
    assert not end.resource["metadata"].get("finalizers")


def check_one_action_for_each_object(plan: Plan) -> None:
    """Only in deletion are there two: CloudNativePG reads the reclaim policy that was set before the delete."""
    seen: dict[tuple[ResourceType, ObjectKey], list[type[Action]]] = {}
    for action in plan.actions:
        if isinstance(action, (Ensure, EnsureSecret, Delete)):
            seen.setdefault((action.resource, action.key), []).append(type(action))
    deleting = not any(isinstance(action, HandOverReplicas) for action in plan.actions) and all(
        stage.reason in ("Deleting", "DeletionBlocked") for stage in plan.stages
    )
    allowed: list[list[Any]] = [[Ensure], [EnsureSecret], [Delete]]
    if deleting:
        allowed.append([Ensure, Delete])
    assert all(kinds in allowed for kinds in seen.values()), seen
