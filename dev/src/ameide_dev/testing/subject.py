"""The operator under test as processes on the local platform: shared by many tests, or one of a test's own."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ameide_dev.client import KubeClient
from ameide_dev.operators import NAMESPACE, OperatorProcess, service_account
from ameide_dev.platform import Platform
from ameide_dev.pytest_plugin import TENANT, TENANT_LABEL, discard_namespace
from ameide_dev.requests import LIKE

OWN = "own-"
"""Namespaces with this prefix are left alone by shared operators: their tests run one of their own."""
_RBAC = "rbac.authorization.k8s.io"


class StartOperator(Protocol):
    """The fixture `start_operator`: an operator of the test's own for the namespaces that begin so."""

    def __call__(self, namespace: str, *, wait: bool = True, **settings: str) -> OperatorProcess: ...


@dataclass(frozen=True, slots=True)
class Subject:
    """Which operator a folder's tests are about: `domain`, and the `AMEIDE_*` settings that all of them want."""

    operator: str
    settings: Mapping[str, str] = field(default_factory=dict)

    def process(
        self,
        chart: Platform,
        directory: Path,
        watched: str = "",
        *,
        kubeconfig: Path | None = None,
        **settings: str,
    ) -> OperatorProcess:
        """An operator, not yet started, for the namespaces that the globs in `watched` name, or for all."""
        chosen = {"AMEIDE_WATCH__NAMESPACES": watched} if watched else {}
        return OperatorProcess(
            chart.control_plane,
            directory,
            operator=self.operator,
            kubeconfig=kubeconfig,
            settings={**chosen, **self.settings, **settings},
        )

    def user_like_it(self, chart: Platform, name: str) -> Path:
        """The kubeconfig of a user with the operator's rights, so that the audit log tells operators apart."""
        account = {"kind": "ServiceAccount", "name": service_account(self.operator), "namespace": NAMESPACE}
        for kind, namespace in (("ClusterRoleBinding", None), ("RoleBinding", NAMESPACE)):
            for binding in chart.client.list(f"{_RBAC}/v1", kind, namespace):
                if account not in binding.get("subjects", ()):
                    continue
                metadata = {"name": f"{binding['metadata']['name']}-{name}"}
                chart.client.apply(
                    {
                        "apiVersion": f"{_RBAC}/v1",
                        "kind": kind,
                        "metadata": {**metadata, **({"namespace": namespace} if namespace else {})},
                        "roleRef": binding["roleRef"],
                        "subjects": [{"apiGroup": _RBAC, "kind": "User", "name": name}],
                    }
                )
        return chart.control_plane.kubeconfig_for_user(name, [f"{LIKE}{self.operator}"])

    def shared(self) -> Any:
        """A session's fixture: this operator, for all tests that do not need one of their own."""

        def operator(chart: Platform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
            directory = tmp_path_factory.mktemp(f"{self.operator}-operator")
            with self.process(chart, directory, AMEIDE_WATCH__EXCLUDE=f"{OWN}*") as process:
                yield process

        return pytest.fixture(scope="session")(operator)

    def starter(self) -> Any:
        """A fixture: `start_operator(namespace, **settings)`, see StartOperator. They end with the test."""

        def start_operator(chart: Platform, tmp_path: Path) -> Iterator[StartOperator]:
            with ExitStack() as stack:
                count = 0

                def start(namespace: str, *, wait: bool = True, **settings: str) -> OperatorProcess:
                    nonlocal count
                    count += 1
                    directory = tmp_path / f"operator-{count}"
                    process = self.process(chart, directory, f"{namespace}*", kubeconfig=None, **settings)
                    stack.callback(process.stop)
                    process.start(wait=wait)
                    return process

                yield start

        return pytest.fixture(start_operator)


@contextmanager
def namespaces(kube: KubeClient, *prefixes: str) -> Iterator[list[str]]:
    """Fresh namespaces with these prefixes, deleted afterwards: for what outlives one test function."""
    made: list[str] = []
    try:
        for prefix in prefixes:
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


def metric(process: OperatorProcess, name: str, **labels: str) -> float:
    """The sum of a metric's samples that bear these labels."""
    total = 0.0
    for family in text_string_to_metric_families(process.metrics()):
        for sample in family.samples:
            if sample.name == name and labels.items() <= sample.labels.items():
                total += sample.value
    return total
