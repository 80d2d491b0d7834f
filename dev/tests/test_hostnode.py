"""The host node on a real control plane: pods as real processes, seen through the API server."""

import json
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from ameide_dev.client import KubeClient, condition_of
from ameide_dev.controlplane import ControlPlane
from ameide_dev.hostnode import HostNode
from ameide_dev.hostnode_container import Backoff
from ameide_dev.images import Image

pytestmark = pytest.mark.platform

Object = dict[str, Any]

NAMESPACE = "work"
PYTHON = "ghcr.io/ameide/hostnode-python:3"


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    with ControlPlane() as plane:
        plane.client.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
        plane.client.wait_for("v1", "ServiceAccount", "default", lambda it: it is not None, NAMESPACE)
        yield plane


@pytest.fixture(scope="module")
def client(plane: ControlPlane) -> KubeClient:
    return plane.client


@pytest.fixture(scope="module")
def node(plane: ControlPlane) -> Iterator[HostNode]:
    with HostNode.of(plane, backoff=Backoff(first=0.3, most=0.6), refresh_seconds=0.3) as node:
        yield node


def python(program: str, name: str = "main", **more: Any) -> Object:
    """A container that runs a Python program."""
    return {"name": name, "image": PYTHON, "command": ["python", "-c", textwrap.dedent(program)], **more}


def make_pod(client: KubeClient, name: str, *containers: Object, labels: Object | None = None, **spec: Any) -> Object:
    return client.create(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels or {}},
            "spec": {"restartPolicy": "Never", "terminationGracePeriodSeconds": 2, "containers": [*containers], **spec},
        }
    )


def make(client: KubeClient, kind: str, name: str, **content: Any) -> None:
    client.apply({"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": NAMESPACE}, **content})


def wait_phase(client: KubeClient, name: str, phase: str) -> Object:
    def holds(pod: Object | None) -> bool:
        return pod is not None and pod["status"]["phase"] == phase

    return client.wait_for("v1", "Pod", name, holds, NAMESPACE, what=f"phase {phase}")


def wait_container(client: KubeClient, name: str, holds: Callable[[Object], bool], what: str) -> Object:
    """Wait until the status of the pod's first container is as wanted; return it."""

    def seen(pod: Object | None) -> bool:
        return bool(pod and pod["status"].get("containerStatuses") and holds(pod["status"]["containerStatuses"][0]))

    pod = client.wait_for("v1", "Pod", name, seen, NAMESPACE, what=what)
    status: Object = pod["status"]["containerStatuses"][0]
    return status


def wait_until(what: str, holds: Callable[[], bool], timeout: float = 15.0) -> None:
    deadline = time.monotonic() + timeout
    while not holds():
        assert time.monotonic() < deadline, f"waited {timeout} s for {what}"
        time.sleep(0.05)


def test_a_pod_sees_its_environment_and_files_and_leaves_a_message(client: KubeClient, node: HostNode) -> None:
    make(client, "Secret", "login", stringData={"password": "s3cret"})
    make(client, "ConfigMap", "settings", data={"mode": "fast", "app.yaml": "level: 7\n"})
    program = """
        import json, os, pathlib
        print("hello from", os.environ["WHO"])
        message = {
            "password": os.environ["PASSWORD"], "mode": os.environ["mode"], "ip": os.environ["POD_IP"],
            "file": pathlib.Path(os.environ["CONFIG"]).read_text(),
            "same": pathlib.Path(os.environ["AMEIDE_HOST_ROOT"] + "/etc/app/app.yaml").read_text(),
            "foreign": sorted(name for name in os.environ if name.startswith(("PYTEST", "VIRTUAL_ENV", "UV_"))),
        }
        pathlib.Path(os.environ["AMEIDE_TERMINATION_LOG"]).write_text(json.dumps(message))
    """
    env = [
        {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "login", "key": "password"}}},
        {"name": "WHO", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "CONFIG", "value": "/etc/app/app.yaml"},
    ]
    make_pod(
        client,
        "seeing",
        python(
            program,
            env=env,
            envFrom=[{"configMapRef": {"name": "settings"}}],
            volumeMounts=[{"name": "config", "mountPath": "/etc/app"}],
        ),
        volumes=[{"name": "config", "configMap": {"name": "settings"}}],
    )
    pod = wait_phase(client, "seeing", "Succeeded")
    end = pod["status"]["containerStatuses"][0]["state"]["terminated"]
    message = json.loads(end["message"])
    assert (end["exitCode"], end["reason"]) == (0, "Completed")
    assert (message["password"], message["mode"]) == ("s3cret", "fast")
    assert message["file"] == message["same"] == "level: 7\n"
    assert message["foreign"] == []
    assert message["ip"] == "127" + pod["status"]["podIP"].removeprefix("10")
    assert pod["spec"]["nodeName"] == "host"
    assert client.logs(NAMESPACE, "seeing") == "hello from seeing\n"


def test_other_pods_go_to_other_nodes(plane: ControlPlane, client: KubeClient, node: HostNode) -> None:
    make_pod(client, "ordinary", {"name": "main", "image": "nginx"}, restartPolicy="Always")
    pod = wait_phase(client, "ordinary", "Running")
    assert pod["spec"]["nodeName"] != "host"


def test_a_failure_has_its_code_and_the_end_of_its_log_as_message(client: KubeClient, node: HostNode) -> None:
    program = "import sys; print('line 1'); print('relation exists', file=sys.stderr); sys.exit(3)"
    make_pod(client, "failing", python(program, terminationMessagePolicy="FallbackToLogsOnError"))
    pod = wait_phase(client, "failing", "Failed")
    end = pod["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (end["exitCode"], end["reason"]) == (3, "Error")
    assert "relation exists" in end["message"]


def test_a_crashing_container_is_restarted_with_back_off(client: KubeClient, node: HostNode) -> None:
    program = "import os, signal; print('here I am', flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    make_pod(client, "crashing", python(program), restartPolicy="Always")
    status = wait_container(
        client,
        "crashing",
        lambda it: it["restartCount"] >= 2 and it["state"].get("waiting", {}).get("reason") == "CrashLoopBackOff",
        "CrashLoopBackOff",
    )
    assert status["lastState"]["terminated"]["exitCode"] == 137
    assert status["ready"] is False
    path = f"/api/v1/namespaces/{NAMESPACE}/pods/crashing/log"
    text = client.transport.send("GET", path, params={"previous": "true"}).text
    assert text == "here I am\n"
    client.delete("v1", "Pod", "crashing", NAMESPACE, wait=10)


def test_a_job_is_complete_on_the_second_try(client: KubeClient, node: HostNode) -> None:
    make(client, "ConfigMap", "tries", data={})
    program = """
        import os, pathlib, sys
        mark = pathlib.Path(os.environ["MARK"])
        if not mark.exists():
            mark.touch()
            sys.exit(1)
    """
    client.create(
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": "twice", "namespace": NAMESPACE},
            "spec": {
                "template": {
                    "spec": {
                        "restartPolicy": "OnFailure",
                        "containers": [
                            python(
                                program,
                                env=[{"name": "MARK", "value": "/scratch/mark"}],
                                volumeMounts=[{"name": "scratch", "mountPath": "/scratch"}],
                            )
                        ],
                        "volumes": [{"name": "scratch", "emptyDir": {}}],
                    }
                }
            },
        }
    )
    client.wait_condition("batch/v1", "Job", "twice", "Complete", NAMESPACE)


@pytest.mark.parametrize(
    ("name", "container", "reason"),
    [
        ("no-secret", python("", env=[{"name": "X", "valueFrom": {"secretKeyRef": {"name": "later", "key": "k"}}}]),
         "CreateContainerConfigError"),
        ("no-image", {"name": "main", "image": "ghcr.io/ameide/hostnode-nothing:1"}, "ImagePullBackOff"),
    ],
)  # fmt: skip
def test_what_is_missing_shows_as_the_kubelets_reason(
    client: KubeClient, node: HostNode, name: str, container: Object, reason: str
) -> None:
    make_pod(client, name, container)
    wait_container(client, name, lambda it: it["state"].get("waiting", {}).get("reason") == reason, reason)
    if name == "no-secret":
        make(client, "Secret", "later", stringData={"k": "v"})
        wait_phase(client, name, "Succeeded")


def test_a_program_that_is_not_there_fails_to_start(client: KubeClient, node: HostNode) -> None:
    make_pod(client, "absent", {"name": "main", "image": PYTHON, "command": ["/no/such/program"]})
    pod = wait_phase(client, "absent", "Failed")
    end = pod["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (end["exitCode"], end["reason"]) == (128, "StartError")
    assert "/no/such/program" in end["message"]


def test_an_images_program_may_lie_below_a_path_that_the_pod_mounts(
    client: KubeClient, node: HostNode, tmp_path: Path
) -> None:
    """A checkout in /tmp, and a pod with a volume there."""
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\nexit 0\n")
    program.chmod(0o755)
    node.images.add("below", lambda tag: Image(entrypoint=(str(program),)))
    mount = {"name": "scratch", "mountPath": str(tmp_path.parent)}
    container = {"name": "main", "image": "ghcr.io/ameide/hostnode-below:1", "volumeMounts": [mount]}
    make_pod(client, "below", container, volumes=[{"name": "scratch", "emptyDir": {}}])
    wait_phase(client, "below", "Succeeded")


def test_init_containers_run_in_order_before_the_others(client: KubeClient, node: HostNode) -> None:
    note = "import os; open(os.environ['NOTE'], 'a').write('{}')"
    shared: Object = {
        "env": [{"name": "NOTE", "value": "/shared/note"}],
        "volumeMounts": [{"name": "shared", "mountPath": "/shared"}],
    }
    make_pod(
        client,
        "ordered",
        python("import os; print(open(os.environ['NOTE']).read())", **shared),
        initContainers=[
            python(note.format("a"), "first", **shared),
            python("import time; time.sleep(60)", "sidecar", restartPolicy="Always"),
            python(note.format("b"), "second", **shared),
        ],
        volumes=[{"name": "shared", "emptyDir": {}}],
    )
    pod = wait_phase(client, "ordered", "Succeeded")
    assert client.logs(NAMESPACE, "ordered", "main") == "ab\n"
    assert condition_of(pod, "Initialized") is not None
    assert {each["name"]: each["state"].keys() for each in pod["status"]["initContainerStatuses"]} == {
        name: {"terminated"} for name in ("first", "sidecar", "second")
    }


def test_a_failed_init_container_fails_the_pod(client: KubeClient, node: HostNode) -> None:
    make_pod(client, "hopeless", python("print('never')"), initContainers=[python("raise SystemExit(4)", "first")])
    pod = wait_phase(client, "hopeless", "Failed")
    assert pod["status"]["initContainerStatuses"][0]["state"]["terminated"]["exitCode"] == 4


SERVE = """
    import http.server, os, pathlib, signal, sys
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            flag = pathlib.Path(os.environ["FLAGS"]) / self.path.strip("/")
            body = os.environ["HOSTNAME"].encode()
            self.send_response(503 if flag.is_file() else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        def log_message(self, *args): pass
    print("serving", flush=True)
    http.server.ThreadingHTTPServer(("0.0.0.0", 8080), Handler).serve_forever()
"""


def serving(**more: Any) -> Object:
    return python(
        SERVE,
        env=[{"name": "FLAGS", "value": "/flags"}],
        volumeMounts=[{"name": "flags", "mountPath": "/flags"}],
        ports=[{"name": "http", "containerPort": 8080}],
        readinessProbe={"httpGet": {"path": "/unready", "port": "http"}, "periodSeconds": 1, "failureThreshold": 1},
        **more,
    )


def test_a_service_reaches_its_ready_pods_and_only_those(client: KubeClient, node: HostNode, tmp_path: Path) -> None:
    labels = {"app": "web"}
    make(client, "Service", "web", spec={"selector": labels, "ports": [{"port": 8000, "targetPort": "http"}]})
    for name in ("web-a", "web-b"):
        (tmp_path / name).mkdir()
        volume = {"name": "flags", "hostPath": {"path": str(tmp_path / name)}}
        make_pod(client, name, serving(), labels=labels, restartPolicy="Always", volumes=[volume])
    for name in ("web-a", "web-b"):
        client.wait_condition("v1", "Pod", name, "Ready", NAMESPACE)
    host, port = node.service_address(NAMESPACE, "web", 8000)

    def answers() -> set[str]:
        found = set()
        for _ in range(12):
            try:
                found.add(httpx.get(f"http://{host}:{port}/", trust_env=False).text)
            except httpx.TransportError:
                found.add("refused")
        return found

    wait_until("both pods behind the Service", lambda: answers() == {"web-a", "web-b"})
    (tmp_path / "web-a" / "unready").touch()
    client.wait_condition("v1", "Pod", "web-a", "Ready", NAMESPACE, status="False")
    wait_until("only the ready pod", lambda: answers() == {"web-b"})
    (tmp_path / "web-b" / "unready").touch()
    wait_until("no connection without a ready pod", lambda: answers() == {"refused"})
    (tmp_path / "web-a" / "unready").unlink()
    wait_until("the pod that is ready again", lambda: answers() == {"web-a"})


def test_names_of_services_resolve_inside_a_pod(client: KubeClient, node: HostNode, tmp_path: Path) -> None:
    labels = {"app": "named"}
    make(client, "Service", "named", spec={"selector": labels, "ports": [{"port": 8000, "targetPort": "http"}]})
    volume = {"name": "flags", "emptyDir": {}}
    make_pod(client, "named-a", serving(), labels=labels, restartPolicy="Always", volumes=[volume])
    client.wait_condition("v1", "Pod", "named-a", "Ready", NAMESPACE)
    program = f"""
        import time, urllib.request
        for name in ("named", "named.{NAMESPACE}.svc", "named.{NAMESPACE}.svc.cluster.local"):
            for attempt in range(50):
                try:
                    print(urllib.request.urlopen(f"http://{{name}}:8000/").read().decode())
                    break
                except OSError as error:
                    time.sleep(0.1)
            else:
                raise error
    """
    make_pod(client, "caller", python(program))
    wait_phase(client, "caller", "Succeeded")
    assert client.logs(NAMESPACE, "caller").split() == ["named-a"] * 3


def test_a_failing_liveness_probe_restarts_the_container(client: KubeClient, node: HostNode, tmp_path: Path) -> None:
    probe = {"httpGet": {"path": "/dead", "port": "http"}, "periodSeconds": 1, "failureThreshold": 1}
    volume = {"name": "flags", "hostPath": {"path": str(tmp_path)}}
    make_pod(client, "mortal", serving(livenessProbe=probe), restartPolicy="Always", volumes=[volume])
    client.wait_condition("v1", "Pod", "mortal", "Ready", NAMESPACE)
    (tmp_path / "dead").touch()
    wait_container(client, "mortal", lambda it: it["restartCount"] >= 1, "a restart")
    (tmp_path / "dead").unlink()
    client.wait_condition("v1", "Pod", "mortal", "Ready", NAMESPACE)
    events = client.list("v1", "Event", NAMESPACE, field_selector="involvedObject.name=mortal")
    assert any(event["reason"] == "Unhealthy" and "Liveness" in event["message"] for event in events)


@pytest.mark.parametrize(
    ("name", "reaction", "at_most"),
    [
        ("polite", "lambda *_: (open(os.environ['NOTE'], 'w').write('bye'), sys.exit(0))", 2.0),
        ("stubborn", "signal.SIG_IGN", 6.0),
    ],
)
def test_deletion_asks_first_and_kills_after_the_grace_period(
    client: KubeClient, node: HostNode, tmp_path: Path, name: str, reaction: str, at_most: float
) -> None:
    program = f"""
        import os, signal, sys, time
        signal.signal(signal.SIGTERM, {reaction})
        print("up", os.getpid(), flush=True)
        while True: time.sleep(1)
    """
    env = [{"name": "NOTE", "value": str(tmp_path / "note")}]
    make_pod(client, name, python(program, env=env), restartPolicy="Always")
    wait_container(client, name, lambda it: "running" in it["state"], "running")
    wait_until("its first line", lambda: client.logs(NAMESPACE, name).startswith("up"))
    process = Path("/proc") / client.logs(NAMESPACE, name).split()[1]
    began = time.monotonic()
    client.delete("v1", "Pod", name, NAMESPACE, wait=15)
    assert time.monotonic() - began < at_most
    assert not process.exists()
    assert (tmp_path / "note").exists() == (name == "polite")


def test_a_mounted_config_map_follows_its_object(client: KubeClient, node: HostNode) -> None:
    make(client, "ConfigMap", "flags", data={"on": "no"})
    program = """
        import os, pathlib, time
        file = pathlib.Path(os.environ["FLAG"])
        while file.read_text() != "yes": time.sleep(0.1)
    """
    make_pod(
        client,
        "live",
        python(
            program,
            env=[{"name": "FLAG", "value": "/flags/on"}],
            volumeMounts=[{"name": "flags", "mountPath": "/flags"}],
        ),
        volumes=[{"name": "flags", "configMap": {"name": "flags"}}],
    )
    wait_phase(client, "live", "Running")
    make(client, "ConfigMap", "flags", data={"on": "yes"})
    wait_phase(client, "live", "Succeeded")


def test_a_pod_talks_to_the_api_server_as_its_service_account(client: KubeClient, node: HostNode) -> None:
    node.images.add("asker", lambda _: Image(arguments=(sys.executable,), kubeconfig=True))
    make(client, "ServiceAccount", "asker")
    program = """
        import os
        from ameide_dev.client import KubeClient
        client = KubeClient.from_kubeconfig(os.environ["KUBECONFIG"])
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview", "metadata": {}}
        print(client.create(review)["status"]["userInfo"]["username"])
    """
    container = python(program) | {
        "image": "ghcr.io/ameide/hostnode-asker:1",
        "command": [sys.executable, "-c", textwrap.dedent(program)],
    }
    make_pod(client, "asking", container, serviceAccountName="asker")
    wait_phase(client, "asking", "Succeeded")
    assert client.logs(NAMESPACE, "asking").strip() == f"system:serviceaccount:{NAMESPACE}:asker"


def test_logs_can_be_cut_and_followed(client: KubeClient, node: HostNode) -> None:
    program = "import time\nfor n in range(8): print(n, flush=True); time.sleep(0.1)"
    make_pod(client, "talking", {"name": "main", "image": PYTHON, "command": ["python", "-c", program]})
    wait_container(client, "talking", lambda it: "waiting" not in it["state"], "started")
    path = f"/api/v1/namespaces/{NAMESPACE}/pods/talking/log"
    assert list(client.transport.lines(path, {"follow": "true"}, silence=10)) == [str(n) for n in range(8)]
    wait_phase(client, "talking", "Succeeded")
    assert client.logs(NAMESPACE, "talking", tail=2) == "6\n7\n"
    assert client.transport.send("GET", path, params={"limitBytes": "3"}).text == "0\n1"


def test_logs_are_for_the_api_server_only(client: KubeClient, node: HostNode) -> None:
    item = client.get("v1", "Node", "host")
    port = item["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"]
    with pytest.raises(httpx.TransportError):
        # Any certificate would do for this client; the server wants to see one of ours.
        httpx.get(f"https://127.0.0.1:{port}/healthz", verify=False, trust_env=False)  # noqa: S501


def test_processes_live_on_while_the_api_server_is_away(
    plane: ControlPlane, client: KubeClient, node: HostNode
) -> None:
    program = "import time; print('up', flush=True); time.sleep(2.5)"
    make_pod(client, "enduring", python(program))
    wait_phase(client, "enduring", "Running")
    plane.restart_apiserver(down_for=2.0)
    pod = wait_phase(client, "enduring", "Succeeded")
    assert pod["status"]["containerStatuses"][0]["restartCount"] == 0


def test_a_pods_own_deadline_ends_it(client: KubeClient, node: HostNode) -> None:
    make_pod(client, "overdue", python("import time; time.sleep(60)"), activeDeadlineSeconds=1)
    pod = wait_phase(client, "overdue", "Failed")
    assert pod["status"]["reason"] == "DeadlineExceeded"


def test_the_orders_app_without_a_database_stays_unready_and_says_why(client: KubeClient, node: HostNode) -> None:
    probe = {"httpGet": {"path": "/readyz", "port": 8080}, "periodSeconds": 1}
    env = [{"name": "PGHOST", "value": "127.0.0.1"}, {"name": "PGPORT", "value": "1"}]
    image = "ghcr.io/ameide/hostnode-orders:1.0.0"
    make_pod(client, "orders", {"name": "main", "image": image, "env": env, "readinessProbe": probe})
    wait_phase(client, "orders", "Running")
    wait_until("its log", lambda: "not ready" in client.logs(NAMESPACE, "orders"))
    pod = client.get("v1", "Pod", "orders", NAMESPACE)
    ready = condition_of(pod, "Ready")
    assert ready is not None
    assert (ready["status"], ready["reason"]) == ("False", "ContainersNotReady")
    address = node.pod_address(NAMESPACE, "orders")
    assert httpx.get(f"http://{address}:8080/healthz", trust_env=False).json() == {"status": "ok", "version": "1.0.0"}
    missing = httpx.get(f"http://{address}:8080/orders", trust_env=False)
    assert (missing.status_code, "x-tenant-id" in missing.text) == (400, True)


def test_stopping_the_node_leaves_no_process(plane: ControlPlane, client: KubeClient, tmp_path: Path) -> None:
    with HostNode.of(plane, directory=tmp_path / "second", name="second") as second:
        pod = make_pod(
            client,
            "abandoned",
            python("import os, time; print(os.getpid(), flush=True); time.sleep(60)"),
            nodeSelector={"kubernetes.io/hostname": "second"},
        )
        wait_phase(client, "abandoned", "Running")
        wait_until("its process id", lambda: client.logs(NAMESPACE, "abandoned") != "")
        process = Path("/proc") / client.logs(NAMESPACE, "abandoned").strip()
        assert process.exists()
        assert second.pod_address(NAMESPACE, "abandoned")
    assert not process.exists()
    assert not (tmp_path / "second" / "pods" / pod["metadata"]["uid"]).exists()
