"""A cluster that does as it is told: what a resource compiles to once everything that it waits for has happened.

A plan is made, its actions are taken to succeed at once (Jobs complete, Deployments roll out, CloudNativePG applies),
and it is made again, until nothing changes. Pure: nothing is read or written, the clock is passed in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from ameide_shared.cli.definition import Definition
from ameide_shared.cli.errors import Trouble
from ameide_shared.cli.inputs import overlaid
from ameide_shared.kube.differ import differences
from ameide_shared.kube.resources import (
    CNPG_DATABASE,
    CNPG_DATABASE_ROLE,
    DEPLOYMENT,
    EXTERNAL_SECRET,
    HTTP_ROUTE,
    INGRESS,
    JOB,
    SCALED_OBJECT,
    SECRET,
    SECURITY_POLICY,
    WORKER_DEPLOYMENT,
    Manifest,
    ObjectKey,
    ResourceType,
    key_of,
    resource_of,
)
from ameide_shared.plan import (
    Action,
    AddFinalizer,
    Call,
    Delete,
    Ensure,
    EnsureSecret,
    FromSecret,
    Generated,
    HandOverReplicas,
    Notify,
    Outcome,
    Plan,
    RemoveFinalizer,
    SecretValue,
)
from ameide_shared.snapshot import redacted_secret
from ameide_shared.status import stamp
from ameide_shared.vocabulary import ANNOTATION_ROTATE_PASSWORD, LABEL_MANAGED_BY

NO_UID: Final = "00000000-0000-0000-0000-000000000000"
"""The uid of a resource that no API server has seen."""
_PASSES: Final = 100
_SIMULATED: Final = "simulated-"

Key = tuple[ResourceType, ObjectKey]


class NotSettled(Trouble):
    """The plan kept asking for more changes: a fault of the operator, not of the resource."""


@dataclass(frozen=True, slots=True)
class Simulation:
    """How it ended: the resource with its status, every object, the plans on the way, and what was taken away."""

    resource: Manifest
    objects: tuple[Manifest, ...]
    plans: tuple[Plan, ...]
    wanted: tuple[Ensure | EnsureSecret, ...]
    removed: tuple[Delete, ...]

    @property
    def plan(self) -> Plan:
        """The last plan: its stages say whether the resource gets Ready."""
        return self.plans[-1]


def simulate(
    definition: Definition,
    resource: Manifest,
    objects: Iterable[Manifest],
    settings: Any,
    now: datetime,
    apis: frozenset[ResourceType] | None = None,
) -> Simulation:
    """Follow a resource to where nothing is left to do. Raises NotSettled after 100 passes.

    `wanted` has the last version of each child that is there in the end, in the order in which they were last changed.
    """
    world = _World(resource, objects, definition.operator, now)
    installed = definition.apis if apis is None else apis
    plans: list[Plan] = []
    for _ in range(_PASSES):
        observed = definition.observed(world.objects.values(), installed)
        plan = definition.plan(world.resource, observed, settings, now)
        plans.append(plan)
        before = world.changes
        for action in plan.actions:
            world.carry_out(action)
        world.settle()
        status = definition.status(world.resource, observed, plan, Outcome(), now)
        settled = world.changes == before and world.resource.get("status") == status
        world.resource["status"] = status
        if settled or world.gone:
            return Simulation(
                world.resource,
                tuple(world.objects.values()),
                tuple(plans),
                tuple(action for key, action in world.wanted.items() if key in world.objects),
                tuple(action for key, action in world.removed.items() if key not in world.objects),
            )
    raise NotSettled(
        f"{resource['kind']} {key_of(resource)} does not settle: its plan asks for changes without end; "
        "report this to the operator's maintainers"
    )


class _World:
    """The objects, and what the actions did to them."""

    def __init__(self, resource: Manifest, objects: Iterable[Manifest], operator: str, now: datetime) -> None:
        metadata = {"uid": NO_UID, "generation": 1, **resource["metadata"]}
        self.resource: dict[str, Any] = {**resource, "metadata": metadata}
        self.objects: dict[Key, Manifest] = {}
        self.wanted: dict[Key, Ensure | EnsureSecret] = {}
        self.removed: dict[Key, Delete] = {}
        self.changes = 0
        self.gone = False
        self._operator = operator
        self._now = now
        for manifest in objects:
            kind = resource_of(manifest)
            self.objects[kind, key_of(manifest)] = redacted_secret(manifest) if kind is SECRET else manifest

    def carry_out(self, action: Action) -> None:
        match action:
            case Ensure():
                self.wanted[action.resource, action.key] = action
                self._ensure(action)
            case EnsureSecret():
                self.wanted[action.resource, action.key] = action
                self._ensure_secret(action)
            case Delete():
                if self.objects.pop((action.resource, action.key), None) is not None:
                    self.removed[action.resource, action.key] = action
                    self.changes += 1
            case AddFinalizer():
                self._set_finalizers({*self._finalizers(), action.finalizer})
            case RemoveFinalizer():
                self._set_finalizers(self._finalizers() - {action.finalizer})
            case HandOverReplicas() | Notify() | Call():
                pass  # the same fields under another owner; words for people; deeds outside the cluster

    def settle(self) -> None:
        """What controllers below us make of our objects, when all goes well."""
        for (kind, key), manifest in list(self.objects.items()):
            labels = manifest["metadata"].get("labels") or {}
            settled = _SETTLED.get(kind)
            if settled is not None and labels.get(LABEL_MANAGED_BY) == self._operator:
                status = settled(manifest, self.objects, self._now)
                if status != (manifest.get("status") or {}):
                    self.objects[kind, key] = {**manifest, "status": status}
                    self.changes += 1
            if kind is EXTERNAL_SECRET and labels.get(LABEL_MANAGED_BY) == self._operator:
                self._synced(manifest)

    def _synced(self, manifest: Manifest) -> None:
        """The Secret that an ExternalSecret makes, with a value for each key."""
        target = manifest["spec"]["target"]
        key = ObjectKey(manifest["metadata"]["namespace"], target["name"])
        if (SECRET, key) in self.objects:
            return
        self.changes += 1
        made = f"00000000-0000-4000-8000-{self.changes:012d}"
        metadata = {"namespace": key.namespace, "name": key.name, "uid": made, "resourceVersion": f"{_SIMULATED}1"}
        labels = dict(((target.get("template") or {}).get("metadata") or {}).get("labels") or {})
        digests = {entry["secretKey"]: _sha256(f"{key} {entry['secretKey']}") for entry in manifest["spec"]["data"]}
        self.objects[SECRET, key] = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {**metadata, "labels": labels},
            "digests": digests,
        }

    def _ensure(self, action: Ensure) -> None:
        live = self.objects.get((action.resource, action.key))
        if live is None:
            self._store(action.resource, action.key, action.manifest, generation=1)
        elif not action.create_only and differences(action.manifest, live):
            generation = int(live["metadata"].get("generation", 0))
            changed = any(live.get(part) != action.manifest.get(part) for part in ("spec", "data"))
            merged = overlaid(live, action.manifest)
            self._store(action.resource, action.key, merged, generation=generation + changed)

    def _ensure_secret(self, action: EnsureSecret) -> None:
        live = self.objects.get((SECRET, action.key))
        held: Mapping[str, str] = (live or {}).get("digests") or {}
        recorded = ((live or {}).get("metadata", {}).get("annotations") or {}).get(ANNOTATION_ROTATE_PASSWORD, "")
        renew = recorded != action.rotation
        digests = {
            key: held[key] if key in held and not self._renewed(value, renew) else self._digest(value, key)
            for key, value in action.values.items()
        }
        manifest = {**action.manifest, "digests": digests}
        if action.rotation:
            token = {"metadata": {"annotations": {ANNOTATION_ROTATE_PASSWORD: action.rotation}}}
            manifest = overlaid(manifest, token)
        merged = overlaid(live or {}, manifest)
        if merged != live:
            self._store(SECRET, action.key, merged, generation=0)

    def _renewed(self, value: SecretValue, rotating: bool) -> bool:
        """Whether a value that a live Secret has is made anew: composed ones are, once what they come from changed."""
        match value:
            case str():
                return True
            case Generated():
                return rotating
            case FromSecret():
                source = self.objects.get((SECRET, ObjectKey(value.namespace, value.name))) or {"metadata": {}}
                return str(source["metadata"].get("resourceVersion", "")).startswith(_SIMULATED)
            case _:
                return any(self._renewed(part, rotating) for part in value.parts if isinstance(part, FromSecret))

    def _digest(self, value: SecretValue, key: str) -> str:
        match value:
            case str():
                return _sha256(value)
            case Generated():
                return _sha256(f"generated {key}")
            case FromSecret():
                source = self.objects.get((SECRET, ObjectKey(value.namespace, value.name))) or {}
                return str((source.get("digests") or {}).get(value.key) or _sha256(""))
            case _:
                return _sha256("".join(p if isinstance(p, str) else self._digest(p, key) for p in value.parts))

    def _store(self, kind: ResourceType, key: ObjectKey, manifest: Manifest, *, generation: int) -> None:
        self.changes += 1
        self.wanted[kind, key] = self.wanted.pop((kind, key))  # in the order of the last change
        identity = f"00000000-0000-4000-8000-{self.changes:012d}"
        metadata = {"uid": identity, **manifest["metadata"], "resourceVersion": f"{_SIMULATED}{self.changes}"}
        metadata.setdefault("creationTimestamp", stamp(self._now))
        if generation:
            metadata["generation"] = generation
        self.objects[kind, key] = {**manifest, "metadata": metadata}

    def _finalizers(self) -> set[str]:
        return set(self.resource["metadata"].get("finalizers") or ())

    def _set_finalizers(self, wanted: set[str]) -> None:
        if wanted != self._finalizers():
            self.changes += 1
            self.resource["metadata"]["finalizers"] = sorted(wanted)
        self.gone = bool(self.resource["metadata"].get("deletionTimestamp")) and not wanted


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


# --- what other controllers would say ---------------------------------------------------------------------------------

_Objects = Mapping[Key, Manifest]


def _deployment(manifest: Manifest, _objects: _Objects, _now: datetime) -> dict[str, Any]:
    replicas = int(manifest["spec"].get("replicas", 1))
    counts = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), replicas)
    conditions = [{"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable"}]
    return {"observedGeneration": manifest["metadata"].get("generation", 1), **counts, "conditions": conditions}


def _job(manifest: Manifest, _objects: _Objects, now: datetime) -> dict[str, Any]:
    status: dict[str, Any] = dict(manifest.get("status") or {})
    if any(c.get("type") in ("Complete", "Failed") and c.get("status") == "True" for c in status.get("conditions", ())):
        return status
    complete = {"type": "Complete", "status": "True", "reason": "CompletionsReached"}
    return {"succeeded": 1, "completionTime": stamp(now), "conditions": [complete]}


def _cnpg(manifest: Manifest, objects: _Objects, _now: datetime) -> dict[str, Any]:
    status = {"applied": True, "observedGeneration": manifest["metadata"].get("generation", 1)}
    password = (manifest["spec"].get("passwordSecret") or {}).get("name")
    secret = objects.get((SECRET, ObjectKey(manifest["metadata"]["namespace"], password))) if password else None
    version = (secret or {}).get("metadata", {}).get("resourceVersion")
    return status | ({"secretResourceVersion": version} if version else {})


def _ready(manifest: Manifest, _objects: _Objects, _now: datetime) -> dict[str, Any]:
    generation = manifest["metadata"].get("generation", 1)
    return {"conditions": [{"type": "Ready", "status": "True", "observedGeneration": generation}]}


def _routed(manifest: Manifest, _objects: _Objects, _now: datetime) -> dict[str, Any]:
    """What a gateway says of a route, to each of its parents."""
    told = {"status": "True", "observedGeneration": manifest["metadata"].get("generation", 1)}
    conditions = [{"type": "Accepted", **told}, {"type": "ResolvedRefs", **told}]
    return {"parents": [{"parentRef": dict(ref), "conditions": conditions} for ref in manifest["spec"]["parentRefs"]]}


def _guarded(manifest: Manifest, _objects: _Objects, _now: datetime) -> dict[str, Any]:
    """What a gateway says of a policy, to what it is attached to."""
    told = {"type": "Accepted", "status": "True", "observedGeneration": manifest["metadata"].get("generation", 1)}
    return {"ancestors": [{"ancestorRef": dict(ref), "conditions": [told]} for ref in manifest["spec"]["targetRefs"]]}


def _addressed(_manifest: Manifest, _objects: _Objects, _now: datetime) -> dict[str, Any]:
    return {"loadBalancer": {"ingress": [{"hostname": "ingress.invalid"}]}}


_SETTLED: Final[Mapping[ResourceType, Callable[[Manifest, _Objects, datetime], dict[str, Any]]]] = {
    DEPLOYMENT: _deployment,
    JOB: _job,
    CNPG_DATABASE: _cnpg,
    CNPG_DATABASE_ROLE: _cnpg,
    EXTERNAL_SECRET: _ready,
    HTTP_ROUTE: _routed,
    INGRESS: _addressed,
    SECURITY_POLICY: _guarded,
    SCALED_OBJECT: _ready,
    WORKER_DEPLOYMENT: _ready,
}
