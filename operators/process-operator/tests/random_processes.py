"""Random Processes in random clusters, with random answers of Temporal and the Transformation service."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import strategies as st
from process_golden import GOLDEN, outside

from ameide_dev.testing.resources import merged
from ameide_dev.testing.world import NOW, Case, World
from ameide_shared.kube.resources import SERVICE_MONITOR
from ameide_shared.status import stamp
from process_operator.main import DEFINITION
from process_operator.settings import ProcessSettings

Draw = st.DrawFn
_rarely = st.integers(0, 4).map(lambda number: number == 0)

_SPECS = st.fixed_dictionaries(
    {
        "image": st.sampled_from(["ghcr.io/ameide/l2o-process:1.0.0", "ghcr.io/ameide/l2o-process:2.0.0"]),
        "replicas": st.sampled_from([None, 0, 1, 3]),
        "rollout": st.sampled_from([{}, {"strategy": "Canary"}, {"strategy": "Versioned"}]),
        "autoscaling": st.sampled_from([None, None, {"maxReplicas": 4}, {"minReplicas": 2, "maxReplicas": 5}]),
        "resources": st.just({"cpu": "100m", "memory": "64Mi"}),
        "schedules": st.sampled_from([[], [{"name": "sla", "purpose": "SLACheck", "schedule": "@hourly"}]]),
        "dependencies": st.sampled_from([{}, {"domains": [{"name": "sales"}]}]),
        "deletion": st.sampled_from(["Drain", "Cancel", "Terminate", "Abandon"]).map(
            lambda policy: {"policy": policy, "timeoutSeconds": 600}
        ),
    }
)
_DEFINITIONS = st.sampled_from(["definition", "definition-5", "definition-bad", None])
_QUEUES: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "namespaceState": st.sampled_from(["Registered", "Registered", "Missing", "Deleted", "Deprecated"]),
        "pollers": st.sampled_from([[], ["l2o-process-0"], ["worker"]]),
        "open": st.sampled_from([0, 3]),
    },
    optional={
        "usage": st.just([]),
        "zeroSince": st.just("2025-12-31T00:00:00Z"),
        "problem": st.sampled_from(["Unreachable", "Denied", "NamespaceMissing"]).map(
            lambda kind: {"kind": kind, "message": "refused", "remedy": "mend it"}
        ),
    },
)


def _spec(draw: Draw) -> dict[str, Any]:
    spec = draw(_SPECS)
    if spec["rollout"].get("strategy") == "Versioned":
        spec["autoscaling"] = None
    return {key: value for key, value in spec.items() if value is not None}


def _world(draw: Draw, queue: dict[str, Any], definition: str | None) -> World:
    based = GOLDEN.based
    process = dict(based({"base": "process"}))
    process = merged(copy.deepcopy(process), {"spec": _spec(draw)})
    world = World(DEFINITION, process, ProcessSettings(), DEFINITION.apis, own=outside, based=based)
    world.add(based({"base": base}) for base in ("namespace", "domain"))
    if definition is not None:
        world.add([based({"base": definition})])
    document = based({"base": "queue"})
    world.add([merged(dict(document), {"status": {"reachable": "problem" not in queue, **queue}})])
    return world


@st.composite
def sane_clusters(draw: Draw, deleting: bool = False) -> Case:
    """A Process that has everything that it needs, at some point of its life."""
    world = _world(draw, {"namespaceState": "Registered", "pollers": [], "open": 0}, "definition")
    history = draw(st.sampled_from(["none", "passes", "settled"]))
    if history == "passes":
        world.passes(draw(st.integers(1, 4)))
    elif history == "settled":
        world.settle({})
        world.resource = merged(world.resource, {"spec": _spec(draw), "metadata": {"generation": 2}})
    if deleting:
        _delete(world)
    return Case(DEFINITION, world.resource, world.observed(), world.settings, world.now)


@st.composite
def processes_in_clusters(draw: Draw) -> Case:
    """Any Process in any cluster: odd answers, half-written objects, APIs that are absent."""
    world = _world(draw, draw(_QUEUES), draw(_DEFINITIONS))
    for _ in range(draw(st.integers(0, 2))):
        world.passes(draw(st.integers(1, 3)))
        world.resource = merged(world.resource, {"spec": _spec(draw)})
    world.apis = frozenset(draw(st.sets(st.sampled_from(sorted(DEFINITION.apis, key=str))))) | {SERVICE_MONITOR}
    for name in draw(st.lists(st.sampled_from(sorted(world.objects)), max_size=4, unique=True)):
        what = draw(st.sampled_from(["gone", "going", "no status", "foreign"]))
        live = world.objects[name]
        if what == "gone":
            del world.objects[name]
        elif what == "going":
            world.objects[name] = merged(dict(live), {"metadata": {"deletionTimestamp": stamp(NOW)}})
        elif what == "no status":
            world.objects[name] = {key: value for key, value in live.items() if key != "status"}
        else:
            world.objects[name] = merged(dict(live), {"metadata": {"ownerReferences": []}})
    if draw(_rarely):
        _delete(world)
    return Case(DEFINITION, world.resource, world.observed(), world.settings, world.now)


def _delete(world: World) -> None:
    finalizers = world.resource["metadata"].get("finalizers") or ["process.ameide.io/finalizer"]
    metadata = {"deletionTimestamp": stamp(NOW), "finalizers": finalizers}
    world.resource = merged(world.resource, {"metadata": metadata})
