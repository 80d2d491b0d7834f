"""The central grants service: told before anybody relies on it, told again after an outage, and asked to forget."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from agents import Agents, Around

from ameide_dev.client import InvalidError, KubeClient
from ameide_dev.grantsservice import GrantsService
from ameide_dev.grantsservice_app import FaultName
from ameide_dev.operators import OperatorProcess
from ameide_dev.pytest_plugin import NamespaceMaker
from ameide_dev.testing.subject import StartOperator
from ameide_dev.testing.waiting import until

FINALIZER = "agent.ameide.io/finalizer"
SCHEMA = Path(__file__).parents[3] / "docs" / "reference" / "grants.schema.json"


@pytest.fixture
def service() -> Iterator[GrantsService]:
    """The reference server, which holds documents against the published schema."""
    with GrantsService(token=secrets.token_urlsafe(24), schema=SCHEMA) as running:
        yield running


@pytest.fixture
def told(
    kube: KubeClient,
    make_namespace: NamespaceMaker,
    around: Around,
    start_operator: StartOperator,
    service: GrantsService,
    tmp_path: Path,
) -> Agents:
    """Agents whose operator tells the service."""
    agents = Agents(kube, make_namespace("own-told"), around)
    agents.publish()
    start_telling(agents, start_operator, service, tmp_path)
    return agents


def start_telling(
    agents: Agents, start_operator: StartOperator, service: GrantsService, directory: Path
) -> OperatorProcess:
    token = directory / "grants-token"
    token.write_text(service.token or "")
    return start_operator(
        agents.namespace,
        **{
            **agents.around.settings(),
            "AMEIDE_GRANTS_SERVICE__URL": service.url,
            "AMEIDE_GRANTS_SERVICE__TOKEN_FILE": str(token),
            "AMEIDE_GRANTS_SERVICE__TIMEOUT": "2",
            "AMEIDE_DELETION_TIMEOUT": "8",
            "AMEIDE_LOG_LEVEL": "debug",
        },
    )


def known(agents: Agents, service: GrantsService, tenant: str = "t123") -> dict[str, Any] | None:
    """What the service has of the Agent."""
    return service.grants(tenant, agents.namespace, "coder")


def tools(agents: Agents, service: GrantsService) -> list[str] | None:
    """The tools that it has of the Agent by name; None where it does not know it."""
    document = known(agents, service)
    return None if document is None else [tool["name"] for tool in document["tools"]]


def test_service_knows_what_pods_hold_until_the_agent_goes(told: Agents, service: GrantsService) -> None:
    told.create(**told.uses({"domain": "orders"}))
    agent = told.ready()
    assert FINALIZER in agent["metadata"]["finalizers"]
    assert agent["status"]["grants"]["published"] == agent["status"]["grants"]["digest"]
    assert known(told, service) == told.grants()
    told.tool("orders")
    until("it is told of the tool", lambda: tools(told, service) == ["orders"])
    told.ready()
    count = service.count("PUT")
    told.annotate(reconcile_at="now")
    told.patch(podAnnotations={"example.org/colour": "red"})
    told.ready()
    assert service.count("PUT") == count  # what it has acknowledged is not told again
    told.delete(wait=20)
    assert service.agents() == []
    assert service.requests()[-1].method == "DELETE"


def test_quarantine_is_told_before_pods_go(told: Agents, service: GrantsService) -> None:
    told.tool("orders")
    told.create(riskTier="high", **told.uses({"domain": "orders"}))
    told.ready()
    told.around.policy.deny(told.namespace, "domain/*/orders")
    try:
        told.until("Ready", "False", reason="Quarantined", timeout=10)
        until("it is told", lambda: tools(told, service) == [])
        document = known(told, service)
        assert document is not None
        assert document.get("model") is None
    finally:
        told.around.policy.forgive(told.namespace)


def test_quarantine_does_not_wait_for_a_service_that_is_away(told: Agents, service: GrantsService) -> None:
    """It is told as soon as it is back."""
    told.tool("orders")
    told.create(riskTier="high", **told.uses({"domain": "orders"}))
    told.ready()
    service.fault("slow", seconds=60)
    told.around.policy.deny(told.namespace, "domain/*/orders")
    try:
        until("no egress", lambda: told.egress() == [], timeout=10)
        until("no pods", lambda: not told.pods(), timeout=10)
        told.until("GrantsReady", "False", reason="GrantsServiceUnavailable")
        assert told.condition("Ready")["reason"] == "Quarantined"
        assert tools(told, service) == ["orders"]
        service.fault(None)
        until("it is told", lambda: tools(told, service) == [], timeout=60)
    finally:
        told.around.policy.forgive(told.namespace)


@pytest.mark.parametrize(
    ("fault", "reason", "words"),
    [
        ("unavailable", "GrantsServiceUnavailable", "HTTP 503"),
        ("slow", "GrantsServiceUnavailable", "did not answer within 2 s"),
        ("forbidden", "GrantsServiceRefused", "HTTP 403: The token does not permit this."),
    ],
)
def test_outage_stops_nothing_and_is_made_up_for(
    told: Agents, service: GrantsService, fault: FaultName, reason: str, words: str
) -> None:
    """The Agent runs, says that the service does not know, and tells people once; after the outage it is told."""
    service.fault(fault, seconds=60 if fault == "slow" else 0)
    told.create()
    told.until("GrantsReady", "False", reason=reason)
    told.until("WorkloadReady")
    assert told.condition("Ready")["reason"] == reason
    assert words in told.condition("GrantsReady")["message"]
    assert len(told.wait_event(reason)) == 1
    service.fault(None)
    told.annotate(reconcile_at="now")
    told.ready(timeout=90)
    assert known(told, service) == told.grants()


def test_hiccup_is_nobodys_business(told: Agents, service: GrantsService) -> None:
    """Two answers of 503, then a good one: tried again at once, and no condition says anything of it."""
    service.fault("unavailable", times=2)
    told.create()
    told.ready()
    assert [one.status for one in service.requests() if one.method == "PUT"][:3] == [503, 503, 201]


def test_deletion_does_not_hang_on_a_service_that_is_away(told: Agents, service: GrantsService) -> None:
    told.create()
    told.ready()
    service.fault("unavailable")
    told.delete()
    told.until("Ready", "False", reason="GrantsServiceUnavailable")
    until("the pods have gone first", lambda: not told.pods())
    told.wait_gone(timeout=40)
    (message,) = told.wait_event("GrantsLeftBehind")
    assert told.namespace in message


def test_token_of_the_service_appears_nowhere(
    kube: KubeClient,
    make_namespace: NamespaceMaker,
    around: Around,
    start_operator: StartOperator,
    service: GrantsService,
    tmp_path: Path,
) -> None:
    """Accepted, and then refused: in no log, metric, event or status."""
    agents = Agents(kube, make_namespace("own-token"), around)
    agents.publish()
    operator = start_telling(agents, start_operator, service, tmp_path)
    token = service.token or ""
    agents.create()
    agents.ready()
    service.token = secrets.token_urlsafe(24)
    agents.tool("orders")
    agents.patch(**agents.uses({"domain": "orders"}))
    agents.until("GrantsReady", "False", reason="GrantsServiceRefused")
    told = agents.everything_of(operator)
    assert [place for place, text in told.items() if token in text] == []
    assert service.url in told["Agent"]


def test_grants_of_an_agent_whose_spec_cannot_be_read_are_taken_back(told: Agents, service: GrantsService) -> None:
    """A later version may refuse what an earlier one has stored. Who the Agent is stands in its metadata."""
    told.tool("orders")
    told.create(**told.uses({"domain": "orders"}))
    told.ready()
    assert tools(told, service) == ["orders"]
    with unruly(told):
        until("the API server takes it", lambda: takes(told, riskTier="extreme"))
        told.until("Ready", "False", reason="InvalidSpec", timeout=60)
    assert tools(told, service) == ["orders"], "as long as it is there"
    told.delete(wait=30)
    assert known(told, service) is None
    events = told.kube.list("v1", "Event", told.namespace)
    assert [event["reason"] for event in events if event["reason"] == "GrantsLeftBehind"] == []


@contextmanager
def unruly(agents: Agents) -> Iterator[None]:
    """A CRD that does not say which risk tiers there are, as that of another version may be."""
    crd = ("apiextensions.k8s.io/v1", "CustomResourceDefinition", "agents.ameide.io")
    path = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/riskTier/enum"
    live: Any = agents.kube.get(*crd)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    tiers = live["properties"]["spec"]["properties"]["riskTier"]["enum"]
    agents.kube.json_patch(*crd, [{"op": "remove", "path": path}])
    try:
        yield
    finally:
        agents.kube.json_patch(*crd, [{"op": "add", "path": path, "value": tiers}])
        # What is stored may stay as it is, so it has to be another each time.
        until("the rule is back", lambda: not takes(agents, riskTier=secrets.token_hex(4)))


def takes(agents: Agents, **spec: Any) -> bool:
    """Whether the API server takes a change of the Agent's spec."""
    try:
        agents.patch(**spec)
    except InvalidError:
        return False
    return True
