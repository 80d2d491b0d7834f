"""What is known beside the cluster, as documents beside the manifests that `render --observed` and tests read.

An `AgentDefinition` stands for an answer of the Transformation service, an `AgentPolicy` for the policy in force; a
ConfigMap that holds a policy does as well:

    apiVersion: transformation.ameide.io/v1
    kind: AgentDefinition
    metadata: {namespace: sales, name: coder}       # of the Agent that it is for
    spec: {id: coder-v4, tenantId: t123, version: 4, definition: {roles: [planner], tools: [{domain: orders}], …}}
    error: {reason: TransformationUnavailable, message: …, remedy: …}     # instead of spec, or beside it

    apiVersion: policy.ameide.io/v1
    kind: AgentPolicy
    metadata: {name: policy}
    spec: {tiers: …, models: …, providers: …}       # the policy, but for its version; absent: there is none
    fault: {message: …, remedy: …}                  # of the file, as it is now
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import yaml

from agent_operator.observed import Observed
from agent_operator.policy.document import VERSION
from agent_operator.policy.loading import CONFIG_MAP_KEY, parse
from agent_operator.policy.state import PolicyFault, PolicyState
from ameide_shared.kube.resources import AGENT_DEFINITION, AGENT_POLICY, CONFIG_MAP, Manifest, ResourceType, resource_of
from ameide_shared.snapshot import Snapshot
from ameide_shared.transformation.documents import LONG_AGO, definition_of
from ameide_shared.transformation.model import Observation as DefinitionObservation


def observed(objects: Iterable[Manifest], apis: frozenset[ResourceType]) -> Observed:
    """What a plan is given, from manifests and documents. Raises PolicyError for a policy that is none."""
    objects = list(objects)
    definition = next((each for each in objects if resource_of(each) is AGENT_DEFINITION), None)
    fetched = DefinitionObservation() if definition is None else definition_of(definition)
    return Observed(Snapshot(objects), apis, definition=fetched, policy=_policy(objects))


def policy_document(text: str) -> dict[str, Any]:
    """The AgentPolicy of a policy's text, or of a ConfigMap that holds one. Raises PolicyError."""
    spec = {key: value for key, value in parse(text).data.items() if key != "version"}
    return {
        "apiVersion": AGENT_POLICY.api_version,
        "kind": AGENT_POLICY.kind,
        "metadata": {"name": "policy", "namespace": ""},
        "spec": spec,
    }


def _policy(objects: Iterable[Manifest]) -> PolicyState:
    """The policy among the objects; an AgentPolicy goes before a ConfigMap."""
    state = PolicyState()
    for each in objects:
        resource = resource_of(each)
        if resource is CONFIG_MAP and CONFIG_MAP_KEY in (each.get("data") or {}):
            state = PolicyState(parse(each["data"][CONFIG_MAP_KEY]), LONG_AGO)
        if resource is AGENT_POLICY:
            spec, fault = each.get("spec"), each.get("fault")
            policy = parse(yaml.safe_dump({"version": VERSION, **spec})) if spec is not None else None
            told = PolicyFault(fault["message"], fault.get("remedy", ""), LONG_AGO) if fault is not None else None
            return PolicyState(policy, LONG_AGO if policy is not None else None, told)
    return state
