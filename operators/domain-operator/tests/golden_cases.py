"""Golden cases: a Domain, what was observed of the cluster, and what plan and status make of it, as files.

`golden/<case>/in.yaml` is the Domain: a merge patch over the base that its key `base` names (`golden/bases/`).
`observed.yaml` says what the cluster looks like. A list is a list of objects; a mapping may have:

- `objects`: objects, or merge patches over a base
- `before`: steps that led here, each a mapping with one key. `settle`: the Domain, patched so, was followed until
  nothing was left to do. `passes: n`: its plan was carried out n times and nothing reacted. `change`: merge patches by
  `Kind namespace/name-glob`, null removes. `pods`: pods of a Deployment or Job, merged with what is given.
  `add`: objects. `domain`: a merge patch on the Domain. `forget`: a part of the Domain. `settings`: those of the past.
  `deleting`: from here on the Domain is being deleted.
- `change`: as above, applied last
- `apis` (kinds of optional APIs; default all), `logs` (by glob over Job names), `image_info`, `image_error`, `now`

`settings.yaml` holds settings as in the operator's file, in snake_case. `out.yaml` and `status.yaml` are expected; a
child that is there already is shown by what would change in it. `UPDATE_GOLDEN=1` writes them anew.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import datetime
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

import yaml
from golden_world import APIS, NOW, ROOT, World, annotations_of, based, read_yaml, title
from harness import merged

from ameide_shared import vocabulary as v
from ameide_shared.imagepolicy import ImageInfo
from ameide_shared.kube.differ import differences
from ameide_shared.kube.fieldset import field_set_digest
from ameide_shared.observed import ImageCheck
from ameide_shared.plan import Action, Ensure, EnsureSecret, FromSecret, Generated, Outcome, Plan, Text
from ameide_shared.reasons import Reason
from ameide_shared.stages import Stage
from ameide_shared.status import parse_time, stamp
from domain_operator.observed import Observed
from domain_operator.plan import plan
from domain_operator.settings import DomainSettings
from domain_operator.status import status


@dataclass(frozen=True, slots=True)
class Case:
    """What plan and status are given."""

    domain: dict[str, Any]
    observed: Observed
    settings: DomainSettings
    now: datetime = NOW

    def plan(self) -> Plan:
        return plan(self.domain, self.observed, self.settings, self.now)

    def status(self) -> dict[str, Any]:
        return status(self.domain, self.observed, self.plan(), Outcome(), self.now)


# --- reading ----------------------------------------------------------------------------------------------------------


def cases() -> list[str]:
    return sorted(path.parent.name for path in ROOT.glob("*/in.yaml"))


@cache
def load(name: str) -> Case:
    """Read and set up a case."""
    folder = ROOT / name
    told = read_yaml(folder / "settings.yaml") if (folder / "settings.yaml").exists() else {}
    settings = DomainSettings(**told)
    seen = read_yaml(folder / "observed.yaml")
    seen = {"objects": seen} if isinstance(seen, list) else seen
    apis = APIS
    if "apis" in seen:
        apis = frozenset(api for api in APIS if api.kind in seen["apis"])
    domain = based(read_yaml(folder / "in.yaml"))
    # The past had no deletion, and no status but the one that it led to.
    past = merged(domain, {"metadata": {"deletionTimestamp": None}})
    world = World(past, settings, apis)
    world.add(based(manifest) for manifest in seen.get("objects", ()))
    for step in seen.get("before", ()):
        ((verb, what),) = step.items()
        if verb == "deleting":
            world.step("domain", {"metadata": {"deletionTimestamp": domain["metadata"]["deletionTimestamp"]}})
            continue
        world.step(verb, what)
    world.change(seen.get("change", {}))
    world.domain["metadata"] = merged(
        world.domain["metadata"],
        {key: value for key, value in domain["metadata"].items() if key == "deletionTimestamp"},
    )
    logs = {
        manifest["metadata"]["name"]: text
        for pattern, text in seen.get("logs", {}).items()
        for manifest in world.objects.values()
        if manifest["kind"] == "Job" and fnmatchcase(manifest["metadata"]["name"], pattern)
    }
    info = ImageInfo(**seen["image_info"]) if "image_info" in seen else None
    error = (Reason(seen["image_error"][0]), seen["image_error"][1]) if "image_error" in seen else None
    observed = replace(world.observed(), logs=logs, image=ImageCheck(info, error))
    now = parse_time(str(seen["now"])) if "now" in seen else NOW
    return Case(world.domain, observed, settings, now)


# --- writing ----------------------------------------------------------------------------------------------------------


def plan_as_data(planned: Plan, observed: Observed) -> dict[str, Any]:
    """A plan as its golden file has it."""
    data: dict[str, Any] = {
        "stages": [_stage_as_data(stage) for stage in planned.stages],
        "actions": [_action_as_data(action, observed) for action in planned.actions],
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


def _action_as_data(action: Action, observed: Observed) -> dict[str, Any]:
    verb = type(action).__name__
    if not isinstance(action, (Ensure, EnsureSecret)):
        entry = {name: _plain(getattr(action, name)) for name in action.__dataclass_fields__}
        return {"do": verb, **entry}
    live = observed.objects.get(action.resource, action.key.namespace, action.key.name)
    entry = {"do": verb, "object": title(action.manifest), "reason": action.reason}
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
