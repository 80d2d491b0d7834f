"""A small operator over Widgets and their ConfigMaps, for the tests of the runtime; also run as a program of its own.

A Widget's reconcile takes `spec.seconds`. What was reconciled goes to standard output, a line each.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ameide_shared import logging
from ameide_shared.controller.runtime import Runtime, Watch, run_loop
from ameide_shared.kube.connection import Connection, connect
from ameide_shared.kube.resources import (
    CONFIG_MAP,
    DEPLOYMENT,
    JOB,
    NAMESPACE,
    POD,
    SERVICE,
    Manifest,
    ObjectKey,
    ResourceType,
)
from ameide_shared.settings import OperatorSettings, load

WIDGET = ResourceType("test.ameide.io", "v1", "Widget", "widgets")
GADGET = ResourceType("test.ameide.io", "v1", "Gadget", "gadgets")
SELECTOR = "ameide.io/primitive=widget"


def crd(resource: ResourceType) -> dict[str, Any]:
    """A CustomResourceDefinition that takes anything."""
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": str(resource)},
        "spec": {
            "group": resource.group,
            "scope": "Namespaced",
            "names": {"kind": resource.kind, "plural": resource.plural},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": schema},
                    "subresources": {"status": {}},
                }
            ],
        },
    }


def owner(manifest: Manifest) -> list[ObjectKey]:
    metadata = manifest["metadata"]
    name = (metadata.get("labels") or {}).get("ameide.io/name")
    return [ObjectKey(metadata["namespace"], name)] if name else []


@dataclass
class Result:
    requeue_after: float | None = None
    failed: str = ""


class DeafRuntime(Runtime):
    """A runtime that can be made to lose what its watches tell."""

    deaf: Callable[[ResourceType], bool] = staticmethod(lambda resource: False)

    def _take_event(self, resource: ResourceType, event_type: str | None, manifest: dict[str, Any]) -> None:
        if not self.deaf(resource):
            super()._take_event(resource, event_type, manifest)


@dataclass
class Sample:
    """The operator and what it has seen."""

    connection: Connection
    settings: OperatorSettings
    watches: tuple[Watch, ...] = (
        Watch(CONFIG_MAP, owner, SELECTOR),
        Watch(SERVICE, owner, SELECTOR),
        Watch(DEPLOYMENT, owner, SELECTOR),
        Watch(POD, owner, SELECTOR),
        Watch(JOB, owner, SELECTOR),
        Watch(NAMESPACE, lambda namespace: ()),
        Watch(GADGET, owner, optional=True),
    )
    seen: list[tuple[ObjectKey, bool, tuple[str, ...]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.runtime = DeafRuntime("t-operator", WIDGET, self.watches, self.settings, self.connection)
        self.stop = asyncio.Event()

    async def run(self) -> int:
        return await self.runtime.run(self.reconcile, stop=self.stop)

    async def reconcile(self, key: ObjectKey) -> Result:
        """Note whether the Widget exists, and its children."""
        cache = self.runtime.cache
        widget = cache.get(WIDGET, key)
        if widget is not None:
            await asyncio.sleep((widget.get("spec") or {}).get("seconds", 0))
        children = sorted(
            str(child["metadata"]["name"])
            for watch in self.watches
            if watch.resource is not NAMESPACE
            for child in cache.list(watch.resource, key.namespace)
            if key in owner(child)
        )
        self.seen.append((key, widget is not None, tuple(children)))
        print(key, widget is not None, *children, flush=True)
        return Result()


def main() -> None:
    settings = load(OperatorSettings)
    logging.configure(settings.log_level, settings.log_format)

    async def run() -> int:
        async with connect(os.environ["KUBECONFIG"]) as connection:
            return await Sample(connection, settings).run()

    sys.exit(run_loop(run()))


if __name__ == "__main__":
    main()
