"""Each failure scenario looks as the real failure would, whether the image or a label asks for it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ameide_dev.client import KubeClient, condition_of
from ameide_dev.stages import SCENARIOS

Object = dict[str, Any]


def template(image: str, *, restart: str = "Always", labels: dict[str, str] | None = None) -> Object:
    pod = {"restartPolicy": restart, "containers": [{"name": "main", "image": image}]}
    return {"metadata": {"labels": labels or {}}, "spec": pod}


def image_of(scenario: str, tag: str = "1.0.0") -> str:
    return f"ghcr.io/ameide/scenario-{scenario}:{tag}"


def start_pod(kube: KubeClient, namespace: str, image: str, **options: Any) -> str:
    made = template(image, **options)
    made["metadata"]["name"] = "pod"
    kube.create({"apiVersion": "v1", "kind": "Pod", **made}, namespace)
    return "pod"


def start_job(kube: KubeClient, namespace: str, image: str, **spec: Any) -> str:
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "job"}}
    kube.create({**job, "spec": {"backoffLimit": 0, "template": template(image, restart="Never"), **spec}}, namespace)
    return "job"


def container(pod: Object | None, name: str = "main") -> Object:
    for status in (pod or {}).get("status", {}).get("containerStatuses", []):
        if status["name"] == name:
            return dict(status)
    return {}


def waits_for(reason: str) -> Callable[[Object | None], bool]:
    return lambda pod: container(pod).get("state", {}).get("waiting", {}).get("reason") == reason


def job_pod(kube: KubeClient, namespace: str) -> Object:
    (pod,) = kube.list("v1", "Pod", namespace, label_selector="batch.kubernetes.io/job-name=job")
    return pod


def test_image_pull_backoff(kube: KubeClient, namespace: str) -> None:
    image = image_of("image-pull-backoff")
    name = start_pod(kube, namespace, image)
    pod = kube.wait_for("v1", "Pod", name, waits_for("ImagePullBackOff"), namespace)
    assert pod["status"]["phase"] == "Pending"
    assert f'Back-off pulling image "{image}"' in container(pod)["state"]["waiting"]["message"]
    ready = condition_of(pod, "Ready")
    assert ready is not None
    assert (ready["status"], ready["reason"]) == ("False", "ContainersNotReady")


@pytest.mark.parametrize(("scenario", "exit_code", "reason"), [("crash-loop", 1, "Error"), ("oom", 137, "OOMKilled")])
def test_crashing(kube: KubeClient, namespace: str, scenario: str, exit_code: int, reason: str) -> None:
    name = start_pod(kube, namespace, image_of(scenario))
    pod = kube.wait_for("v1", "Pod", name, waits_for("CrashLoopBackOff"), namespace)
    assert pod["status"]["phase"] == "Running"
    status = container(pod)
    ended = status["lastState"]["terminated"]
    assert (ended["exitCode"], ended["reason"], status["restartCount"]) == (exit_code, reason, 1)
    kube.wait_for("v1", "Pod", name, lambda it: container(it).get("restartCount") == 2, namespace, timeout=20)


def test_unschedulable(kube: KubeClient, namespace: str) -> None:
    name = start_pod(kube, namespace, image_of("unschedulable"))
    pod = kube.wait_condition("v1", "Pod", name, "PodScheduled", namespace, status="False", reason="Unschedulable")
    assert "spec" in pod
    assert "nodeName" not in pod["spec"]


def test_never_ready(kube: KubeClient, namespace: str) -> None:
    name = start_pod(kube, namespace, image_of("never-ready"))
    pod = kube.wait_for("v1", "Pod", name, lambda it: "running" in container(it).get("state", {}), namespace)
    assert container(pod)["ready"] is False

    def unhealthy(events: list[Object]) -> bool:
        return any(event["reason"] == "Unhealthy" and "Readiness probe failed" in event["message"] for event in events)

    selector = f"involvedObject.name={name}"
    if not unhealthy(kube.list("v1", "Event", namespace, field_selector=selector)):
        arriving = kube.watch("v1", "Event", namespace, timeout=10)
        assert any(unhealthy([event]) for _, event in arriving)


def test_slow_start(kube: KubeClient, namespace: str) -> None:
    name = start_pod(kube, namespace, image_of("slow-start"))
    kube.wait_condition("v1", "Pod", name, "Ready", namespace, status="False")
    pod = kube.wait_condition("v1", "Pod", name, "Ready", namespace, timeout=15)
    assert container(pod)["ready"] is True
    assert pod["status"]["podIP"]


@pytest.mark.parametrize(("tag", "version"), [("1.13.0", "7"), ("12", "12")])
def test_a_migration_succeeds(kube: KubeClient, namespace: str, tag: str, version: str) -> None:
    start_job(kube, namespace, image_of("migrator-ok", tag))
    kube.wait_condition("batch/v1", "Job", "job", "Complete", namespace)
    ended = container(job_pod(kube, namespace))["state"]["terminated"]
    assert (ended["exitCode"], ended["message"]) == (0, f'{{"migrationVersion":"{version}"}}')


def test_a_migration_takes_its_time(kube: KubeClient, namespace: str) -> None:
    start_job(kube, namespace, image_of("migrator-slow"))
    kube.wait_for("batch/v1", "Job", "job", lambda it: (it or {}).get("status", {}).get("ready") == 1, namespace)
    job = kube.wait_condition("batch/v1", "Job", "job", "Complete", namespace, timeout=20)
    assert job["status"]["succeeded"] == 1
    ended = container(job_pod(kube, namespace))["state"]["terminated"]
    assert ended["message"] == '{"migrationVersion":"7"}'
    assert ended["startedAt"] < ended["finishedAt"]


def test_a_migration_fails(kube: KubeClient, namespace: str) -> None:
    start_job(kube, namespace, image_of("migrator-fail"))
    kube.wait_condition("batch/v1", "Job", "job", "Failed", namespace, reason="BackoffLimitExceeded")
    ended = container(job_pod(kube, namespace))["state"]["terminated"]
    assert ended["exitCode"] == 1
    assert 'ERROR: relation "orders" already exists' in ended["message"].splitlines()[2]


def test_a_deadline_ends_what_hangs(kube: KubeClient, namespace: str) -> None:
    start_job(kube, namespace, image_of("migrator-hang"), activeDeadlineSeconds=2)
    kube.wait_condition("batch/v1", "Job", "job", "Failed", namespace, reason="DeadlineExceeded")


def test_a_failed_job_is_tried_again(kube: KubeClient, namespace: str) -> None:
    start_job(kube, namespace, image_of("job-fail"), backoffLimit=1)
    kube.wait_for(
        "batch/v1", "Job", "job", lambda it: (it or {}).get("status", {}).get("failed") == 2, namespace, timeout=60
    )
    pods = kube.list("v1", "Pod", namespace)
    assert [container(pod)["state"]["terminated"]["message"] for pod in pods] == ["job failed: exit status 1"] * 2


def test_a_label_asks_for_a_scenario_too(kube: KubeClient, namespace: str) -> None:
    labels = {"ameide.dev/scenario": "crash-loop"}
    name = start_pod(kube, namespace, "ghcr.io/ameide/orders:1.0.0", labels=labels)
    kube.wait_for("v1", "Pod", name, waits_for("CrashLoopBackOff"), namespace)


def test_neighbours_of_a_failing_container_are_well(kube: KubeClient, namespace: str) -> None:
    made = template(image_of("crash-loop"))
    made["metadata"]["name"] = "pod"
    made["spec"]["containers"].append({"name": "sidecar", "image": "ghcr.io/ameide/proxy@sha256:" + "0" * 64})
    kube.create({"apiVersion": "v1", "kind": "Pod", **made}, namespace)
    pod = kube.wait_for("v1", "Pod", "pod", waits_for("CrashLoopBackOff"), namespace)
    sidecar = container(pod, "sidecar")
    assert sidecar["ready"] is True
    assert sidecar["imageID"] == sidecar["image"]


def test_a_broken_release_replaces_no_working_pod(kube: KubeClient, namespace: str) -> None:
    """The Deployment controller is real: a rollout to a broken image stops, and going back heals it."""
    labels = {"app": "shop"}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "shop"},
        "spec": {
            "replicas": 2,
            "progressDeadlineSeconds": 3,
            "strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "selector": {"matchLabels": labels},
            "template": template("ghcr.io/ameide/shop:1.0.0", labels=labels),
        },
    }
    kube.create(deployment, namespace)
    kube.wait_condition("apps/v1", "Deployment", "shop", "Available", namespace)
    patch = [{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": image_of("crash-loop")}]
    kube.json_patch("apps/v1", "Deployment", "shop", patch, namespace)
    stuck = kube.wait_condition(
        "apps/v1", "Deployment", "shop", "Progressing", namespace, status="False", reason="ProgressDeadlineExceeded"
    )
    assert stuck["status"]["availableReplicas"] == 2
    patch[0]["value"] = "ghcr.io/ameide/shop:1.0.0"
    kube.json_patch("apps/v1", "Deployment", "shop", patch, namespace)
    kube.wait_condition("apps/v1", "Deployment", "shop", "Progressing", namespace, reason="NewReplicaSetAvailable")


def test_every_scenario_is_tried_and_told() -> None:
    tests = Path(__file__).read_text()
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    for scenario in SCENARIOS:
        assert f'"{scenario}"' in tests
        assert f"| `{scenario}` |" in readme
