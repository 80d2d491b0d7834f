"""The operator killed at every write of an Agent's creation, and of its quarantine: started again, it ends the same."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What Agents here have around them, and nobody else changes: servers, a policy, a store."""

    kube: KubeClient
    own: Around
    service: GrantsService
    store: ExternalSecrets

    def agents(self, namespace: str) -> Agents:
        return Agents(self.kube, namespace, self.own)

    def begin(self, namespace: str) -> None:
        """An Agent with all that there is: a definition, a credential, a tool, and grants that somebody else knows."""
        agents = self.agents(namespace)
        agents.publish()
        agents.tool("orders")
        self.store.put(f"{namespace}/openai", {"apiKey": "sk-kill-0123456789"})
        model = {"provider": "openai", "name": "gpt-5"}
        agents.create(model=model, riskTier="high", **agents.uses({"domain": "orders"}))

    def known(self, namespace: str) -> Any:
        """What the grants service knows."""
        return self.service.grants("t123", namespace, "coder")

    def kills(self, chart: Platform, directory: Path, deed: kills.Deed) -> AbstractContextManager[kills.Chains]:
        settings = {**self.own.settings(), "AMEIDE_GRANTS_SERVICE__URL": self.service.url}
        return kills.chains(SUBJECT, chart, self.kube, directory, deed, **settings)


@pytest.fixture(scope="module")
def around_them(
    kube: KubeClient, secret_store: ExternalSecrets, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Surroundings]:
    with made_around(tmp_path_factory.mktemp("around-killed-agents")) as own, GrantsService() as service:
        yield Surroundings(kube, own, service, secret_store)


@pytest.fixture(scope="module")
def creations(
    chart: Platform, around_them: Surroundings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[kills.Chains]:
    def is_ready(namespace: str) -> bool:
        return around_them.agents(namespace).is_ready()

    def check(namespace: str, where: str) -> None:
        agents = around_them.agents(namespace)
        selector = "ameide.io/primitive=agent"
        for api_version, kind, count in CHILDREN:
            assert len(agents.kube.list(api_version, kind, namespace, label_selector=selector)) == count, (where, kind)
        assert around_them.known(namespace) == agents.grants(), where
        assert len(agents.uids()) == 1, where

    deed = kills.Deed(around_them.begin, is_ready, check)
    with around_them.kills(chart, tmp_path_factory.mktemp("kill-creation"), deed) as running:
        yield running


def test_killed_before_each_write_of_its_creation_it_ends_the_same(creations: kills.Chains) -> None:
    assert creations[False].result() >= WRITES_OF_CREATION


def test_killed_before_each_answer_in_its_creation_it_ends_the_same(creations: kills.Chains) -> None:
    assert creations[True].result() >= WRITES_OF_CREATION


@pytest.fixture(scope="module")
def quarantines(
    chart: Platform, around_them: Surroundings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[kills.Chains]:
    policy = around_them.own.policy

    def prepare(namespace: str) -> None:
        around_them.begin(namespace)
        around_them.agents(namespace).ready(timeout=60)

    def is_cut_off(namespace: str) -> bool:
        agents = around_them.agents(namespace)
        return agents.condition("Ready").get("reason") == "Quarantined" and not agents.pods()

    def check(namespace: str, where: str) -> None:
        agents = around_them.agents(namespace)
        assert agents.egress() == [], where
        assert agents.grants()["tools"] == [], where
        assert around_them.known(namespace)["tools"] == [], where
        policy.forgive(namespace)
        agents.ready(timeout=60)
        assert len(agents.uids()) == 1, where  # as many as there were

    deed = kills.Deed(lambda namespace: policy.deny(namespace, "domain/*/orders"), is_cut_off, check, prepare)
    with around_them.kills(chart, tmp_path_factory.mktemp("kill-quarantine"), deed) as running:
        yield running


def test_killed_before_each_write_of_its_quarantine_it_is_cut_off_all_the_same(quarantines: kills.Chains) -> None:
    assert quarantines[False].result() >= WRITES_OF_QUARANTINE


def test_killed_before_each_answer_in_its_quarantine_it_is_cut_off_all_the_same(quarantines: kills.Chains) -> None:
    assert quarantines[True].result() >= WRITES_OF_QUARANTINE
