"""The whole machinery on the real API server: events, lost events, APIs that come and go, outages, ends."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from ameide_dev.client import ApiError, UnknownKindError
from ameide_shared.controller import audit, streams
from ameide_shared.kube.connection import connect
from ameide_shared.kube.resources import CONFIG_MAP, NAMESPACE, ObjectKey
from ameide_shared.settings import HttpSettings, LeaderElectionSettings, OperatorSettings, WatchSettings

if TYPE_CHECKING:
    from ameide_dev.client import KubeClient
    from ameide_dev.platform import Platform

PROGRAM = Path(__file__).with_name("sample_operator.py")
_spec = importlib.util.spec_from_file_location("sample_operator", PROGRAM)
assert _spec is not None
assert _spec.loader is not None
sample_operator = importlib.util.module_from_spec(_spec)
sys.modules["sample_operator"] = sample_operator
_spec.loader.exec_module(sample_operator)
GADGET, WIDGET, Sample = sample_operator.GADGET, sample_operator.WIDGET, sample_operator.Sample

Start = Callable[..., Any]


def install(kube: KubeClient, resource: Any) -> None:
    kube.apply(sample_operator.crd(resource))
    kube.wait_condition("apiextensions.k8s.io/v1", "CustomResourceDefinition", str(resource), "Established")
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:  # discovery lags behind
        with contextlib.suppress(UnknownKindError, ApiError):
            kube.list(resource.api_version, resource.kind)
            return
        time.sleep(0.1)
    pytest.fail(f"{resource} is established but not served")


@pytest.fixture
def widgets(kube: KubeClient) -> None:
    install(kube, WIDGET)


@pytest.fixture
def gadgets_later(kube: KubeClient) -> Iterator[None]:
    kube.delete("apiextensions.k8s.io/v1", "CustomResourceDefinition", str(GADGET), missing_ok=True, wait=True)
    yield
    kube.delete("apiextensions.k8s.io/v1", "CustomResourceDefinition", str(GADGET), missing_ok=True)


def widget(namespace: str, name: str, **spec: Any) -> dict[str, Any]:
    metadata = {"namespace": namespace, "name": name}
    return {"apiVersion": "test.ameide.io/v1", "kind": "Widget", "metadata": metadata, "spec": spec}


def child(namespace: str, name: str, owner: str, kind: str = "ConfigMap", api_version: str = "v1") -> dict[str, Any]:
    labels = {"ameide.io/primitive": "widget", "ameide.io/name": owner}
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {"namespace": namespace, "name": name, "labels": labels},
    }


def settings(**overrides: Any) -> OperatorSettings:
    defaults: dict[str, Any] = {
        "http": HttpSettings(host="127.0.0.1", port=0),
        "leader_election": LeaderElectionSettings(enabled=False),
    }
    return OperatorSettings(**(defaults | overrides))


async def until(condition: Callable[[], bool], what: str, seconds: float = 15.0) -> None:
    try:
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110 - polls what the operator does
                await asyncio.sleep(0.02)
    except TimeoutError:
        pytest.fail(f"not within {seconds:.0f} s: {what}")


def last(sample: Any, key: ObjectKey) -> Any:
    """The last reconcile of a key; those of other tests' leftovers may come in between."""
    return next((entry for entry in reversed(sample.seen) if entry[0] == key), None)


async def probe(sample: Any, path: str) -> tuple[int, str]:
    url = f"http://127.0.0.1:{sample.runtime.health_port}{path}"
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return response.status, await response.text()


@pytest.fixture
async def start(platform: Platform, widgets: None) -> AsyncIterator[Start]:
    """`await start(settings)` runs the sample operator in this loop, ready to work; stopped after the test."""
    async with contextlib.AsyncExitStack() as stack:

        async def begin(
            configured: OperatorSettings | None = None, *, kubeconfig: Path | None = None, ready: bool = True
        ) -> Any:
            connection = await stack.enter_async_context(connect(kubeconfig or platform.kubeconfig))
            sample = Sample(connection, configured or settings())
            task = asyncio.create_task(sample.run())
            sample.task = task

            async def end() -> None:
                sample.stop.set()
                async with asyncio.timeout(10):
                    await asyncio.wait([task])

            stack.push_async_callback(end)
            if ready:
                await until(lambda: not sample.runtime._auditor.unsynced or task.done(), "caches filled")
                if task.done():
                    task.result()  # raises what went wrong
                    pytest.fail("the operator ended at once")
            return sample

        yield begin


async def test_events_of_all_kinds_reach_their_owner_and_the_cache_is_warm_before_work(
    start: Start, kube: KubeClient, namespace: str
) -> None:
    kube.create(widget(namespace, "early"))
    for i in range(30):
        kube.create(child(namespace, f"early-{i:02}", "early"))
    sample = await start()
    early, late = ObjectKey(namespace, "early"), ObjectKey(namespace, "late")
    await until(lambda: any(key == early for key, _, _ in sample.seen), "first reconcile")
    first = next(entry for entry in sample.seen if entry[0] == early)
    assert first[1]
    assert len(first[2]) == 30, "reconciled before the children were known"

    kube.create(widget(namespace, "late"))
    await until(lambda: (late, True, ()) in sample.seen, "a new Widget")
    kube.create(child(namespace, "late-0", "late"))
    await until(lambda: (late, True, ("late-0",)) in sample.seen, "a child")
    kube.delete("v1", "ConfigMap", "late-0", namespace)
    await until(lambda: last(sample, late) == (late, True, ()), "a child's deletion")
    kube.delete("test.ameide.io/v1", "Widget", "late", namespace)
    await until(lambda: (late, False, ()) in sample.seen, "the deletion")
    assert (await probe(sample, "/healthz"))[0] == 200
    assert (await probe(sample, "/readyz"))[0] == 200
    text = (await probe(sample, "/metrics"))[1]
    assert 'controller_runtime_reconcile_total{controller="widget",result="success"}' in text
    assert 'leader_election_master_status{name="widget"} 1.0' in text


async def test_a_burst_of_events_is_few_reconciles(start: Start, kube: KubeClient, namespace: str) -> None:
    sample = await start()
    key = ObjectKey(namespace, "busy")
    kube.create(widget(namespace, "busy"))
    await until(lambda: last(sample, key) is not None, "the Widget")
    await asyncio.sleep(0.2)
    for event in range(100):  # as a watch would bring them
        manifest = child(namespace, f"c-{event}", "busy")
        manifest["metadata"] |= {"uid": f"u{event}", "resourceVersion": str(10**9 + event)}
        sample.runtime.cache.on_event(CONFIG_MAP, "ADDED", manifest)
        if event % 10 == 0:
            await asyncio.sleep(0.005)
    await until(lambda: len(last(sample, key)[2]) == 100, "all children seen")
    assert len([entry for entry in sample.seen if entry[0] == key]) <= 5


async def test_missed_deletions_are_found_by_the_auditor(start: Start, kube: KubeClient, namespace: str) -> None:
    kube.create(widget(namespace, "w"))
    kube.create(child(namespace, "lost", "w"))
    kube.create(child(namespace, "kept", "w"))
    sample = await start(settings(audit_seconds=1.0))
    key = ObjectKey(namespace, "w")
    await until(lambda: (key, True, ("kept", "lost")) in sample.seen, "both children")
    sample.runtime.deaf = lambda resource: resource is CONFIG_MAP
    kube.delete("v1", "ConfigMap", "lost", namespace, wait=True)
    await asyncio.sleep(0.5)
    assert last(sample, key) == (key, True, ("kept", "lost"))
    sample.runtime.deaf = lambda resource: False
    await until(lambda: last(sample, key) == (key, True, ("kept",)), "the missed deletion")
    found = sample.runtime.metrics.registry.get_sample_value(
        "ameide_audit_findings_total", {"kind": "ConfigMap", "finding": "missed_deletion"}
    )
    assert found == 1
    assert (await probe(sample, "/healthz"))[0] == 200


async def test_what_was_deleted_between_two_listings_vanishes_even_if_it_was_the_last_one(
    start: Start, kube: KubeClient, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "_RELIST_QUIET", 0.2)
    kube.create(widget(namespace, "w"))
    kube.create(child(namespace, "only", "w"))
    sample = await start()
    key = ObjectKey(namespace, "w")
    await until(lambda: (key, True, ("only",)) in sample.seen, "the child")
    sample.runtime.deaf = lambda resource: resource is CONFIG_MAP
    kube.delete("v1", "ConfigMap", "only", namespace, wait=True)
    await asyncio.sleep(0.5)
    sample.runtime._streams.restart()  # as after a 410: everything is listed anew
    await asyncio.sleep(0.5)
    sample.runtime.deaf = lambda resource: False
    await until(lambda: last(sample, key) == (key, True, ()), "the deletion in between")


async def test_a_dead_watch_is_restarted_and_fails_liveness_if_that_does_not_help(
    start: Start, kube: KubeClient, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "_LOGIN_SECONDS", 0.1)
    kube.create(widget(namespace, "w"))
    sample = await start(settings(audit_seconds=0.5))
    sample.runtime._auditor._grace = 1.0
    restarts: list[float] = []
    restart = sample.runtime._streams.restart
    key = ObjectKey(namespace, "w")

    def heal() -> None:
        restarts.append(time.monotonic())
        sample.runtime.deaf = lambda resource: False
        restart()

    sample.runtime.deaf = lambda resource: resource is CONFIG_MAP
    monkeypatch.setattr(sample.runtime._auditor, "_revive", heal)
    kube.create(child(namespace, "unheard", "w"))
    await until(lambda: (key, True, ("unheard",)) in sample.seen, "healed by watching anew")
    assert restarts
    assert (await probe(sample, "/healthz"))[0] == 200

    sample.runtime.deaf = lambda resource: resource is CONFIG_MAP
    monkeypatch.setattr(sample.runtime._auditor, "_revive", restart)
    kube.create(child(namespace, "unheard-2", "w"))
    await until(lambda: bool(sample.runtime._auditor.dead), "dead")
    status, text = await probe(sample, "/healthz")
    assert status == 503
    assert "configmaps" in text
    assert f"{namespace}/unheard-2" in text


async def test_an_optional_api_is_watched_once_installed_and_may_go_again(
    start: Start, kube: KubeClient, namespace: str, gadgets_later: None
) -> None:
    kube.create(widget(namespace, "w"))
    sample = await start()
    key = ObjectKey(namespace, "w")
    await until(lambda: (key, True, ()) in sample.seen, "the Widget")
    assert not sample.runtime.discovery.installed(GADGET)
    install(kube, GADGET)
    kube.create(child(namespace, "g", "w", "Gadget", "test.ameide.io/v1"))
    await until(lambda: (key, True, ("g",)) in sample.seen, "the Gadget", 20)
    assert sample.runtime.discovery.installed(GADGET)

    kube.delete("apiextensions.k8s.io/v1", "CustomResourceDefinition", str(GADGET), wait=True)
    await until(lambda: not sample.runtime.discovery.installed(GADGET), "its absence")
    await until(lambda: last(sample, key) == (key, True, ()), "the Gadget's end", 20)
    kube.create(child(namespace, "still-heard", "w"))
    await until(lambda: (key, True, ("still-heard",)) in sample.seen, "other kinds", 20)
    assert not sample.task.done()
    install(kube, GADGET)
    kube.create(child(namespace, "again", "w", "Gadget", "test.ameide.io/v1"))
    await until(lambda: (key, True, ("again", "still-heard")) in sample.seen, "the Gadget again", 20)


async def test_a_missing_crd_of_its_own_is_named_by_readiness_and_waited_for(
    start: Start, kube: KubeClient, namespace: str
) -> None:
    kube.delete("apiextensions.k8s.io/v1", "CustomResourceDefinition", str(WIDGET), wait=True)
    sample = await start(ready=False)
    await until(lambda: "not installed" in str(sample.runtime._auditor.unsynced.get(str(WIDGET))), "the complaint")
    status, text = await probe(sample, "/readyz")
    assert status == 503
    assert "widgets.test.ameide.io: its API is not installed" in text
    assert (await probe(sample, "/healthz"))[0] == 200
    install(kube, WIDGET)
    kube.create(widget(namespace, "w"))
    await until(lambda: (ObjectKey(namespace, "w"), True, ()) in sample.seen, "work after all", 20)
    assert (await probe(sample, "/readyz"))[0] == 200


async def test_a_kind_that_kopf_overlooked_is_watched_after_all(
    start: Start, kube: KubeClient, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when an API server that is starting does not know all of its APIs yet: kopf asks only once."""
    monkeypatch.setattr(streams, "_CHECK_SECONDS", 8.0)
    kube.delete("apiextensions.k8s.io/v1", "CustomResourceDefinition", str(WIDGET), wait=True)
    sample = await start(ready=False)
    monkeypatch.setattr(sample.runtime._auditor, "_revive", lambda: None)
    await until(lambda: WIDGET in sample.runtime._auditor.absent, "its absence noticed")
    install(kube, WIDGET)

    kube.create(widget(namespace, "w"))
    await until(lambda: (ObjectKey(namespace, "w"), True, ()) in sample.seen, "work after all", 30)


async def test_an_outage_of_the_api_server_is_sat_out(
    start: Start, platform: Platform, kube: KubeClient, namespace: str
) -> None:
    kube.create(widget(namespace, "w"))
    # On a busy machine an API server takes longer than the usual ten seconds to be back.
    patient = LeaderElectionSettings(namespace=namespace, lease_duration=90, renew_deadline=60)
    sample = await start(settings(leader_election=patient))
    key = ObjectKey(namespace, "w")
    await until(lambda: (key, True, ()) in sample.seen, "the Widget")
    restarting = asyncio.create_task(asyncio.to_thread(platform.control_plane.restart_apiserver, 4.0))
    await asyncio.sleep(2.5)
    assert (await probe(sample, "/healthz"))[0] == 200
    await restarting
    kube.create(child(namespace, "after", "w"))
    await until(lambda: (key, True, ("after",)) in sample.seen, "events after the outage", 30)
    assert not sample.task.done()


async def test_it_may_start_before_the_api_server_does(
    start: Start, platform: Platform, kube: KubeClient, namespace: str
) -> None:
    kube.create(widget(namespace, "w"))
    platform.control_plane.stop_apiserver()
    try:
        sample = await start(ready=False)
        await asyncio.sleep(2.0)
        assert (await probe(sample, "/healthz"))[0] == 200
        status, text = await probe(sample, "/readyz")
        assert status == 503
        assert "widgets.test.ameide.io" in text
    finally:
        await asyncio.to_thread(platform.control_plane.start_apiserver)
    await until(lambda: (ObjectKey(namespace, "w"), True, ()) in sample.seen, "work", 40)
    assert (await probe(sample, "/readyz"))[0] == 200


async def test_rights_in_listed_namespaces_are_enough(
    start: Start, platform: Platform, kube: KubeClient, make_namespace: Callable[..., str]
) -> None:
    ours, other = make_namespace("ours"), make_namespace("other")
    user = f"narrow-{ours}"
    kubeconfig = platform.control_plane.kubeconfig_for_user(user)
    rules = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]
    rbac = "rbac.authorization.k8s.io"
    kube.create(
        {"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": {"name": "t", "namespace": ours}, "rules": rules}
    )
    kube.create(
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "t", "namespace": ours},
            "roleRef": {"apiGroup": rbac, "kind": "Role", "name": "t"},
            "subjects": [{"apiGroup": rbac, "kind": "User", "name": user}],
        }
    )
    narrow = settings(watch=WatchSettings(namespaces=(ours,)))
    sample = await start(narrow, kubeconfig=kubeconfig)
    assert (
        sample.runtime.cache.get(NAMESPACE, ObjectKey("", ours))["metadata"]["labels"]["ameide.io/tenant-id"] == "t123"
    )
    assert (await probe(sample, "/readyz"))[0] == 200
    for namespace in (ours, other):
        kube.create(widget(namespace, "w"))
        kube.create(child(namespace, "c", "w"))
    await until(lambda: (ObjectKey(ours, "w"), True, ("c",)) in sample.seen, "the listed namespace")
    assert {key.namespace for key, _, _ in sample.seen} == {ours}


@pytest.mark.parametrize("listed", [True, False], ids=["listed by name", "by glob"])
async def test_objects_of_namespaces_referred_to_are_seen_but_their_resources_left_alone(
    start: Start, kube: KubeClient, make_namespace: Callable[..., str], listed: bool
) -> None:
    ours, referenced = make_namespace("ours"), make_namespace("referenced")
    by_name = WatchSettings(namespaces=(ours,), referenced=(referenced,))
    watch = by_name if listed else WatchSettings(namespaces=("ours*",))
    sample = await start(settings(watch=watch))
    kube.create(widget(referenced, "w"))
    kube.create(child(referenced, "c", "w"))
    kube.create(widget(ours, "w"))
    await until(lambda: (ObjectKey(ours, "w"), True, ()) in sample.seen, "the Widget of ours")
    await until(lambda: sample.runtime.cache.get(CONFIG_MAP, ObjectKey(referenced, "c")) is not None, "the child there")
    assert sample.runtime.cache.get(WIDGET, ObjectKey(referenced, "w")) is None


async def test_globs_and_exclusions_choose_namespaces_also_new_ones(
    start: Start, kube: KubeClient, make_namespace: Callable[..., str]
) -> None:
    watch = WatchSettings(namespaces=("team-*",), exclude=("team-secret-*",))
    sample = await start(settings(watch=watch))
    chosen, left_out, other = make_namespace("team"), make_namespace("team-secret"), make_namespace("x")
    for namespace in (left_out, other, chosen):
        kube.create(widget(namespace, "w"))
    await until(lambda: (ObjectKey(chosen, "w"), True, ()) in sample.seen, "the chosen namespace")
    await asyncio.sleep(0.3)
    assert {key.namespace for key, _, _ in sample.seen} == {chosen}


async def test_losing_the_lead_ends_the_process_with_an_error(start: Start, kube: KubeClient, namespace: str) -> None:
    quick = LeaderElectionSettings(namespace=namespace, lease_duration=3, renew_deadline=2, retry_period=0.2)
    kube.create(widget(namespace, "w"))
    sample = await start(settings(leader_election=quick))
    await until(lambda: bool(sample.seen), "leading")
    kube.merge_patch("coordination.k8s.io/v1", "Lease", "t-operator", {"spec": {"holderIdentity": "thief"}}, namespace)
    assert await asyncio.wait_for(sample.task, 10) == 1


async def test_a_stream_error_that_ends_kopf_is_survived(
    start: Start, kube: KubeClient, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "_LOGIN_SECONDS", 0.1)
    kube.create(widget(namespace, "w"))
    sample = await start()
    key = ObjectKey(namespace, "w")
    await until(lambda: (key, True, ()) in sample.seen, "the Widget")

    def watchers() -> list[asyncio.Task[Any]]:
        return [task for task in asyncio.all_tasks() if task.get_name() == "multidimensional multitasker"]

    (broken,) = watchers()
    broken.cancel()
    await until(lambda: watchers() not in ([], [broken]), "watching anew")
    kube.create(child(namespace, "after", "w"))
    await until(lambda: (key, True, ("after",)) in sample.seen, "events after the crash")


# --- as a process of its own --------------------------------------------------------------------------------------


@pytest.fixture
def process(platform: Platform, kube: KubeClient, widgets: None, namespace: str, tmp_path: Path) -> Iterator[Start]:
    """`process(user, **env)` starts the sample operator with all rights of its own user; killed after the test."""
    running: list[subprocess.Popen[bytes]] = []

    def begin(user: str, **env: str) -> tuple[subprocess.Popen[bytes], Path]:
        output = tmp_path / f"{user}.out"
        kubeconfig = platform.control_plane.kubeconfig_for_user(user, groups=["system:masters"])
        variables = {
            "KUBECONFIG": str(kubeconfig),
            "AMEIDE_HTTP__PORT": "0",
            "AMEIDE_HTTP__HOST": "127.0.0.1",
            "AMEIDE_LEADER_ELECTION__NAMESPACE": namespace,
            "AMEIDE_LOG_FORMAT": "json",
        }
        with output.open("wb") as file:
            started = subprocess.Popen(
                [sys.executable, PROGRAM], env=os.environ | variables | env, stdout=file, stderr=file
            )
        running.append(started)
        return started, output

    yield begin
    for started in running:
        if started.poll() is None:
            started.kill()
            started.wait()


def wait_for_text(output: Path, text: str, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while text not in output.read_text():
        assert time.monotonic() < deadline, f"{text!r} is not in the output:\n{output.read_text()}"
        time.sleep(0.05)


def test_sigterm_finishes_work_gives_the_lease_back_and_ends_in_time(
    process: Start, kube: KubeClient, namespace: str
) -> None:
    started, output = process("sigterm")
    wait_for_text(output, '"working"')
    kube.create(widget(namespace, "slow", seconds=2))
    kube.create(widget(namespace, "endless", seconds=3600))
    time.sleep(0.7)
    begun = time.monotonic()
    started.send_signal(signal.SIGTERM)
    assert started.wait(10) == 0, output.read_text()
    assert time.monotonic() - begun < 10
    assert f"{namespace}/slow True" in output.read_text(), "work that could end in time was cut off"
    lease = kube.get("coordination.k8s.io/v1", "Lease", "t-operator", namespace)
    assert not lease["spec"].get("holderIdentity")


def test_the_second_replica_takes_over_warm(process: Start, kube: KubeClient, namespace: str) -> None:
    first, first_output = process("replica-a")
    wait_for_text(first_output, '"working"')
    _, second_output = process("replica-b")
    wait_for_text(second_output, '"waiting to lead"')
    kube.create(widget(namespace, "w"))
    wait_for_text(first_output, f"{namespace}/w True")
    assert f"{namespace}/w True" not in second_output.read_text()
    begun = time.monotonic()
    first.send_signal(signal.SIGTERM)
    wait_for_text(second_output, f"{namespace}/w True")
    assert time.monotonic() - begun < 10


def test_at_rest_nothing_is_asked_and_little_is_used(
    process: Start, platform: Platform, kube: KubeClient, namespace: str
) -> None:
    """Sixty seconds: no request but the renewals of the Lease; CPU and memory of an idle operator."""
    started, output = process("resting")
    wait_for_text(output, '"working"')
    kube.create(widget(namespace, "w"))
    wait_for_text(output, f"{namespace}/w True")
    time.sleep(3)
    position = platform.control_plane.audit_position()
    cpu = _cpu_seconds(started.pid)
    time.sleep(60)
    used = _cpu_seconds(started.pid) - cpu
    asked = [
        (event["verb"], event["objectRef"]["resource"])
        for event in platform.control_plane.audit_events(user="resting", after=position)
        if event["verb"] != "watch"
    ]
    assert {entry for entry in asked if entry != ("patch", "leases")} == set()
    assert 25 <= len(asked) <= 31
    resident = int(Path(f"/proc/{started.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    print(f"idle: {used / 60 * 1000:.1f} ms of CPU a second, {resident / 2**20:.0f} MiB resident")
    assert used / 60 < 0.02
    assert resident < 110 * 2**20


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
