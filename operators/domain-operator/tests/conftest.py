"""The Domain operator on the local platform."""

from __future__ import annotations

import pytest
from domain_support import SUBJECT, Domains

from ameide_dev.client import KubeClient
from ameide_dev.operators import OperatorProcess
from ameide_dev.platform import Platform

operator = SUBJECT.shared()
start_operator = SUBJECT.starter()


@pytest.fixture
def domains(operator: OperatorProcess, kube: KubeClient, namespace: str) -> Domains:
    """Domains in a namespace of the test's own, under the shared operator."""
    return Domains(kube, namespace)


@pytest.fixture(scope="session")
def cluster(chart: Platform, kube: KubeClient) -> str:
    """A Ready CloudNativePG Cluster in namespace `cnpg` that every namespace may use: `cnpg/main`."""
    kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "cnpg"}})
    kube.apply(
        {
            "apiVersion": "postgresql.cnpg.io/v1",
            "kind": "Cluster",
            "metadata": {
                "name": "main",
                "namespace": "cnpg",
                "annotations": {"ameide.io/allowed-namespaces": "*"},
            },
            "spec": {"instances": 1, "storage": {"size": "1Gi"}},
        }
    )
    kube.wait_condition("postgresql.cnpg.io/v1", "Cluster", "main", "Ready", "cnpg", timeout=30)
    return "cnpg/main"
