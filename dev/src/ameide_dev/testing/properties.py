"""What must hold of every plan that an operator makes, whatever the cluster looks like: for random examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from ameide_dev.testing.world import Case
from ameide_shared.cli.simulate import Simulation, simulate
from ameide_shared.kube.differ import differences
from ameide_shared.kube.resources import Manifest, ObjectKey, ResourceType
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

ORDER = (
    ("ServiceAccount", "Job"),
    ("ServiceAccount", "Deployment"),
    ("NetworkPolicy", "Job"),
    ("NetworkPolicy", "Deployment"),
    ("ControllerRevision", "Deployment"),
)
"""Kinds of children that come before others, in every operator."""


def check_determinism(case: Case) -> None:
    """Asked twice, plan and status say the same."""
    assert case.plan() == case.plan()
    assert case.status() == case.status()


def check_actions(case: Case, order: Sequence[tuple[str, str]] = ORDER) -> None:
    """Actions have reasons, do not contradict each other, and come in order: finalizers first on, and last off."""
    plan = case.plan()
    assert all(action.reason for action in plan.actions)
    check_one_action_for_each_object(plan)
    kinds = [type(action) for action in plan.actions]
    assert AddFinalizer not in kinds[1:]
    assert RemoveFinalizer not in kinds[:-1]
    made = [action.manifest["kind"] for action in plan.actions if isinstance(action, (Ensure, EnsureSecret))]
    for first, then in order:
        if first in made and then in made:
            assert made.index(first) < made.index(then)


def check_children(case: Case) -> None:
    """Children are marked as ours, and bear names and labels that the API takes."""
    metadata = case.resource["metadata"]
    for action in case.plan().actions:
        if not isinstance(action, (Ensure, EnsureSecret)):
            continue
        child = action.manifest["metadata"]
        # From the names of these nothing is derived that has to be a label.
        longest = 253 if action.manifest["kind"] in ("ConfigMap", "ControllerRevision") else 63
        assert len(child["name"]) <= longest
        assert all(len(value) <= 63 for value in child["labels"].values())
        foreign = child["annotations"].get("ameide.io/owner-uid") if child.get("annotations") else None
        owners = [owner["uid"] for owner in child.get("ownerReferences", ())]
        assert owners == [metadata["uid"]] or foreign == metadata["uid"]
        assert child["namespace"] == metadata["namespace"] or not owners


def check_settles(case: Case) -> None:
    """Whatever state it starts from: in a cluster where all goes well the plan ends, and asks for what is there."""
    end = followed(case)
    live = Snapshot(end.objects)
    for action in end.plan.actions:
        assert isinstance(action, (Ensure, EnsureSecret, Notify, RemoveFinalizer))
        if isinstance(action, (Ensure, EnsureSecret)):
            found = live.get(action.resource, action.key.namespace, action.key.name)
            assert found is not None
            assert (isinstance(action, Ensure) and action.create_only) or not differences(action.manifest, found)
    observed = case.definition.observed(end.objects, case.observed.apis)
    settled = replace(case, resource=dict(end.resource), observed=observed)
    assert settled.status() == end.resource["status"]


def check_deletion_ends(case: Case) -> None:
    """A resource that is being deleted loses its finalizers, at the latest after the deadline in the settings."""
    end = followed(case)
    if end.resource["metadata"].get("finalizers"):
        late = case.now + timedelta(seconds=case.settings.deletion_timeout)
        objects = [each for each in end.objects if each["kind"] != "Pod"]
        end = followed(replace(case, resource=end.resource, now=late), objects)
    assert not end.resource["metadata"].get("finalizers")


def followed(case: Case, objects: Sequence[Manifest] | None = None) -> Simulation:
    """A case, followed until nothing is left to do; from other objects than its own if they are given."""
    there = case.objects if objects is None else objects
    return simulate(case.definition, case.resource, there, case.settings, case.now, frozenset(case.observed.apis))


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
