"""Deployments in numbers, and Jobs: phases, exit codes and last words."""

from __future__ import annotations

from typing import Any

import pytest

from ameide_shared.workload import JobPhase, WorkloadState, image_digest, job_state, workload_state

Object = dict[str, Any]
LABELS = {"ameide.io/primitive": "domain", "ameide.io/name": "orders", "ameide.io/track": "stable"}
DIGEST_A, DIGEST_B = "sha256:" + "a" * 64, "sha256:" + "b" * 64


def deployment(wanted: int | None = 2, /, **status: Any) -> Object:
    spec: Object = {
        "selector": {"matchLabels": LABELS},
        "template": {
            "metadata": {"labels": LABELS, "annotations": {"ameide.io/revision": "r2"}},
            "spec": {"containers": [{"name": "domain", "image": "ghcr.io/ameide/orders:2"}]},
        },
    }
    if wanted is not None:
        spec["replicas"] = wanted
    return {
        "metadata": {"name": "orders-domain", "namespace": "shop", "generation": 3},
        "spec": spec,
        "status": status,
    }


def pod(image_id: str, revision: str = "r2", name: str = "domain") -> Object:
    metadata = {"name": "p", "namespace": "shop", "labels": LABELS, "annotations": {"ameide.io/revision": revision}}
    return {"metadata": metadata, "status": {"containerStatuses": [{"name": name, "imageID": image_id}]}}


ROLLED_OUT = {
    "observedGeneration": 3,
    "replicas": 2,
    "updatedReplicas": 2,
    "readyReplicas": 2,
    "availableReplicas": 2,
}


@pytest.mark.parametrize(
    ("status", "rolled_out", "progress"),
    [
        (ROLLED_OUT, True, "2 of 2 replicas are available"),
        ({}, False, "0 of 2 replicas run the new revision"),
        (ROLLED_OUT | {"observedGeneration": 2}, False, "0 of 2 replicas run the new revision"),
        (ROLLED_OUT | {"updatedReplicas": 1}, False, "1 of 2 replicas run the new revision"),
        (ROLLED_OUT | {"replicas": 3}, False, "1 of the old replicas still run"),
        (ROLLED_OUT | {"availableReplicas": 1}, False, "1 of 2 updated replicas are available"),
    ],
)
def test_rolled_out_as_kubectl_means_it(status: Object, rolled_out: bool, progress: str) -> None:
    state = workload_state(deployment(**status))
    assert state.rolled_out is rolled_out
    assert state.progress == progress


def test_replicas_default_to_one_and_may_be_none() -> None:
    assert workload_state(deployment(None)).desired == 1
    zero = workload_state(deployment(0, observedGeneration=3))
    assert (zero.desired, zero.rolled_out) == (0, True)


def test_no_deployment_yet() -> None:
    assert workload_state(None, name="orders-domain") == WorkloadState("orders-domain")
    assert not workload_state(None).exists


def test_status_has_what_the_contract_says() -> None:
    state = workload_state(deployment(**ROLLED_OUT), [pod(f"ghcr.io/ameide/orders@{DIGEST_A}")])
    assert state.as_status() == {
        "name": "orders-domain",
        "image": "ghcr.io/ameide/orders:2",
        "imageDigest": DIGEST_A,
        "desiredReplicas": 2,
        "readyReplicas": 2,
        "updatedReplicas": 2,
    }
    assert state.revision == "r2"
    assert "imageDigest" not in workload_state(deployment()).as_status()


@pytest.mark.parametrize(
    ("image_ids", "expected"),
    [
        ([], ""),
        ([""], ""),
        ([f"docker-pullable://ghcr.io/a@{DIGEST_A}"], DIGEST_A),
        ([DIGEST_A], DIGEST_A),
        ([DIGEST_A, DIGEST_B, DIGEST_B], DIGEST_B),
        ([DIGEST_B, DIGEST_A], DIGEST_A),  # as many of each: always the same answer
    ],
)
def test_image_digest_is_what_most_pods_run(image_ids: list[str], expected: str) -> None:
    assert image_digest("domain", [pod(image_id) for image_id in image_ids]) == expected


def test_pods_of_older_revisions_and_sidecars_do_not_count() -> None:
    pods = [pod(DIGEST_A, "r1"), pod(DIGEST_A, "r2", "proxy")]
    assert workload_state(deployment(**ROLLED_OUT), pods).image_digest == ""


def test_a_missed_deadline_is_seen() -> None:
    condition = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
    assert workload_state(deployment(observedGeneration=3, conditions=[condition])).deadline_exceeded
    assert not workload_state(deployment(observedGeneration=2, conditions=[condition])).deadline_exceeded


# --- jobs -------------------------------------------------------------------------------------------------------


def job(condition: str = "", reason: str = "", message: str = "", **status: Any) -> Object:
    conditions = [
        {"type": condition, "status": "True", "reason": reason, "message": message, "lastTransitionTime": "T9"}
    ]
    return {
        "metadata": {"name": "migrate", "namespace": "shop", "uid": "job-1"},
        "spec": {"activeDeadlineSeconds": 600},
        "status": {"startTime": "T0", "conditions": conditions if condition else [], **status},
    }


def job_pod(
    name: str, *ends: tuple[str, int, str, str], uid: str = "job-1", init: bool = False, reason: str = "Error"
) -> Object:
    """A pod whose containers ended as (container, exit code, message, finished at)."""
    statuses = [
        {"name": c, "state": {"terminated": {"exitCode": code, "message": m, "finishedAt": at, "reason": reason}}}
        for c, code, m, at in ends
    ]
    return {
        "metadata": {"name": name, "namespace": "shop", "ownerReferences": [{"uid": uid, "controller": True}]},
        "status": {"phase": "Failed", "initContainerStatuses" if init else "containerStatuses": statuses},
    }


def test_a_job_that_has_just_begun() -> None:
    state = job_state(job(), [])
    assert state.phase is JobPhase.RUNNING
    assert state.started_at == "T0"
    assert state.cause is None


def test_a_running_job_says_why_its_pod_does_not_come_up() -> None:
    pod = job_pod("p")
    pod["status"] = {
        "phase": "Pending",
        "containerStatuses": [
            {"name": "migrate", "image": "a:1", "state": {"waiting": {"reason": "ImagePullBackOff"}}}
        ],
    }
    state = job_state(job(), [pod])
    assert state.phase is JobPhase.RUNNING
    assert state.cause is not None
    assert state.cause.code == "ImagePullBackOff"


@pytest.mark.parametrize("condition", ["FailureTarget", "SuccessCriteriaMet", "Suspended"])
def test_a_job_ends_only_when_its_pods_have(condition: str) -> None:
    assert job_state(job(condition), []).phase is JobPhase.RUNNING


def test_success_hands_on_the_termination_message() -> None:
    pods = [
        job_pod("a", ("migrate", 1, "connection refused", "T1")),
        job_pod("b", ("migrate", 0, '{"migrationVersion": "7"}\n', "T2")),
    ]
    state = job_state(job("Complete", completionTime="T3", failed=1), pods)
    assert state.phase is JobPhase.SUCCEEDED
    assert state.termination == '{"migrationVersion": "7"}'
    assert (state.exit_code, state.failures, state.finished_at) == (0, 1, "T3")


def test_failure_tells_the_last_words_of_the_last_pod() -> None:
    pods = [
        job_pod("z", ("migrate", 1, "first", "2026-01-01T00:00:01Z")),
        job_pod("a", ("migrate", 3, 'ERROR: relation "x" already exists\nLINE 1', "2026-01-01T00:00:09Z")),
        job_pod("other", ("migrate", 9, "not ours", "2026-01-01T00:01:00Z"), uid="job-2"),
    ]
    state = job_state(
        job("Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit", failed=2), pods
    )
    assert state.phase is JobPhase.FAILED
    assert state.reason == "BackoffLimitExceeded"
    assert state.message == 'ERROR: relation "x" already exists\nLINE 1'
    assert (state.exit_code, state.container, state.failures, state.finished_at) == (3, "migrate", 2, "T9")


def test_a_failed_init_container_speaks_for_the_job() -> None:
    pods = [job_pod("a", ("grants", 2, "permission denied", "T1"), init=True)]
    state = job_state(job("Failed", "BackoffLimitExceeded"), pods)
    assert (state.container, state.exit_code, state.message) == ("grants", 2, "permission denied")


@pytest.mark.parametrize(
    ("pods", "message"),
    [
        ([], "did not finish within 600 s"),
        (
            [job_pod("a", ("migrate", 143, "waiting for a lock", "T1"))],
            "did not finish within 600 s: waiting for a lock",
        ),
    ],
)
def test_a_missed_deadline(pods: list[Object], message: str) -> None:
    state = job_state(job("Failed", "DeadlineExceeded", "Job was active longer than specified deadline"), pods)
    assert state.reason == "DeadlineExceeded"
    assert state.message == message


@pytest.mark.parametrize(
    ("pods", "message"),
    [
        ([], "Job has reached the specified backoff limit"),
        ([job_pod("a", ("migrate", 5, "", "T1"))], "container migrate ended with exit code 5 and said nothing"),
        (
            [job_pod("a", ("migrate", 137, "", "T1"), reason="OOMKilled")],
            "container migrate was killed because it used more memory than its limit",
        ),
    ],
)
def test_silent_failures(pods: list[Object], message: str) -> None:
    condition = job("Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit")
    assert job_state(condition, pods).message == message


def test_last_words_hold_no_password() -> None:
    pods = [job_pod("a", ("migrate", 1, "FLYWAY_PASSWORD=hunter22222 rejected", "T1"))]
    assert "hunter22222" not in job_state(job("Failed", "BackoffLimitExceeded"), pods).message
