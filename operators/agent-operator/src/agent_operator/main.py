"""The Agent operator as a program: what it watches, and the console script `agent-operator`."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable

from agent_operator.assumed import assumed
from agent_operator.documents import observed, policy_document
from agent_operator.grantsservice import GrantsService
from agent_operator.hands import Hands
from agent_operator.metrics import AgentMetrics
from agent_operator.observe import OPTIONAL_APIS, Observer
from agent_operator.observed import Observed
from agent_operator.plan import plan
from agent_operator.policy.state import PolicyState
from agent_operator.policy.subject import ToolKey
from agent_operator.policysource import PolicySource
from agent_operator.settings import AgentSettings
from agent_operator.spec import Agent
from agent_operator.status import status
from ameide_shared.cli import Companion, Definition, program
from ameide_shared.controller.runtime import Runtime, Watch
from ameide_shared.controller.wiring import Wiring, namespace_of
from ameide_shared.kube.connection import Connection
from ameide_shared.kube.index import Index
from ameide_shared.kube.resources import (
    AGENT,
    CONFIG_MAP,
    CONTROLLER_REVISION,
    DEPLOYMENT,
    DOMAIN,
    EXTERNAL_SECRET,
    HORIZONTAL_POD_AUTOSCALER,
    NAMESPACE,
    NETWORK_POLICY,
    POD_DISRUPTION_BUDGET,
    PROCESS,
    SCALED_OBJECT,
    SECRET,
    SERVICE,
    SERVICE_ACCOUNT,
    SERVICE_MONITOR,
    Manifest,
    ObjectKey,
    ResourceType,
    key_of,
)
from ameide_shared.observing import Reader
from ameide_shared.reconcile import PlannedKind
from ameide_shared.tenancy import tenant_of
from ameide_shared.transformation.client import TransformationClient
from ameide_shared.transformation.watcher import DefinitionWatcher
from ameide_shared.vocabulary import ANNOTATION_ALLOWED_NAMESPACES

OPERATOR = "agent-operator"
"""Name of the operator: of its Lease, its field manager and the value of app.kubernetes.io/managed-by."""

_CHILDREN: tuple[ResourceType, ...] = (
    DEPLOYMENT,
    SERVICE,
    SERVICE_ACCOUNT,
    SECRET,  # of our ExternalSecrets: their targets bear our labels
    CONFIG_MAP,
    CONTROLLER_REVISION,
    HORIZONTAL_POD_AUTOSCALER,
    POD_DISRUPTION_BUDGET,
    NETWORK_POLICY,
)
_OPTIONAL_CHILDREN: tuple[ResourceType, ...] = (SERVICE_MONITOR, EXTERNAL_SECRET, SCALED_OBJECT)


class AgentWiring(Wiring):
    """Which Agents an object concerns. The observer's indexes exist only once the runtime's cache does."""

    observer: Observer

    def of_tool(self, manifest: Manifest) -> Iterable[ObjectKey]:
        """Every Agent that asks for a Domain, Process or Agent as a tool, or runs with it."""
        key = key_of(manifest)
        return self.observer.users(ToolKey(manifest["kind"].lower(), key.namespace, key.name))


def _standing(manifest: Manifest) -> Hashable:
    """What of a tool concerns those that use it: whether it is there, and whom it lets refer to it."""
    metadata = manifest["metadata"]
    consent = (metadata.get("annotations") or {}).get(ANNOTATION_ALLOWED_NAMESPACES)
    return metadata.get("uid"), bool(metadata.get("deletionTimestamp")), consent


def watches(wiring: AgentWiring) -> list[Watch]:
    """What is watched besides Agents."""
    return [
        *wiring.watches(_CHILDREN, _OPTIONAL_CHILDREN),
        Watch(DOMAIN, wiring.of_tool, optional=True, matters=_standing),
        Watch(PROCESS, wiring.of_tool, optional=True, matters=_standing),
    ]


def start(settings: AgentSettings, connection: Connection) -> tuple[Runtime, PlannedKind[Observed]]:
    """The runtime with its watches, and the kind that it reconciles. Nothing is dialled here."""
    wiring = AgentWiring("agent", OPERATOR)
    runtime = Runtime(OPERATOR, AGENT, watches(wiring), settings, connection)
    check = settings.images.registry_check
    reader = Reader(runtime.client, runtime.cache, runtime.discovery, OPTIONAL_APIS, check)

    def wake(users: Iterable[ObjectKey]) -> None:
        for key in users:
            runtime.queue.add(key, debounce=True)

    def everyone(_state: PolicyState) -> None:
        wake(key_of(agent) for agent in runtime.cache.store(AGENT).list())

    definitions = DefinitionWatcher(
        TransformationClient(settings.transformation), wake, poll_seconds=settings.transformation.poll_seconds
    )
    policy = PolicySource(settings.policy.file, poll_seconds=settings.policy.poll_seconds, on_change=everyone)
    wiring.observer = observer = Observer(reader, definitions, policy, settings)
    wiring.by_namespace = Index(runtime.cache, AGENT, namespace_of)
    hands = Hands(GrantsService(settings.grants_service))
    runtime.beside("definitions", definitions.run)
    runtime.beside("policy", policy.run)
    runtime.cache.subscribe(AGENT, _when_it_changes(observer, wiring, wake))
    runtime.metrics.registry.register(_metrics(runtime, policy))
    return runtime, PlannedKind(AGENT, observer.observe, plan, status, settings, hands.by_operation)


def _when_it_changes(
    observer: Observer, wiring: AgentWiring, wake: Callable[[Iterable[ObjectKey]], None]
) -> Callable[[Manifest | None, Manifest | None], None]:
    """Agents are tools of other Agents: these are woken when one comes, goes or changes whom it lets refer to it."""

    def changed(old: Manifest | None, new: Manifest | None) -> None:
        if (_standing(old) if old else None) != (_standing(new) if new else None):
            wake(wiring.of_tool(new or old or {}))
        if old is not None and new is None:
            observer.forget(key_of(old))

    return changed


def _metrics(runtime: Runtime, policy: PolicySource) -> AgentMetrics:
    def tenant(agent: Manifest) -> str:
        return tenant_of(runtime.cache.get(NAMESPACE, ObjectKey("", agent["metadata"]["namespace"])))

    return AgentMetrics(runtime.cache.store(AGENT).list, lambda: policy.state, tenant)


DEFINITION = Definition(
    operator=OPERATOR,
    resource=AGENT,
    model=Agent,
    settings=AgentSettings,
    start=start,
    observed=observed,
    plan=plan,
    status=status,
    apis=frozenset(OPTIONAL_APIS),
    assumed=assumed,
    companion=Companion(
        "--policy",
        "The policy that Agents are held to: the document, or the ConfigMap with it. Default: policy.file of the"
        " settings, where that is there.",
        policy_document,
        lambda settings: settings.policy.file,
    ),
)

command = program(DEFINITION)


def main() -> None:
    """The console script."""
    command()


if __name__ == "__main__":
    main()
