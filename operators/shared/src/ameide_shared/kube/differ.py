"""What differs between a child as desired and as it is: only fields that we set count, defaults do not.

Pure functions; `fieldset.py` has the other half, whether the set of fields that we own has changed.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any

from ameide_shared.kube.resources import Manifest
from ameide_shared.kube.shapes import PLAIN, VANISHING, Shape, shape_of
from ameide_shared.redact import fingerprint


@dataclass(frozen=True, slots=True)
class Difference:
    """One field that is not as desired. `live` is None where it is absent. Secret values are replaced by digests.

    `path` is readable and exact: `spec.template.spec.containers[name=app].image`.
    """

    path: str
    desired: Any
    live: Any

    def __str__(self) -> str:
        return f"{self.path}: {_brief(self.live)} should be {_brief(self.desired)}"


@dataclass(frozen=True, slots=True)
class _Step:
    """One step of a path: as people read it, and as JSON Pointer spells it; None where the latter has no word for it.

    `identity` has, for an item of a list with keys, the keys that make it that item wherever it stands.
    """

    text: str
    token: str | int | None
    identity: Mapping[str, Any] = field(default_factory=dict)


Found = list[tuple[list[_Step], Any, Any]]  # path from the leaf upwards, desired, live


def differences(desired: Manifest, live: Manifest) -> list[Difference]:
    """The fields of `desired` that `live` does not have, or has otherwise, in the order of `desired`.

    - Fields that only the live object has are nobody's business here, be they defaults or somebody else's; but inside
      what the API server replaces whole (selectors, rules, lists without keys) an addition is a difference, unless it
      is a known default.
    - Items of lists with keys are found by their keys, wherever they stand.
    - Quantities compare by value; empty lists and empty maps of free keys count as absent.
    """
    hide = desired.get("kind") == "Secret"
    return [
        Difference(
            path := "".join([step.text for step in reversed(steps)]).lstrip("."),
            _hidden(want) if hide and path.startswith("data") else want,
            _hidden(have) if hide and path.startswith("data") else have,
        )
        for steps, want, have in _compared(desired, live)
    ]


def value_patch(desired: Manifest, live: Manifest) -> list[dict[str, Any]]:
    """The JSON patch (RFC 6902) that gives `live` the values of `desired`, or none where values alone will not do.

    That is where an item of a list is missing or out of order. It tests that list items which it changes are the ones
    that were seen. It is for a manifest whose set of fields is the one last written: it removes nothing.
    """
    operations: list[dict[str, Any]] = []
    tested: set[str] = set()
    for steps, want, have in _compared(desired, live):
        pointer = ""
        for step in reversed(steps):
            if step.token is None:
                return []
            pointer = f"{pointer}/{_escaped(step.token)}"
            for key, value in step.identity.items():
                if (path := f"{pointer}/{_escaped(key)}") not in tested:
                    operations.append({"op": "test", "path": path, "value": value})
                    tested.add(path)
        operations.append({"op": "add" if have is None else "replace", "path": pointer, "value": want})
    return operations


def _compared(desired: Manifest, live: Manifest) -> Found:
    found: Found = []
    shape = shape_of(str(desired.get("apiVersion", "")), str(desired.get("kind", "")))
    for name, want in as_stored(desired).items():
        if name not in NOT_OWNED:
            _compare_field(name, want, live.get(name), shape.child(name), found)
    return found


def as_stored(manifest: Manifest) -> Manifest:
    """The manifest as the API server will answer it: a Secret's stringData become part of its data."""
    if manifest.get("kind") != "Secret" or "stringData" not in manifest:
        return manifest
    encoded = {key: b64encode(value.encode()).decode() for key, value in (manifest["stringData"] or {}).items()}
    rest = {key: value for key, value in manifest.items() if key != "stringData"}
    return rest | {"data": {**(manifest.get("data") or {}), **encoded}}


NOT_OWNED = frozenset(("apiVersion", "kind", "status"))


# --- comparing what merges field by field -----------------------------------------------------------------------------


def _compare_field(name: str, want: Any, have: Any, shape: Shape, found: Found) -> None:
    """Append the differences of one field; `have` is None where it is absent."""
    if want == have and have is not None:
        return
    if want is None:
        return  # not set, hence not ours
    before = len(found)
    if isinstance(want, Mapping):
        if shape.atomic:
            if not _same(want, have, shape, name):
                found.append(([], want, have))
        elif isinstance(have, Mapping):
            child = shape.child
            for key, value in want.items():
                live = have.get(key)
                if value != live or live is None:
                    _compare_field(key, value, live, child(key), found)
        elif have is not None or want or not shape.free:
            _absent(want, have, shape, found)
    elif isinstance(want, list):
        if shape.keys:
            _compare_keyed(want, have if isinstance(have, list) else [], shape, found)
        elif shape.unordered:
            missing = [item for item in want if item not in (have or ())]
            if missing:
                found.append(([_ELSEWHERE], missing, have))
        elif not _same(want, have, shape, name):
            found.append(([], want, have))
    elif not _same(want, have, shape, name):
        found.append(([], want, have))
    for steps, _, _ in found[before:]:
        steps.append(_step(name))


def _absent(want: Mapping[str, Any], have: Any, shape: Shape, found: Found) -> None:
    """A map that the live object lacks: a difference, unless nothing in it would be stored anyway."""
    if have is None and want and shape.free:
        inner: Found = []
        for key, value in want.items():
            _compare_field(key, value, None, shape.child(key), inner)
        if not inner:
            return
    found.append(([], want, have))


def _compare_keyed(want: list[Any], have: list[Any], shape: Shape, found: Found) -> None:
    item = shape.other or PLAIN
    defaults = shape.defaults
    keys = shape.keys
    if len(keys) == 1:
        key = keys[0]
        live_by_key: dict[Any, Any] = {element.get(key): element for element in have}
        wanted: list[Any] = [element.get(key) for element in want]
    else:
        live_by_key = {tuple([e.get(k, defaults.get(k)) for k in keys]): e for e in have}
        wanted = [tuple([e.get(k, defaults.get(k)) for k in keys]) for e in want]
    for identity, element in zip(wanted, want, strict=True):
        live = live_by_key.get(identity)
        if live == element:
            continue
        if live is None:
            found.append(([_Step(_selector(keys, identity), None)], element, None))
            continue
        if item.atomic:
            if not _same(element, live, item, ""):
                found.append(([_item(keys, identity, live, have)], element, live))
            continue
        before = len(found)
        for name, value in element.items():
            other = live.get(name)
            if value != other or other is None:
                _compare_field(name, value, other, item.child(name), found)
        if len(found) > before:
            step = _item(keys, identity, live, have)
            for steps, _, _ in found[before:]:
                steps.append(step)
    if shape.ordered:
        ours = set(wanted)
        order = [identity for identity in live_by_key if identity in ours]
        if len(order) == len(wanted) and order != wanted:
            found.append(([_Step(".(order)", None)], wanted, order))


# --- comparing what is replaced whole ---------------------------------------------------------------------------------


def _same(want: Any, have: Any, shape: Shape, name: str) -> bool:
    """True if writing `want` over `have` would change nothing that matters."""
    if want == have:
        return True
    if want is None or want == []:
        return have is None or have == [] or (have == {} and shape.free)
    if isinstance(want, Mapping):
        if not isinstance(have, Mapping):
            return have is None and shape.free and not want
        return _same_map(want, have, shape)
    if isinstance(want, list):
        if not isinstance(have, list) or len(want) != len(have):
            return False
        if shape.unordered:
            return sorted(want, key=str) == sorted(have, key=str)
        item = shape.other or PLAIN
        return all(_same(w, h, item, name) for w, h in zip(want, have, strict=True))
    if have is None:
        return not want and name in VANISHING
    return shape.quantity and _quantity(want) == _quantity(have) is not None


def _same_map(want: Mapping[str, Any], have: Mapping[str, Any], shape: Shape) -> bool:
    defaults = shape.defaults
    for key, value in want.items():
        live = have.get(key)
        if live is None and value is not None and defaults.get(key) == value:
            continue
        if value is None and live is not None:
            return False
        if not _same(value, live, shape.child(key), key):
            return False
    for key, live in have.items():
        if key in want or live is None or live == [] or (live == {} and shape.child(key).free):
            continue
        if key not in defaults or not _same(defaults[key], live, shape.child(key), key):
            return False
    return True


_SUFFIXES = {
    "": Decimal(1),
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    **{suffix: Decimal(1000) ** (power + 1) for power, suffix in enumerate("kMGTPE")},
    **{f"{suffix}i": Decimal(1024) ** (power + 1) for power, suffix in enumerate("KMGTPE")},
}


def _quantity(value: object) -> Decimal | None:
    """The value of a quantity: "500m", "1Gi", "1e3", 2; None if it is none."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    return _parsed_quantity(str(value))


@lru_cache(maxsize=4096)
def _parsed_quantity(text: str) -> Decimal | None:
    number = text.rstrip("numkKMGTPEi")
    try:
        return Decimal(number) * _SUFFIXES[text[len(number) :]]
    except (KeyError, InvalidOperation):
        return None


# --- words ------------------------------------------------------------------------------------------------------------


_ELSEWHERE = _Step("", None)


def _step(name: str) -> _Step:
    return _Step(f'["{name}"]' if "." in name or "/" in name else f".{name}", name)


def _item(keys: Sequence[str], identity: Any, live: Mapping[str, Any], have: Sequence[Any]) -> _Step:
    """The step to an item that the live list has."""
    index = next(number for number, element in enumerate(have) if element is live)
    return _Step(_selector(keys, identity), index, {key: live[key] for key in keys if key in live})


def _escaped(token: str | int) -> str:
    return str(token).replace("~", "~0").replace("/", "~1")


def _selector(keys: Sequence[str], identity: Any) -> str:
    values = (identity,) if len(keys) == 1 else identity
    return "[" + ",".join(f"{key}={value}" for key, value in zip(keys, values, strict=True)) + "]"


def _brief(value: Any) -> str:
    if value is None:
        return "absent"
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= 120 else f"{text[:117]}..."


def _hidden(value: Any) -> Any:
    """A Secret's value, or all its data, by digests of what they hold."""
    if value is None:
        return None
    if isinstance(value, Mapping):
        return {key: _hidden(inner) for key, inner in value.items()}
    try:
        return fingerprint(b64decode(str(value), validate=True))
    except ValueError:
        return fingerprint(str(value))
