"""The Domain operator on the local platform."""

from __future__ import annotations

import pytest
from databases import open_cluster
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
    """`cnpg/main`, a Ready Cluster that every namespace may use."""
    return open_cluster(kube)
