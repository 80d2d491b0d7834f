"""The UISurface operator as a program: what it watches, and the console script `uisurface-operator`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from ameide_shared.cli import Definition, program
from ameide_shared.compile.dependencies import projection
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
    HORIZONTAL_POD_AUTOSCALER,
    HTTP_ROUTE,
    INGRESS,
    NETWORK_POLICY,
    POD_DISRUPTION_BUDGET,
    PROCESS,
    SECRET,
    SECURITY_POLICY,
    SERVICE,
    SERVICE_ACCOUNT,
    SERVICE_MONITOR,
    UI_SURFACE,
    Manifest,
    ObjectKey,
    ResourceType,
    key_of,
    resource_of,
)
from ameide_shared.observing import Reader
from ameide_shared.reconcile import PlannedKind
from uisurface_operator.assumed import assumed
from uisurface_operator.documents import observed
from uisurface_operator.hands import Hands
from uisurface_operator.keycloak.watcher import KeycloakWatcher
from uisurface_operator.observe import OPTIONAL_APIS, Observer, hosts_of
from uisurface_operator.observed import Observed
from uisurface_operator.plan import plan
from uisurface_operator.settings import UISurfaceSettings
from uisurface_operator.spec import UISurface
from uisurface_operator.status import status

OPERATOR = "uisurface-operator"
"""Name of the operator: of its Lease, its field manager and the value of app.kubernetes.io/managed-by."""

_CHILDREN: tuple[ResourceType, ...] = (
    DEPLOYMENT,
    SERVICE,
    SERVICE_ACCOUNT,
    SECRET,
    CONFIG_MAP,
    CONTROLLER_REVISION,
    HORIZONTAL_POD_AUTOSCALER,
    POD_DISRUPTION_BUDGET,
    NETWORK_POLICY,
    INGRESS,
)
_OPTIONAL_CHILDREN: tuple[ResourceType, ...] = (SERVICE_MONITOR, HTTP_ROUTE, SECURITY_POLICY)


class SurfaceWiring(Wiring):
    """Which UISurfaces an object concerns. The observer's indexes exist only once the runtime's cache does."""

    observer: Observer

    def of_dependency(self, manifest: Manifest) -> Iterable[ObjectKey]:
        """Every UISurface that depends on a Domain, Process or Agent."""
        return self.observer.by_dependency.keys((resource_of(manifest), key_of(manifest)))


def watches(wiring: SurfaceWiring) -> list[Watch]:
    """What is watched besides UISurfaces."""
    return [
        *wiring.watches(_CHILDREN, _OPTIONAL_CHILDREN),
        *(
            Watch(resource, wiring.of_dependency, optional=True, matters=projection)
            for resource in (DOMAIN, PROCESS, AGENT)
        ),
    ]


def start(settings: UISurfaceSettings, connection: Connection) -> tuple[Runtime, PlannedKind[Observed]]:
    """The runtime with its watches, and the kind that it reconciles. Nothing is dialled here."""
    wiring = SurfaceWiring("uisurface", OPERATOR)
    runtime = Runtime(OPERATOR, UI_SURFACE, watches(wiring), settings, connection)
    check = settings.images.registry_check
    reader = Reader(runtime.client, runtime.cache, runtime.discovery, OPTIONAL_APIS, check)

    def wake(users: Collection[ObjectKey]) -> None:
        for key in users:
            runtime.queue.add(key, debounce=True)

    keycloak = KeycloakWatcher(settings.keycloak, wake)
    wiring.observer = observer = Observer(reader, keycloak, settings)
    wiring.by_namespace = Index(runtime.cache, UI_SURFACE, namespace_of)
    hands = Hands(keycloak, settings, lambda key: wake([key]))
    runtime.beside("keycloak", keycloak.run)
    runtime.cache.subscribe(UI_SURFACE, _when_it_changes(observer, wake))
    return runtime, PlannedKind(UI_SURFACE, observer.observe, plan, status, settings, hands.by_operation)


def _when_it_changes(
    observer: Observer, wake: Callable[[Collection[ObjectKey]], None]
) -> Callable[[Manifest | None, Manifest | None], None]:
    """Whoever wants the same host hears of a surface that comes, goes, or asks for or holds something else."""

    def standing(manifest: Manifest | None) -> tuple[object, ...]:
        if manifest is None:
            return ()
        recorded = (manifest.get("status") or {}).get("claim") or {}
        spec = manifest.get("spec") or {}
        return spec.get("host"), spec.get("pathPrefix"), recorded.get("host"), recorded.get("pathPrefix")

    def changed(old: Manifest | None, new: Manifest | None) -> None:
        if standing(old) != standing(new):
            concerned = [each for each in (old, new) if each is not None]
            wake(
                {
                    key
                    for each in concerned
                    for host in hosts_of(each)
                    for key in observer.by_host.keys(host)
                    if key != key_of(each)
                }
            )
        if old is not None and new is None:
            observer.forget(key_of(old))

    return changed


DEFINITION = Definition(
    operator=OPERATOR,
    resource=UI_SURFACE,
    model=UISurface,
    settings=UISurfaceSettings,
    start=start,
    observed=observed,
    plan=plan,
    status=status,
    apis=frozenset(OPTIONAL_APIS),
    assumed=assumed,
)

command = program(DEFINITION)


def main() -> None:
    """The console script."""
    command()


if __name__ == "__main__":
    main()
