"""Which optional APIs the cluster has: ServiceMonitor, DatabaseRole, HTTPRoute, … and when that changes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

from ameide_shared.kube.client import ApiClient
from ameide_shared.kube.errors import ApiError, NotFound
from ameide_shared.kube.resources import Manifest, ResourceType

log = logging.getLogger(__name__)

OnChange = Callable[[ResourceType, bool], None]


class Discovery:
    """Knows which of the `optional` types are served. Types not named there count as always installed.

    Fed by watch events of CustomResourceDefinitions, by `refresh`, or both. Until either has spoken, an optional type
    counts as not installed.
    """

    def __init__(self, optional: Iterable[ResourceType]) -> None:
        self._installed: dict[ResourceType, bool] = dict.fromkeys(optional, False)
        self._listeners: list[OnChange] = []

    @property
    def optional(self) -> tuple[ResourceType, ...]:
        return tuple(self._installed)

    def installed(self, resource: ResourceType) -> bool:
        """True if the API server serves this type, as far as we know."""
        return self._installed.get(resource, True)

    def subscribe(self, listener: OnChange) -> None:
        """Call `listener(resource, installed)` after each change."""
        self._listeners.append(listener)

    def on_crd_event(self, event_type: str | None, crd: Manifest) -> None:
        """Take a watch event of a CustomResourceDefinition: None (listed), ADDED, MODIFIED or DELETED."""
        spec: dict[str, Any] = crd.get("spec") or {}
        plural = (spec.get("names") or {}).get("plural")
        conditions = (crd.get("status") or {}).get("conditions") or ()
        established = any(c.get("type") == "Established" and c.get("status") == "True" for c in conditions)
        deleted = event_type == "DELETED" or bool((crd.get("metadata") or {}).get("deletionTimestamp"))
        served = {v["name"] for v in spec.get("versions") or () if v.get("served")}
        for resource in self.optional:
            if resource.group == spec.get("group") and resource.plural == plural:
                self._set(resource, established and not deleted and resource.version in served)

    async def refresh(self, client: ApiClient) -> bool:
        """Ask the API server which types it serves; one request per group and version.

        False if it could not be asked about all of them: what was known then stays. Never raises an ApiError, so that
        an operator starts while the API server is down.
        """
        complete = True
        for group, version in sorted({(r.group, r.version) for r in self.optional}):
            try:
                answer = await client.raw_get(f"/apis/{group}/{version}" if group else f"/api/{version}")
                served = {str(r.get("name")) for r in answer.get("resources") or ()}
            except NotFound:
                served = set()
            except ApiError as error:
                log.warning("cannot ask the API server for %s/%s: %s", group, version, error.message)
                complete = False
                continue
            for resource in self.optional:
                if (resource.group, resource.version) == (group, version):
                    self._set(resource, resource.plural in served)
        return complete

    def _set(self, resource: ResourceType, installed: bool) -> None:
        if self._installed[resource] == installed:
            return
        self._installed[resource] = installed
        log.info("%s is %s", resource, "installed" if installed else "not installed")
        for listener in list(self._listeners):
            listener(resource, installed)
