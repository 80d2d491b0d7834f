"""The Process operator on the local platform, with Temporal and the Transformation API."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from processes import SUBJECT, TEMPORAL_NAMESPACE, Around, Processes

from ameide_dev.client import KubeClient
from ameide_dev.operators import OperatorProcess
from ameide_dev.platform import Platform
from ameide_dev.temporal import TemporalServer
from ameide_dev.testing.subject import OWN, StartOperator
from ameide_dev.transformation import TransformationServer


@pytest.fixture(scope="session")
def around(temporal: TemporalServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Around]:
    """Temporal with a namespace for tests, and a Transformation API that asks for a token."""
    temporal.create_namespace(TEMPORAL_NAMESPACE)
    token = secrets.token_urlsafe(24)
    token_file = tmp_path_factory.mktemp("transformation") / "token"
    token_file.write_text(token)
    with TransformationServer(token=token) as transformation:
        yield Around(temporal, transformation, token_file)


@pytest.fixture
def own_around(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Around]:
    """Servers of a test's own, which it may stop."""
    token = secrets.token_urlsafe(24)
    token_file = tmp_path_factory.mktemp("transformation") / "token"
    token_file.write_text(token)
    with TemporalServer("own") as temporal, TransformationServer(token=token) as transformation:
        temporal.create_namespace(TEMPORAL_NAMESPACE)
        yield Around(temporal, transformation, token_file)


@pytest.fixture(scope="session")
def operator(chart: Platform, around: Around, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    """The operator for all tests that need none of their own."""
    directory = tmp_path_factory.mktemp("process-operator")
    with SUBJECT.process(chart, directory, AMEIDE_WATCH__EXCLUDE=f"{OWN}*", **around.settings()) as process:
        yield process


@pytest.fixture
def start_operator(chart: Platform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartOperator]:
    """An operator of the test's own, for the namespaces that begin so; it ends with the test."""
    with ExitStack() as stack:

        def begin(namespace: str, *, wait: bool = True, **settings: str) -> OperatorProcess:
            directory = tmp_path_factory.mktemp("process-operator-own")
            process = SUBJECT.process(chart, directory, f"{namespace}*", **settings)
            stack.callback(process.stop)
            process.start(wait=wait)
            return process

        yield begin


@pytest.fixture
def processes(operator: OperatorProcess, kube: KubeClient, namespace: str, around: Around) -> Processes:
    """Processes in a namespace of the test's own, under the shared operator; version 1 of their definition is out."""
    made = Processes(kube, namespace, around)
    made.publish()
    return made
