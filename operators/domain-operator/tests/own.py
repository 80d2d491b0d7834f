"""Namespaces and operators of a test module's own, for what outlives one test function."""

from __future__ import annotations

import base64
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from harness import CLIENT_IMAGE, Domains
from prometheus_client.parser import text_string_to_metric_families

from ameide_dev.client import KubeClient
from ameide_dev.operators import NAMESPACE, RELEASE, OperatorProcess
from ameide_dev.platform import Platform
from ameide_dev.processes import Guard
from ameide_dev.pytest_plugin import TENANT, TENANT_LABEL, discard_namespace

RBAC = "rbac.authorization.k8s.io/v1"


@contextmanager
def namespaces(kube: KubeClient, *names: str) -> Iterator[list[str]]:
    """Fresh namespaces with these prefixes, deleted afterwards; the shared operator leaves those of `own-` alone."""
    made: list[str] = []
    try:
        for prefix in names:
            name = f"{prefix}-{secrets.token_hex(3)}"
            metadata = {"name": name, "labels": {TENANT_LABEL: TENANT}}
            kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
            made.append(name)
        for name in made:
            kube.wait_for("v1", "ServiceAccount", "default", lambda found: found is not None, name)
        yield made
    finally:
        for name in made:
            discard_namespace(kube, name)


def own_operator(
    chart: Platform, guard: Guard, directory: Path, watched: str, *, kubeconfig: Path | None = None, **settings: str
) -> OperatorProcess:
    """An operator, not yet started, for the namespaces that the globs in `watched` name."""
    return OperatorProcess(
        chart.control_plane,
        directory,
        kubeconfig=kubeconfig,
        guard=guard,
        settings={"AMEIDE_WATCH__NAMESPACES": watched, "AMEIDE_DATABASE__CLIENT_IMAGE": CLIENT_IMAGE, **settings},
    )


def user_like_operator(chart: Platform, name: str) -> Path:
    """The kubeconfig of a user with the Domain operator's rights, so that the audit log tells operators apart."""
    account = {"kind": "ServiceAccount", "name": f"{RELEASE}-domain", "namespace": NAMESPACE}
    for kind, namespace in (("ClusterRoleBinding", None), ("RoleBinding", NAMESPACE)):
        for binding in chart.client.list(RBAC, kind, namespace):
            if account not in binding.get("subjects", ()):
                continue
            chart.client.apply(
                {
                    "apiVersion": RBAC,
                    "kind": kind,
                    "metadata": {
                        "name": f"{binding['metadata']['name']}-{name}",
                        **({"namespace": namespace} if namespace else {}),
                    },
                    "roleRef": binding["roleRef"],
                    "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name}],
                }
            )
    return chart.control_plane.kubeconfig_for_user(name)


def metric(process: OperatorProcess, name: str, **labels: str) -> float:
    """The sum of a metric's samples that bear these labels."""
    total = 0.0
    for family in text_string_to_metric_families(process.metrics()):
        for sample in family.samples:
            if sample.name == name and labels.items() <= sample.labels.items():
                total += sample.value
    return total


def until(what: str, condition: Callable[[], bool], timeout: float = 30.0) -> None:
    """Return once the condition holds; TimeoutError, saying what was waited for, if it does not in time."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout:.0f} s: {what}")
        time.sleep(0.1)


def never(what: str, condition: Callable[[], bool], seconds: float) -> None:
    """Watch for so many seconds that the condition does not hold."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert not condition(), what
        time.sleep(0.1)


def decoded_secret(domains: Domains, name: str) -> dict[str, str]:
    """The values of a Secret beside the Domains."""
    secret = domains.kube.get("v1", "Secret", name, domains.namespace)
    return {key: base64.b64decode(value).decode() for key, value in secret.get("data", {}).items()}
