"""An Agent's life on the local platform: from creation through changes, and what people see of it meanwhile."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from agents import CHILD, RUNTIME, Agents, environment, reaches

from ameide_dev.client import ApiError
from ameide_dev.platform import Platform
from ameide_dev.processes import clean_environment
from ameide_dev.testing.waiting import never, until

CONDITIONS = {
    "Ready": "True",
    "Progressing": "False",
    "Degraded": "False",
    "PolicyViolation": "False",
    "DefinitionResolved": "True",
    "SecretsReady": "True",
    "WorkloadReady": "True",
    "GrantsReady": "True",
    "RuntimeReady": "True",
}
ENVIRONMENT = {
    "AGENT_DEFINITION_VERSION": "1",
    "TENANT_ID": "t123",
    "MODEL_PROVIDER": "echo",
    "MODEL_NAME": "parrot-1",
    "MODEL_BASE_URL": "http://echo-model.models.svc:8080",
    "RISK_TIER": "high",
    "MAX_PARALLEL_SESSIONS": "20",
    "LOG_PROMPTS": "redacted",
    "EMIT_TOKENS": "true",
    "AMEIDE_PRIMITIVE_KIND": "Agent",
    "AMEIDE_TENANT_ID": "t123",
}


def test_created_agent_becomes_ready_with_all_that_is_promised(agents: Agents) -> None:
    agents.tool("orders")
    agents.publish(roles=["coder"], tools=[{"domain": "orders", "operations": ["GetOrder"]}])
    began = time.monotonic()
    agents.create(
        riskTier="high",
        concurrency={"maxParallelSessions": 20},
        observability={"logPrompts": "redacted", "emitTokens": True},
        **agents.uses({"domain": "orders"}, {"primitive": "code-runner"}),
    )
    agent = agents.ready(timeout=30)
    took = time.monotonic() - began
    assert took < 10, f"it took {took:.1f} s"

    status = agent["status"]
    assert {each["type"]: each["status"] for each in status["conditions"]} == CONDITIONS
    assert status["observedGeneration"] == agent["metadata"]["generation"]
    assert "blocker" not in status
    assert status["endpoints"]["http"] == f"http://{CHILD}.{agents.namespace}.svc:8080"
    assert status["grants"]["count"] == 2
    assert (status["definition"]["id"], status["definition"]["version"]) == (agents.definition_id, 2)
    assert "violations" not in status["policy"]
    for api_version, kind in (
        ("apps/v1", "Deployment"),
        ("v1", "Service"),
        ("v1", "ServiceAccount"),
        ("networking.k8s.io/v1", "NetworkPolicy"),
    ):
        child = agents.child(api_version, kind, CHILD)
        assert child is not None, kind
        assert child["metadata"]["ownerReferences"][0]["uid"] == agent["metadata"]["uid"]

    env = environment(agents.container())
    wanted = {
        **ENVIRONMENT,
        "AGENT_DEFINITION_ID": agents.definition_id,
        "AGENT_DEFINITION_VERSION": "2",
        "AGENT_DEFINITION_CHECKSUM": status["definition"]["checksum"],
    }
    assert {name: env.get(name) for name in wanted} == wanted
    labels = agents.pods()[0]["metadata"]["labels"]
    assert (labels["ameide.io/risk-tier"], labels["ameide.io/tenant-id"]) == ("high", "t123")

    grants = agents.grants()
    assert [(each["kind"], each["name"]) for each in grants["tools"]] == [
        ("domain", "orders"),
        ("primitive", "code-runner"),
    ]
    assert grants["tools"][0]["address"]["http"] == f"http://orders-domain.{agents.namespace}.svc:8080"
    assert grants["agent"] == {"namespace": agents.namespace, "name": "coder", "tenantId": "t123"}
    egress = agents.egress()
    for reached in ("models", "tools", "orders"):
        assert reaches(egress, f'"{reached}"'), reached


def test_people_see_it_in_columns_and_are_told_why(agents: Agents, platform: Platform, tmp_path: Path) -> None:
    """`kubectl get agents` and `agent-operator explain`, of one that is well and of one that the policy forbids."""
    agents.create("good")
    agents.create("bad", riskTier="low", **agents.uses({"primitive": "code-runner"}))
    agents.ready("good")
    agents.until("PolicyViolation", name="bad")
    table = platform.kubectl("get", "agents", "--namespace", agents.namespace).splitlines()
    assert table[0].split() == ["NAME", "READY", "REASON", "TIER", "TOOLS", "AGE"]
    good = next(line for line in table if line.startswith("good")).split()
    assert good[1:5] == ["True", "AllResourcesHealthy", "low", "0"]
    bad = next(line for line in table if line.startswith("bad")).split()
    assert bad[1:4] == ["False", "PolicyViolation", "low"]

    program = Path(sys.executable).parent / "agent-operator"
    arguments = ["explain", "bad", "-n", agents.namespace, "--kubeconfig", str(platform.kubeconfig), "-o", "json"]
    settings = {**agents.around.settings(), "KUBECACHEDIR": str(tmp_path)}
    answer = subprocess.run(
        [str(program), *arguments], capture_output=True, text=True, env=clean_environment(settings), check=False
    )
    assert answer.returncode == 1, answer.stderr
    told = json.dumps(json.loads(answer.stdout))
    assert "PolicyViolation" in told
    assert "code-runner" in told
    assert "riskTier" in told


def test_new_image_and_new_definition_roll_the_pods(agents: Agents) -> None:
    agents.create()
    agents.ready()
    before = agents.uids()
    agents.patch(image=f"{RUNTIME.rpartition(':')[0]}:2.2.0")
    agents.wait_rolled(before)
    agents.ready()
    before = agents.uids()
    agents.publish(prompt="Be verbose.")
    agents.wait_rolled(before)
    agent = agents.ready()
    assert agent["status"]["definition"]["version"] == 2
    assert environment(agents.container())["AGENT_DEFINITION_VERSION"] == "2"


def test_definition_that_asks_for_more_is_not_rolled_out(agents: Agents) -> None:
    """The one before serves on; the tool that is missing is named, and once the spec has it, all is well."""
    agents.create()
    agents.ready()
    before = agents.uids()
    agents.publish(tools=[{"domain": "billing"}])
    agent = agents.until("DefinitionResolved", "False", reason="ToolsNotDeclared")
    assert f"domain/{agents.namespace}/billing" in agent["status"]["blocker"]["message"]
    assert agents.uids() == before
    agents.patch(**agents.uses({"domain": "billing"}))
    agent = agents.ready()
    assert agent["status"]["grants"]["pending"] == [f"domain/{agents.namespace}/billing"]


def test_definition_that_is_not_there_yet_is_waited_for(agents: Agents) -> None:
    agents.create(definitionRef={"id": f"{agents.namespace}-late"})
    agents.until("DefinitionResolved", "False")
    assert agents.child("apps/v1", "Deployment", CHILD) is None
    agents.around.transformation.put("agent", "t123", f"{agents.namespace}-late", {"prompt": "Hello."}, version=None)
    agents.ready(timeout=30)


def test_paused_agent_is_left_as_it_is_until_it_goes_on(agents: Agents) -> None:
    agents.create()
    agents.ready()
    agents.annotate(paused="true")
    agents.until("Paused")
    image = f"{RUNTIME.rpartition(':')[0]}:2.2.0"
    agents.patch(image=image)
    never("the image changes", lambda: agents.container()["image"] == image, 2)
    agents.annotate(paused=None)
    until("the image changes", lambda: agents.container()["image"] == image)
    agents.ready()


def test_autoscaling_comes_and_goes(agents: Agents) -> None:
    agents.create(autoscaling={"minReplicas": 2, "maxReplicas": 4})
    agents.ready(timeout=40)
    assert agents.child("autoscaling/v2", "HorizontalPodAutoscaler", CHILD) is not None
    assert agents.child("policy/v1", "PodDisruptionBudget", CHILD) is not None
    agents.patch(autoscaling=None)
    agents.kube.wait_gone("autoscaling/v2", "HorizontalPodAutoscaler", CHILD, agents.namespace, timeout=30)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"env": [{"name": "RISK_TIER", "value": "low"}]}, "set by the operator"),
        ({"tools": {"allowed": [{"domain": "a", "process": "b"}]}}, "exactly one of"),
        ({"riskTier": "harmless"}, "riskTier"),
        ({"model": {"provider": "echo", "name": "a b"}}, "name"),
    ],
)
def test_api_server_refuses_what_a_schema_can_say(agents: Agents, spec: dict[str, object], words: str) -> None:
    with pytest.raises(ApiError, match=words):
        agents.create(**spec)
