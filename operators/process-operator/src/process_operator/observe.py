"""What the Process operator reads for one Process: the only reader of its plan.

The cluster comes from caches that watches keep current; definitions and Temporal from watchers that ask in the
background, once per interval for all Processes that share what they ask for.
"""

from __future__ import annotations

from collections.abc import Hashable

from ameide_shared.builders.identity import Primitive, is_owned
from ameide_shared.compile.context import annotation
from ameide_shared.kube.index import Index
from ameide_shared.kube.resources import (
    AGENT,
    CONFIG_MAP,
    PROCESS,
    SCALED_OBJECT,
    SERVICE_MONITOR,
    TEMPORAL_CONNECTION,
    TRIGGER_AUTHENTICATION,
    WORKER_DEPLOYMENT,
    Manifest,
    ObjectKey,
    key_of,
)
from ameide_shared.observing import Reader
from ameide_shared.spec import InvalidSpec
from ameide_shared.transformation.children import ANNOTATION_CHECKSUM
from ameide_shared.transformation.model import DefinitionKind, Reference
from ameide_shared.transformation.watcher import DefinitionWatcher
from process_operator.hands import Hands
from process_operator.observed import Observed
from process_operator.plan.context import target_of
from process_operator.plan.dependencies import references
from process_operator.plan.temporal import queue_of
from process_operator.plan.workers import awaits_pollers
from process_operator.spec import Process
from process_operator.temporal.model import Detail
from process_operator.temporal.watcher import TemporalWatcher

OPTIONAL_APIS = (
    AGENT,
    SCALED_OBJECT,
    SERVICE_MONITOR,
    TEMPORAL_CONNECTION,
    TRIGGER_AUTHENTICATION,
    WORKER_DEPLOYMENT,
)


class Observer:
    """Gathers an Observed. Keeps indexes over Processes: by task queue, and by what they depend on."""

    def __init__(self, reader: Reader, definitions: DefinitionWatcher, temporal: TemporalWatcher, hands: Hands) -> None:
        self._reader = reader
        self._definitions = definitions
        self._temporal = temporal
        self._hands = hands
        self.by_queue = Index(reader.cache, PROCESS, lambda process: [queue_of(process)])
        self.by_dependency = Index(reader.cache, PROCESS, _dependencies)

    async def observe(self, manifest: Manifest) -> Observed:
        """Read what the plan of this Process needs. Raises ApiError where the API server cannot be asked."""
        key = key_of(manifest)
        objects = self._reader.own(manifest)
        apis = self._reader.apis()
        try:
            process = Process.parse(manifest)
        except InvalidSpec:
            self.forget(key)
            return Observed(self._reader.snapshot(objects), apis)
        deleting = bool(manifest["metadata"].get("deletionTimestamp"))
        primitive = Primitive("Process", key.name, key.namespace, str(manifest["metadata"].get("uid", "")))
        for dependency in references(process.spec, key.namespace):
            objects += self._reader.get(dependency.resource, dependency.key)
        for rival in self.rivals_of(manifest):
            objects += self._reader.get(PROCESS, rival)
        objects += await self._reader.account(primitive, process.spec)
        wanted = process.spec.definition_ref
        reference = Reference(DefinitionKind.PROCESS, wanted.tenant_id, wanted.id, wanted.version)
        definition = await self._definitions.observe(reference, key)
        target = target_of(process)
        if deleting:
            details = {Detail.Open}
        elif _definitions_of(primitive, objects) > 1:
            details = {Detail.Usage}  # whether an older one may go
        else:
            details = set()
        temporal = await self._temporal.observe(target, key, details)
        if deleting or awaits_pollers(manifest):
            self._temporal.expedite(target)
        image = await self._reader.image(process.spec.image)
        paused, batch = self._hands.closing_of(primitive.uid)
        return Observed(self._reader.snapshot(objects), apis, image, definition, temporal, paused, batch)

    def rivals_of(self, manifest: Manifest) -> list[ObjectKey]:
        """The other Processes that want the same task queue, in order."""
        return [key for key in self.by_queue.keys(queue_of(manifest)) if key != key_of(manifest)]

    def expedite(self, manifest: Manifest) -> None:
        """Somebody waits for pollers of this Process: look often for a while."""
        try:
            self._temporal.expedite(target_of(Process.parse(manifest)))
        except InvalidSpec:
            return

    def forget(self, key: ObjectKey) -> None:
        """A Process has gone: nothing is asked for its sake any more."""
        self._definitions.forget(key)
        self._temporal.forget(key)


def _definitions_of(primitive: Primitive, objects: list[Manifest]) -> int:
    """How many definitions the Process keeps."""
    return sum(
        1
        for each in objects
        if each.get("kind") == CONFIG_MAP.kind and annotation(each, ANNOTATION_CHECKSUM) and is_owned(primitive, each)
    )


def _dependencies(manifest: Manifest) -> list[Hashable]:
    """Values by which a Process is found when something that it depends on changes."""
    try:
        process = Process.parse(manifest)
    except InvalidSpec:
        return []
    return [(each.resource, each.key) for each in references(process.spec, key_of(manifest).namespace)]
