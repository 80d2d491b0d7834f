"""What kwok, which plays the kubelet of nodes that run nothing, does with nodes and pods, and when.

A pod becomes Ready at once and a Job's pod succeeds at once, unless its image or label asks for a scenario: an image
whose repository contains `/scenario-<name>` (so that a plain manifest can choose it), or the pod label
`ameide.dev/scenario: <name>`. SCENARIOS lists the names. Pods with a `/hostnode-` image are not kwok's: the host node
runs those for real.
"""

from pathlib import Path
from typing import Any

import yaml

from ameide_dev.kwok_status import (
    NODE_CONDITIONS,
    NODE_STATUS,
    ONE_MORE_RESTART,
    RUNNING,
    RUNNING_STATE,
    SCENARIO_LABEL,
    container,
    containers,
    first_status,
    next_status,
    quoted,
    terminated,
    waiting,
)

NODE_LABEL = "type=kwok"

SCENARIOS: dict[str, str] = {
    "image-pull-backoff": "the image cannot be pulled: ErrImagePull, then ImagePullBackOff",
    "crash-loop": "exits with code 1: CrashLoopBackOff, or a failed pod when it must not be restarted",
    "oom": "killed for memory (exit code 137, OOMKilled): CrashLoopBackOff, or a failed pod",
    "unschedulable": "the scheduler finds no node for it (an admission policy asks for one that is not there)",
    "never-ready": "runs, but its readiness probe fails for ever; as a Job it never ends",
    "slow-start": "runs, and becomes Ready after three seconds",
    "job-fail": "exits with code 1 and the termination message `job failed: exit status 1`",
    "migrator-ok": 'succeeds with the termination message {"migrationVersion": "7"}; a tag of digits is the version',
    "migrator-slow": "the same after five seconds",
    "migrator-hang": "runs for ever; only a deadline ends it",
    "migrator-fail": "exits with code 1 and a SQL error as the termination message",
}

_SQL_ERROR = """\
Migration V3__add_total.sql failed
SQL State  : 42P07
Message    : ERROR: relation "orders" already exists
Location   : filesystem:/flyway/sql/V3__add_total.sql
Line       : 1"""

# scenario: (exit code, reason, termination message)
_FAILING = {
    "crash-loop": (1, "Error", "fatal: cannot open configuration: no such file"),
    "oom": (137, "OOMKilled", ""),
    "job-fail": (1, "Error", "job failed: exit status 1"),
    "migrator-fail": (1, "Error", _SQL_ERROR),
}

# A pod that asks for no scenario has the scenario "none".
_SCENARIO = (
    f'.metadata.labels["{SCENARIO_LABEL}"]'
    ' // ([.spec.containers[].image | scan("/scenario-([a-z]+(?:-[a-z]+)*)")] | flatten | first)'
    ' // "none"'
)
_ON_HOST_NODE = '[.spec.containers[], (.spec.initContainers // [])[] | .image | test("/hostnode-")] | any'
_READY = '.status.conditions.[] | select(.type == "Ready") | .status'

Requirement = dict[str, Any]


def _is(expression: str, *values: str) -> Requirement:
    return {"key": expression, "operator": "In", "values": list(values)}


def _is_not(expression: str, *values: str) -> Requirement:
    return {"key": expression, "operator": "NotIn", "values": list(values)}


_ALIVE = {"key": ".metadata.deletionTimestamp", "operator": "DoesNotExist"}
_DELETED = {"key": ".metadata.deletionTimestamp", "operator": "Exists"}
_OURS = _is_not(_ON_HOST_NODE, "true")
_NEW = {"key": ".status.containerStatuses", "operator": "DoesNotExist"}
_PENDING, _RUNNING = _is(".status.phase", "Pending"), _is(".status.phase", "Running")
_OF_JOB = _is(".metadata.ownerReferences.[].kind", "Job")
_RESTARTED = _is(".spec.restartPolicy", "Always", "OnFailure")
_NOT_RESTARTED = _is(".spec.restartPolicy", "Never")


def _stage(
    kind: str,
    name: str,
    when: list[Requirement],
    status: str | None = None,
    *,
    after_ms: int = 0,
    at_most_ms: int = 0,
    event: tuple[str, str] | None = None,
) -> dict[str, Any]:
    """A Stage: objects of `kind` that meet all of `when` get `status`, or are removed when that is None."""
    following: dict[str, Any] = {"statusTemplate": status} if status is not None else {"delete": True}
    if event:
        following["event"] = {"type": "Warning", "reason": event[0], "message": event[1]}
    spec: dict[str, Any] = {
        "resourceRef": {"apiGroup": "v1", "kind": kind},
        "selector": {"matchExpressions": when},
        "next": following,
    }
    if after_ms:
        spec["delay"] = {"durationMilliseconds": after_ms, "jitterDurationMilliseconds": at_most_ms or after_ms}
    return {"apiVersion": "kwok.x-k8s.io/v1alpha1", "kind": "Stage", "metadata": {"name": name}, "spec": spec}


def _pod(name: str, when: list[Requirement], status: str, **options: Any) -> dict[str, Any]:
    return _stage("Pod", name, [_ALIVE, _OURS, *when], status, **options)


def _node_stages() -> list[dict[str, Any]]:
    return [
        _stage("Node", "node-ready", [_ALIVE, _is_not(_READY, "True")], NODE_STATUS),
        # The lease, which kwok renews by itself, keeps a node alive; this only refreshes its conditions.
        _stage(
            "Node",
            "node-heartbeat",
            [_ALIVE, _is(_READY, "True")],
            NODE_CONDITIONS,
            after_ms=300_000,
            at_most_ms=330_000,
        ),
    ]


def _healthy_stages() -> list[dict[str, Any]]:
    special = [*_FAILING, "image-pull-backoff", "never-ready", "slow-start", "unschedulable"]
    endless = [*_FAILING, "never-ready", "migrator-hang", "migrator-ok", "migrator-slow"]
    done = container(terminated(0, "Completed"))
    version = (
        '{{ dict "migrationVersion" (regexFind ":[0-9]+$" .image | trimPrefix ":" | default "7") | toJson | toJson }}'
    )
    migrated = next_status("Succeeded", containers(container(terminated(0, "Completed", version)), done), ready=False)
    return [
        _stage("Pod", "gone", [_DELETED, _OURS]),
        _pod(
            "ready",
            [_PENDING, _NEW, _is_not(_SCENARIO, *special)],
            first_status("Running", containers(RUNNING), ready=True),
        ),
        _pod(
            "job-complete",
            [_RUNNING, _OF_JOB, _is_not(_SCENARIO, *endless)],
            next_status("Succeeded", containers(done, done), ready=False),
        ),
        _pod("migrated", [_RUNNING, _OF_JOB, _is(_SCENARIO, "migrator-ok")], migrated),
        _pod("migrated-slowly", [_RUNNING, _OF_JOB, _is(_SCENARIO, "migrator-slow")], migrated, after_ms=5000),
    ]


def _unready_stages() -> list[dict[str, Any]]:
    not_found = 'failed to pull and unpack image \\"{{ .image }}\\": not found'
    return [
        _pod(
            "running-unready",
            [_PENDING, _NEW, _is(_SCENARIO, "never-ready", "slow-start")],
            first_status("Running", containers(container(RUNNING_STATE)), ready=False),
            event=("Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 503"),
        ),
        _pod(
            "slow-start-ready",
            [_RUNNING, _is(_SCENARIO, "slow-start"), _is(_READY, "False")],
            next_status("Running", containers(RUNNING), ready=True),
            after_ms=3000,
        ),
        _pod(
            "image-pull-failed",
            [_PENDING, _NEW, _is(_SCENARIO, "image-pull-backoff")],
            first_status("Pending", containers(container(waiting("ErrImagePull", f'"{not_found}"'))), ready=False),
            event=("Failed", "Error: ErrImagePull"),
        ),
        _pod(
            "image-pull-backoff",
            [
                _PENDING,
                _is(_SCENARIO, "image-pull-backoff"),
                _is(".status.containerStatuses.[].state.waiting.reason", "ErrImagePull"),
            ],
            containers(
                container(
                    waiting(
                        "ImagePullBackOff",
                        f'"Back-off pulling image \\"{{{{ .image }}}}\\": ErrImagePull: {not_found}"',
                    )
                )
            ),
            after_ms=500,
        ),
    ]


def _failing_stages(scenario: str) -> list[dict[str, Any]]:
    exit_code, reason, message = _FAILING[scenario]
    ended = terminated(exit_code, reason, quoted(message) if message else "")
    backoff = waiting("CrashLoopBackOff", '"back-off restarting failed container {{ .name }}"')
    return [
        _pod(
            f"{scenario}-restarted",
            [_PENDING, _NEW, _RESTARTED, _is(_SCENARIO, scenario)],
            first_status("Running", containers(container(backoff, restarts="1", last_state=ended)), ready=False),
            event=("BackOff", "Back-off restarting failed container"),
        ),
        # It goes on failing for a while, as a real one does, so that watchers see changes while it is down.
        _pod(
            f"{scenario}-again",
            [
                _RUNNING,
                _RESTARTED,
                _is(_SCENARIO, scenario),
                _is("[.status.containerStatuses[].restartCount] | max < 6", "true"),
            ],
            containers(container(backoff, restarts=ONE_MORE_RESTART, last_state=ended)),
            after_ms=5000,
        ),
        _pod(
            f"{scenario}-failed",
            [_PENDING, _NEW, _NOT_RESTARTED, _is(_SCENARIO, scenario)],
            first_status("Failed", containers(container(ended)), ready=False),
        ),
    ]


# In the format of container runtimes; it is all there is to say.
NO_LOG = "1970-01-01T00:00:00Z stdout F This pod is played by kwok: nothing runs, so nothing is logged.\n"


def kwok_configuration(log_file: Path) -> str:
    """The configuration file for kwok: its options, all stages and `log_file` as every container's log (YAML)."""
    options = {
        "apiVersion": "config.kwok.x-k8s.io/v1alpha1",
        "kind": "KwokConfiguration",
        "metadata": {"name": "ameide"},
        "options": {
            "cidr": "10.128.0.1/16",
            "manageNodesWithLabelSelector": NODE_LABEL,
            "nodeLeaseDurationSeconds": 40,
            # kwok fills in none of its documented defaults once a configuration is given.
            "enableDebuggingHandlers": True,
            "nodeLeaseParallelism": 1,
            "nodePlayStageParallelism": 1,
            "podPlayStageParallelism": 16,
            "podsOnNodeSyncParallelism": 1,
            "enablePodsOnNodeSyncListPager": True,
            "enablePodsOnNodeSyncStreamWatch": False,
        },
    }
    logs = {
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "ClusterLogs",
        "metadata": {"name": "all"},
        "spec": {"logs": [{"logsFile": str(log_file), "previousLogsFile": str(log_file)}]},
    }
    failing = [stage for scenario in _FAILING for stage in _failing_stages(scenario)]
    documents = [options, logs, *_node_stages(), *_healthy_stages(), *_unready_stages(), *failing]
    return yaml.safe_dump_all(documents, sort_keys=False, width=10_000)
