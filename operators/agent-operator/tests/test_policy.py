"""The policy at work: what it forbids is never released, what it comes to forbid is kept or cut off, until mended."""

from __future__ import annotations

from datetime import timedelta

import pytest
from agents import CHILD, RUNTIME, Agents, Around

from ameide_dev.client import KubeClient
from ameide_dev.operators import OperatorProcess
from ameide_dev.platform import Platform
from ameide_dev.pytest_plugin import NamespaceMaker
from ameide_dev.testing.subject import StartOperator, metric
from ameide_dev.testing.traffic import asked, settled
from ameide_dev.testing.waiting import never, until

RUNNER = {"primitive": "code-runner"}


def test_violating_agent_never_gets_a_pod(agents: Agents, platform: Platform, operator: OperatorProcess) -> None:
    """Each rule that is broken is named; nothing is made but status, not even for a moment."""
    start = platform.control_plane.audit_position()
    agents.create(model={"provider": "acme", "name": "x"}, **agents.uses(RUNNER, {"agent": "other"}))
    agent = agents.until("PolicyViolation")
    assert agents.condition("Ready")["reason"] == "PolicyViolation"
    assert agents.condition("Stalled")["status"] == "True"
    message = agents.condition("PolicyViolation")["message"]
    for words in ("code-runner", f"agent/{agents.namespace}/other", "acme/x", "Remedy"):
        assert words in message
    assert agent["status"]["policy"]["violations"]
    settled(platform, operator.user, start, quiet=2)
    made = asked(platform, operator.user, start, agents.namespace)
    assert {one.resource for one in made if one.writes} == {"agents/status"}
    assert agents.pods() == []
    agents.patch(riskTier="high", model={"provider": "echo", "name": "parrot-1"})
    agents.ready()


def test_violating_change_keeps_the_old_revision_whole(agents: Agents) -> None:
    """Neither image, nor environment, nor replicas' template move; with the spec mended all of it comes at once."""
    agents.create(env=[{"name": "COLOUR", "value": "blue"}])
    agents.ready()
    before, template = agents.uids(), agents.deployment()["spec"]["template"]
    image = f"{RUNTIME.rpartition(':')[0]}:2.2.0"
    agents.patch(image=image, env=[{"name": "COLOUR", "value": "red"}], **agents.uses(RUNNER))
    agent = agents.until("PolicyViolation")
    assert agent["status"]["revision"]["current"] != agent["status"]["revision"].get("target", "")
    never("the template moves", lambda: agents.deployment()["spec"]["template"] != template, 1.5)
    assert agents.uids() == before
    assert [each["name"] for each in agents.grants()["tools"]] == []
    agents.kube.delete("apps/v1", "Deployment", CHILD, agents.namespace)
    until("the Deployment is made anew", lambda: agents.child("apps/v1", "Deployment", CHILD))
    assert agents.container()["image"] == RUNTIME  # what is made anew is what was released
    agents.patch(tools=None)
    agents.ready()
    assert agents.container()["image"] == image


def test_quarantine_cuts_off_before_pods_go(agents: Agents, platform: Platform, operator: OperatorProcess) -> None:
    """In one reconcile, in this order: no egress, empty grants, no pods. Mended policy: it all comes back."""
    agents.tool("orders")
    agents.create(riskTier="high", **agents.uses(RUNNER, {"domain": "orders"}))
    agents.ready()
    settled(platform, operator.user, platform.control_plane.audit_position(), quiet=2)
    start = platform.control_plane.audit_position()
    agents.around.policy.deny(agents.namespace, "domain/*/orders")
    agent = agents.until("Ready", "False", reason="Quarantined", timeout=10)
    assert agents.egress() == []
    assert (agents.grants()["tools"], agents.grants().get("model")) == ([], None)
    assert agents.deployment()["spec"]["replicas"] == 0
    assert agent["status"]["grants"]["count"] == 0
    assert agent["status"]["policy"]["quarantined"] is True
    assert agents.condition("PolicyViolation")["reason"] == "Quarantined"
    until("the pods are gone", lambda: not agents.pods())
    writes = [str(one) for one in asked(platform, operator.user, start, agents.namespace) if one.writes]
    assert list(dict.fromkeys(writes))[:4] == [  # a Deployment whose fields become others takes two patches
        "patch networkpolicies",
        "create configmaps",
        "patch deployments",
        "patch agents/status",
    ]
    assert_together(platform, operator, start, agents.namespace)

    agents.around.policy.forgive(agents.namespace)
    agents.ready()
    assert agents.deployment()["spec"]["replicas"] == 1
    assert agents.egress() != []
    assert {each["name"] for each in agents.grants()["tools"]} == {"orders", "code-runner"}
    assert agents.pods() != []


def assert_together(platform: Platform, operator: OperatorProcess, start: int, namespace: str) -> None:
    """The cut took one reconcile: its first three writes follow each other within a second."""
    times = [
        event["requestReceivedTimestamp"]
        for event in platform.control_plane.audit_events(user=operator.user, after=start)
        if event["verb"] in ("patch", "create") and (event.get("objectRef") or {}).get("namespace") == namespace
    ][:3]
    first, last = (_moment(each) for each in (times[0], times[-1]))
    assert last - first < timedelta(seconds=1)


def _moment(text: str) -> timedelta:
    hours, minutes, seconds = text.partition("T")[2].rstrip("Z").split(":")
    return timedelta(hours=int(hours), minutes=int(minutes), seconds=float(seconds))


@pytest.mark.parametrize(
    ("spec", "count"), [({"replicas": 2}, 2), ({"autoscaling": {"minReplicas": 2, "maxReplicas": 4}}, 2)]
)
def test_as_many_pods_come_back_as_there_were(agents: Agents, spec: dict[str, object], count: int) -> None:
    """The usual autoscaler wakes nothing from zero, so the operator does; then it has the say again."""
    agents.tool("orders")
    agents.create(riskTier="high", **agents.uses({"domain": "orders"}), **spec)
    agents.ready(timeout=40)
    until("all replicas", lambda: len(agents.pods()) >= count)
    replicas = agents.deployment()["spec"]["replicas"]
    agents.around.policy.deny(agents.namespace, "domain/*/orders")
    agents.until("Ready", "False", reason="Quarantined", timeout=10)
    until("no pod is left", lambda: not agents.pods())
    if "autoscaling" in spec:
        agents.kube.wait_gone("autoscaling/v2", "HorizontalPodAutoscaler", CHILD, agents.namespace, timeout=20)
    agents.around.policy.forgive(agents.namespace)
    agents.ready(timeout=40)
    until("all replicas", lambda: len(agents.pods()) >= count)
    assert agents.deployment()["spec"]["replicas"] == replicas
    assert not any("quarantine" in name for name in agents.deployment()["metadata"]["annotations"])
    if "autoscaling" in spec:
        until("the autoscaler", lambda: agents.child("autoscaling/v2", "HorizontalPodAutoscaler", CHILD))


def test_quarantined_agent_comes_back_when_its_spec_is_mended(agents: Agents) -> None:
    agents.tool("orders")
    agents.create(riskTier="high", **agents.uses(RUNNER, {"domain": "orders"}))
    agents.ready()
    agents.around.policy.deny(agents.namespace, "domain/*/orders")
    agents.until("Ready", "False", reason="Quarantined", timeout=10)
    agents.patch(**agents.uses(RUNNER))
    agent = agents.ready()
    assert [each["name"] for each in agents.grants()["tools"]] == ["code-runner"]
    assert "quarantined" not in agent["status"]["policy"]


def test_paused_agent_is_not_cut_off_and_says_that_it_should_be(agents: Agents) -> None:
    """Pausing means that nothing is written, not even this; when it ends, the cut comes at once."""
    agents.tool("orders")
    agents.create(riskTier="high", **agents.uses({"domain": "orders"}))
    agents.ready()
    agents.annotate(paused="true")
    agents.until("Paused")
    before, egress = agents.uids(), agents.egress()
    agents.around.policy.deny(agents.namespace, "domain/*/orders")
    agent = agents.until("Ready", "False", reason="Quarantined", timeout=10)
    assert "ameide.io/paused" in agent["status"]["blocker"]["message"]
    assert "ameide.io/paused" in agent["status"]["blocker"]["remedy"]
    assert "quarantined" not in agent["status"]["policy"]
    assert agent["status"]["grants"]["count"] == 1
    assert (agents.uids(), agents.egress()) == (before, egress)
    agents.annotate(paused=None)
    until("no egress", lambda: agents.egress() == [], timeout=10)
    until("no pods", lambda: not agents.pods(), timeout=10)
    until("it says so", lambda: agents.get()["status"]["policy"].get("quarantined") is True, timeout=10)


def test_tightened_policy_lets_low_tiers_run_on(agents: Agents) -> None:
    """KeepLast: pods, network and grants stay as they are, and it says so."""
    agents.tool("orders")
    agents.create(**agents.uses({"domain": "orders"}))
    agents.ready()
    before, egress, grants = agents.uids(), agents.egress(), agents.grants()
    agents.around.policy.deny(agents.namespace, "domain/*/orders")
    agents.until("PolicyViolation", timeout=10)
    assert agents.condition("Degraded")["status"] == "True"
    never("anything changes", lambda: agents.uids() != before or agents.egress() != egress, 1.5)
    assert agents.grants() == grants
    agents.around.policy.forgive(agents.namespace)
    agents.ready()
    assert agents.uids() == before


def test_tier_that_the_tenant_may_not_claim_is_refused(
    operator: OperatorProcess, kube: KubeClient, make_namespace: NamespaceMaker, around: Around
) -> None:
    """By the namespace's label, whatever the Agent says of itself; when it changes, the Agent is judged anew."""
    agents = Agents(kube, make_namespace(labels={"ameide.io/tenant-id": "other"}), around)
    around.transformation.put("agent", "other", agents.definition_id, {"prompt": "Hello."}, version=None)
    agents.create(riskTier="high", definitionRef={"tenantId": "other"})
    agent = agents.until("PolicyViolation")
    assert agent["status"]["policy"]["violations"] == ["tiers.high.availableTo"]
    label = {"metadata": {"labels": {"ameide.io/tenant-id": "t123"}}}
    kube.merge_patch("v1", "Namespace", agents.namespace, label)
    agents.until("Ready", "False", reason="TenantMismatch")
    agents.publish()
    agents.patch(definitionRef={"tenantId": "t123"})
    agents.ready()


def test_broken_policy_stays_out_of_force_and_is_told(
    kube: KubeClient, make_namespace: NamespaceMaker, own_around: Around, start_operator: StartOperator
) -> None:
    """No file: nothing starts. A broken one does not replace the good one: Agents run, start, and say what is wrong."""
    agents = Agents(kube, make_namespace("own-broken"), own_around)
    agents.publish()
    own_around.policy.file.unlink()
    operator = start_operator("own-broken", **own_around.settings())
    agents.create()
    agents.until("Ready", "False", reason="PolicyNotLoaded")
    assert metric(operator, "ameide_agent_policy_valid") == 0
    assert agents.child("apps/v1", "Deployment", CHILD) is None
    own_around.policy.allow()
    agents.ready()
    assert metric(operator, "ameide_agent_policy_valid") == 1
    assert metric(operator, "ameide_agents", tenant_id="t123", risk_tier="low", ready="true", violation="false") == 1

    own_around.policy.text("version: policy.ameide.io/v1\ntiers: {lowest: {}}\n")
    agents.until("Degraded", "True", reason="PolicyInvalid", timeout=10)
    agents.ready()
    message = agents.condition("Degraded")["message"]
    assert "lowest" in message
    assert metric(operator, "ameide_agent_policy_valid") == 0
    assert "lowest" in operator.logs
    agents.create("late")
    agents.ready("late")  # the policy before it is in force
    own_around.policy.allow()
    agents.until("Degraded", "False", timeout=10)
    assert metric(operator, "ameide_agent_policy_valid") == 1


@pytest.mark.parametrize("granted", [True, False])
def test_variables_may_read_secrets_that_the_policy_grants(agents: Agents, granted: bool) -> None:
    name = "my-flags" if granted else "my-db"
    reference = {"secretKeyRef": {"name": name, "key": "x"}}
    agents.kube.create(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": agents.namespace},
            "stringData": {"x": "1"},
        }
    )
    agents.create(env=[{"name": "X", "valueFrom": reference}])
    if granted:
        agents.ready()
    else:
        agent = agents.until("PolicyViolation")
        assert "my-db" in agent["status"]["blocker"]["message"]
