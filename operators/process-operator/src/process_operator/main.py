"""The Process operator as a program: what it watches, and the console script `process-operator`."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterable

from ameide_shared.cli import Definition, program
from ameide_shared.controller.runtime import Runtime, Watch
from ameide_shared.controller.wiring import Wiring, namespace_of
from ameide_shared.kube.connection import Connection
from ameide_shared.kube.index import Index
from ameide_shared.kube.resources import (
    AGENT,
    CONFIG_MAP,
    CONTROLLER_REVISION,
    CRON_JOB,
    DEPLOYMENT,
    DOMAIN,
    HORIZONTAL_POD_AUTOSCALER,
    NETWORK_POLICY,
    POD_DISRUPTION_BUDGET,
    PROCESS,
    SCALED_OBJECT,
    SERVICE,
    SERVICE_ACCOUNT,
    SERVICE_MONITOR,
    TEMPORAL_CONNECTION,
    TRIGGER_AUTHENTICATION,
    WORKER_DEPLOYMENT,
    Manifest,
    ObjectKey,
    ResourceType,
    key_of,
    resource_of,
)
from ameide_shared.observing import Reader
from ameide_shared.reconcile import PlannedKind
from ameide_shared.transformation.client import TransformationClient
from ameide_shared.transformation.watcher import DefinitionWatcher
from process_operator.assumed import assumed
from process_operator.documents import observed
from process_operator.hands import Hands
from process_operator.observe import OPTIONAL_APIS, Observer
from process_operator.observed import Observed
from process_operator.plan import plan
from process_operator.plan.dependencies import projection
from process_operator.settings import ProcessSettings
from process_operator.spec import Process
from process_operator.status import status
from process_operator.temporal.gateway import TemporalGateway
from process_operator.temporal.watcher import TemporalWatcher

OPERATOR = "process-operator"
"""Name of the operator: of its Lease, its field manager and the value of app.kubernetes.io/managed-by."""

_CHILDREN: tuple[ResourceType, ...] = (
    DEPLOYMENT,
    SERVICE,
    SERVICE_ACCOUNT,
    CONFIG_MAP,
    CRON_JOB,
    CONTROLLER_REVISION,
    HORIZONTAL_POD_AUTOSCALER,
    POD_DISRUPTION_BUDGET,
    NETWORK_POLICY,
)
_OPTIONAL_CHILDREN: tuple[ResourceType, ...] = (
    SERVICE_MONITOR,
    SCALED_OBJECT,
    TRIGGER_AUTHENTICATION,
    TEMPORAL_CONNECTION,
    WORKER_DEPLOYMENT,
)


class ProcessWiring(Wiring):
    """Which Processes an object concerns. The observer's indexes exist only once the runtime's cache does."""

    observer: Observer

    def of_dependency(self, manifest: Manifest) -> Iterable[ObjectKey]:
        """Every Process that depends on a Domain or Agent."""
        return self.observer.by_dependency.keys((resource_of(manifest), key_of(manifest)))


def watches(wiring: ProcessWiring) -> list[Watch]:
    """What is watched besides Processes."""
    return [
        *wiring.watches(_CHILDREN, _OPTIONAL_CHILDREN),
        Watch(DOMAIN, wiring.of_dependency, matters=projection),
        Watch(AGENT, wiring.of_dependency, optional=True, matters=projection),
    ]


def start(settings: ProcessSettings, connection: Connection) -> tuple[Runtime, PlannedKind[Observed]]:
    """The runtime with its watches, and the kind that it reconciles. Nothing is dialled here."""
    wiring = ProcessWiring("process", OPERATOR)
    runtime = Runtime(OPERATOR, PROCESS, watches(wiring), settings, connection)
    check = settings.images.registry_check
    reader = Reader(runtime.client, runtime.cache, runtime.discovery, OPTIONAL_APIS, check)

    def wake(users: Iterable[ObjectKey]) -> None:
        for key in users:
            runtime.queue.add(key, debounce=True)

    definitions = DefinitionWatcher(
        TransformationClient(settings.transformation), wake, poll_seconds=settings.transformation.poll_seconds
    )
    gateway = TemporalGateway(settings.temporal)
    temporal = TemporalWatcher(gateway, wake)
    hands = Hands(gateway)
    wiring.observer = observer = Observer(reader, definitions, temporal, hands)
    wiring.by_namespace = Index(runtime.cache, PROCESS, namespace_of)
    hands.on_registered = observer.expedite
    runtime.beside("definitions", definitions.run)
    runtime.beside("Temporal", temporal.run)
    runtime.cache.subscribe(PROCESS, _when_gone(observer, hands, wake))
    return runtime, PlannedKind(PROCESS, observer.observe, plan, status, settings, hands.by_operation)


def _when_gone(
    observer: Observer, hands: Hands, wake: Callable[[Iterable[ObjectKey]], None]
) -> Callable[[Manifest | None, Manifest | None], None]:
    """When a Process goes, nothing is asked for it any more, and those that want its task queue may have it."""

    def changed(old: Manifest | None, new: Manifest | None) -> None:
        if old is not None and new is None:
            observer.forget(key_of(old))
            hands.forget(old["metadata"]["uid"])
            wake(observer.rivals_of(old))

    return changed


DEFINITION = Definition(
    operator=OPERATOR,
    resource=PROCESS,
    model=Process,
    settings=ProcessSettings,
    start=start,
    observed=observed,
    plan=plan,
    status=status,
    apis=frozenset(OPTIONAL_APIS),
    assumed=assumed,
)

command = program(DEFINITION)


def main() -> None:
    """The console script. It leaves by the shortest way: once connected to Temporal, the SDK's threads can abort an
    interpreter that takes itself down in order (exit code -6), after all has been said and done."""
    code: object = 0
    try:
        command()
    except SystemExit as end:
        code = end.code
    if isinstance(code, str):
        print(code, file=sys.stderr)  # as the interpreter itself does
    sys.stdout.flush()
    sys.stderr.flush()
    logging.shutdown()
    os._exit(code if isinstance(code, int) else int(code is not None))


if __name__ == "__main__":
    main()
