"""Why a Deployment is not ready: one row per cause, from pod status as the kubelet and the controllers write it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from ameide_shared.diagnosis import diagnose

Object = dict[str, Any]
LABELS = {"ameide.io/primitive": "domain", "ameide.io/name": "orders", "ameide.io/track": "stable"}
BACK_OFF = 'Back-off pulling image "ghcr.io/ameide/orders:1": ErrImagePull: dial tcp: connection refused'
READINESS = {"httpGet": {"path": "/readyz", "port": 8080}}


def deployment(
    conditions: tuple[Object, ...] = (), revision: str = "", containers: tuple[Object, ...] = (), **status: Any
) -> Object:
    main = {
        "name": "domain",
        "image": "ghcr.io/ameide/orders:1",
        "readinessProbe": READINESS,
        "resources": {"limits": {"memory": "512Mi"}},
    }
    annotations = {"ameide.io/revision": revision} if revision else {}
    return {
        "metadata": {"name": "orders-domain", "namespace": "shop", "generation": 1},
        "spec": {
            "replicas": 1,
            "progressDeadlineSeconds": 600,
            "selector": {"matchLabels": LABELS},
            "template": {
                "metadata": {"labels": LABELS, "annotations": annotations},
                "spec": {"containers": [main, *containers], "initContainers": [{"name": "init", "image": "i:1"}]},
            },
        },
        "status": {"observedGeneration": 1, "conditions": list(conditions), **status},
    }


def pod(name: str = "orders-domain-1", revision: str = "", created: str = "", **status: Any) -> Object:
    annotations = {"ameide.io/revision": revision} if revision else {}
    metadata = {"name": name, "namespace": "shop", "labels": LABELS, "annotations": annotations}
    return {"metadata": metadata | ({"creationTimestamp": created} if created else {}), "status": status}


def container(name: str = "domain", **fields: Any) -> Object:
    return {"name": name, "image": "ghcr.io/ameide/orders:1", "ready": False, "restartCount": 0, "state": {}} | fields


def waiting(reason: str, message: str = "") -> Object:
    return {"waiting": {"reason": reason, "message": message}}


def terminated(code: int, message: str = "", reason: str = "Error") -> Object:
    return {"terminated": {"exitCode": code, "reason": reason, "message": message}}


def failing(**fields: Any) -> Object:
    return pod(phase="Running", containerStatuses=[container(**fields)])


def refused(message: str) -> Object:
    condition = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message}
    return deployment((condition,))


@dataclass(frozen=True)
class Row:
    """One cause: what is seen, and the code and words that must be told."""

    id: str
    code: str
    message: tuple[str, ...]
    remedy: str
    pods: tuple[Object, ...] = ()
    deployment: Object = field(default_factory=deployment)


ROWS = [
    Row(
        "image not found",
        "ImagePullBackOff",
        ("Pod shop/orders-domain-1, container domain", "ghcr.io/ameide/orders:1", "manifest unknown"),
        "push that image",
        (failing(state=waiting("ErrImagePull", "failed to resolve reference: manifest unknown")),),
    ),
    Row(
        "image pull back-off",
        "ImagePullBackOff",
        ("ImagePullBackOff for image ghcr.io/ameide/orders:1", "connection refused"),
        "spec.imagePullSecrets",
        (failing(state=waiting("ImagePullBackOff", BACK_OFF)),),
    ),
    Row(
        "image forbidden",
        "ImagePullBackOff",
        ("401 Unauthorized",),
        "Secret with the registry's credentials in spec.imagePullSecrets",
        (failing(state=waiting("ErrImagePull", "pull access denied: 401 Unauthorized")),),
    ),
    Row(
        "invalid image name",
        "InvalidImageName",
        ("InvalidImageName",),
        "correct spec.image",
        (failing(state=waiting("InvalidImageName", "couldn't parse image name")),),
    ),
    Row(
        "missing secret",
        "CreateContainerConfigError",
        ('secret "orders-db" not found',),
        "create Secret orders-db",
        (failing(state=waiting("CreateContainerConfigError", 'secret "orders-db" not found')),),
    ),
    Row(
        "missing config map",
        "CreateContainerConfigError",
        ('configmap "flags" not found',),
        "create ConfigMap flags",
        (failing(state=waiting("CreateContainerConfigError", 'configmap "flags" not found')),),
    ),
    Row(
        "missing key",
        "CreateContainerConfigError",
        ("couldn't find key api-key in Secret shop/partner",),
        "add that key",
        (failing(state=waiting("CreateContainerConfigError", "couldn't find key api-key in Secret shop/partner")),),
    ),
    Row(
        "root image",
        "CreateContainerConfigError",
        ("runAsNonRoot",),
        "spec.security.runAsUser",
        (
            failing(
                state=waiting(
                    "CreateContainerConfigError", "container has runAsNonRoot and image will run as root (pod: …)"
                )
            ),
        ),
    ),
    Row(
        "no such command",
        "RunContainerError",
        ("cannot be started", "exec: no such file"),
        "entry point",
        (failing(state=waiting("RunContainerError", "exec: no such file or directory")),),
    ),
    Row(
        "start error",
        "StartError",
        ("cannot be started", "executable file not found in $PATH"),
        "entry point",
        (
            failing(
                restartCount=3,
                state=waiting("CrashLoopBackOff", "back-off 40s"),
                lastState=terminated(128, 'exec: "nope": executable file not found in $PATH', "StartError"),
            ),
        ),
    ),
    Row(
        "crash loop",
        "CrashLoopBackOff",
        ("ended with exit code 3 (4 restarts)", "panic: no config | goroutine 1"),
        "kubectl logs --previous",
        (
            failing(
                restartCount=4,
                state=waiting("CrashLoopBackOff", "back-off 1m20s restarting failed container"),
                lastState=terminated(3, "line\npanic: no config\n\ngoroutine 1\n"),
            ),
        ),
    ),
    Row(
        "between two crashes",
        "CrashLoopBackOff",
        ("ended with exit code 1 (2 restarts)",),
        "mend the application",
        (failing(restartCount=2, state={"running": {}}, started=True, lastState=terminated(1)),),
    ),
    Row(
        "just crashed",
        "CrashLoopBackOff",
        ("ended with exit code 127",),
        "command was not found",
        (failing(state=terminated(127)),),
    ),
    Row(
        "read-only file system",
        "CrashLoopBackOff",
        ("Read-only file system: '/var/run/app'",),
        "spec.writablePaths",
        (failing(state=terminated(1, "OSError: [Errno 30] Read-only file system: '/var/run/app'")),),
    ),
    Row(
        "killed",
        "CrashLoopBackOff",
        ("exit code 137",),
        "liveness",
        (failing(state=terminated(137)),),
    ),
    Row(
        "out of memory",
        "OOMKilled",
        ("more memory than its limit of 512Mi (2 restarts)",),
        "raise spec.resources.memory",
        (
            failing(
                restartCount=2,
                state=waiting("CrashLoopBackOff", "back-off"),
                lastState=terminated(137, reason="OOMKilled"),
            ),
        ),
    ),
    Row(
        "init container",
        "CrashLoopBackOff",
        ("container init ended with exit code 1", "no route to host"),
        "mend the application",
        (
            pod(
                phase="Pending",
                initContainerStatuses=[container("init", state=terminated(1, "no route to host"))],
                containerStatuses=[container(state=waiting("PodInitializing"))],
            ),
        ),
    ),
    Row(
        "too little cpu",
        "Unschedulable",
        ("Pod shop/orders-domain-1 cannot be scheduled", "3 Insufficient cpu"),
        "lower the requests in spec.resources",
        (
            pod(
                phase="Pending",
                conditions=[
                    {
                        "type": "PodScheduled",
                        "status": "False",
                        "reason": "Unschedulable",
                        "message": "0/3 nodes are available: 3 Insufficient cpu.",
                    }
                ],
            ),
        ),
    ),
    Row(
        "taints",
        "Unschedulable",
        ("had untolerated taint",),
        "tolerations",
        (
            pod(
                phase="Pending",
                conditions=[
                    {
                        "type": "PodScheduled",
                        "status": "False",
                        "reason": "Unschedulable",
                        "message": "0/1 nodes are available: 1 node(s) had untolerated taint {a: b}.",
                    }
                ],
            ),
        ),
    ),
    Row(
        "node selector",
        "Unschedulable",
        ("didn't match Pod's node affinity/selector",),
        "nodeSelector",
        (
            pod(
                phase="Pending",
                conditions=[
                    {
                        "type": "PodScheduled",
                        "status": "False",
                        "reason": "Unschedulable",
                        "message": "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.",
                    }
                ],
            ),
        ),
    ),
    Row(
        "not ready",
        "ReadinessProbeFailing",
        ("runs, but is not ready (GET /readyz on port 8080)",),
        "spec.probes.readiness",
        (failing(state={"running": {}}, started=True),),
    ),
    Row(
        "evicted",
        "Evicted",
        ("Pod shop/orders-domain-1 ended: Evicted: The node was low on resource: memory.",),
        "is replaced",
        (pod(phase="Failed", reason="Evicted", message="The node was low on resource: memory."),),
    ),
    Row(
        "quota",
        "QuotaExceeded",
        ("Deployment shop/orders-domain cannot create pods", "exceeded quota: small"),
        "raise the ResourceQuota",
        deployment=refused(
            'pods "x" is forbidden: exceeded quota: small, requested: pods=1, used: pods=2, limited: pods=2'
        ),
    ),
    Row(
        "quota wants limits",
        "QuotaExceeded",
        ("must specify limits.cpu",),
        "set spec.resources",
        deployment=refused('pods "x" is forbidden: failed quota: small: must specify limits.cpu for: domain'),
    ),
    Row(
        "pod security",
        "PodSecurityViolation",
        ('violates PodSecurity "restricted:latest"',),
        "webhook",
        deployment=refused('pods "x" is forbidden: violates PodSecurity "restricted:latest": hostNetwork'),
    ),
    Row(
        "priority class",
        "PriorityClassMissing",
        ("no PriorityClass with name urgent was found",),
        "spec.scheduling.priorityClassName",
        deployment=refused('pods "x" is forbidden: no PriorityClass with name urgent was found'),
    ),
    Row(
        "limit range",
        "LimitRangeViolation",
        ("maximum cpu usage per Container is 1",),
        "LimitRange",
        deployment=refused('pods "x" is forbidden: maximum cpu usage per Container is 1, but limit is 2'),
    ),
    Row(
        "webhook",
        "PodCreationRefused",
        ('admission webhook "policy.example.com" denied the request: no',),
        "admission webhook",
        deployment=refused('admission webhook "policy.example.com" denied the request: no'),
    ),
    Row(
        "deadline",
        "ProgressDeadlineExceeded",
        ("has made no progress for 600 s",),
        "spec.rollout.progressDeadlineSeconds",
        deployment=deployment(({"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"},)),
    ),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_each_cause_has_its_words_and_remedy(row: Row) -> None:
    cause = diagnose(row.deployment, row.pods)
    assert cause is not None
    assert cause.code == row.code
    for words in row.message:
        assert words in cause.message
    assert row.remedy in cause.remedy
    assert cause.object in ("Pod shop/orders-domain-1", "Deployment shop/orders-domain")


@pytest.mark.parametrize(
    "pods",
    [
        (),
        (pod(phase="Pending"),),
        (pod(phase="Pending", containerStatuses=[container(state=waiting("ContainerCreating"))]),),
        (pod(phase="Pending", initContainerStatuses=[container("init", state={"running": {}}, started=False)]),),
        (pod(phase="Running", containerStatuses=[container(ready=True, state={"running": {}}, started=True)]),),
        # It crashed once, long ago, and serves now.
        (
            pod(
                phase="Running",
                containerStatuses=[
                    container(ready=True, restartCount=1, state={"running": {}}, lastState=terminated(1))
                ],
            ),
        ),
        # A finished init container is no failure.
        (pod(phase="Pending", initContainerStatuses=[container("init", state=terminated(0, reason="Completed"))]),),
    ],
)
def test_what_is_only_on_its_way_is_no_cause(pods: tuple[Object, ...]) -> None:
    assert diagnose(deployment(), pods) is None


def test_failing_to_pull_and_backing_off_read_the_same() -> None:
    """The kubelet alternates between the two: status would be written each time."""
    first = diagnose(deployment(), [failing(state=waiting("ErrImagePull", "dial tcp: connection refused"))])
    second = diagnose(deployment(), [failing(state=waiting("ImagePullBackOff", BACK_OFF))])
    assert first == second


def test_a_startup_probe_is_named_as_such() -> None:
    target = deployment()
    target["spec"]["template"]["spec"]["containers"][0]["startupProbe"] = {"grpc": {"port": 50051}}
    cause = diagnose(target, [failing(state={"running": {}}, started=False)])
    assert cause is not None
    assert cause.code == "StartupProbeFailing"
    assert "gRPC health check on port 50051" in cause.message


def test_the_wanted_revision_is_looked_at_first() -> None:
    old = pod("a-old", "r1", containerStatuses=[container(state=terminated(1, "old"))])
    new = pod("z-new", "r2", containerStatuses=[container(state=terminated(2, "new"))])
    healthy = pod("z-new", "r2", containerStatuses=[container(ready=True, state={"running": {}})])
    wanted = deployment(revision="r2")
    cause = diagnose(wanted, [old, new])
    assert cause is not None
    assert cause.object == "Pod shop/z-new"
    assert diagnose(wanted, [old, healthy]) is None
    only_old = diagnose(wanted, [old])
    assert only_old is not None
    assert only_old.object == "Pod shop/a-old"


def test_others_pods_and_pods_that_go_do_not_count() -> None:
    stranger = failing(state=terminated(1))
    stranger["metadata"]["labels"] = {"app": "other"}
    going = failing(state=terminated(1))
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert diagnose(deployment(), [stranger, going]) is None


def test_last_words_are_scrubbed_and_short() -> None:
    said = "x" * 5000 + "\ncannot connect to postgresql://orders:hunter22222@db:5432/orders"
    cause = diagnose(deployment(), [failing(state=terminated(1, said))])
    assert cause is not None
    assert "hunter22222" not in cause.message
    assert "cannot connect" in cause.message
    assert len(cause.message) < 500
