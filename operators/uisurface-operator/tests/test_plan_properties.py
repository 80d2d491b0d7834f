"""What holds of the plan and status of any UISurface in any cluster, whatever Keycloak says."""

from __future__ import annotations

import os

from hypothesis import given, settings
from random_surfaces import routed_surfaces, sane_clusters, surfaces_in_clusters
from surface_properties import check_route_is_guarded

from ameide_dev.testing import properties
from ameide_dev.testing.conformance import check_status
from ameide_dev.testing.world import Case
from ameide_shared.kube.resources import HTTP_ROUTE, SECURITY_POLICY
from ameide_shared.plan import Ensure

# The same examples in every run; HYPOTHESIS_EXAMPLES=5000 searches for new ones.
_WANTED = int(os.environ.get("HYPOTHESIS_EXAMPLES", "0"))
examples = settings(max_examples=_WANTED or 50, derandomize=not _WANTED, deadline=None, database=None)


@examples
@given(surfaces_in_clusters())
def test_plan_and_status_never_crash_and_are_deterministic(case: Case) -> None:
    properties.check_determinism(case)


@examples
@given(surfaces_in_clusters())
def test_statuses_conform(case: Case) -> None:
    check_status(case)


@examples
@given(surfaces_in_clusters())
def test_actions_have_reasons_are_in_order_and_never_contradict_each_other(case: Case) -> None:
    properties.check_actions(case, (*properties.ORDER, ("ConfigMap", "Deployment")))


@examples
@given(surfaces_in_clusters())
def test_children_are_marked_as_ours_and_bear_names_that_the_api_takes(case: Case) -> None:
    properties.check_children(case)


@examples
@given(surfaces_in_clusters())
def test_no_route_is_written_before_its_policy(case: Case) -> None:
    """Where the gateway logs users in: whatever else is the case, nobody gets past that."""
    written = [action.resource for action in case.plan().actions if isinstance(action, Ensure)]
    mode = (case.status().get("auth") or {}).get("mode")
    if HTTP_ROUTE in written and mode == "Gateway":
        assert SECURITY_POLICY in written
        assert written.index(SECURITY_POLICY) < written.index(HTTP_ROUTE)


@examples
@given(routed_surfaces())
def test_no_route_is_left_without_its_policy(case: Case) -> None:
    check_route_is_guarded(case)


@examples
@given(sane_clusters())
def test_with_everything_there_the_plan_has_nothing_left_to_do(case: Case) -> None:
    properties.check_settles(case)


@examples
@given(sane_clusters(deleting=True))
def test_deletion_ends_at_the_latest_after_its_deadline(case: Case) -> None:
    properties.check_deletion_ends(case)
