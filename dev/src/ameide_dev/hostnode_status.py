"""A pod's status as the kubelet writes it, computed from the states of its containers."""

from collections.abc import Mapping, Sequence
from typing import Any

Object = dict[str, Any]


def phase(pod: Mapping[str, Any], inits: Sequence[Object], mains: Sequence[Object]) -> str:
    """Pending, Running, Succeeded or Failed, from container statuses (sidecars are not among `inits`)."""
    policy = pod["spec"].get("restartPolicy", "Always")
    for status in inits:
        ended = status["state"].get("terminated")
        if ended is None or ended["exitCode"] != 0:
            return "Failed" if ended is not None and policy == "Never" else "Pending"
    ends = [status["state"].get("terminated") for status in mains]
    if all(ends):
        if all(end["exitCode"] == 0 for end in ends if end) and policy != "Always":
            return "Succeeded"
        return "Failed" if policy == "Never" else "Running"
    never_ran = [
        status for status in mains if "waiting" in status["state"] and "terminated" not in status.get("lastState", {})
    ]
    return "Pending" if never_ran else "Running"


def conditions(
    pod: Mapping[str, Any], current: str, initialized: bool, mains: Sequence[Object], now: str
) -> list[Object]:
    """The pod's conditions; those of others (the scheduler's, readiness gates) are kept as they are."""
    unready = [status["name"] for status in mains if not status["ready"]]
    old = {each["type"]: each for each in pod.get("status", {}).get("conditions", [])}
    gates = [gate["conditionType"] for gate in pod["spec"].get("readinessGates", [])]
    closed = [gate for gate in gates if old.get(gate, {}).get("status") != "True"]
    done = current in ("Succeeded", "Failed")
    reason = "" if not unready else ("PodCompleted" if current == "Succeeded" else "PodFailed")
    if unready and not done:
        reason = "ContainersNotReady"
    message = f"containers with unready status: [{' '.join(unready)}]" if unready and not done else ""
    new = [
        _condition("PodReadyToStartContainers", not done),
        _condition("Initialized", initialized, "" if initialized else "ContainersNotInitialized"),
        _condition("ContainersReady", not unready, reason, message),
        _condition("Ready", not unready, reason, message)
        if unready or not closed
        else _condition(
            "Ready",
            False,
            "ReadinessGatesNotReady",
            f'corresponding condition of pod readiness gate "{closed[0]}" is not true',
        ),
    ]
    for condition in new:
        before = old.pop(condition["type"], None)
        same = before is not None and before["status"] == condition["status"]
        condition["lastTransitionTime"] = before["lastTransitionTime"] if same and before else now
    return [*old.values(), *new]


def _condition(kind: str, holds: bool, reason: str = "", message: str = "") -> Object:
    condition: Object = {"type": kind, "status": "True" if holds else "False"}
    if reason:
        condition["reason"] = reason
    if message:
        condition["message"] = message
    return condition
