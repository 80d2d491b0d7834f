"""The host node's pure parts: image references, environment, quantities, pod status, probes, addresses, the queue."""

import base64
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ameide_dev import hostnode_status, images
from ameide_dev.cnpg_objects import cluster_status, credential_secret
from ameide_dev.hostnode_env import NotResolvedError, command_line, expand, quantity, resolve
from ameide_dev.hostnode_network import Network, advertised, local
from ameide_dev.hostnode_probes import Probe, Surroundings
from ameide_dev.hostnode_volumes import Volumes, real_path
from ameide_dev.informer import WorkQueue

Object = dict[str, Any]


class Shelf:
    """ConfigMaps and Secrets at hand."""

    def __init__(self, config_maps: Mapping[str, Mapping[str, str]], secrets: Mapping[str, Mapping[str, str]]) -> None:
        self._config_maps = config_maps
        self._secrets = secrets

    def config_map(self, name: str) -> Object | None:
        data = self._config_maps.get(name)
        return None if data is None else {"kind": "ConfigMap", "data": dict(data)}

    def secret(self, name: str) -> Object | None:
        data = self._secrets.get(name)
        encoded = {key: base64.b64encode(value.encode()).decode() for key, value in (data or {}).items()}
        return None if data is None else {"kind": "Secret", "data": encoded}


SHELF = Shelf({"settings": {"mode": "fast", "list": "a,b"}}, {"login": {"user": "orders", "password": "p$(x)w"}})
POD: Object = {
    "metadata": {
        "name": "web-1",
        "namespace": "shop",
        "uid": "u1",
        "labels": {"app": "web", "tier": "front"},
        "annotations": {"a.b/c": "d"},
    },
    "spec": {"containers": [{"name": "web", "image": "x", "resources": {"limits": {"cpu": "500m", "memory": "64Mi"}}}]},
}


@pytest.mark.parametrize(
    ("image", "name", "tag"),
    [
        ("ghcr.io/ameide/hostnode-orders:1.2.3", "hostnode-orders", "1.2.3"),
        ("hostnode-orders", "hostnode-orders", "latest"),
        ("localhost:5000/x/hostnode-orders", "hostnode-orders", "latest"),
        ("localhost:5000/x/hostnode-orders:2@sha256:00", "hostnode-orders", "2"),
    ],
)
def test_image_references(image: str, name: str, tag: str) -> None:
    reference = images.parse(image)
    assert (reference.name, reference.tag) == (name, tag)
    assert images.runs_on_host(image)
    assert not images.runs_on_host(image.replace("hostnode-", "other-"))


def test_an_images_digest_depends_on_name_and_tag_only() -> None:
    one = images.digest("ghcr.io/ameide/hostnode-orders:1")
    assert one == images.digest("ghcr.io/ameide/hostnode-orders:1@sha256:00")
    assert one != images.digest("ghcr.io/ameide/hostnode-orders:2")
    assert one.startswith("ghcr.io/ameide/hostnode-orders@sha256:")


def test_expansion_follows_kubernetes() -> None:
    assert expand("$(A)-$$(A)-$(NONE)-$A", {"A": "1"}) == "1-$(A)-$(NONE)-$A"


def test_environment_in_order_with_references() -> None:
    container: Object = {
        "envFrom": [{"prefix": "S_", "configMapRef": {"name": "settings"}}],
        "env": [
            {"name": "PLAIN", "value": "x"},
            {"name": "JOINED", "value": "$(PLAIN)/$(S_mode)/$(LATER)"},
            {"name": "LATER", "value": "y"},
            {"name": "SECRET", "valueFrom": {"secretKeyRef": {"name": "login", "key": "password"}}},
            {"name": "GONE", "valueFrom": {"secretKeyRef": {"name": "none", "key": "k", "optional": True}}},
            {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {
                "name": "CPU",
                "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m", "containerName": "web"}},
            },
            {
                "name": "MEMORY",
                "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "containerName": "web"}},
            },
        ],
    }
    assert resolve(POD, container, {"status.podIP": "127.9.9.9"}, SHELF) == {
        "S_mode": "fast",
        "S_list": "a,b",
        "PLAIN": "x",
        "JOINED": "x/fast/$(LATER)",
        "LATER": "y",
        "SECRET": "p$(x)w",
        "NAME": "web-1",
        "APP": "web",
        "IP": "127.9.9.9",
        "CPU": "500",
        "MEMORY": str(64 * 2**20),
    }


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"secretKeyRef": {"name": "none", "key": "k"}}, 'secret "none" not found'),
        ({"configMapKeyRef": {"name": "none", "key": "k"}}, 'configmap "none" not found'),
        ({"secretKeyRef": {"name": "login", "key": "k"}}, "couldn't find key k in secret shop/login"),
    ],
)
def test_what_is_missing_is_named_as_the_kubelet_does(source: Object, message: str) -> None:
    with pytest.raises(NotResolvedError, match=message):
        resolve(POD, {"env": [{"name": "X", "valueFrom": source}]}, {}, SHELF)


@pytest.mark.parametrize(
    ("text", "number"), [("500m", 0.5), ("2", 2.0), ("1Ki", 1024.0), ("3M", 3e6), ("1.5Gi", 1.5 * 2**30)]
)
def test_quantities(text: str, number: float) -> None:
    assert quantity(text) == pytest.approx(number)


@pytest.mark.parametrize(
    ("container", "expected"),
    [
        ({}, ["entry", "default"]),
        ({"args": ["$(X)"]}, ["entry", "1"]),
        ({"command": ["own"]}, ["own"]),
        ({"command": ["own"], "args": ["a"]}, ["own", "a"]),
    ],
)
def test_command_lines(container: Object, expected: list[str]) -> None:
    assert command_line(container, ("entry",), ("default",), {"X": "1"}) == expected


def test_volumes_hold_what_their_sources_hold_and_follow_changes(tmp_path: Path) -> None:
    secrets = {"login": {"user": "orders", "password": "old"}}
    pod = {
        **POD,
        "spec": {
            **POD["spec"],
            "volumes": [
                {
                    "name": "all",
                    "projected": {
                        "sources": [
                            {"configMap": {"name": "settings", "items": [{"key": "mode", "path": "deep/mode"}]}},
                            {"secret": {"name": "login"}},
                            {"serviceAccountToken": {"path": "token", "audience": "somewhere"}},
                            {
                                "downwardAPI": {
                                    "items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]
                                }
                            },
                        ]
                    },
                },
                {"name": "scratch", "emptyDir": {}},
            ],
        },
    }
    shelf = Shelf({"settings": {"mode": "fast"}}, secrets)
    volumes = Volumes(pod, tmp_path / "v", {}, shelf, lambda audience, seconds: f"{audience}:{seconds}")
    volumes.write()
    root = tmp_path / "root"
    mounts = [
        {"name": "all", "mountPath": "/etc/all"},
        {"name": "scratch", "mountPath": "/tmp"},
        {"name": "all", "mountPath": "/one/password", "subPath": "password"},
    ]
    volumes.mount({"volumeMounts": mounts}, root, {"/flyway/sql": tmp_path})
    assert (root / "etc/all/deep/mode").read_text() == "fast"
    assert (root / "etc/all/token").read_text() == "somewhere:3600"
    assert (root / "etc/all/labels").read_text() == 'app="web"\ntier="front"'
    assert (root / "one/password").read_text() == "old"
    assert (root / "flyway/sql").resolve() == tmp_path.resolve()
    (root / "tmp" / "note").write_text("kept")
    secrets["login"] = {"password": "new"}
    volumes.write()
    assert (root / "etc/all/password").read_text() == "new"
    assert not (root / "etc/all/user").exists()
    assert (root / "tmp" / "note").read_text() == "kept"
    container = {"volumeMounts": mounts}
    assert real_path("/etc/all/token", root, container) == f"{root}/etc/all/token"
    assert real_path("/etc/allother", root, container) == "/etc/allother"


def test_a_volume_without_its_source_is_not_written(tmp_path: Path) -> None:
    pod = {**POD, "spec": {**POD["spec"], "volumes": [{"name": "v", "secret": {"secretName": "none"}}]}}
    with pytest.raises(NotResolvedError, match='secret "none" not found'):
        Volumes(pod, tmp_path, {}, SHELF, lambda _, __: "").write()


def _status(state: str, code: int = 0, *, last: bool = False) -> Object:
    states: dict[str, Object] = {
        "waiting": {"waiting": {"reason": "X"}},
        "running": {"running": {}},
        "terminated": {"terminated": {"exitCode": code}},
    }
    return {
        "name": "c",
        "ready": state == "running",
        "state": states[state],
        "lastState": {"terminated": {}} if last else {},
    }


@pytest.mark.parametrize(
    ("policy", "inits", "mains", "expected"),
    [
        ("Always", [], [_status("waiting")], "Pending"),
        ("Always", [], [_status("running")], "Running"),
        ("Always", [], [_status("waiting", last=True)], "Running"),
        ("Never", [], [_status("terminated")], "Succeeded"),
        ("Never", [], [_status("terminated", 1)], "Failed"),
        ("OnFailure", [], [_status("terminated"), _status("terminated")], "Succeeded"),
        ("Never", [], [_status("terminated"), _status("running")], "Running"),
        ("Always", [_status("running")], [_status("waiting")], "Pending"),
        ("Never", [_status("terminated", 2)], [_status("waiting")], "Failed"),
        ("Always", [_status("terminated")], [_status("running")], "Running"),
    ],
)
def test_phases(policy: str, inits: list[Object], mains: list[Object], expected: str) -> None:
    assert hostnode_status.phase({"spec": {"restartPolicy": policy}}, inits, mains) == expected


def test_conditions_keep_their_time_and_those_of_others() -> None:
    pod: Object = {"spec": {}, "status": {"conditions": [{"type": "PodScheduled", "status": "True"}]}}
    first = hostnode_status.conditions(pod, "Running", True, [_status("waiting")], "t1")
    pod["status"]["conditions"] = first
    second = hostnode_status.conditions(pod, "Running", True, [_status("running")], "t2")
    times = {each["type"]: each.get("lastTransitionTime") for each in second}
    assert times == {
        "PodScheduled": None,
        "PodReadyToStartContainers": "t1",
        "Initialized": "t1",
        "ContainersReady": "t2",
        "Ready": "t2",
    }
    assert [each["type"] for each in first if each["status"] == "False"] == ["ContainersReady", "Ready"]


def test_a_readiness_gate_of_someone_else_holds_ready_back() -> None:
    pod: Object = {"spec": {"readinessGates": [{"conditionType": "example.com/gate"}]}, "status": {}}
    ready = {each["type"]: each for each in hostnode_status.conditions(pod, "Running", True, [_status("running")], "t")}
    assert (ready["ContainersReady"]["status"], ready["Ready"]["reason"]) == ("True", "ReadinessGatesNotReady")


def test_probes_count_to_their_thresholds(tmp_path: Path) -> None:
    around = Surroundings("127.0.0.1", {}, {"PATH": "/usr/bin:/bin"}, tmp_path)
    flag = tmp_path / "fine"
    spec = {"exec": {"command": ["test", "-e", str(flag)]}, "failureThreshold": 2, "periodSeconds": 0}
    probe = Probe("readiness", spec)
    verdicts: list[tuple[bool, bool | None]] = []

    def run() -> None:
        changed = probe.run(around)
        verdicts.append((changed, probe.healthy))

    run()
    flag.touch()
    run()
    flag.unlink()
    run()
    run()
    assert verdicts == [(False, None), (True, True), (False, True), (True, False)]
    assert "exit status 1" in probe.message


def test_addresses_are_shown_outside_of_loopback() -> None:
    assert advertised("127.100.128.2") == "10.100.128.2"
    assert local(advertised("127.100.128.2")) == "127.100.128.2"


def test_two_networks_on_one_machine_do_not_overlap_and_names_resolve(tmp_path: Path) -> None:
    one, two = Network("host", tmp_path / "1"), Network("host", tmp_path / "2")
    one.start()
    try:
        assert one.range.number != two.range.number
        service = {"metadata": {"namespace": "shop", "name": "web"}, "spec": {"ports": []}}
        one.service_changed("ADDED", service)
        address = one.resolve("other", "web.shop.svc")
        assert address is not None
        assert one.resolve("shop", "web") == one.resolve("x", "web.shop.svc.cluster.local") == address
        assert one.resolve("other", "web") is None
        lines = one.hosts_file("shop").read_text().splitlines()
        assert f"{address} web" in lines
        one.service_changed("DELETED", service)
        assert one.resolve("other", "web.shop.svc") is None
        assert one.hosts_file("shop").read_text() == "127.0.0.1 localhost\n"
    finally:
        one.stop()
        two.stop()


def test_the_queue_merges_keys_and_keeps_the_earlier_time() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("late", after=30)
    queue.add("soon", after=0.05)
    queue.add("late", after=0.1)
    queue.add("soon", after=30)
    assert [queue.get(), queue.get()] == ["soon", "late"]
    threading.Timer(0.05, queue.close).start()
    assert queue.get() is None


CLUSTER: Object = {"metadata": {"name": "pg", "namespace": "db", "uid": "u"}, "spec": {"instances": 1}}


def test_credential_uris_are_percent_encoded() -> None:
    secret = credential_secret(CLUSTER, "app", "o/r", "p@s:s", "data base")
    data = {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}
    assert data["uri"] == "postgresql://o%2Fr:p%40s%3As@pg-rw.db:5432/data%20base"
    assert data["fqdn-jdbc-uri"] == (
        "jdbc:postgresql://pg-rw.db.svc.cluster.local:5432/data%20base?password=p%40s%3As&user=o%2Fr"
    )


def test_a_clusters_ready_condition_moves_only_with_its_status() -> None:
    first = cluster_status(CLUSTER, "Setting up primary", "", "t1")
    again = cluster_status({**CLUSTER, "status": first}, "Failing over", "", "t2")
    ready = cluster_status({**CLUSTER, "status": again}, "Cluster in healthy state", "", "t3")
    assert [each["conditions"][0]["lastTransitionTime"] for each in (first, again, ready)] == ["t1", "t1", "t3"]
    assert ready["readyInstances"] == 1
