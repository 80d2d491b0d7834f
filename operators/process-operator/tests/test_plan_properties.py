"""What holds of the plan and status of any Process in any cluster, whatever the servers around it say."""

from __future__ import annotations

import os

from hypothesis import given, settings
from random_processes import processes_in_clusters, sane_clusters

from ameide_dev.testing import properties
from ameide_dev.testing.conformance import check_status
from ameide_dev.testing.world import Case

# The same examples in every run; HYPOTHESIS_EXAMPLES=5000 searches for new ones.
_WANTED = int(os.environ.get("HYPOTHESIS_EXAMPLES", "0"))
examples = settings(max_examples=_WANTED or 50, derandomize=not _WANTED, deadline=None, database=None)


@examples
@given(processes_in_clusters())
def test_plan_and_status_never_crash_and_are_deterministic(case: Case) -> None:
    properties.check_determinism(case)


@examples
@given(processes_in_clusters())
def test_statuses_conform(case: Case) -> None:
    check_status(case)


@examples
@given(processes_in_clusters())
def test_actions_have_reasons_are_in_order_and_never_contradict_each_other(case: Case) -> None:
    properties.check_actions(case, (*properties.ORDER, ("ConfigMap", "Deployment")))


@examples
@given(processes_in_clusters())
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
