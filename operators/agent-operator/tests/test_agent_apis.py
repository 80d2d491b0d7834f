"""APIs that Agents use and that a cluster may lack: what needs them waits or does without, and notices them later."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from agents import CHILD, Agents, Around

from agent_operator.plan.credentials import target_name
from ameide_dev import crds
from ameide_dev.client import KubeClient
from ameide_dev.externalsecrets import ExternalSecrets
from ameide_dev.pytest_plugin import NamespaceMaker
from ameide_dev.testing.subject import StartOperator
from ameide_dev.testing.waiting import never, until

CRD = ("apiextensions.k8s.io/v1", "CustomResourceDefinition")
KEDA = "keda.sh/v1alpha1"
HPA = "autoscaling/v2"
ESO = "external-secrets.io/v1"
QUEUE = {
    "AMEIDE_SESSION_QUEUE__TRIGGER": "prometheus",
    "AMEIDE_SESSION_QUEUE__METADATA": '{"query": "sessions{agent=\\"{namespace}/{agent}\\"}", "threshold": "{target}"}',
}
Install = Callable[[], None]


@contextmanager
def without(kube: KubeClient, system: str, name: str) -> Iterator[Install]:
    """A cluster that lacks a CRD; what is yielded installs it. It is there again afterwards."""
    kube.delete(*CRD, name, wait=30)

    def install() -> None:
        crds.install_objects([crd for crd in crds.load(system) if crd["metadata"]["name"] == name], kube)

    yield install
    install()


@pytest.fixture
def without_external_secrets(kube: KubeClient) -> Iterator[Install]:
    with without(kube, "external-secrets", "externalsecrets.external-secrets.io") as install:
        yield install


@pytest.fixture
def without_keda(kube: KubeClient) -> Iterator[Install]:
    with without(kube, "keda", "scaledobjects.keda.sh") as install:
        yield install


@pytest.fixture
def scaled(kube: KubeClient, make_namespace: NamespaceMaker, around: Around, start_operator: StartOperator) -> Agents:
    """Agents of an operator whose settings have a queue of sessions."""
    agents = Agents(kube, make_namespace("own-scaled"), around)
    agents.publish()
    start_operator(agents.namespace, **around.settings(), **QUEUE)
    return agents


def queued(least: int = 2) -> dict[str, object]:
    return {"autoscaling": {"minReplicas": least, "maxReplicas": 4, "targetQueuedSessions": 7}}


def test_external_secrets_may_be_installed_later(
    agents: Agents, store: ExternalSecrets, without_external_secrets: Install
) -> None:
    """What needs no credential runs all the same; what does says which API is missing, and starts once it is there."""
    store.put(f"{agents.namespace}/openai", {"apiKey": "sk-late-0123456789"})
    agents.create("plain")
    agents.create(model={"provider": "openai", "name": "gpt-5"})
    agents.ready("plain")
    agent = agents.until("SecretsReady", "False", reason="APINotInstalled")
    assert "install external-secrets" in agent["status"]["blocker"]["remedy"]
    assert agents.pods() == []
    without_external_secrets()
    agents.ready(timeout=60)
    assert agents.child(ESO, "ExternalSecret", target_name(CHILD, "openai")) is not None


def test_keda_may_be_installed_later(scaled: Agents, without_keda: Install) -> None:
    """CPU use scales until then; the change-over keeps the number of pods, and there are never two autoscalers."""
    scaled.create(**queued())
    scaled.ready(timeout=40)
    assert scaled.child(HPA, "HorizontalPodAutoscaler", CHILD) is not None
    before = scaled.uids()
    without_keda()
    until("KEDA scales it", lambda: scaled.child(KEDA, "ScaledObject", CHILD), timeout=40)
    scaled.kube.wait_gone(HPA, "HorizontalPodAutoscaler", CHILD, scaled.namespace)
    scaled.ready(timeout=40)
    assert scaled.uids() == before


def test_keda_scales_by_waiting_sessions(scaled: Agents) -> None:
    """The trigger of the settings, filled in; whoever scales in the meantime is not undone; without it CPU counts."""
    scaled.create(**queued(least=0))
    scaled.ready(timeout=40)
    live = scaled.child(KEDA, "ScaledObject", CHILD)
    assert live is not None
    assert scaled.child(HPA, "HorizontalPodAutoscaler", CHILD) is None
    spec = live["spec"]
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (0, 4)
    assert spec["scaleTargetRef"]["name"] == CHILD
    (trigger,) = spec["triggers"]
    assert trigger["metadata"] == {"query": f'sessions{{agent="{scaled.namespace}/coder"}}', "threshold": "7"}

    def replicas() -> int:
        return int(scaled.deployment()["spec"]["replicas"])

    scaled.kube.merge_patch("apps/v1", "Deployment", CHILD, {"spec": {"replicas": 3}}, scaled.namespace)
    scaled.annotate(reconcile_at="now")
    never("KEDA's count is undone", lambda: replicas() != 3, 2)
    scaled.patch(autoscaling={"minReplicas": 2, "targetQueuedSessions": None})
    until("CPU use scales it", lambda: scaled.child(HPA, "HorizontalPodAutoscaler", CHILD))
    scaled.kube.wait_gone(KEDA, "ScaledObject", CHILD, scaled.namespace)
    assert replicas() == 3
    scaled.patch(autoscaling=None, replicas=2)
    until("the spec has the say", lambda: replicas() == 2)
    scaled.ready(timeout=40)
