"""The Domain operator as a program: what it watches, and the console script `domain-operator`."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ameide_shared.cli import Definition, program
from ameide_shared.controller.runtime import Runtime, Watch
from ameide_shared.controller.wiring import Wiring, namespace_of
from ameide_shared.kube.connection import Connection
from ameide_shared.kube.index import Index
from ameide_shared.kube.resources import (
    CNPG_CLUSTER,
    CNPG_DATABASE,
    CNPG_DATABASE_ROLE,
    CONTROLLER_REVISION,
    DEPLOYMENT,
    DOMAIN,
    EXTERNAL_SECRET,
    HORIZONTAL_POD_AUTOSCALER,
    JOB,
    NETWORK_POLICY,
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
from ameide_shared.observing import Reader
from ameide_shared.reconcile import PlannedKind
from ameide_shared.snapshot import Snapshot
from domain_operator.assumed import assumed
from domain_operator.observe import CREDENTIALS, OPTIONAL_APIS, Observer
from domain_operator.observed import Observed
from domain_operator.past import Past
from domain_operator.plan import plan
from domain_operator.plan.claims import ANNOTATION_CLUSTER, ANNOTATION_DATABASE, ANNOTATION_ROLE
from domain_operator.plan.migration import LOOK
from domain_operator.settings import DomainSettings
from domain_operator.spec import Domain
from domain_operator.status import status

OPERATOR = "domain-operator"
"""Name of the operator: of its Lease, its field manager and the value of app.kubernetes.io/managed-by."""

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


class DomainWiring(Wiring):
    """Which Domains an object concerns. The observer's indexes exist only once the runtime's cache does."""

    observer: Observer

    def of_cluster(self, manifest: Manifest) -> Iterable[ObjectKey]:
        """Every Domain that refers to a CloudNativePG Cluster."""
        return self.observer.domains_by_cluster.keys((key_of(manifest),))

    def of_child(self, manifest: Manifest) -> Iterable[ObjectKey]:
        """The Domain that a child belongs to; of a password Secret, which outlives it with retained data, also those
        that want a name that the Secret is the claim to.
        """
        keys = set(super().of_child(manifest))
        if manifest["kind"] == SECRET.kind:
            namespace, marks = manifest["metadata"]["namespace"], manifest["metadata"].get("annotations") or {}
            cluster = ObjectKey(namespace, marks.get(ANNOTATION_CLUSTER, ""))
            for what, mark in (("database", ANNOTATION_DATABASE), ("role", ANNOTATION_ROLE)):
                keys.update(self.observer.domains_by_cluster.keys((cluster, what, marks.get(mark, ""))))
        return keys

    def of_claim(self, manifest: Manifest) -> Iterable[ObjectKey]:
        """The Domain that a Database or DatabaseRole belongs to, and those that want the same name."""
        spec = manifest.get("spec") or {}
        cluster = ObjectKey(manifest["metadata"]["namespace"], (spec.get("cluster") or {}).get("name") or "")
        what = "database" if manifest["kind"] == CNPG_DATABASE.kind else "role"
        return {
            *self.of_child(manifest),
            *self.observer.domains_by_cluster.keys((cluster, what, spec.get("name") or "")),
        }


def watches(wiring: DomainWiring) -> list[Watch]:
    """What is watched besides Domains."""
    return [
        *wiring.watches(_CHILDREN, optional=(SERVICE_MONITOR,)),
        Watch(CNPG_CLUSTER, wiring.of_cluster, optional=True),
        Watch(CNPG_DATABASE, wiring.of_claim, optional=True),
        Watch(CNPG_DATABASE_ROLE, wiring.of_claim, optional=True),
    ]


def start(settings: DomainSettings, connection: Connection) -> tuple[Runtime, PlannedKind[Observed]]:
    """The runtime with its watches, and the kind that it reconciles. Nothing is dialled here."""
    wiring = DomainWiring("domain", OPERATOR)
    runtime = Runtime(OPERATOR, DOMAIN, watches(wiring), settings, connection, asked=(EXTERNAL_SECRET,))
    check = settings.images.registry_check
    reader = Reader(runtime.client, runtime.cache, runtime.discovery, OPTIONAL_APIS, check, CREDENTIALS)
    past = Past(runtime.client, runtime.cache, OPERATOR)
    wiring.observer = Observer(reader, past)
    wiring.by_namespace = Index(runtime.cache, DOMAIN, namespace_of)
    runtime.cache.subscribe(DOMAIN, _wake_rivals(runtime, wiring))
    return runtime, PlannedKind(DOMAIN, wiring.observer.observe, plan, status, settings, {LOOK: past.look})


def _wake_rivals(runtime: Runtime, wiring: DomainWiring) -> Callable[[Manifest | None, Manifest | None], None]:
    """When a Domain goes, or no longer has them made for it, those that want the same names may have them."""

    def changed(old: Manifest | None, new: Manifest | None) -> None:
        if old is not None and (new is None or _provisioning(old) != _provisioning(new)):
            for key in wiring.observer.rivals_of(old):
                runtime.queue.add(key, debounce=True)

    return changed


def _provisioning(manifest: Manifest) -> object:
    """How a Domain's raw spec has its database made: by that it is a rival or none."""
    return ((manifest.get("spec") or {}).get("db") or {}).get("provisioning")


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
    credentials=CREDENTIALS,
)

main = program(DEFINITION)

if __name__ == "__main__":
    main()
