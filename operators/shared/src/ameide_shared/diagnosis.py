"""Why pods do not come up: the real cause, in words, with the remedy.

Everything comes from the Deployment and its Pods as the API has them; the first cause in the way is told, and text
that containers wrote is scrubbed of credentials.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ameide_shared.kube.resources import Manifest
from ameide_shared.redact import scrub, tail

_TEXT_LIMIT: Final = 300


@dataclass(frozen=True, slots=True)
class Cause:
    """One thing in the way. `code` is a stable word (`CrashLoopBackOff`, `QuotaExceeded`); `object` as in a Stage."""

    code: str
    object: str
    message: str
    remedy: str


def diagnose(deployment: Manifest, pods: Iterable[Manifest]) -> Cause | None:
    """Why a Deployment is not (fully) available; None while nothing is known to be wrong.

    `pods` may hold other pods as well; those of the Deployment's selector are looked at, those of the wanted
    revision before others.
    """
    metadata = deployment["metadata"]
    what = f"Deployment {metadata['namespace']}/{metadata['name']}"
    conditions = _conditions(deployment)
    failure = conditions.get("ReplicaFailure")
    if failure is not None and failure.get("status") == "True":
        return _refused(what, str(failure.get("message", "")))
    template = deployment["spec"]["template"]
    for pod in _selected(deployment, pods):
        cause = pod_cause(pod, template)
        if cause is not None:
            return cause
    progressing = conditions.get("Progressing")
    if progressing is not None and progressing.get("reason") == "ProgressDeadlineExceeded":
        seconds = deployment["spec"].get("progressDeadlineSeconds", 600)
        return Cause(
            "ProgressDeadlineExceeded",
            what,
            f"{what} has made no progress for {seconds} s",
            "look at the pods' events and logs; raise spec.rollout.progressDeadlineSeconds if they only start slowly",
        )
    return None


def pod_cause(pod: Manifest, template: Mapping[str, Any] | None = None) -> Cause | None:
    """Why one pod is not ready, or None. `template` is what it was made from: it knows the probes and limits."""
    metadata, status = pod["metadata"], pod.get("status") or {}
    if metadata.get("deletionTimestamp"):
        return None
    what = f"Pod {metadata['namespace']}/{metadata['name']}"
    scheduled = _conditions(pod).get("PodScheduled")
    if scheduled is not None and scheduled.get("status") == "False":
        return _unschedulable(what, scheduled)
    if status.get("phase") == "Failed" and status.get("reason") not in (None, ""):
        return Cause(
            str(status["reason"]),
            what,
            f"{what} ended: {status['reason']}: {_shown(status.get('message'))}",
            "mend what the message names; the pod is replaced",
        )
    spec = (template or pod).get("spec") or {}
    for group, containers in (("initContainerStatuses", "initContainers"), ("containerStatuses", "containers")):
        definitions = {container["name"]: container for container in spec.get(containers) or ()}
        for container in status.get(group) or ():
            cause = _container_cause(what, container, definitions.get(container["name"]) or {})
            if cause is not None:
                return cause
    return None


# --- what the API server refused --------------------------------------------------------------------------------


def _refused(what: str, message: str) -> Cause:
    """The controller could not create pods. The API server's message says why, the remedy depends on it."""
    shown = _shown(message)
    if "exceeded quota" in message:
        remedy = "raise the ResourceQuota, or lower spec.resources or spec.replicas"
        return Cause("QuotaExceeded", what, f"{what} cannot create pods: {shown}", remedy)
    if "failed quota" in message:
        remedy = "set spec.resources: the namespace's ResourceQuota counts what the message names"
        return Cause("QuotaExceeded", what, f"{what} cannot create pods: {shown}", remedy)
    if "violates PodSecurity" in message:
        remedy = (
            "the pods meet the restricted standard unless a mutating webhook or the operator's settings add to them: "
            "find what adds the field that the message names"
        )
        return Cause("PodSecurityViolation", what, f"{what} cannot create pods: {shown}", remedy)
    if "serviceaccount" in message.lower() and "not found" in message:
        remedy = "the operator creates the ServiceAccount; if it was deleted, it comes back in a moment"
        return Cause("ServiceAccountMissing", what, f"{what} cannot create pods: {shown}", remedy)
    if "PriorityClass" in message:
        remedy = "name a PriorityClass that exists in spec.scheduling.priorityClassName"
        return Cause("PriorityClassMissing", what, f"{what} cannot create pods: {shown}", remedy)
    if re.search(r"(maximum|minimum) \S+ usage per|limit to request ratio", message):
        remedy = "set spec.resources within what the namespace's LimitRange allows"
        return Cause("LimitRangeViolation", what, f"{what} cannot create pods: {shown}", remedy)
    remedy = "mend what the message names; it comes from the API server or an admission webhook"
    return Cause("PodCreationRefused", what, f"{what} cannot create pods: {shown}", remedy)


def _unschedulable(what: str, condition: Mapping[str, Any]) -> Cause:
    message = _shown(condition.get("message")) or "the scheduler has not said why"
    if condition.get("reason") == "SchedulingGated":
        return Cause("SchedulingGated", what, f"{what} is held by a scheduling gate: {message}", "remove the gate")
    if "Insufficient" in message:
        remedy = "add nodes, or lower the requests in spec.resources"
    elif "taint" in message:
        remedy = "add tolerations in spec.scheduling, or nodes without these taints"
    elif "affinity" in message or "selector" in message:
        remedy = "correct spec.scheduling.nodeSelector, or label a node accordingly"
    else:
        remedy = "change spec.scheduling or spec.resources so that a node fits, or add one"
    return Cause("Unschedulable", what, f"{what} cannot be scheduled: {message}", remedy)


# --- containers -------------------------------------------------------------------------------------------------

_IMAGE_REASONS: Final = frozenset(
    {
        "ImagePullBackOff",
        "ErrImagePull",
        "ErrImageNeverPull",
        "InvalidImageName",
        "ImageInspectError",
        "RegistryUnavailable",
        "SignatureValidationFailed",
    }
)
_CREATE_REASONS: Final = frozenset(
    {"CreateContainerError", "RunContainerError", "PreCreateHookError", "PostStartHookError"}
)


def _container_cause(what: str, status: Mapping[str, Any], definition: Mapping[str, Any]) -> Cause | None:
    name = status["name"]
    state: Mapping[str, Any] = status.get("state") or {}
    waiting: Mapping[str, Any] = state.get("waiting") or {}
    terminated: Mapping[str, Any] | None = state.get("terminated")
    last: Mapping[str, Any] | None = (status.get("lastState") or {}).get("terminated")
    reason, message = str(waiting.get("reason", "")), str(waiting.get("message", ""))
    where = f"{what}, container {name}"
    if reason in _IMAGE_REASONS:
        return _image_cause(what, where, reason, message, str(status.get("image") or definition.get("image", "")))
    if reason == "CreateContainerConfigError":
        return _config_cause(what, where, message)
    if reason in _CREATE_REASONS:
        shown = f"{where} cannot be started: {_shown(message)}"
        return Cause(reason, what, shown, "check the image's entry point, and command and args of the spec")
    if terminated is not None and int(terminated.get("exitCode", 0)) != 0:
        return _ended(what, where, "CrashLoopBackOff", terminated, definition, int(status.get("restartCount", 0)))
    if reason == "CrashLoopBackOff" or (last is not None and not status.get("ready") and int(last.get("exitCode", 0))):
        ended = last or {"reason": "", "exitCode": 1, "message": message}
        return _ended(what, where, "CrashLoopBackOff", ended, definition, int(status.get("restartCount", 0)))
    if state.get("running") is not None and not status.get("ready"):
        return _probe_cause(what, where, status, definition)
    return None


def _image_cause(what: str, where: str, reason: str, message: str, image: str) -> Cause:
    # The kubelet goes back and forth between failing and backing off; the cause stays the same all the while.
    code = "ImagePullBackOff" if reason == "ErrImagePull" else reason
    detail = re.sub(r'^Back-off pulling image "[^"]*":? ?|\bErrImagePull: ', "", message)
    shown = f"{where}: {code} for image {image}" + (f": {_shown(detail)}" if detail else "")
    if reason == "InvalidImageName":
        return Cause(code, what, shown, "correct spec.image: it is no image reference")
    if reason == "ErrImageNeverPull":
        return Cause(code, what, shown, "the image is not on the node: change spec.imagePullPolicy, or load it there")
    if re.search(r"not found|manifest unknown|no such image", message, re.IGNORECASE):
        return Cause(code, what, shown, "correct spec.image, or push that image")
    if re.search(r"unauthorized|denied|forbidden|\b40[13]\b|no basic auth", message, re.IGNORECASE):
        return Cause(code, what, shown, "name a Secret with the registry's credentials in spec.imagePullSecrets")
    return Cause(
        code,
        what,
        shown,
        "correct spec.image, give credentials in spec.imagePullSecrets, or make the registry reachable from the nodes",
    )


def _config_cause(what: str, where: str, message: str) -> Cause:
    shown = f"{where} cannot be configured: {_shown(message)}"
    code = "CreateContainerConfigError"
    if "runAsNonRoot" in message or "run as root" in message:
        remedy = "set spec.security.runAsUser to a user id other than 0, or build the image with a numeric USER"
        return Cause(code, what, shown, remedy)
    missing = re.search(r"(secret|configmap) \"([^\"]+)\" not found", message, re.IGNORECASE)
    if missing:
        kind = "Secret" if missing[1].lower() == "secret" else "ConfigMap"
        return Cause(code, what, shown, f"create {kind} {missing[2]}, or remove the reference to it from spec.env")
    if "couldn't find key" in message:
        return Cause(code, what, shown, "add that key to the object, or correct the reference to it in spec.env")
    return Cause(code, what, shown, "mend what the message names in spec")


def _ended(
    what: str, where: str, code: str, ended: Mapping[str, Any], definition: Mapping[str, Any], restarts: int
) -> Cause:
    exit_code = int(ended.get("exitCode", 0))
    words = tail(scrub(str(ended.get("message") or "")), 4, _TEXT_LIMIT)
    said = f": {words}" if words else ""
    times = f" ({restarts} restarts)" if restarts > 1 else ""
    if ended.get("reason") == "OOMKilled":
        limit = ((definition.get("resources") or {}).get("limits") or {}).get("memory")
        bound = f" of {limit}" if limit else ""
        return Cause(
            "OOMKilled",
            what,
            f"{where} was killed because it used more memory than its limit{bound}{times}",
            "raise spec.resources.memory, or lower the memory use of the application",
        )
    if ended.get("reason") in ("StartError", "ContainerCannotRun"):
        shown = f"{where} cannot be started{said}"
        return Cause("StartError", what, shown, "check the image's entry point, and command and args of the spec")
    shown = f"{where} ended with exit code {exit_code}{times}{said}"
    return Cause(code, what, shown, exit_remedy(exit_code, words))


def exit_remedy(exit_code: int, words: str) -> str:
    """What to do about a container that ended with an exit code and these last words."""
    if re.search(r"read-only file system|EROFS", words, re.IGNORECASE):
        return "add the directory that it writes to to spec.writablePaths: the root file system is read-only"
    if re.search(r"permission denied|EACCES", words, re.IGNORECASE):
        return "pods do not run as root: mend the permissions in the image, or add the directory to spec.writablePaths"
    match exit_code:
        case 126 | 127:
            return "the command was not found or cannot be run: check the image's entry point, and command of the spec"
        case 137:
            return "it was killed, by its liveness probe or for want of memory: see the pod's events"
        case 139:
            return "it crashed with a segmentation fault: mend the application or its image"
        case 143:
            return "it was told to end, most likely by a failing liveness probe: see the pod's events"
        case _:
            return "mend the application or its configuration; `kubectl logs --previous` has the rest of its log"


def _probe_cause(what: str, where: str, status: Mapping[str, Any], definition: Mapping[str, Any]) -> Cause | None:
    if status.get("started") is False and definition.get("startupProbe"):
        shown = f"{where} runs, but its startup probe has not succeeded yet ({_probe(definition['startupProbe'])})"
        return Cause("StartupProbeFailing", what, shown, "mend what the probe asks, or change spec.probes.startup")
    probe = definition.get("readinessProbe")
    if status.get("started") is False or not probe:
        return None
    return Cause(
        "ReadinessProbeFailing",
        what,
        f"{where} runs, but is not ready ({_probe(probe)})",
        "mend what the probe asks (see the application's log), or change spec.probes.readiness",
    )


def _probe(probe: Mapping[str, Any]) -> str:
    if "httpGet" in probe:
        return f"GET {probe['httpGet'].get('path', '/')} on port {probe['httpGet'].get('port')}"
    if "grpc" in probe:
        return f"gRPC health check on port {probe['grpc'].get('port')}"
    if "tcpSocket" in probe:
        return f"TCP connection to port {probe['tcpSocket'].get('port')}"
    return "a command in the container"


# --- helpers ----------------------------------------------------------------------------------------------------


def _conditions(manifest: Manifest) -> dict[str, Mapping[str, Any]]:
    return {condition["type"]: condition for condition in (manifest.get("status") or {}).get("conditions") or ()}


def _selected(deployment: Manifest, pods: Iterable[Manifest]) -> list[Manifest]:
    """The Deployment's pods; those stamped as its template is first, the newest first."""
    selector: Mapping[str, str] = deployment["spec"]["selector"].get("matchLabels") or {}
    wanted = (deployment["spec"]["template"].get("metadata") or {}).get("annotations") or {}
    found = [pod for pod in pods if selector.items() <= (pod["metadata"].get("labels") or {}).items()]
    found.sort(key=lambda pod: pod["metadata"]["name"])
    found.sort(key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")), reverse=True)
    ours = [pod for pod in found if wanted.items() <= (pod["metadata"].get("annotations") or {}).items()]
    # Pods of older revisions go anyway; they matter only while there is no new one to look at.
    return ours or found


def _shown(text: object) -> str:
    words = " ".join(scrub(str(text or "")).split())
    return words if len(words) <= _TEXT_LIMIT else words[: _TEXT_LIMIT - 1] + "…"
