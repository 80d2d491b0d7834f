"""An API server that goes back in time, as after a restore of etcd, and those that merely lag: not taken for it."""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ameide_dev.client import ApiError, KubeClient, UnknownKindError
from ameide_dev.controlplane import ControlPlane
from ameide_dev.processes import wait_until
from ameide_shared.controller.timeline import Seen, Timeline, WentBackError
from ameide_shared.kube.cache import Store
from ameide_shared.kube.resources import DEPLOYMENT, ObjectKey

PROGRAM = Path(__file__).with_name("sample_operator.py")
API = "test.ameide.io/v1"
PATIENCE = 30.0
KEY = ObjectKey("shop", "orders")


def deployment(version: int, name: str = "orders", uid: str = "u1") -> dict[str, Any]:
    metadata = {"namespace": "shop", "name": name, "uid": uid, "resourceVersion": str(version)}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata}


def listed(version: int, **objects: int) -> list[Seen]:
    """A LIST of one version, with the version of each object by name."""
    return [Seen(None, {ObjectKey("shop", name): ("u1", str(at)) for name, at in objects.items()}, str(version))]


class Asked:
    """A store that watches have filled, and the judgement of what is listed at some time."""

    def __init__(self, *versions: int) -> None:
        self.store = Store(DEPLOYMENT)
        self.timeline = Timeline(PATIENCE)
        self.told(*versions)

    def told(self, *versions: int) -> None:
        for version in versions:
            self.store.on_event("MODIFIED", deployment(version))

    def judge(self, seen: list[Seen], now: float = 0.0) -> bool:
        return self.timeline.judge(self.store, seen, self.store.newest, now)


def test_lists_of_one_history_are_believed() -> None:
    asked = Asked(7, 9)
    assert asked.judge(listed(9, orders=9))
    assert asked.judge(listed(12, orders=11), 1)  # its event is still to come
    assert asked.judge(listed(12), 2)  # it was deleted
    assert asked.judge(listed(12, orders=11, more=12), 2)


@pytest.mark.parametrize("version", [9, 10, 1_000_000_000])
def test_object_in_a_state_from_before_the_one_we_saw_gives_the_restore_away(version: int) -> None:
    """At once; also where the restored etcd counts on from a far higher version, or has caught up meanwhile."""
    asked = Asked(7, 9)
    with pytest.raises(WentBackError, match=r"deployments.apps shop/orders had version 9"):
        asked.judge(listed(version, orders=4))


def test_lists_that_stay_older_than_what_was_seen_give_the_restore_away() -> None:
    asked = Asked(9000)
    assert not asked.judge(listed(5000, orders=4000), 100)
    assert not asked.judge(listed(5020, orders=5010), 100 + PATIENCE / 2)
    with pytest.raises(WentBackError, match="version 9000"):
        asked.judge(listed(5040, orders=5010), 100 + PATIENCE)


def test_deletion_that_was_seen_counts_as_well() -> None:
    asked = Asked(5)
    asked.store.on_event("DELETED", deployment(9))
    assert not asked.judge(listed(6, orders=5), 0)
    with pytest.raises(WentBackError):
        asked.judge(listed(6, orders=5), PATIENCE)


def test_server_that_lags_is_not_taken_for_a_restore() -> None:
    """However long it does: it shows later what had been seen before."""
    asked = Asked(100)
    for step in range(1, 40):
        asked.told(100 + step)
        assert not asked.judge(listed(99 + step, orders=99 + step), step * 10.0)
    assert asked.judge(listed(139, orders=139), 1000)


def test_one_replica_of_two_that_lags_is_not_taken_for_a_restore() -> None:
    asked = Asked(100)
    for step in range(1, 20):
        assert not asked.judge(listed(90, orders=90), step * 60.0)
        assert asked.judge(listed(100, orders=100), step * 60.0 + 30)


# --- with a real etcd -------------------------------------------------------------------------------------------------


@pytest.fixture
def control_plane() -> Iterator[ControlPlane]:
    """One of the test's own, whose etcd it may restore."""
    control_plane = ControlPlane()
    try:
        control_plane.start(nodes=())
        yield control_plane
    finally:
        control_plane.stop()


@pytest.fixture
def operator(control_plane: ControlPlane, tmp_path: Path) -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    """`operator(name)` starts the sample operator, which writes to `name`.out; killed after the test."""
    running: list[subprocess.Popen[bytes]] = []
    variables = {
        "KUBECONFIG": str(control_plane.kubeconfig),
        "AMEIDE_HTTP__PORT": "0",
        "AMEIDE_HTTP__HOST": "127.0.0.1",
        "AMEIDE_LEADER_ELECTION__ENABLED": "false",
        "AMEIDE_LOG_FORMAT": "json",
        "AMEIDE_AUDIT_SECONDS": "2",
    }

    def begin(name: str) -> subprocess.Popen[bytes]:
        with (tmp_path / f"{name}.out").open("wb") as file:
            started = subprocess.Popen([sys.executable, PROGRAM], env=os.environ | variables, stdout=file, stderr=file)
        running.append(started)
        return started

    yield begin
    for started in running:
        if started.poll() is None:
            started.kill()
            started.wait()


def with_etcd_stopped(control_plane: ControlPlane, work: Callable[[Path], object]) -> None:
    """Do something to the data of etcd, while neither it nor the API server runs."""
    control_plane.stop_apiserver()
    control_plane.servers["etcd"].stop(grace=0)
    work(control_plane.directory / "etcd")
    control_plane.servers["etcd"].start()
    control_plane.start_apiserver()


def served(kube: KubeClient) -> bool:
    try:
        kube.list(API, "Widget")
    except (UnknownKindError, ApiError):
        return False
    return True


def widget(name: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": API,
        "kind": "Widget",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"seconds": 0, **spec},
    }


@pytest.mark.platform
def test_operator_starts_over_when_etcd_was_restored(
    control_plane: ControlPlane, operator: Callable[[str], subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    """It had seen versions that are not served any more, and would take nothing older than them for ever."""
    kube, backup = control_plane.client, tmp_path / "backup"
    sample = runpy.run_path(str(PROGRAM), run_name="sample_of_restore")
    kube.apply(sample["crd"](sample["WIDGET"]))
    wait_until("The Widgets' API", lambda: served(kube), (), timeout=30)
    kube.create(widget("w"))
    first, output = operator("first"), tmp_path / "first.out"

    def tells(text: str) -> Callable[[], bool]:
        return lambda: text in output.read_text()

    wait_until("The Widget", tells("default/w True"), (), timeout=60)
    with_etcd_stopped(control_plane, lambda data: shutil.copytree(data, backup))
    for number in range(30):
        kube.merge_patch(API, "Widget", "w", {"spec": {"number": number}}, "default")
    kube.create(widget("never-was"))
    wait_until("The younger Widget", tells("default/never-was True"), (), timeout=60)

    def restore(data: Path) -> None:
        shutil.rmtree(data)
        shutil.copytree(backup, data)

    with_etcd_stopped(control_plane, restore)
    begun = time.monotonic()
    assert first.wait(120) == 1
    print(f"ended {time.monotonic() - begun:.1f} s after the restored API server was ready")
    assert "gone back in time" in output.read_text()

    operator("second")
    output = tmp_path / "second.out"
    wait_until("The Widget again", tells("default/w True"), (), timeout=60)
    kube.create(widget("later"))
    wait_until("A new Widget", tells("default/later True"), (), timeout=60)
    assert "never-was" not in output.read_text()
