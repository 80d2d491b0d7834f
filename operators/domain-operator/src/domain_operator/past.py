"""What was before this process: asked of the API server once, before a migration is begun that may have been begun.

A replica that comes to lead knows what its watches have told it, and a watch can be behind: of the last migrations,
their pods and releases, and even of what the spec asks for now. All else that a plan gets wrong by that is put right
later; a migration that runs beside another, or again, is not. So the namespace is listed anew first, unless the Domain
came into being while this process led: then whatever there is of it is this process's own work, and in the cache.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ameide_shared.kube.cache import Cache
from ameide_shared.kube.client import ApiClient
from ameide_shared.kube.resources import CONTROLLER_REVISION, DOMAIN, JOB, POD, Manifest, ResourceType
from ameide_shared.plan import Call
from ameide_shared.vocabulary import LABEL_MANAGED_BY


class Past:
    """Of which Domains the past is known. `operator` is the manager that their children name."""

    def __init__(self, client: ApiClient, cache: Cache, operator: str) -> None:
        self._client = client
        self._cache = cache
        ours = f"{LABEL_MANAGED_BY}={operator}"
        # Revisions and Jobs before pods: whatever follows from one that was listed is listed with it.
        self._kinds: Final[Mapping[ResourceType, str]] = {DOMAIN: "", JOB: ours, CONTROLLER_REVISION: ours, POD: ours}
        self._listed: set[str] = set()  # namespaces
        self._young: set[str] = set()  # uids of Domains that were new when they were first looked at
        cache.subscribe(DOMAIN, self._changed)

    def is_known(self, domain: Manifest) -> bool:
        """Whether no migration of before can be missing in the cache. Ask at every look at the Domain."""
        metadata = domain["metadata"]
        untouched = int((domain.get("status") or {}).get("observedGeneration", -1)) < 0
        # Had somebody migrated this first generation without coming to say so, its Job would bear the same name.
        if untouched and metadata.get("generation") == 1:
            self._young.add(metadata["uid"])
        return metadata["uid"] in self._young or metadata["namespace"] in self._listed

    async def look(self, domain: Manifest, _: Call) -> bool:
        """Bring the cache of the Domain's namespace to what the API server has now. Raises ApiError."""
        namespace = domain["metadata"]["namespace"]
        for resource, selector in self._kinds.items():
            listing = await self._client.list(resource, namespace, label_selector=selector)
            store = self._cache.store(resource)
            for item in listing.items:
                store.on_event(None, item)  # as the watch has yet to tell it: it may concern others, too
            uids = [item["metadata"]["uid"] for item in listing.items]
            store.drop_missing(uids, listing.resource_version, namespace)
        self._listed.add(namespace)
        return True

    def _changed(self, old: Manifest | None, new: Manifest | None) -> None:
        if old is not None and new is None:
            self._young.discard(old["metadata"]["uid"])
