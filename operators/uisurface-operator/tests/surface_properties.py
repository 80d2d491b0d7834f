"""What holds of the plan of any UISurface, of cases that are written down and of those that chance makes."""

from __future__ import annotations

from ameide_dev.testing.world import Case
from ameide_shared.kube.resources import HTTP_ROUTE, SECURITY_POLICY, ResourceType
from ameide_shared.plan import Delete, Ensure
from ameide_shared.snapshot import Snapshot


def check_route_is_guarded(case: Case) -> None:
    """Where users log in at the gateway, a route that is there keeps its policy, gets it back, or goes.

    Unless settings say that it shall be open where there are no policies at all, or the surface is going by itself.
    """
    mode = (case.status().get("auth") or {}).get("mode")
    going = case.resource["metadata"].get("deletionTimestamp")
    if mode != "Gateway" or going or case.settings.routing.without_policy == "Open" or not _there(case, HTTP_ROUTE):
        return
    actions = case.plan().actions
    kept = SECURITY_POLICY in case.observed.apis and _there(case, SECURITY_POLICY)
    restored = any(isinstance(action, Ensure) and action.resource is SECURITY_POLICY for action in actions)
    closed = any(isinstance(action, Delete) and action.resource is HTTP_ROUTE for action in actions)
    assert kept or restored or closed


def _there(case: Case, resource: ResourceType) -> bool:
    metadata = case.resource["metadata"]
    live = Snapshot(case.objects).get(resource, metadata["namespace"], f"{metadata['name']}-ui")
    return live is not None and not live["metadata"].get("deletionTimestamp")
