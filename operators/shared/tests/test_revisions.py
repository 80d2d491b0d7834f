"""Revisions: digests, numbers, history."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ameide_shared.builders.identity import Primitive
from ameide_shared.builders.pod import for_track
from ameide_shared.revisions import (
    Revision,
    controller_revision,
    current,
    find,
    next_number,
    read,
    stamp,
    template_digest,
    to_prune,
)

ORDERS = Primitive("Domain", "orders", "shop", "uid-1")
TEMPLATE: dict[str, Any] = {
    "metadata": {"labels": {"ameide.io/track": "stable", "a": "b"}, "annotations": {"team": "shop"}},
    "spec": {"containers": [{"name": "domain", "image": "a:1"}]},
}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


def shuffled(value: Any) -> Any:
    """The same content, with the keys of every map in the opposite order."""
    if isinstance(value, dict):
        return {key: shuffled(value[key]) for key in reversed(value)}
    return [shuffled(item) for item in value] if isinstance(value, list) else value


@given(st.dictionaries(st.text(max_size=4), json_values, max_size=5))
def test_the_digest_depends_on_content_only(spec: dict[str, Any]) -> None:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": spec}
    digest = template_digest(template)
    assert digest == template_digest(shuffled(template))
    assert digest == template_digest(json.loads(json.dumps(template)))
    assert len(digest) == 10
    assert int(digest, 16) >= 0


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("metadata", "labels", "a"), "c"),
        (("metadata", "annotations", "team"), "other"),
        (("spec", "containers", 0, "image"), "a:2"),
    ],
)
def test_every_change_changes_the_digest(path: tuple[Any, ...], value: str) -> None:
    changed = copy.deepcopy(TEMPLATE)
    place: Any = changed
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    assert template_digest(changed) != template_digest(TEMPLATE)


def test_stamp_track_and_consumed_configuration_do_not_count() -> None:
    stamped, digest = stamp(TEMPLATE)
    assert stamped["metadata"]["annotations"]["ameide.io/revision"] == digest
    assert "ameide.io/revision" not in TEMPLATE["metadata"]["annotations"]
    assert template_digest(stamped) == digest
    assert template_digest(for_track(stamped, "canary")) == digest
    configured = copy.deepcopy(stamped)
    configured["metadata"]["annotations"]["ameide.io/config-digest"] = "0123456789"
    assert template_digest(configured) == digest
    assert stamp(stamped) == (stamped, digest)


def test_a_controller_revision_reads_back() -> None:
    manifest = controller_revision(ORDERS, TEMPLATE, number=3, annotations={"ameide.io/migration-key": "k"})
    [revision] = read([manifest])
    stamped, digest = stamp(TEMPLATE)
    assert manifest["metadata"]["name"] == f"orders-domain-{digest}"
    assert revision.digest == digest
    assert revision.number == 3
    assert revision.template == stamped
    assert revision.annotations is not None
    assert revision.annotations["ameide.io/migration-key"] == "k"


def test_what_is_not_ours_or_is_going_is_not_read() -> None:
    others = {"metadata": {"name": "sts-1", "namespace": "shop"}, "data": {"spec": {}}, "revision": 1}
    going = controller_revision(ORDERS, TEMPLATE, number=1)
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert read([others, going]) == []


def revision(number: int) -> Revision:
    return Revision(digest=f"{number:010x}", number=number, template={})


def test_the_highest_number_is_current() -> None:
    revisions = [revision(2), revision(7), revision(5)]
    assert current(revisions) == revision(7)
    assert next_number(revisions) == 8
    assert find(revisions, revision(5).digest) == revision(5)
    assert find(revisions, "x") is None
    assert current([]) is None
    assert next_number([]) == 1


@given(st.sets(st.integers(1, 60), max_size=20), st.integers(1, 10), st.sets(st.integers(1, 60), max_size=5))
def test_pruning_keeps_the_newest_and_what_is_in_use(numbers: set[int], limit: int, used: set[int]) -> None:
    revisions = [revision(number) for number in numbers]
    pruned = to_prune(revisions, limit, keep={revision(number).digest for number in used})
    gone = {item.number for item in pruned}
    assert not gone & used
    assert not gone & set(sorted(numbers)[-limit:])
    assert numbers - gone <= set(sorted(numbers)[-limit:]) | used
    assert [item.number for item in pruned] == sorted(gone)
