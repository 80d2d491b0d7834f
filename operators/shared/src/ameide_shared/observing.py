"""How operators read the cluster for one resource: from caches that watches keep current, and rarely by asking.

Asked for are only objects of others that a spec names (they bear no label of ours, so no watch shows them), and the
registry. What was asked is believed for a few seconds.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable

from ameide_shared.builders.identity import Primitive
from ameide_shared.builders.serviceaccount import HasSecurity, service_account_name
from ameide_shared.confidential import Confidential, at_hand, quiet, take_up
from ameide_shared.kube.cache import Cache, Owner
from ameide_shared.kube.client import ApiClient
from ameide_shared.kube.discovery import Discovery
from ameide_shared.kube.errors import NotFound
from ameide_shared.kube.resources import (
    DEPLOYMENT,
    NAMESPACE,
    SECRET,
    SERVICE_ACCOUNT,
    Manifest,
    ObjectKey,
    ResourceType,
    key_of,
    resource_of,
)
from ameide_shared.observed import ImageCheck
from ameide_shared.reasons import Reason
from ameide_shared.registry import ImageNotFound, RegistryClient, RegistryError
from ameide_shared.settings import RegistryCheckSettings
from ameide_shared.snapshot import Snapshot

FOREIGN_SECONDS = 9.0
"""How long an object of somebody else, got by name, is believed: less than plans wait before they look again."""
_REMEMBERED = 4096


class Reader:
    """Reads for one kind. `optional` are the APIs that may be absent, `check` whether and how to ask registries.

    `credentials` are the keys of Secrets whose values nobody may see; None: of all keys.
    """

    def __init__(
        self,
        client: ApiClient,
        cache: Cache,
        discovery: Discovery,
        optional: Iterable[ResourceType],
        check: RegistryCheckSettings,
        credentials: Collection[str] | None = None,
    ) -> None:
        self.client = client
        self.cache = cache
        self.discovery = discovery
        self._optional = tuple(optional)
        self._registry = RegistryClient(check) if check.enabled else None
        self._credentials = credentials
        self._confidential: dict[ObjectKey, Confidential] = {}
        self._primary: ResourceType | None = None
        self._foreign: dict[tuple[ResourceType, ObjectKey], tuple[float, Manifest | None]] = {}

    def apis(self) -> frozenset[ResourceType]:
        """The optional APIs that are installed."""
        return frozenset(resource for resource in self._optional if self.discovery.installed(resource))

    def own(self, manifest: Manifest, elsewhere: Collection[str] = ()) -> list[Manifest]:
        """The resource's Namespace, and what says that it belongs to the resource; it is taken up with its Secrets.

        Labels that say so can be written by anybody who has a namespace: besides the resource's own, only those in
        `elsewhere` count.
        """
        key = key_of(manifest)
        places = {key.namespace, *elsewhere}
        found = [
            child
            for child in self.cache.children(Owner(str(manifest["kind"]).lower(), key.namespace, key.name))
            if child["metadata"].get("namespace") in places
        ]
        confidential = self._of(manifest)
        confidential.begin()
        take_up(confidential)
        for child in found:
            if child["kind"] == SECRET.kind:
                confidential.learn(child, self._credentials)
        return [*found, *self.get(NAMESPACE, ObjectKey("", key.namespace))]

    def snapshot(self, objects: Iterable[Manifest]) -> Snapshot:
        """What a plan may see of objects that were read: no secret value, in no Secret and no words of others.

        To be asked for when all Secrets that belong to the resource have been read.
        """
        return Snapshot(map(quiet, objects))

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

    async def foreign(self, resource: ResourceType, key: ObjectKey) -> Manifest | None:
        """An object of somebody else, by name. A Secret's values are the resource's, too: they are not told."""
        found = self.cache.get(resource, key)
        if found is None:
            at, found = self._foreign.get((resource, key), (-FOREIGN_SECONDS, None))
            if found is None or time.monotonic() - at >= FOREIGN_SECONDS:
                try:
                    found = await self.client.get(resource, key)
                except NotFound:
                    found = None
                self._remember(resource, key, found)
        if found is not None and resource is SECRET and (confidential := at_hand()) is not None:
            confidential.learn(found, self._credentials)
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

    def _of(self, manifest: Manifest) -> Confidential:
        """What must not be told of a resource; forgotten when the resource goes."""
        if self._primary is None:
            self._primary = resource_of(manifest)
            self.cache.subscribe(self._primary, self._gone)
        return self._confidential.setdefault(key_of(manifest), Confidential())

    def _gone(self, old: Manifest | None, new: Manifest | None) -> None:
        if old is not None and new is None:
            self._confidential.pop(key_of(old), None)

    def _remember(self, resource: ResourceType, key: ObjectKey, found: Manifest | None) -> None:
        now = time.monotonic()
        if len(self._foreign) > _REMEMBERED:
            self._foreign = {k: v for k, v in self._foreign.items() if now - v[0] < FOREIGN_SECONDS}
        self._foreign[resource, key] = (now, found)
