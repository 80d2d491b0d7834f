"""The fields of status that all kinds fill alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ameide_shared.builders.inputs import PodProfile
from ameide_shared.kube.resources import DEPLOYMENT, Manifest, key_of
from ameide_shared.observed import Observed
from ameide_shared.plan import Ensure, EnsureSecret, Outcome, Plan
from ameide_shared.status import child_entry
from ameide_shared.workload import workload_state


def common_fields(
    manifest: Manifest, observed: Observed, plan: Plan, outcome: Outcome, pods: PodProfile, own: Mapping[str, Any]
) -> dict[str, Any]:
    """`revision`, `workload`, `endpoints`, `canary` and `children`, with `own`, the fields of the kind, among them.

    Of a resource that is going, and of a spec that could not be compiled, what was told before stays. `plan.facts` has
    `child` (name of the Deployment), and `revision` and `canary` where the spec was compiled.
    """
    previous: Mapping[str, Any] = manifest.get("status") or {}
    if manifest["metadata"].get("deletionTimestamp"):
        return {key: previous[key] for key in ("revision", *own, "canary", "workload") if key in previous}
    namespace, child = manifest["metadata"]["namespace"], plan.facts["child"]
    deployment = observed.objects.get(DEPLOYMENT, namespace, child)
    state = workload_state(deployment, observed.pods(), name=child)
    workload = state.as_status() if deployment is not None else None
    if "revision" not in plan.facts:  # the spec could not be compiled: what runs is all that can be said
        told = ("revision", *own, "canary", "endpoints", "children")
        return {**{key: previous[key] for key in told if key in previous}, "workload": workload}
    return {
        "revision": {key: value for key, value in plan.facts["revision"].items() if value},
        "workload": workload,
        "endpoints": endpoints(f"{child}.{namespace}.svc", pods),
        **own,
        "canary": dict(plan.facts["canary"]),
        "children": children_of(observed, plan, outcome),
    }


def endpoints(host: str, pods: PodProfile) -> dict[str, str]:
    """Addresses of a Service inside the cluster, by port: a base URL for http, host:port for others."""
    return {
        port.name: f"http://{host}:{port.number}" if port.name == "http" else f"{host}:{port.number}"
        for port in pods.ports
    }


def children_of(observed: Observed, plan: Plan, outcome: Outcome) -> list[dict[str, Any]]:
    """What the plan asks for, and how the cluster has it after the plan was carried out."""
    written = {(live["kind"], key_of(live)): live for live in outcome.objects}
    entries = []
    for action in plan.actions:
        if isinstance(action, (Ensure, EnsureSecret)):
            seen = observed.objects.get(action.resource, action.key.namespace, action.key.name)
            entries.append(child_entry(action.manifest, written.get((action.resource.kind, action.key), seen)))
    return sorted(entries, key=lambda entry: (entry["kind"], entry["namespace"], entry["name"]))
