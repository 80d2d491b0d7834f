"""What the Agent operator reads for one Agent: the only reader of its plan.

The cluster comes from caches that watches keep current, definitions from a watcher that asks in the background, and
the policy from a file that is followed. Asked for are only Secrets of others that the policy names.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable
from dataclasses import replace

from agent_operator.observed import Observed
from agent_operator.plan import judged
from agent_operator.plan.context import RESOURCES, Context
from agent_operator.plan.judgement import ANNOTATION_SUBJECT
from agent_operator.policy.state import PolicyState
from agent_operator.policy.subject import ToolKey, from_data, tool_requests
from agent_operator.policysource import PolicySource
from agent_operator.settings import AgentSettings
from agent_operator.spec import Agent
from ameide_shared.compile.context import annotation, primitive_for
from ameide_shared.kube.cache import owner_of
from ameide_shared.kube.index import Index
from ameide_shared.kube.resources import (
    AGENT,
    CONTROLLER_REVISION,
    DOMAIN,
    EXTERNAL_SECRET,
    PROCESS,
    SCALED_OBJECT,
    SECRET,
    SERVICE_MONITOR,
    Manifest,
    ObjectKey,
    key_of,
)
from ameide_shared.observing import Reader
from ameide_shared.reconcile import utc_now
from ameide_shared.snapshot import Snapshot
from ameide_shared.spec import InvalidSpec
from ameide_shared.transformation.model import DefinitionKind, Reference
from ameide_shared.transformation.watcher import DefinitionWatcher

OPTIONAL_APIS = (DOMAIN, EXTERNAL_SECRET, PROCESS, SCALED_OBJECT, SERVICE_MONITOR)


class Observer:
    """Gathers an Observed. Keeps an index over Agents by the tools that they ask for."""

    def __init__(
        self, reader: Reader, definitions: DefinitionWatcher, policy: PolicySource, settings: AgentSettings
    ) -> None:
        self._reader = reader
        self._definitions = definitions
        self._policy = policy
        self._settings = settings
        self._by_tool_of_spec = Index(reader.cache, AGENT, _tools)
        self._by_tool_of_revision = Index(reader.cache, CONTROLLER_REVISION, _tools_of_revision)

    async def observe(self, manifest: Manifest) -> Observed:
        """Read what the plan of this Agent needs. Raises ApiError where the API server cannot be asked."""
        key = key_of(manifest)
        objects = self._reader.own(manifest)
        apis = self._reader.apis()
        try:
            agent = Agent.parse(manifest)
        except InvalidSpec:
            self.forget(key)
            return Observed(self._reader.snapshot(objects), apis)
        if self._policy.state == PolicyState():
            await self._policy.refresh()
        for tool in sorted({*_tools_of(manifest), *_tools_of_revisions(objects)}):
            resource = RESOURCES.get(tool.kind)
            if resource is not None:
                objects += self._reader.get(resource, ObjectKey(tool.namespace, tool.name))
        primitive = primitive_for(manifest, Observed(Snapshot(objects)))
        objects += await self._reader.account(primitive, agent.spec)
        wanted = agent.spec.definition_ref
        reference = Reference(DefinitionKind.AGENT, wanted.tenant_id, wanted.id, wanted.version)
        definition = await self._definitions.observe(reference, key)
        image = await self._reader.image(agent.spec.image)
        observed = Observed(self._reader.snapshot(objects), apis, image, definition, self._policy.state)
        secrets = await self._secrets(Context(manifest, agent, primitive, observed, self._settings, utc_now()))
        return replace(observed, objects=self._reader.snapshot([*objects, *secrets])) if secrets else observed

    async def _secrets(self, ctx: Context) -> list[Manifest]:
        """The Secrets of others that hold credentials of what the spec asks for, and of what runs."""
        policy = ctx.observed.policy.policy
        if policy is None or all(one.secret_name is None for one in policy.document.credentials.values()):
            return []
        wanted: set[str] = set()
        for verdict in (one.verdict for one in judged(ctx)):
            for needed in verdict.credentials if verdict is not None else ():
                if needed.secret_name is not None:
                    wanted.add(needed.secret_name)
        keys = [ObjectKey(ctx.primitive.namespace, name) for name in sorted(wanted)]
        found = [await self._reader.foreign(SECRET, key) for key in keys]
        return [secret for secret in found if secret is not None]

    def users(self, tool: ToolKey) -> set[ObjectKey]:
        """The Agents whose spec asks for a tool, or that run with it although their spec no longer does."""
        revisions = self._by_tool_of_revision.keys(tool)
        owners = [owner_of(found) for key in revisions for found in self._reader.get(CONTROLLER_REVISION, key)]
        running = {ObjectKey(owner.namespace, owner.name) for owner in owners if owner is not None}
        return {*self._by_tool_of_spec.keys(tool), *running}

    def forget(self, key: ObjectKey) -> None:
        """An Agent has gone: nothing is asked for its sake any more."""
        self._definitions.forget(key)


def _tools(manifest: Manifest) -> list[Hashable]:
    """Values by which an Agent is found when one of its tools changes."""
    return list(_tools_of(manifest))


def _tools_of(manifest: Manifest) -> Iterable[ToolKey]:
    """The tools that the spec asks for; none where it cannot be read."""
    try:
        Agent.parse(manifest)
    except InvalidSpec:
        return []
    allowed = ((manifest["spec"].get("tools") or {}).get("allowed")) or ()
    return [request.tool for request in tool_requests(allowed, manifest["metadata"]["namespace"], "")]


def _tools_of_revisions(objects: Iterable[Manifest]) -> Iterable[ToolKey]:
    """The tools of what was released, which may be others than those that the spec asks for now."""
    return [tool for each in objects if each.get("kind") == CONTROLLER_REVISION.kind for tool in _released_with(each)]


def _tools_of_revision(revision: Manifest) -> list[Hashable]:
    """Values by which a revision is found when one of its tools changes."""
    return list(_released_with(revision))


def _released_with(revision: Manifest) -> list[ToolKey]:
    try:
        return [request.tool for request in from_data(json.loads(annotation(revision, ANNOTATION_SUBJECT))).tools]
    except (ValueError, KeyError, TypeError):
        return []
