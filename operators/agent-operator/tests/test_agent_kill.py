"""The operator killed at every write of an Agent's creation, and of its quarantine: started again, it ends the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from agents import SUBJECT, Agents, Around, made_around

from ameide_dev.client import KubeClient
from ameide_dev.externalsecrets import ExternalSecrets
from ameide_dev.grantsservice import GrantsService
from ameide_dev.platform import Platform
from ameide_dev.testing import kills

CHILDREN = (
    ("apps/v1", "Deployment", 1),
    ("apps/v1", "ControllerRevision", 1),
    ("v1", "Service", 1),
    ("v1", "ServiceAccount", 1),
    ("v1", "ConfigMap", 2),  # definition and grants
    ("v1", "Secret", 1),
    ("networking.k8s.io/v1", "NetworkPolicy", 1),
    ("external-secrets.io/v1", "ExternalSecret", 1),
    ("monitoring.coreos.com/v1", "ServiceMonitor", 1),
)
WRITES_OF_CREATION = 11
"""At least: the children but the Secret, the finalizer, and status; how many of status there are is up to timing."""
WRITES_OF_QUARANTINE = 4
"""At least: border, grants, Deployment, status."""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Around]:
    """Servers and a policy that nobody else changes."""
    with made_around(tmp_path_factory.mktemp("around-killed-agents")) as made:
        yield made


@pytest.fixture(scope="module")
def service() -> Iterator[GrantsService]:
    with GrantsService() as running:
        yield running


def settings(own: Around, service: GrantsService) -> dict[str, str]:
    return {**own.settings(), "AMEIDE_GRANTS_SERVICE__URL": service.url}


def begin(agents: Agents, secret_store: ExternalSecrets) -> None:
    """An Agent with all that there is: a definition, a credential, a tool, and grants that somebody else knows."""
    agents.publish()
    agents.tool("orders")
    secret_store.put(f"{agents.namespace}/openai", {"apiKey": "sk-kill-0123456789"})
    model = {"provider": "openai", "name": "gpt-5"}
    agents.create(model=model, riskTier="high", **agents.uses({"domain": "orders"}))


def is_ready(agents: Agents) -> bool:
    return agents.condition("Ready").get("status") == "True"


@pytest.fixture(scope="module")
def creations(
    chart: Platform,
    kube: KubeClient,
    own: Around,
    service: GrantsService,
    secret_store: ExternalSecrets,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[kills.Chains]:
    def check(namespace: str, where: str) -> None:
        agents = Agents(kube, namespace, own)
        selector = "ameide.io/primitive=agent"
        for api_version, kind, count in CHILDREN:
            assert len(kube.list(api_version, kind, namespace, label_selector=selector)) == count, (where, kind)
        assert service.grants("t123", namespace, "coder") == agents.grants(), where
        assert len(agents.uids()) == 1, where

    deed = kills.Deed(
        lambda namespace: begin(Agents(kube, namespace, own), secret_store),
        lambda namespace: is_ready(Agents(kube, namespace, own)),
        check,
    )
    directory: Path = tmp_path_factory.mktemp("kill-creation")
    with kills.chains(SUBJECT, chart, kube, directory, deed, **settings(own, service)) as running:
        yield running


def test_killed_before_each_write_of_its_creation_it_ends_the_same(creations: kills.Chains) -> None:
    assert creations[False].result() >= WRITES_OF_CREATION


def test_killed_before_each_answer_in_its_creation_it_ends_the_same(creations: kills.Chains) -> None:
    assert creations[True].result() >= WRITES_OF_CREATION


@pytest.fixture(scope="module")
def quarantines(
    chart: Platform,
    kube: KubeClient,
    own: Around,
    service: GrantsService,
    secret_store: ExternalSecrets,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[kills.Chains]:
    def prepare(namespace: str) -> None:
        agents = Agents(kube, namespace, own)
        begin(agents, secret_store)
        agents.ready(timeout=60)

    def is_cut_off(namespace: str) -> bool:
        agents = Agents(kube, namespace, own)
        return agents.condition("Ready").get("reason") == "Quarantined" and not agents.pods()

    def check(namespace: str, where: str) -> None:
        agents = Agents(kube, namespace, own)
        assert agents.egress() == [], where
        assert agents.grants()["tools"] == [], where
        told = service.grants("t123", namespace, "coder")
        assert told is not None, where
        assert told["tools"] == [], where
        own.policy.forgive(namespace)
        agents.ready(timeout=60)
        assert len(agents.uids()) == 1, where  # as many as there were

    deed = kills.Deed(lambda namespace: own.policy.deny(namespace, "domain/*/orders"), is_cut_off, check, prepare)
    directory: Path = tmp_path_factory.mktemp("kill-quarantine")
    with kills.chains(SUBJECT, chart, kube, directory, deed, **settings(own, service)) as running:
        yield running


def test_killed_before_each_write_of_its_quarantine_it_is_cut_off_all_the_same(quarantines: kills.Chains) -> None:
    assert quarantines[False].result() >= WRITES_OF_QUARANTINE


def test_killed_before_each_answer_in_its_quarantine_it_is_cut_off_all_the_same(quarantines: kills.Chains) -> None:
    assert quarantines[True].result() >= WRITES_OF_QUARANTINE
