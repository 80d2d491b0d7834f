"""The Domain operator as a program: what it watches, and the console script `domain-operator`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from ameide_shared.builders.identity import primitive_of
from ameide_shared.cli import Definition, program
from ameide_shared.controller.runtime import Runtime, Watch
from ameide_shared.kube.cache import owner_of
from ameide_shared.kube.connection import Connection
from ameide_shared.kube.resources import (
    CNPG_CLUSTER,
    CNPG_DATABASE,
    CNPG_DATABASE_ROLE,
    CONTROLLER_REVISION,
    DEPLOYMENT,
    DOMAIN,
    HORIZONTAL_POD_AUTOSCALER,
    JOB,
    NAMESPACE,
    NETWORK_POLICY,
    POD,
    POD_DISRUPTION_BUDGET,
    SECRET,
    SERVICE,
    SERVICE_ACCOUNT,
    SERVICE_MONITOR,
    Manifest,
    ObjectKey,
    ResourceType,
    key_of,
)
from ameide_shared.plan import Outcome, Plan
from ameide_shared.registry import RegistryClient
from ameide_shared.snapshot import Snapshot
from ameide_shared.vocabulary import LABEL_MANAGED_BY
from domain_operator.assumed import assumed
from domain_operator.observe import OPTIONAL_APIS, Observer
from domain_operator.observed import Observed
from domain_operator.plan import plan
from domain_operator.settings import DomainSettings
from domain_operator.spec import Domain
from domain_operator.status import status

OPERATOR = "domain-operator"
"""Name of the operator: of its Lease, its field manager and the value of app.kubernetes.io/managed-by."""

_OURS = f"{LABEL_MANAGED_BY}={OPERATOR}"
_CHILDREN: tuple[ResourceType, ...] = (
    DEPLOYMENT,
    SERVICE,
    SERVICE_ACCOUNT,
    SECRET,
    JOB,
    CONTROLLER_REVISION,
    HORIZONTAL_POD_AUTOSCALER,
    POD_DISRUPTION_BUDGET,
    NETWORK_POLICY,
)


class DomainKind:
    """What the shared reconciler needs of the Domain kind."""

    resource = DOMAIN

    def __init__(self, observer: Observer, settings: DomainSettings) -> None:
        self._observer = observer
        self._settings = settings

    async def observe(self, manifest: Manifest) -> Observed:
        return await self._observer.observe(manifest)

    def plan(self, manifest: Manifest, observed: Observed, now: datetime) -> Plan:
        return plan(manifest, observed, self._settings, now)

    def status(
        self, manifest: Manifest, observed: Observed, plan: Plan, outcome: Outcome, now: datetime
    ) -> dict[str, Any]:
        return status(manifest, observed, plan, outcome, now)


class Wiring:
    """Which Domains an object concerns. The observer's indexes exist only once the runtime's cache does."""

    observer: Observer

    def of_child(self, manifest: Manifest) -> Iterable[ObjectKey]:
        """The Domain that a child says it belongs to, wherever the child lives."""
        owner = owner_of(manifest)
        if owner is not None and owner.primitive == "domain":
            yield ObjectKey(owner.namespace, owner.name)

    def of_pod(self, manifest: Manifest) -> Iterable[ObjectKey]:
        """The Domain of a serving pod or of a Job's pod, by its labels: its controller is a ReplicaSet or a Job."""
        labels: Mapping[str, str] = manifest["metadata"].get("labels") or {}
        if primitive_of(labels) == "domain":
            owner = owner_of({"metadata": {**manifest["metadata"], "ownerReferences": []}})
            if owner is not None:
                yield ObjectKey(owner.namespace, owner.name)

    def of_cluster(self, manifest: Manifest) -> Iterable[ObjectKey]:
        """Every Domain that refers to a CloudNativePG Cluster."""
        return self.observer.domains_by_cluster.keys((key_of(manifest),))

    def of_claim(self, manifest: Manifest) -> Iterable[ObjectKey]:
        """The Domain that a Database or DatabaseRole belongs to, and those that want the same name."""
        spec = manifest.get("spec") or {}
        cluster = ObjectKey(manifest["metadata"]["namespace"], (spec.get("cluster") or {}).get("name") or "")
        what = "database" if manifest["kind"] == CNPG_DATABASE.kind else "role"
        return {
            *self.of_child(manifest),
            *self.observer.domains_by_cluster.keys((cluster, what, spec.get("name") or "")),
        }

    def of_namespace(self, manifest: Manifest) -> Iterable[ObjectKey]:
        """Every Domain of a namespace: its labels name the tenant."""
        return self.observer.domains_by_namespace.keys(manifest["metadata"]["name"])


def watches(wiring: Wiring) -> list[Watch]:
    """What is watched besides Domains. Selectors are the server's, so others' objects never reach us."""
    return [
        *(Watch(resource, wiring.of_child, _OURS) for resource in _CHILDREN),
        Watch(SERVICE_MONITOR, wiring.of_child, _OURS, optional=True),
        Watch(POD, wiring.of_pod, _OURS),
        Watch(NAMESPACE, wiring.of_namespace),
        Watch(CNPG_CLUSTER, wiring.of_cluster, optional=True),
        Watch(CNPG_DATABASE, wiring.of_claim, optional=True),
        Watch(CNPG_DATABASE_ROLE, wiring.of_claim, optional=True),
    ]


def start(settings: DomainSettings, connection: Connection) -> tuple[Runtime, DomainKind]:
    """The runtime with its watches, and the kind that it reconciles. Nothing is dialled here."""
    wiring = Wiring()
    runtime = Runtime(OPERATOR, DOMAIN, watches(wiring), settings, connection)
    check = settings.images.registry_check
    registry = RegistryClient(check) if check.enabled else None
    wiring.observer = Observer(runtime.client, runtime.cache, runtime.discovery, registry)
    runtime.cache.subscribe(DOMAIN, _wake_rivals(runtime, wiring))
    return runtime, DomainKind(wiring.observer, settings)


def _wake_rivals(runtime: Runtime, wiring: Wiring) -> Callable[[Manifest | None, Manifest | None], None]:
    """When a Domain goes, those that want the same names may have them."""

    def changed(old: Manifest | None, new: Manifest | None) -> None:
        if old is not None and new is None:
            for key in wiring.observer.rivals_of(old):
                runtime.queue.add(key, debounce=True)

    return changed


def observed(objects: Iterable[Manifest], apis: frozenset[ResourceType]) -> Observed:
    """What a plan is given, from manifests."""
    return Observed(Snapshot(objects), apis)


DEFINITION = Definition(
    operator=OPERATOR,
    resource=DOMAIN,
    model=Domain,
    settings=DomainSettings,
    start=start,
    observed=observed,
    plan=plan,
    status=status,
    apis=frozenset(OPTIONAL_APIS),
    assumed=assumed,
)

main = program(DEFINITION)

if __name__ == "__main__":
    main()
