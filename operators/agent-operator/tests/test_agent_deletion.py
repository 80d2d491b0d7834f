"""Deleting Agents: without a grants service nothing holds them, and nothing of them stays."""

from __future__ import annotations

from agents import CHILD, STORE, Agents

from agent_operator.plan.credentials import target_name
from ameide_dev.externalsecrets import ExternalSecrets
from ameide_dev.operators import OperatorProcess
from ameide_dev.platform import Platform
from ameide_dev.testing.traffic import asked, settled
from ameide_dev.testing.waiting import until

KINDS = (
    ("apps/v1", "Deployment"),
    ("apps/v1", "ControllerRevision"),
    ("v1", "Service"),
    ("v1", "ServiceAccount"),
    ("v1", "ConfigMap"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
    ("external-secrets.io/v1", "ExternalSecret"),
)


def left(agents: Agents) -> list[str]:
    """What is still there of an Agent's children."""
    selector = "ameide.io/primitive=agent"
    return [
        f"{kind} {each['metadata']['name']}"
        for api_version, kind in KINDS
        for each in agents.kube.list(api_version, kind, agents.namespace, label_selector=selector)
    ]


def test_nothing_holds_an_agent_whose_grants_nobody_else_knows(
    agents: Agents, platform: Platform, operator: OperatorProcess, store: ExternalSecrets
) -> None:
    """No finalizer; the garbage collector takes all children, and the operator writes nothing any more."""
    store.put(f"{agents.namespace}/openai", {"apiKey": "sk-test-0123456789"})
    agents.create(model={"provider": "openai", "name": "gpt-5"})
    agent = agents.ready()
    assert not agent["metadata"].get("finalizers")
    settled(platform, operator.user, platform.control_plane.audit_position(), quiet=1)
    start = platform.control_plane.audit_position()
    agents.delete(wait=20)
    until("all children are gone", lambda: not left(agents))
    settled(platform, operator.user, start, quiet=1)
    assert [str(one) for one in asked(platform, operator.user, start, agents.namespace) if one.writes] == []


def test_agent_that_the_policy_forbids_can_be_deleted(agents: Agents) -> None:
    """Quarantined, and one that never ran."""
    agents.tool("orders")
    agents.create(riskTier="high", **agents.uses({"domain": "orders"}))
    agents.ready()
    agents.create("never", **agents.uses({"primitive": "code-runner"}))
    agents.until("PolicyViolation", name="never")
    agents.around.policy.deny(agents.namespace, "domain/*/orders")
    agents.until("Ready", "False", reason="Quarantined")
    agents.delete("never", wait=20)
    agents.delete(wait=20)
    until("all children are gone", lambda: not left(agents))


def test_store_is_named_by_settings_and_never_by_the_author(agents: Agents) -> None:
    """What is asked of the secret store comes from policy and settings; the Agent goes with its ExternalSecret."""
    agents.create(model={"provider": "openai", "name": "gpt-5"})
    name = target_name(CHILD, "openai")
    wanted = until("it", lambda: agents.child("external-secrets.io/v1", "ExternalSecret", name))
    assert wanted["spec"]["secretStoreRef"] == {"name": STORE, "kind": "ClusterSecretStore"}
    assert wanted["spec"]["data"][0]["remoteRef"]["key"] == f"{agents.namespace}/openai"
    assert wanted["metadata"]["ownerReferences"][0]["uid"] == agents.get()["metadata"]["uid"]
    agents.delete(wait=20)
    until("it is gone", lambda: not left(agents))
