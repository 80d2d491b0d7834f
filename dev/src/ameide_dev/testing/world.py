"""A resource and the objects around it, led through a past: how golden cases and random examples are set up."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any

from ameide_dev.testing.resources import merged
from ameide_shared import vocabulary as v
from ameide_shared.cli import Definition
from ameide_shared.cli.simulate import simulate
from ameide_shared.kube.fieldset import field_set_digest
from ameide_shared.kube.resources import Manifest, ResourceType, key_of
from ameide_shared.plan import Action, Delete, Ensure, EnsureSecret, Outcome, Plan
from ameide_shared.snapshot import Snapshot
from ameide_shared.status import stamp

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)

Own = Callable[[Any, Mapping[str, Any]], Any]
"""(observed, seen) → observed with what its kind alone observes, as the keys of `seen` describe it."""


def nothing_of_its_own(observed: Any, _seen: Mapping[str, Any]) -> Any:
    """The `Own` of a kind that observes nothing but objects."""
    return observed


@dataclass(slots=True)
class World:
    """A resource and the objects around it, while a case is being set up.

    `seen` is what the kind alone observes (logs, definitions, answers of other systems), in the words of case files;
    `based` fills in manifests that name a base.
    """

    definition: Definition
    resource: dict[str, Any]
    settings: Any
    apis: frozenset[ResourceType]
    now: datetime = NOW
    own: Own = nothing_of_its_own
    based: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict
    objects: dict[str, Manifest] = field(default_factory=dict)
    seen: dict[str, Any] = field(default_factory=dict)

    def step(self, verb: str, what: Any) -> None:
        """One step of the past, as case files have them. Raises LookupError for one that there is not."""
        match verb:
            case "settle":
                self.settle(what)
            case "passes":
                self.passes(what)
            case "change":
                self.change(what)
            case "pods":
                self.pods(what)
            case "add":
                self.add(self.based(manifest) for manifest in what)
            case "seen":
                self.seen = merged(self.seen, what)
            case "settings":
                self.settings = self.definition.settings(**what)
            case "forget":
                self.resource.pop(what)
            case _ if verb == self.definition.resource.kind.lower():
                self.resource = merged(self.resource, what)
            case _:
                raise LookupError(f"there is no step {verb!r}")

    def add(self, objects: Iterable[Manifest]) -> None:
        """Put objects into the cluster, in place of those of the same names."""
        for manifest in objects:
            self.objects[title(manifest)] = manifest

    def observed(self) -> Any:
        """What the plan is given now."""
        return self._observe(self.objects.values(), self.apis)

    def settle(self, patch: Mapping[str, Any]) -> None:
        """Follow the resource until nothing is left to do; its status and finalizers stay with it."""
        then = merged(self.resource, patch)
        definition = replace(self.definition, observed=self._observe)
        end = simulate(definition, then, self.objects.values(), self.settings, self.now, self.apis)
        self.objects = {}
        self.add(end.objects)
        for action in end.wanted:
            name = f"{action.manifest['kind']} {action.key}"
            self.objects[name] = with_field_set(self.objects[name], action.manifest)
        self._remember(end.resource)

    def passes(self, count: int) -> None:
        """Carry out the plan, with nobody reacting to what is written."""
        for _ in range(count):
            observed = self.observed()
            planned = self.definition.plan(self.resource, observed, self.settings, self.now)
            told = self.definition.status(self.resource, observed, planned, Outcome(), self.now)
            for action in planned.actions:
                self._carry_out(action)
            self._remember({**self.resource, "status": told})

    def change(self, changes: Mapping[str, Mapping[str, Any] | None]) -> None:
        """Merge into, or remove, every object of `Kind namespace/name-glob`; each pattern must find something."""
        for pattern, patch in changes.items():
            found = [name for name in self.objects if fnmatchcase(name, pattern)]
            if not found:
                raise LookupError(f"nothing is called {pattern!r}; there are {', '.join(sorted(self.objects))}")
            for name in found:
                if patch is None:
                    del self.objects[name]
                else:
                    self.objects[name] = merged(self.objects[name], patch)

    def pods(self, given: Mapping[str, Any]) -> None:
        """Pods as the controller of a Deployment or Job would make them."""
        found = [name for name in self.objects if fnmatchcase(name, given["of"])]
        owner = self.objects[found[0]] if len(found) == 1 else None
        if owner is None:
            raise LookupError(f"{given['of']!r} shall name one object, and names {found}")
        for number in range(given.get("count", 1)):
            self.add([merged(pod_of(owner, number), given.get("with", {}))])

    def _observe(self, objects: Iterable[Manifest], apis: frozenset[ResourceType]) -> Any:
        return self.own(self.definition.observed(objects, apis), self.seen)

    def _carry_out(self, action: Action) -> None:
        if isinstance(action, Delete):
            self.objects.pop(f"{action.resource.kind} {action.key}", None)
        if not isinstance(action, (Ensure, EnsureSecret)):
            return
        name = f"{action.manifest['kind']} {action.key}"
        live = self.objects.get(name)
        made = {"uid": f"uid-of-{action.key.name}", "generation": 1, "creationTimestamp": stamp(self.now)}
        manifest: dict[str, Any] = dict(action.manifest)
        if isinstance(action, EnsureSecret):
            rotation = {v.ANNOTATION_ROTATE_PASSWORD: action.rotation} if action.rotation else {}
            manifest = merged(manifest, {"metadata": {"annotations": rotation}})
        if live is not None and isinstance(action, Ensure) and action.create_only:
            return
        old = (live or {}).get("spec")
        then = merged(merged(manifest, {"metadata": made}) if live is None else live, manifest)
        if isinstance(action, EnsureSecret) and (live is None or annotations_of(then) != annotations_of(live)):
            seed = f"{action.key} {sorted(annotations_of(then).items())}"  # stands for the values
            then["digests"] = {key: f"digest of {key} of {seed}" for key in action.values}
            then["metadata"]["resourceVersion"] = f"of {seed}"
        if live is not None and then.get("spec") != old:
            then["metadata"]["generation"] = live["metadata"].get("generation", 0) + 1
        self.objects[name] = with_field_set(then, action.manifest)

    def _remember(self, resource: Manifest) -> None:
        metadata = dict(self.resource["metadata"])
        if resource["metadata"].get("finalizers"):
            metadata["finalizers"] = resource["metadata"]["finalizers"]
        self.resource = {**self.resource, "metadata": metadata, "status": resource.get("status") or {}}


@dataclass(frozen=True, slots=True)
class Case:
    """What an operator's plan and status are given."""

    definition: Definition
    resource: Mapping[str, Any]
    observed: Any
    settings: Any
    now: datetime = NOW

    def plan(self) -> Plan:
        """The plan of the resource."""
        return self.definition.plan(self.resource, self.observed, self.settings, self.now)

    def status(self) -> dict[str, Any]:
        """Its status, with every action of the plan having succeeded."""
        return self.definition.status(self.resource, self.observed, self.plan(), Outcome(), self.now)

    @property
    def objects(self) -> Snapshot:
        """The objects that were observed."""
        found: Snapshot = self.observed.objects
        return found


def with_field_set(live: Manifest, wanted: Manifest) -> dict[str, Any]:
    """A live object that records which fields are ours, as `kube.apply` has it."""
    return merged(live, {"metadata": {"annotations": {v.ANNOTATION_FIELD_SET: field_set_digest(wanted)}}})


def annotations_of(manifest: Manifest) -> Mapping[str, str]:
    """The annotations of an object, none if there are none."""
    return manifest["metadata"].get("annotations") or {}


def title(manifest: Manifest) -> str:
    """`Kind namespace/name`."""
    return f"{manifest['kind']} {key_of(manifest)}"


def pod_of(owner: Manifest, number: int = 0) -> dict[str, Any]:
    """A pod of a Deployment's or Job's template, running and ready."""
    template, name = owner["spec"]["template"], owner["metadata"]["name"]
    labels = dict(template["metadata"].get("labels") or {})
    metadata: dict[str, Any] = {
        "name": f"{name}-{number}",
        "namespace": owner["metadata"]["namespace"],
        "uid": f"uid-of-{name}-{number}",
        "annotations": template["metadata"].get("annotations") or {},
    }
    if owner["kind"] == "Job":
        labels["batch.kubernetes.io/job-name"] = name
        reference = {"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": owner["metadata"]["uid"]}
        metadata["ownerReferences"] = [{**reference, "controller": True}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**metadata, "labels": labels},
        "spec": {"containers": [{"name": c["name"], "image": c["image"]} for c in template["spec"]["containers"]]},
        "status": {"phase": "Running", "startTime": stamp(NOW), "conditions": [{"type": "Ready", "status": "True"}]},
    }
