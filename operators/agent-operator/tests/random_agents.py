"""Random Agents in random clusters, under random policies, with random answers of the Transformation service."""

from __future__ import annotations

import copy
from typing import Any

from agent_golden import GOLDEN, outside
from hypothesis import strategies as st

from agent_operator.main import DEFINITION
from agent_operator.settings import AgentSettings
from ameide_dev.testing.resources import merged
from ameide_dev.testing.world import NOW, Case, World
from ameide_shared.kube.resources import SERVICE_MONITOR
from ameide_shared.status import stamp

Draw = st.DrawFn
_rarely = st.integers(0, 4).map(lambda number: number == 0)

_SPECS = st.fixed_dictionaries(
    {
        "image": st.sampled_from(["ghcr.io/ameide/agent:1.0.0", "ghcr.io/ameide/agent:2.0.0"]),
        "replicas": st.sampled_from([None, 0, 1, 3]),
        "rollout": st.sampled_from([{}, {"canary": True}]),
        "autoscaling": st.sampled_from([None, {"maxReplicas": 4}, {"maxReplicas": 5, "targetQueuedSessions": 3}]),
        "resources": st.just({"cpu": "100m", "memory": "64Mi"}),
        "model": st.sampled_from(
            [
                {"provider": "openai", "name": "gpt-5"},
                {"provider": "openai", "name": "gpt-6"},
                {"provider": "echo", "name": "e"},
            ]
        ),
        "tools": st.sampled_from(
            [[], [{"domain": "orders"}], [{"domain": "orders", "operations": ["Get"]}, {"primitive": "code-runner"}]]
        ).map(lambda tools: {"allowed": tools}),
        "riskTier": st.sampled_from(["low", "high", "critical"]),
    }
)
_POLICIES: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "onTightening": st.sampled_from(["Quarantine", "KeepLast"]),
        "models": st.sampled_from([[{"allow": ["openai/gpt-5"]}], [{"allow": ["echo/*"]}], [{"allow": ["*/*"]}]]),
        "tools": st.sampled_from([[{"allow": ["**"]}], [{"deny": ["domain/*/*"]}], []]),
    },
)
_SETTINGS = st.sampled_from(
    [
        AgentSettings(),
        AgentSettings(secret_store={"name": "vault"}),  # type: ignore[arg-type]  # as the settings' file has it
        AgentSettings(secret_store={"name": "vault"}, grants_service={"url": "http://grants"}),  # type: ignore[arg-type]
    ]
)
_ERROR = {"reason": "TransformationUnavailable", "message": "away", "remedy": "wait"}
_DEFINITIONS = st.sampled_from(
    [
        {},
        {"error": _ERROR},
        {"spec": None, "error": _ERROR},
        {"spec": {"version": 5, "definition": {"roles": ["coder"], "tools": [{"domain": "orders"}]}}},
        {"spec": {"definition": {"tools": "all"}}},
    ]
)


def _spec(draw: Draw) -> dict[str, Any]:
    return {key: value for key, value in draw(_SPECS).items() if value is not None}


def _world(draw: Draw, settings: AgentSettings) -> World:
    based = GOLDEN.based
    agent = merged(copy.deepcopy(dict(based({"base": "agent"}))), {"spec": _spec(draw)})
    world = World(DEFINITION, agent, settings, DEFINITION.apis, own=outside, based=based)
    world.add(based({"base": base}) for base in ("namespace", "domain", "policy", "definition"))
    return world


@st.composite
def sane_clusters(draw: Draw, deleting: bool = False) -> Case:
    """An Agent that has everything that it needs and that the policy allows, at some point of its life."""
    world = _world(draw, AgentSettings(secret_store={"name": "vault"}))  # type: ignore[arg-type]  # as above
    world.change({"AgentPolicy policy": {"spec": {"tools": [{"allow": ["**"]}], "tiers": _EVERY_TIER}}})
    history = draw(st.sampled_from(["none", "passes", "settled"]))
    if history == "passes":
        world.passes(draw(st.integers(1, 4)))
    elif history == "settled":
        world.settle({})
        world.resource = merged(world.resource, {"spec": _spec(draw), "metadata": {"generation": 2}})
    if deleting:
        _delete(world)
    return Case(DEFINITION, world.resource, world.observed(), world.settings, world.now)


_EVERY_TIER = {tier: {"availableTo": [{"tenants": ["*"]}]} for tier in ("low", "high", "critical")}


@st.composite
def agents_in_clusters(draw: Draw) -> Case:
    """Any Agent in any cluster: odd answers, changed policies, half-written objects, APIs that are absent."""
    world = _world(draw, draw(_SETTINGS))
    for _ in range(draw(st.integers(0, 3))):
        world.passes(draw(st.integers(1, 3)))
        world.resource = merged(world.resource, {"spec": _spec(draw)})
        world.change({"AgentPolicy policy": {"spec": draw(_POLICIES)}})
        if draw(_rarely):
            world.settle({})
    world.change({"AgentDefinition sales/coder": draw(_DEFINITIONS)})
    if draw(_rarely):
        world.change({"AgentPolicy policy": {"fault": {"message": "is broken", "remedy": "mend it"}}})
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
    finalizers = world.resource["metadata"].get("finalizers") or ["agent.ameide.io/finalizer"]
    metadata = {"deletionTimestamp": stamp(NOW), "finalizers": finalizers}
    world.resource = merged(world.resource, {"metadata": metadata})
