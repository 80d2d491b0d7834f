"""A Domain and the objects around it, led through a past: how golden cases and random examples are set up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from harness import merged

from ameide_shared import vocabulary as v
from ameide_shared.cli.simulate import simulate
from ameide_shared.kube.fieldset import field_set_digest
from ameide_shared.kube.resources import Manifest, key_of
from ameide_shared.plan import Action, Delete, Ensure, EnsureSecret, Outcome
from ameide_shared.snapshot import Snapshot
from ameide_shared.status import stamp
from domain_operator.main import DEFINITION
from domain_operator.observed import Observed
from domain_operator.plan import plan
from domain_operator.settings import DomainSettings
from domain_operator.status import status

ROOT = Path(__file__).with_name("golden")
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
APIS = DEFINITION.apis


@dataclass(slots=True)
class World:
    """A Domain and the objects around it, while a case is being set up."""

    domain: dict[str, Any]
    settings: DomainSettings
    apis: frozenset[Any] = APIS
    now: datetime = NOW
    objects: dict[str, Manifest] = field(default_factory=dict)

    def step(self, verb: str, what: Any) -> None:
        """One step of the past, as case files have them."""
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
                self.add(based(manifest) for manifest in what)
            case "domain":
                self.domain = merged(self.domain, what)
            case "settings":
                self.settings = DomainSettings(**what)
            case "forget":
                self.domain.pop(what)
            case _:
                raise LookupError(f"there is no step {verb!r}")

    def add(self, objects: Iterable[Manifest]) -> None:
        for manifest in objects:
            self.objects[title(manifest)] = manifest

    def observed(self, **more: Any) -> Observed:
        return Observed(Snapshot(self.objects.values()), self.apis, **more)

    def settle(self, patch: Mapping[str, Any]) -> None:
        """Follow the Domain until nothing is left to do; its status and finalizers stay with it."""
        then = merged(self.domain, patch)
        end = simulate(DEFINITION, then, self.objects.values(), self.settings, self.now, self.apis)
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
            planned = plan(self.domain, observed, self.settings, self.now)
            told = status(self.domain, observed, planned, Outcome(), self.now)
            for action in planned.actions:
                self._carry_out(action)
            self._remember({**self.domain, "status": told})

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
                    self.objects[name] = merged(dict(self.objects[name]), patch)

    def pods(self, given: Mapping[str, Any]) -> None:
        """Pods as the controller of a Deployment or Job would make them."""
        found = [name for name in self.objects if fnmatchcase(name, given["of"])]
        owner = self.objects[found[0]] if len(found) == 1 else None
        if owner is None:
            raise LookupError(f"{given['of']!r} shall name one object, and names {found}")
        for number in range(given.get("count", 1)):
            self.add([merged(pod_of(owner, number), given.get("with", {}))])

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
        then = merged(merged(manifest, {"metadata": made}) if live is None else dict(live), manifest)
        if isinstance(action, EnsureSecret) and (live is None or annotations_of(then) != annotations_of(live)):
            seed = f"{action.key} {sorted(annotations_of(then).items())}"  # stands for the values
            then["digests"] = {key: f"digest of {key} of {seed}" for key in action.values}
            then["metadata"]["resourceVersion"] = f"of {seed}"
        if live is not None and then.get("spec") != old:
            then["metadata"]["generation"] = live["metadata"].get("generation", 0) + 1
        self.objects[name] = with_field_set(then, action.manifest)

    def _remember(self, domain: Manifest) -> None:
        metadata = dict(self.domain["metadata"])
        if domain["metadata"].get("finalizers"):
            metadata["finalizers"] = domain["metadata"]["finalizers"]
        self.domain = {**self.domain, "metadata": metadata, "status": domain.get("status") or {}}


def with_field_set(live: Manifest, wanted: Manifest) -> dict[str, Any]:
    """A live object that records which fields are ours, as `kube.apply` has it."""
    return merged(dict(live), {"metadata": {"annotations": {v.ANNOTATION_FIELD_SET: field_set_digest(wanted)}}})


def annotations_of(manifest: Manifest) -> Mapping[str, str]:
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


# --- manifests over bases -------------------------------------------------------------------------------------------


@cache
def _base(name: str) -> dict[str, Any]:
    return based(read_yaml(ROOT / "bases" / f"{name}.yaml"))


def read_yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def based(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest over the base that it names, if it names one."""
    own = {key: value for key, value in manifest.items() if key != "base"}
    return merged(_base(manifest["base"]), own) if "base" in manifest else own
