"""Which namespaces are looked after, and how Namespaces themselves are seen without rights in the whole cluster."""

from __future__ import annotations

import asyncio
import fnmatch
import functools
import logging
import re
from collections.abc import Callable, Sequence

from ameide_shared.kube.cache import Cache
from ameide_shared.kube.client import ApiClient
from ameide_shared.kube.errors import ApiError, NotFound
from ameide_shared.kube.resources import NAMESPACE, ObjectKey
from ameide_shared.settings import WatchSettings

log = logging.getLogger(__name__)

POLL_SECONDS = 60.0


def namespace_filter(settings: WatchSettings) -> Callable[[str], bool]:
    """Whether a namespace is looked after: one of the names or globs, and none of the excluded ones."""
    included = [re.compile(fnmatch.translate(pattern)) for pattern in settings.namespaces]
    excluded = [re.compile(fnmatch.translate(pattern)) for pattern in settings.exclude]
    if not included and not excluded:
        return lambda namespace: True

    @functools.lru_cache(maxsize=10_000)
    def admits(namespace: str) -> bool:
        if any(pattern.match(namespace) for pattern in excluded):
            return False
        return not included or any(pattern.match(namespace) for pattern in included)

    return admits


class NamespacePoller:
    """Reads the listed Namespaces one by one, every minute.

    Watching them takes rights in the whole cluster; `get` on one's own Namespace a Role can give. Where even that is
    missing, `problem` says so.
    """

    def __init__(self, client: ApiClient, cache: Cache, names: Sequence[str]) -> None:
        self._client = client
        self._cache = cache
        self._names = tuple(names)
        self.problem = "the Namespaces have not been read yet"

    async def sync(self) -> None:
        """Return once all that exist have been read."""
        while True:
            await self.poll()
            if not self.problem:
                return
            log.warning("%s", self.problem)
            await asyncio.sleep(5.0)

    async def run(self) -> None:
        """Read them for ever."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            await self.poll()

    async def poll(self) -> None:
        """Read each once. Errors are kept in `problem`."""
        problem = ""
        for name in self._names:
            key = ObjectKey("", name)
            try:
                self._cache.on_event(NAMESPACE, "MODIFIED", await self._client.get(NAMESPACE, key))
            except NotFound:
                if (live := self._cache.get(NAMESPACE, key)) is not None:
                    self._cache.on_event(NAMESPACE, "DELETED", live)
            except ApiError as error:
                problem = f"Namespace {name} cannot be read: {error}; a Role in {name} with get on namespaces is enough"
        self.problem = problem
