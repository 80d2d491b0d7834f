"""What the UISurface operator reads for one UISurface: the only reader of its plan.

The cluster comes from caches that watches keep current, and Keycloak from a watcher that looks in the background.
"""

from __future__ import annotations

from collections.abc import Hashable

from ameide_shared.compile.context import primitive_for
from ameide_shared.confidential import keep
from ameide_shared.kube.index import Index
from ameide_shared.kube.resources import (
    AGENT,
    DOMAIN,
    HTTP_ROUTE,
    PROCESS,
    SECURITY_POLICY,
    SERVICE_MONITOR,
    UI_SURFACE,
    Manifest,
    ObjectKey,
    key_of,
)
from ameide_shared.observing import Reader
from ameide_shared.snapshot import Snapshot
from ameide_shared.spec import InvalidSpec
from uisurface_operator.keycloak.observation import Observation
from uisurface_operator.keycloak.watcher import KeycloakWatcher
from uisurface_operator.observed import Observed
from uisurface_operator.plan.claims import claim_of
from uisurface_operator.plan.context import references
from uisurface_operator.settings import UISurfaceSettings
from uisurface_operator.spec import UISurface
from uisurface_operator.target import PUBLIC, mode, target_of

OPTIONAL_APIS = (AGENT, DOMAIN, HTTP_ROUTE, PROCESS, SECURITY_POLICY, SERVICE_MONITOR)


class Observer:
    """Gathers an Observed. Keeps indexes over UISurfaces by host and by what they depend on."""

    def __init__(self, reader: Reader, watcher: KeycloakWatcher, settings: UISurfaceSettings) -> None:
        self._reader = reader
        self._watcher = watcher
        self._settings = settings
        self.by_host = Index(reader.cache, UI_SURFACE, hosts_of)
        self.by_dependency = Index(reader.cache, UI_SURFACE, _dependencies)

    async def observe(self, manifest: Manifest) -> Observed:
        """Read what the plan of this UISurface needs. Raises ApiError where the API server cannot be asked."""
        key = key_of(manifest)
        objects = self._reader.own(manifest)
        apis = self._reader.apis()
        try:
            surface = UISurface.parse(manifest)
        except InvalidSpec:
            self.forget(key)
            return Observed(self._reader.snapshot(objects), apis)
        for dependency in references(surface.spec, key.namespace):
            objects += self._reader.get(dependency.resource, dependency.key)
        for rival in self.rivals_of(manifest):
            objects += self._reader.get(UI_SURFACE, rival)
        primitive = primitive_for(manifest, Observed(Snapshot(objects)))
        objects += await self._reader.account(primitive, surface.spec)
        client = await self._client(manifest, surface, key)
        if client.secret is not None:
            keep(client.secret)
        image = await self._reader.image(surface.spec.image)
        return Observed(self._reader.snapshot(objects), apis, image, client)

    async def _client(self, manifest: Manifest, surface: UISurface, key: ObjectKey) -> Observation:
        """What is known of its client; nothing is asked for a public surface, nor for one that goes."""
        connection = self._settings.keycloak.connection(surface.spec.auth.connection)
        usable = connection is not None and connection.permits(key.namespace)
        if not usable or mode(surface, self._settings) == PUBLIC or manifest["metadata"].get("deletionTimestamp"):
            return self._watcher.last(key) or Observation()
        return await self._watcher.observe(target_of(surface, self._settings), key)

    def rivals_of(self, manifest: Manifest) -> list[ObjectKey]:
        """The other UISurfaces that want the same host, in order."""
        return sorted(
            {key for host in hosts_of(manifest) for key in self.by_host.keys(host) if key != key_of(manifest)}
        )

    def forget(self, key: ObjectKey) -> None:
        """A UISurface has gone: nothing is asked for its sake any more."""
        self._watcher.forget(key)


def hosts_of(manifest: Manifest) -> list[Hashable]:
    """The value by which the rivals for a host find each other."""
    claim = claim_of(manifest)
    return [claim[0]] if claim is not None else []


def _dependencies(manifest: Manifest) -> list[Hashable]:
    """Values by which a UISurface is found when something that it depends on changes."""
    try:
        surface = UISurface.parse(manifest)
    except InvalidSpec:
        return []
    return [(each.resource, each.key) for each in references(surface.spec, key_of(manifest).namespace)]
