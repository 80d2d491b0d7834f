"""Grants: of tools that come and go, over namespaces with consent, and as the grants service is told of them."""

from __future__ import annotations

import time

from agents import CHILD, Agents, Around, reaches

from ameide_dev.client import KubeClient
from ameide_dev.operators import OperatorProcess
from ameide_dev.platform import Platform
from ameide_dev.pytest_plugin import NamespaceMaker
from ameide_dev.testing.subject import StartOperator, metric
from ameide_dev.testing.traffic import asked, settled
from ameide_dev.testing.waiting import until


def digests(agents: Agents) -> set[str]:
    """Digests of the grants that pods hold."""
    return {each["metadata"].get("annotations", {}).get("ameide.io/grants-digest", "") for each in agents.pods()}


def test_tool_that_appears_is_granted_at_once(agents: Agents, platform: Platform, operator: OperatorProcess) -> None:
    """Pending meanwhile, which keeps the Agent from nothing; no request while it waits; taken away when it goes."""
    agents.create(**agents.uses({"domain": "orders"}, {"process": "l2o"}))
    agent = agents.ready()
    names = [f"domain/{agents.namespace}/orders", f"process/{agents.namespace}/l2o"]
    assert agent["status"]["grants"]["pending"] == names
    assert agent["status"]["grants"]["count"] == 0
    assert names[0] in agents.condition("GrantsReady")["message"]
    assert not reaches(agents.egress(), '"orders"')
    settled(platform, operator.user, platform.control_plane.audit_position(), quiet=2)
    position = platform.control_plane.audit_position()
    time.sleep(2)
    assert asked(platform, operator.user, position, agents.namespace) == []

    agents.tool("orders")
    began = time.monotonic()
    until("it is granted", lambda: agents.get()["status"]["grants"]["count"] == 1, timeout=10)
    took = time.monotonic() - began
    assert took < 5, f"it took {took:.1f} s"
    agent = agents.ready()
    assert agent["status"]["grants"]["pending"] == names[1:]
    assert [each["name"] for each in agents.grants()["tools"]] == ["orders"]
    assert reaches(agents.egress(), '"orders"')
    until("pods hold it", lambda: digests(agents) == {agent["status"]["grants"]["digest"]})
    agents.tool("l2o", "Process")
    until("both", lambda: agents.get()["status"]["grants"]["count"] == 2, timeout=10)
    agents.kube.delete("ameide.io/v1", "Domain", "orders", agents.namespace)
    until("one", lambda: agents.get()["status"]["grants"].get("pending") == names[:1], timeout=10)
    assert not reaches(agents.egress(), '"orders"')


def test_old_grants_are_removed_when_no_pod_holds_them(agents: Agents) -> None:
    agents.create(**agents.uses({"domain": "orders"}))
    agents.ready()
    agents.tool("orders")
    until("it is granted", lambda: agents.get()["status"]["grants"]["count"] == 1, timeout=10)

    def held() -> list[str]:
        found = agents.kube.list("v1", "ConfigMap", agents.namespace)
        return [each["metadata"]["name"] for each in found if "grants.json" in (each.get("data") or {})]

    until("one ConfigMap of grants is left", lambda: len(held()) == 1)
    assert held() == [f"{CHILD}-grants-{agents.get()['status']['grants']['digest'].removeprefix('sha256:')[:16]}"]


def test_tool_of_another_namespace_needs_consent(agents: Agents, make_namespace: NamespaceMaker) -> None:
    """The policy allows it, which opens no border: it is pending, with the remedy, until its owner consents."""
    other = make_namespace("other")
    agents.tool("orders", namespace=other)
    agents.create(**agents.uses({"domain": f"{other}/orders"}))
    agent = agents.ready()
    assert agent["status"]["grants"]["pending"] == [f"domain/{other}/orders"]
    assert "ameide.io/allowed-namespaces" in agents.condition("GrantsReady")["message"]
    assert not reaches(agents.egress(), other)

    def consent(value: str | None) -> None:
        annotations = {"metadata": {"annotations": {"ameide.io/allowed-namespaces": value}}}
        agents.kube.merge_patch("ameide.io/v1", "Domain", "orders", annotations, other)

    consent(agents.namespace)
    until("it is granted", lambda: agents.get()["status"]["grants"]["count"] == 1, timeout=10)
    agents.ready()
    assert reaches(agents.egress(), other)
    consent(None)
    until("it is taken back", lambda: agents.get()["status"]["grants"]["count"] == 0, timeout=10)
    assert not reaches(agents.egress(), other)


def test_tool_of_what_runs_is_taken_away_while_the_spec_asks_for_something_else(
    agents: Agents, make_namespace: NamespaceMaker
) -> None:
    """A change that the policy forbids is held back. That the owner of a tool of what runs on withdraws its consent
    concerns the Agent all the same, although its spec does not name that tool any more.
    """
    other = make_namespace("other")
    agents.tool("orders", namespace=other, **{"ameide.io/allowed-namespaces": agents.namespace})
    agents.create(**agents.uses({"domain": f"{other}/orders"}))
    agents.ready()
    assert reaches(agents.egress(), other)
    agents.patch(**agents.uses({"primitive": "code-runner"}))
    agents.until("PolicyViolation")
    assert reaches(agents.egress(), other)
    annotations = {"metadata": {"annotations": {"ameide.io/allowed-namespaces": None}}}
    agents.kube.merge_patch("ameide.io/v1", "Domain", "orders", annotations, other)
    until("it is taken away", lambda: not reaches(agents.egress(), other), timeout=10)
    until("its grants are, too", lambda: agents.grants()["tools"] == [], timeout=10)


def test_agent_is_a_tool_of_another(agents: Agents) -> None:
    """It is granted as soon as it exists, Ready or not, and has the address of its own Service."""
    agents.create("chief", riskTier="high", **agents.uses({"agent": "clerk"}))
    agent = agents.ready("chief")
    assert agent["status"]["grants"]["pending"] == [f"agent/{agents.namespace}/clerk"]
    agents.create("clerk")
    until("it is granted", lambda: agents.get("chief")["status"]["grants"]["count"] == 1, timeout=10)
    agents.ready("chief")
    (tool,) = agents.grants("chief")["tools"]
    assert tool["address"]["http"] == f"http://clerk-agent.{agents.namespace}.svc:8080"


def test_operations_that_the_policy_leaves_are_what_is_granted(agents: Agents) -> None:
    """A deny narrows what is granted without operations, and refuses what is asked for by name."""
    agents.tool("orders")
    agents.create(**agents.uses({"domain": "orders"}))
    agents.create("exact", **agents.uses({"domain": "orders", "operations": ["DeleteOrder"]}))
    agents.ready("exact")
    agents.ready()
    agents.around.policy.deny(agents.namespace, "**:Delete*")
    agents.until("PolicyViolation", name="exact", timeout=10)
    until("it is narrowed", lambda: agents.grants()["tools"][0]["operations"].get("deny") == ["Delete*"], timeout=10)
    agents.ready()


def test_what_does_not_matter_of_a_tool_wakes_nobody(
    kube: KubeClient, make_namespace: NamespaceMaker, around: Around, start_operator: StartOperator
) -> None:
    """A tool's status, spec and labels are its own business."""
    agents = Agents(kube, make_namespace("own-wake"), around)
    agents.publish()
    operator = start_operator("own-wake", **around.settings())
    agents.tool("orders")
    agents.create(**agents.uses({"domain": "orders"}))
    agents.ready()

    def count() -> float:
        return metric(operator, "controller_runtime_reconcile_total")

    def steady() -> bool:
        before = count()
        time.sleep(1.5)
        return count() == before

    until("nothing is under way", steady)
    before = count()
    for number in range(5):
        change = {"metadata": {"labels": {"colour": f"c{number}"}}, "spec": {"image": f"ghcr.io/a/b:{number}"}}
        kube.merge_patch("ameide.io/v1", "Domain", "orders", change, agents.namespace)
    time.sleep(2)
    assert count() == before
