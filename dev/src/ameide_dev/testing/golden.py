"""Golden cases: a resource, what was observed of the cluster, and what plan and status make of it, as files.

`<case>/in.yaml` is the resource: a merge patch over the base that its key `base` names (`bases/`).
`observed.yaml` says what the cluster looks like. A list is a list of objects; a mapping may have:

- `objects`: objects, or merge patches over a base
- `before`: steps that led here, each a mapping with one key. `settle`: the resource, patched so, was followed until
  nothing was left to do. `passes: n`: its plan was carried out n times and nothing reacted. `change`: merge patches by
  `Kind namespace/name-glob`, null removes. `pods`: pods of a Deployment or Job, merged with what is given.
  `add`: objects. `domain` (the kind, in lower case): a merge patch on the resource. `forget`: a part of the resource.
  `settings`: those of the past. `seen`: from here on the operator sees this besides objects, a merge patch of the
  kind's own keys. `deleting`: from here on the resource is being deleted.
- `change`: as above, applied last
- `apis` (kinds of optional APIs; default all), `image_info`, `image_error`, `now`
- the kind's own keys: what else it observes, laid over what steps have said of it

`settings.yaml` holds settings as in the operator's file, in snake_case. `out.yaml` and `status.yaml` are expected; a
child that is there already is shown by what would change in it. `UPDATE_GOLDEN=1` writes them anew.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import yaml

from ameide_dev.testing.resources import merged
from ameide_dev.testing.world import NOW, Case, Own, World, annotations_of, nothing_of_its_own, title
from ameide_shared import vocabulary as v
from ameide_shared.cli import Definition
from ameide_shared.cli.check import judge
from ameide_shared.imagepolicy import ImageInfo
from ameide_shared.kube.differ import differences
from ameide_shared.kube.fieldset import field_set_digest
from ameide_shared.kube.resources import key_of
from ameide_shared.observed import ImageCheck
from ameide_shared.plan import Action, Ensure, EnsureSecret, FromSecret, Generated, Plan, Text
from ameide_shared.reasons import Reason
from ameide_shared.snapshot import Snapshot
from ameide_shared.stages import Stage
from ameide_shared.status import parse_time, stamp

_COMMON: Final = {"objects", "before", "change", "apis", "image_info", "image_error", "now"}


class Golden:
    """The cases of an operator in one folder. `own` reads the keys of `observed.yaml` that its kind alone has."""

    def __init__(self, root: Path, definition: Definition, own: Own = nothing_of_its_own) -> None:
        self.root = root
        self.definition = definition
        self._own = own
        self._bases: dict[str, dict[str, Any]] = {}
        self._loaded: dict[str, Case] = {}

    def names(self) -> list[str]:
        """Which cases there are; at least one, since a folder that was moved would pass every test."""
        found = sorted(path.parent.name for path in self.root.glob("*/in.yaml"))
        if not found:
            raise LookupError(f"there is no golden case below {self.root}")
        return found

    def load(self, name: str) -> Case:
        """Read and set up a case."""
        if name not in self._loaded:
            self._loaded[name] = self._load(self.root / name)
        return self._loaded[name]

    def compare(self, name: str) -> None:
        """Assert that plan and status are as written down, or, with UPDATE_GOLDEN=1, write them down."""
        case = self.load(name)
        compare(self.root / name / "out.yaml", as_yaml(plan_as_data(case.plan(), case.objects)))
        compare(self.root / name / "status.yaml", as_yaml(case.status()))

    def checked(self, name: str) -> list[tuple[str, str]]:
        """(field, reason) of what the subcommand `check` has against a case, of whose cluster it sees no namespace's
        objects; each finding must be told by the status, too, as far as its messages go.
        """
        case = self.load(name)
        around = [found for found in case.objects if not key_of(found).namespace]
        text = yaml.safe_dump(json.loads(json.dumps(case.resource)))
        findings = judge(self.definition, [(name, text)], case.settings, case.now, around).findings
        told = " ".join(condition["message"] for condition in case.status()["conditions"])
        for problem in (judged.finding.problem for judged in findings):
            assert problem.message in told, f"the status does not say: {problem}"
            assert problem.remedy in told, f"the status has no remedy: {problem}"
        return [(judged.finding.problem.field, judged.reason) for judged in findings]

    def check_purpose(self, name: str) -> None:
        """Assert that a case says in its first line what it is for."""
        first = (self.root / name / "in.yaml").read_text(encoding="utf-8").splitlines()[0]
        assert first.startswith("# why: "), first
        assert first.endswith("."), first

    def world(self, resource: Mapping[str, Any], settings: Any, **more: Any) -> World:
        """A world around a resource, with all optional APIs unless `apis` says otherwise."""
        options = {"apis": self.definition.apis, "own": self._own, "based": self.based, **more}
        return World(self.definition, dict(resource), settings, **options)

    def based(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """A manifest over the base that it names, if it names one."""
        own = {key: value for key, value in manifest.items() if key != "base"}
        return merged(self._base(manifest["base"]), own) if "base" in manifest else own

    def _base(self, name: str) -> dict[str, Any]:
        if name not in self._bases:
            self._bases[name] = self.based(_read(self.root / "bases" / f"{name}.yaml"))
        return self._bases[name]

    def _load(self, folder: Path) -> Case:
        told = _read(folder / "settings.yaml") if (folder / "settings.yaml").exists() else {}
        settings = self.definition.settings(**told)
        seen = _read(folder / "observed.yaml")
        seen = {"objects": seen} if isinstance(seen, list) else seen
        resource = self.based(_read(folder / "in.yaml"))
        # The past had no deletion, and no status but the one that it led to.
        past = merged(resource, {"metadata": {"deletionTimestamp": None}})
        apis = frozenset(api for api in self.definition.apis if api.kind in seen.get("apis", [api.kind]))
        world = self.world(past, settings, apis=apis)
        world.add(self.based(manifest) for manifest in seen.get("objects", ()))
        deletion = {key: value for key, value in resource["metadata"].items() if key == "deletionTimestamp"}
        for step in seen.get("before", ()):
            ((verb, what),) = step.items()
            if verb == "deleting":
                world.resource = merged(world.resource, {"metadata": deletion})
            else:
                world.step(verb, what)
        world.change(seen.get("change", {}))
        world.resource["metadata"] = merged(world.resource["metadata"], deletion)
        world.seen = merged(world.seen, {key: value for key, value in seen.items() if key not in _COMMON})
        observed = replace(world.observed(), image=_image(seen))
        now = parse_time(str(seen["now"])) if "now" in seen else NOW
        return Case(self.definition, world.resource, observed, settings, now)


def _read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def _image(seen: Mapping[str, Any]) -> ImageCheck:
    info = ImageInfo(**seen["image_info"]) if "image_info" in seen else None
    error = (Reason(seen["image_error"][0]), seen["image_error"][1]) if "image_error" in seen else None
    return ImageCheck(info, error)


def compare(path: Path, text: str) -> None:
    """Assert that a file holds this text, or, with UPDATE_GOLDEN=1, write it."""
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    assert path.exists(), f"{path} is missing; UPDATE_GOLDEN=1 writes it, read what it wrote"
    assert text == path.read_text(encoding="utf-8"), (
        f"{path} differs; UPDATE_GOLDEN=1 writes it anew, read what changes"
    )


# --- writing ----------------------------------------------------------------------------------------------------------


def plan_as_data(planned: Plan, objects: Snapshot) -> dict[str, Any]:
    """A plan as its golden file has it; `objects` are those that it was made from."""
    data: dict[str, Any] = {
        "stages": [_stage_as_data(stage) for stage in planned.stages],
        "actions": [_action_as_data(action, objects) for action in planned.actions],
    }
    if planned.requeue_after is not None:
        data["requeue_after"] = planned.requeue_after
    return data


def _stage_as_data(stage: Stage) -> dict[str, Any]:
    entry = {
        "condition": stage.condition or "(only Ready)",
        "state": stage.state.value,
        "reason": stage.reason.value,
        "message": stage.message,
        "object": stage.object,
        "remedy": stage.remedy,
        "retry_at": stamp(stage.retry_at) if stage.retry_at else "",
        "degraded": stage.degraded,
    }
    return {key: value for key, value in entry.items() if value}


def _action_as_data(action: Action, objects: Snapshot) -> dict[str, Any]:
    verb = type(action).__name__
    if not isinstance(action, (Ensure, EnsureSecret)):
        return {"do": verb, **{name: _plain(getattr(action, name)) for name in action.__dataclass_fields__}}
    live = objects.get(action.resource, action.key.namespace, action.key.name)
    entry: dict[str, Any] = {"do": verb, "object": title(action.manifest), "reason": action.reason}
    if isinstance(action, EnsureSecret) and live is None:
        entry["values"] = {key: describe_value(value) for key, value in action.values.items()}
    if isinstance(action, EnsureSecret) and action.rotation:
        entry["rotation"] = action.rotation
    if live is None:
        return entry | {"manifest": json.loads(json.dumps(action.manifest))}
    if isinstance(action, Ensure) and action.create_only:
        return entry | {"there": "never compared"}
    changes = [str(difference) for difference in differences(action.manifest, live)]
    if annotations_of(live).get(v.ANNOTATION_FIELD_SET, "") not in ("", field_set_digest(action.manifest)):
        changes.append("the set of fields that are ours")
    return entry | ({"changes": changes} if changes else {"there": "as wanted"})


def describe_value(value: object) -> str:
    """A planned value of a Secret, without any value."""
    match value:
        case Generated(length=length):
            return f"<generated, {length} characters>"
        case FromSecret():
            return f"<{value.namespace}/{value.name}:{value.key}{', quoted' if value.quoted else ''}>"
        case Text(parts=parts):
            return "".join(describe_value(part) for part in parts)
        case _:
            return str(value)


def _plain(value: Any) -> Any:
    if hasattr(value, "kind"):
        return value.kind
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    return str(value) if isinstance(value, (tuple, str)) else value


def as_yaml(data: Any) -> str:
    """Stable YAML, leaves on one line, texts of several lines as blocks."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=160, default_flow_style=None)


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)
