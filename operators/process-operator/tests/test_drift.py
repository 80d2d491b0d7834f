"""Children that others change or delete, and children that are somebody else's."""

from __future__ import annotations

from collections.abc import Callable

from processes import Processes

from ameide_dev.testing.waiting import never, until


def anew(processes: Processes, api_version: str, kind: str, name: str, uid: str) -> Callable[[], bool]:
    """Whether a child is there, and is another one than that of the uid."""

    def check() -> bool:
        live = processes.child(api_version, kind, name)
        return live is not None and live["metadata"]["uid"] != uid

    return check


def test_deleted_and_changed_children_come_back(processes: Processes) -> None:
    processes.create(replicas=0)
    processes.ready(timeout=60)
    (definition,) = processes.definitions()
    where = processes.namespace
    for api_version, kind, name in (("v1", "Service", "flow-process"), ("v1", "ConfigMap", definition)):
        child = processes.child(api_version, kind, name)
        assert child is not None
        processes.kube.delete(api_version, kind, name, where)
        until(f"{kind} is made anew", anew(processes, api_version, kind, name, child["metadata"]["uid"]), timeout=30)
    deployment = processes.child("apps/v1", "Deployment", "flow-process")
    assert deployment is not None
    containers = deployment["spec"]["template"]["spec"]["containers"]
    template = {"spec": {"containers": [{**containers[0], "image": "else:where"}]}}
    processes.kube.merge_patch("apps/v1", "Deployment", "flow-process", {"spec": {"template": template}}, where)
    until(
        "the image is set back",
        lambda: (
            (processes.child("apps/v1", "Deployment", "flow-process") or {})["spec"]["template"]["spec"]["containers"][
                0
            ]["image"]
            == processes.get()["spec"]["image"]
        ),
        timeout=30,
    )


def test_foreign_child_is_never_taken_over(processes: Processes) -> None:
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "flow-process", "namespace": processes.namespace},
        "spec": {"ports": [{"port": 1}]},
    }
    made = processes.kube.create(service)
    processes.create(replicas=0)
    process = processes.until("Ready", "False", reason="ChildConflict", timeout=30)
    assert "flow-process" in process["status"]["blocker"]["message"]

    def changed() -> bool:
        live = processes.child("v1", "Service", "flow-process")
        return live is None or live["metadata"]["resourceVersion"] != made["metadata"]["resourceVersion"]

    never("somebody else's Service is written", changed, 1)
    processes.kube.delete("v1", "Service", "flow-process", processes.namespace)
    processes.ready(timeout=60)
