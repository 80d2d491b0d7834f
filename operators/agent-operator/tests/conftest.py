"""The Agent operator on the local platform, with the Transformation API and a policy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from agents import SUBJECT, Agents, Around, made_around

from ameide_dev.client import KubeClient
from ameide_dev.externalsecrets import ExternalSecrets
from ameide_dev.operators import OperatorProcess
from ameide_dev.platform import Platform
from ameide_dev.testing.subject import OWN, StartOperator


@pytest.fixture(scope="session")
def around(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Around]:
    """What the shared operator knows besides the cluster."""
    with made_around(tmp_path_factory.mktemp("around-agents")) as made:
        yield made


@pytest.fixture
def own_around(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Around]:
    """A test's own, which it may break."""
    with made_around(tmp_path_factory.mktemp("around-own-agents")) as made:
        yield made


@pytest.fixture(scope="session")
def operator(chart: Platform, around: Around, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    """The operator for all tests that need none of their own."""
    directory = tmp_path_factory.mktemp("agent-operator")
    with SUBJECT.process(chart, directory, AMEIDE_WATCH__EXCLUDE=f"{OWN}*", **around.settings()) as process:
        yield process


@pytest.fixture
def start_operator(chart: Platform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartOperator]:
    """An operator of the test's own, for the namespaces that begin so; it ends with the test."""
    with ExitStack() as stack:

        def begin(namespace: str, *, wait: bool = True, **settings: str) -> OperatorProcess:
            directory = tmp_path_factory.mktemp("agent-operator-own")
            process = SUBJECT.process(chart, directory, f"{namespace}*", **settings)
            stack.callback(process.stop)
            process.start(wait=wait)
            return process

        yield begin


@pytest.fixture(scope="session")
def secret_store(kube: KubeClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExternalSecrets]:
    """External-secrets over a store of all tests here."""
    with ExternalSecrets(kube, tmp_path_factory.mktemp("secret-store") / "store.json") as running:
        yield running


@pytest.fixture
def store(secret_store: ExternalSecrets) -> Iterator[ExternalSecrets]:
    """The same; it is well again after the test."""
    yield secret_store
    secret_store.heal()
    secret_store.resume()


@pytest.fixture
def agents(operator: OperatorProcess, kube: KubeClient, namespace: str, around: Around) -> Iterator[Agents]:
    """Agents in a namespace of the test's own, under the shared operator; version 1 of their definition is out."""
    made = Agents(kube, namespace, around)
    made.publish()
    yield made
    if namespace in around.policy.rules:
        around.policy.forgive(namespace)
