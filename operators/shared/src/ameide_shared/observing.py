"""How operators read the cluster for one resource: from caches that watches keep current, and rarely by asking.

Asked for are only objects of others that a spec names (they bear no label of ours, so no watch shows them), and the
registry. What was asked is believed for a few seconds.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable

from ameide_shared.builders.identity import Primitive
from ameide_shared.builders.serviceaccount import HasSecurity, service_account_name
from ameide_shared.converge import decoded
from ameide_shared.kube.cache import Cache, Owner
from ameide_shared.kube.client import ApiClient
from ameide_shared.kube.discovery import Discovery
from ameide_shared.kube.errors import NotFound
from ameide_shared.kube.resources import (
    DEPLOYMENT,
    NAMESPACE,
    POD,
    SECRET,
    SERVICE_ACCOUNT,
    Manifest,
    ObjectKey,
    ResourceType,
    key_of,
)
from ameide_shared.logging import known_secrets, register_secret
from ameide_shared.observed import ImageCheck
from ameide_shared.reasons import Reason
from ameide_shared.redact import scrub_pod
from ameide_shared.registry import ImageNotFound, RegistryClient, RegistryError
from ameide_shared.settings import RegistryCheckSettings
from ameide_shared.snapshot import Snapshot

FOREIGN_SECONDS = 9.0
"""How long an object of somebody else, got by name, is believed: less than plans wait before they look again."""
_REMEMBERED = 4096


class Reader:
    """Reads for one kind. `optional` are the APIs that may be absent, `check` whether and how to ask registries."""

    def __init__(
        self,
        client: ApiClient,
        cache: Cache,
        discovery: Discovery,
        optional: Iterable[ResourceType],
        check: RegistryCheckSettings,
    ) -> None:
        self.client = client
        self.cache = cache
        self.discovery = discovery
        self._optional = tuple(optional)
        self._registry = RegistryClient(check) if check.enabled else None
        self._foreign: dict[tuple[ResourceType, ObjectKey], tuple[float, Manifest | None]] = {}

    def apis(self) -> frozenset[ResourceType]:
        """The optional APIs that are installed."""
        return frozenset(resource for resource in self._optional if self.discovery.installed(resource))

    def own(self, manifest: Manifest, elsewhere: Collection[str] = ()) -> list[Manifest]:
        """The resource's Namespace, and what says that it belongs to the resource, pods scrubbed of secrets.

        Labels that say so can be written by anybody who has a namespace: besides the resource's own, only those in
        `elsewhere` count.
        """
        key = key_of(manifest)
        places = {key.namespace, *elsewhere}
        known = known_secrets()
        found = [
            scrub_pod(child, known) if child.get("kind") == POD.kind else child
            for child in self.cache.children(Owner(str(manifest["kind"]).lower(), key.namespace, key.name))
            if child["metadata"].get("namespace") in places
        ]
        return [*found, *self.get(NAMESPACE, ObjectKey("", key.namespace))]

    def get(self, resource: ResourceType, key: ObjectKey) -> list[Manifest]:
        """An object that is watched, as a list of one or none."""
        found = self.cache.get(resource, key)
        return [found] if found is not None else []

    async def account(self, primitive: Primitive, spec: HasSecurity) -> list[Manifest]:
        """The ServiceAccount that the spec names, if it is somebody else's, as a list of one or none."""
        account = ObjectKey(primitive.namespace, service_account_name(primitive, spec))
        deployed = self.cache.get(DEPLOYMENT, ObjectKey(primitive.namespace, primitive.child_name)) is not None
        if not deployed and (SERVICE_ACCOUNT, account) not in self.cache.foreign:
            return []  # it most likely does not exist: creating it tells without being asked first
        found = await self.foreign(SERVICE_ACCOUNT, account)
        return [found] if found is not None else []

    async def foreign(
        self, resource: ResourceType, key: ObjectKey, credentials: Collection[str] = ()
    ) -> Manifest | None:
        """An object of somebody else, by name. `credentials` are the keys of a Secret whose values nobody may see."""
        found = self.cache.get(resource, key)
        if found is not None:
            return found
        at, found = self._foreign.get((resource, key), (-FOREIGN_SECONDS, None))
        if found is not None and time.monotonic() - at < FOREIGN_SECONDS:
            return found
        try:
            found = await self.client.get(resource, key)
        except NotFound:
            found = None
        if found is not None and resource is SECRET:
            for name in credentials:
                register_secret(decoded(found, name) or "")
            found = Snapshot([found]).get(SECRET, key.namespace, key.name)  # the values are not kept
        self._remember(resource, key, found)
        return found

    async def image(self, image: str) -> ImageCheck:
        """What the registry says of an image, where settings have it asked."""
        if self._registry is None:
            return ImageCheck()
        try:
            return ImageCheck(info=await self._registry.check(image))
        except ImageNotFound as error:
            return ImageCheck(problem=(Reason.ImageNotFound, str(error)))
        except RegistryError as error:
            return ImageCheck(problem=(Reason.RegistryUnavailable, str(error)))

    def _remember(self, resource: ResourceType, key: ObjectKey, found: Manifest | None) -> None:
        now = time.monotonic()
        if len(self._foreign) > _REMEMBERED:
            self._foreign = {k: v for k, v in self._foreign.items() if now - v[0] < FOREIGN_SECONDS}
        self._foreign[resource, key] = (now, found)
