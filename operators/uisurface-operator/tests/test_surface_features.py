"""Feature flags on the local platform: a change starts new pods, or reaches those that run."""

from __future__ import annotations

import json
from typing import Any

from surfaces import CHILD, Surfaces

from ameide_dev.testing.resources import content
from ameide_dev.testing.waiting import never, until

PUBLIC = {"public": True}


def flags_name(surfaces: Surfaces) -> str:
    """The ConfigMap that the pods have their flags from."""
    volumes = surfaces.deployment()["spec"]["template"]["spec"]["volumes"]
    return str(next(each["configMap"]["name"] for each in volumes if each["name"] == "flags"))


def flags(surfaces: Surfaces) -> Any:
    """What that file holds."""
    return json.loads(
        surfaces.kube.get("v1", "ConfigMap", flags_name(surfaces), surfaces.namespace)["data"]["flags.json"]
    )


def pods(surfaces: Surfaces) -> set[str]:
    """Uids of the pods that are not on their way out."""
    found = surfaces.kube.list("v1", "Pod", surfaces.namespace, label_selector="ameide.io/name=shop")
    return {each["metadata"]["uid"] for each in found if "deletionTimestamp" not in each["metadata"]}


def test_a_changed_flag_starts_new_pods_with_a_file_of_their_own(surfaces: Surfaces) -> None:
    """Old pods go on reading the old file while they run, and it goes once nobody reads it."""
    surfaces.create(auth=PUBLIC, features={"flags": {"beta": False}})
    surfaces.ready()
    before, old = pods(surfaces), flags_name(surfaces)
    surfaces.patch(features={"flags": {"beta": True}, "variants": {"theme": "dark"}})
    surfaces.ready()
    assert flags(surfaces) == {"flags": {"beta": True}, "variants": {"theme": "dark"}}
    until("new pods", lambda: pods(surfaces) and not pods(surfaces) & before)
    assert flags_name(surfaces) != old
    until("the old file is gone", lambda: surfaces.live("v1", "ConfigMap", old) is None)


def test_with_live_delivery_the_file_changes_under_the_same_pods(surfaces: Surfaces) -> None:
    surfaces.create(auth=PUBLIC, features={"flags": {"beta": False}, "delivery": "Live"})
    surfaces.ready()
    before, template = pods(surfaces), surfaces.deployment()["spec"]["template"]
    surfaces.patch(features={"flags": {"beta": True}})
    until("the file has the new flag", lambda: flags(surfaces)["flags"] == {"beta": True})
    assert flags_name(surfaces) == f"{CHILD}-flags"
    change = {"data": {"flags.json": json.dumps({"flags": {"beta": False}})}}
    surfaces.kube.merge_patch("v1", "ConfigMap", flags_name(surfaces), change, surfaces.namespace)
    until("somebody's change is set back", lambda: flags(surfaces)["flags"] == {"beta": True})
    never("another pod", lambda: pods(surfaces) != before, 2)
    assert surfaces.deployment()["spec"]["template"] == template


def test_files_that_somebody_made_anew_with_others_in_them_come_back(surfaces: Surfaces) -> None:
    """With our marks and under our names, which anybody can work out. The pods are left alone."""
    surfaces.create(auth=PUBLIC, features={"flags": {"beta": False}})
    surfaces.ready()
    before = pods(surfaces)
    found = surfaces.kube.list("v1", "ConfigMap", surfaces.namespace, label_selector="ameide.io/name=shop")
    assert [name for each in found for name in each["data"]] == ["flags.json", "config.json"]
    surfaces.annotate(paused="true")  # else the operator might be the first to make them anew
    surfaces.until("Paused")
    for ours in found:
        marks = ("name", "namespace", "labels", "annotations", "ownerReferences")
        metadata = {key: ours["metadata"][key] for key in marks if key in ours["metadata"]}
        surfaces.kube.delete("v1", "ConfigMap", metadata["name"], surfaces.namespace)
        surfaces.kube.create({**ours, "metadata": metadata, "data": {"other": "{}"}})
    surfaces.annotate(paused=None)

    def back(ours: dict[str, Any]) -> bool:
        live = surfaces.live("v1", "ConfigMap", ours["metadata"]["name"])
        return live is not None and content(live) == content(ours) and live["immutable"] is True

    until("both files are as they were", lambda: all(back(ours) for ours in found))
    surfaces.ready()
    assert pods(surfaces) == before
