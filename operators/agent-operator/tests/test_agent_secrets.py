"""Credentials: fetched by external-secrets or made by others, waited for with all their keys, rotated, never shown."""

from __future__ import annotations

import base64
import secrets
from typing import Any

import pytest
from agent_golden import GOLDEN
from agents import CHILD, SUBJECT, Agents, Around

from agent_operator.main import DEFINITION
from agent_operator.plan.credentials import target_name
from ameide_dev.client import KubeClient
from ameide_dev.externalsecrets import ExternalSecrets
from ameide_dev.operators import OperatorProcess
from ameide_dev.pytest_plugin import NamespaceMaker
from ameide_dev.testing.firstlook import passed_on, secret_of
from ameide_dev.testing.subject import StartOperator
from ameide_dev.testing.waiting import never
from ameide_shared.redact import fingerprint

OPENAI: dict[str, Any] = {"model": {"provider": "openai", "name": "gpt-5"}}
TARGET = target_name(CHILD, "openai")
ESO = "external-secrets.io/v1"


def say(agents: Agents, status: str, message: str) -> None:
    """Write the ExternalSecret's condition Ready, as external-secrets would."""
    condition = {
        "type": "Ready",
        "status": status,
        "reason": "SecretSynced" if status == "True" else "SecretSyncedError",
        "message": message,
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    agents.kube.patch_status(ESO, "ExternalSecret", TARGET, {"conditions": [condition]}, agents.namespace)


def key(agents: Agents) -> str:
    """Where the policy has the store looked for the credential."""
    return f"{agents.namespace}/openai"


def test_agent_waits_for_its_credential_and_gets_it_as_a_file(agents: Agents, store: ExternalSecrets) -> None:
    """Nothing runs before the Secret is there with its key; what external-secrets says is passed on."""
    store.pause()
    agents.create(**OPENAI)
    agents.until("SecretsReady", "False", reason="SecretsSyncing")
    store.resume()
    store.fail("denied")
    agent = agents.until("SecretsReady", "False", reason="SecretNotSynced")
    blocker = agent["status"]["blocker"]
    assert blocker["message"] == f"ExternalSecret {TARGET}: could not get secret data from provider"
    assert f"kubectl describe externalsecret {TARGET}" in blocker["remedy"]
    store.heal()
    store.put(key(agents), {"another": "x"})
    agents.until("SecretsReady", "False", reason="SecretNotSynced")
    assert agents.pods() == []
    store.put(key(agents), {"apiKey": "sk-one-0123456789abcdef"})
    agents.ready()
    pod = agents.deployment()["spec"]["template"]["spec"]
    volume = next(each for each in pod["volumes"] if each["name"] == "credentials")
    assert volume["projected"]["sources"] == [
        {"secret": {"name": TARGET, "items": [{"key": "api-key", "path": "openai/api-key"}]}}
    ]
    mount = next(each for each in agents.container()["volumeMounts"] if each["name"] == "credentials")
    assert (mount["mountPath"], mount["readOnly"]) == ("/etc/ameide/credentials", True)
    (value,) = agents.grants()["credentials"]["openai"]["values"]
    assert value == {"key": "api-key", "file": "/etc/ameide/credentials/openai/api-key"}


def test_rotated_credential_rolls_the_pods_once(agents: Agents, store: ExternalSecrets) -> None:
    """A new value rolls them; another label does not, nor that the store is down, nor that the Secret is gone."""
    store.put(key(agents), {"apiKey": "sk-one-0123456789abcdef"})
    agents.create(**OPENAI)
    agents.ready()
    before = agents.uids()
    store.put(key(agents), {"apiKey": "sk-two-0123456789abcdef"})
    agents.wait_rolled(before)
    agents.ready()
    before = agents.uids()
    generation = agents.deployment()["metadata"]["generation"]
    agents.kube.merge_patch("v1", "Secret", TARGET, {"metadata": {"labels": {"colour": "red"}}}, agents.namespace)
    never("pods roll", lambda: agents.uids() != before, 1.5)
    assert agents.deployment()["metadata"]["generation"] == generation
    store.fail("unavailable")
    agents.until("SecretsReady", reason="SecretNotSynced")
    assert agents.condition("Degraded")["status"] == "True"
    assert agents.condition("Ready")["status"] == "True"
    store.pause()
    agents.kube.delete("v1", "Secret", TARGET, agents.namespace)
    agents.until("SecretsReady", "False")
    never("pods roll", lambda: agents.uids() != before, 1.5)
    store.heal()
    store.resume()
    agents.ready()
    assert agents.uids() == before


def test_external_secret_goes_with_the_need_for_it(agents: Agents, store: ExternalSecrets) -> None:
    store.put(key(agents), {"apiKey": "sk-one-0123456789abcdef"})
    agents.create(**OPENAI)
    agents.ready()
    agents.patch(model={"provider": "echo", "name": "parrot-1"})
    agents.kube.wait_gone(ESO, "ExternalSecret", TARGET, agents.namespace, timeout=20)
    # The garbage collector looks for new kinds of owners every 30 s.
    agents.kube.wait_gone("v1", "Secret", TARGET, agents.namespace, timeout=70)
    agents.ready()
    assert "credentials" not in {each["name"] for each in agents.deployment()["spec"]["template"]["spec"]["volumes"]}


def test_secret_of_somebody_else_is_waited_for_and_read_into_a_variable(agents: Agents) -> None:
    """`secretName` of the policy: missing, lacking its key, there; the variable is the policy's, not the author's."""
    agents.tool("ledger")
    agents.create(**agents.uses({"domain": "ledger"}))
    agent = agents.until("SecretsReady", "False", reason="SecretNotFound")
    assert "coder-ledger" in agent["status"]["blocker"]["message"]
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "coder-ledger", "namespace": agents.namespace}}
    agents.kube.create({**secret, "stringData": {"other": "x"}})
    agents.until("SecretsReady", "False", reason="SecretKeyMissing", timeout=40)
    value = base64.b64encode(b"ledger-token-0123456789").decode()
    agents.kube.merge_patch("v1", "Secret", "coder-ledger", {"data": {"token": value}}, agents.namespace)
    agents.ready(timeout=60)
    variable = next(each for each in agents.container()["env"] if each["name"] == "LEDGER_TOKEN")
    assert variable["valueFrom"]["secretKeyRef"] == {"name": "coder-ledger", "key": "token"}
    assert agents.kube.get("v1", "Secret", "coder-ledger", agents.namespace)["metadata"].get("ownerReferences") is None


def test_rotated_secret_of_somebody_else_rolls_the_pods_once(
    kube: KubeClient, make_namespace: NamespaceMaker, around: Around, start_operator: StartOperator
) -> None:
    """No watch shows it, so it is looked at; also while a violating change is held back, for what runs needs it."""
    agents = Agents(kube, make_namespace("own-theirs"), around)
    agents.publish()
    start_operator(agents.namespace, **around.settings(), AMEIDE_SECRET_SECONDS="1")
    metadata = {"name": "coder-ledger", "namespace": agents.namespace}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"token": "ledger-one-0123456"}}
    kube.create(secret)
    agents.tool("ledger")
    agents.create(**agents.uses({"domain": "ledger"}))
    agents.ready(timeout=40)

    def rotate(value: str) -> None:
        before = agents.uids()
        kube.merge_patch("v1", "Secret", "coder-ledger", {"stringData": {"token": value}}, agents.namespace)
        agents.wait_rolled(before, timeout=60)
        rolled = agents.uids()
        never("they roll again", lambda: agents.uids() != rolled, 3)

    rotate("ledger-two-0123456")
    agents.patch(**agents.uses({"domain": "ledger"}, {"primitive": "code-runner"}))
    agents.until("PolicyViolation")
    assert agents.condition("SecretsReady")["reason"] == "SecretsReady"
    rotate("ledger-three-0123456")
    kube.delete("v1", "Secret", "coder-ledger", agents.namespace)
    agent = agents.until("SecretsReady", "False", reason="SecretNotFound", timeout=60)
    assert agent["status"]["blocker"]["reason"] == "PolicyViolation"  # which comes first


def test_no_store_in_the_settings_is_said(
    kube: KubeClient, make_namespace: NamespaceMaker, around: Around, start_operator: StartOperator
) -> None:
    agents = Agents(kube, make_namespace("own-nostore"), around)
    agents.publish()
    start_operator("own-nostore", **{**around.settings(), "AMEIDE_SECRET_STORE__NAME": ""})
    agents.create(**OPENAI)
    agent = agents.until("SecretsReady", "False", reason="SecretStoreNotConfigured")
    assert "secretStore.name" in agent["status"]["blocker"]["remedy"]


@pytest.mark.parametrize("refused", [False, True], ids=["accepted", "refused"])
def test_nothing_secret_appears_anywhere(
    kube: KubeClient,
    make_namespace: NamespaceMaker,
    around: Around,
    start_operator: StartOperator,
    store: ExternalSecrets,
    refused: bool,
) -> None:
    """Neither credentials nor tokens: in no log, metric, event, status or object but the Secret itself."""
    agents = Agents(kube, make_namespace("own-secret"), around)
    agents.publish()
    token_file = around.token_file.with_name(f"token-{secrets.token_hex(3)}")
    token = "wrong-" + secrets.token_hex(16) if refused else around.token_file.read_text()
    token_file.write_text(token)
    operator = start_operator(
        "own-secret",
        **{
            **around.settings(),
            "AMEIDE_TRANSFORMATION__TOKEN_FILE": str(token_file),
            "AMEIDE_LOG_LEVEL": "debug",
        },
    )
    credential, ledger = f"sk-{secrets.token_hex(16)}", f"ledger-{secrets.token_hex(16)}"
    metadata = {"name": "coder-ledger", "namespace": agents.namespace}
    kube.create({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"token": ledger}})
    agents.tool("ledger")
    store.put(key(agents), {"apiKey": credential})
    agents.create(**OPENAI, **agents.uses({"domain": "ledger"}))
    if refused:
        agents.until("DefinitionResolved", "False", reason="TransformationRefused")
    else:
        agents.ready(timeout=40)
        store.pause()
        say(agents, "False", f"the store said: the key {credential} is revoked")
        agents.until("SecretsReady", reason="SecretNotSynced")  # there, and cannot be renewed
        assert "is revoked" in agents.condition("SecretsReady")["message"]
    seen = agents.everything_of(operator)
    del seen["ExternalSecret"]  # it is there that the test has said it
    assert [place for place, text in seen.items() for one in (token, credential, ledger) if one in text] == []


async def test_first_look_of_a_new_process_knows_the_credentials_of_this_agent_alone() -> None:
    """Whatever the keys are called; another Agent's, which a container might guess, are not looked for."""
    agent = GOLDEN.based({"base": "agent"})
    another = {**agent, "metadata": {**agent["metadata"], "name": "another"}}
    heard = await passed_on(
        DEFINITION,
        agent,
        "before sk-our-own-credential and sk-word-of-others after",
        secret_of(agent, TARGET, api_key="sk-our-own-credential"),
        secret_of(another, "another-agent-openai", api_key="sk-word-of-others"),
    )
    assert heard == f"before {fingerprint('sk-our-own-credential')} and sk-word-of-others after"


def test_what_a_store_said_while_no_operator_ran_is_told_without_the_credential(
    kube: KubeClient,
    make_namespace: NamespaceMaker,
    around: Around,
    start_operator: StartOperator,
    store: ExternalSecrets,
) -> None:
    """Neither a credential of ours nor one of somebody else's Secret, which no watch shows."""
    agents = Agents(kube, make_namespace("own-restart"), around)
    agents.publish()
    operator = start_operator(agents.namespace, **around.settings())
    credential, ledger = f"sk-{secrets.token_hex(16)}", f"ledger-{secrets.token_hex(16)}"
    metadata = {"name": "coder-ledger", "namespace": agents.namespace}
    kube.create({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"token": ledger}})
    agents.tool("ledger")
    store.put(key(agents), {"apiKey": credential})
    agents.create(**OPENAI, **agents.uses({"domain": "ledger"}))
    agents.ready(timeout=40)
    operator.kill()
    store.pause()
    say(agents, "False", f"the store said: {credential} and {ledger} are revoked")
    operator.start()
    agents.until("SecretsReady", reason="SecretNotSynced", timeout=40)
    marks = f"{fingerprint(credential)} and {fingerprint(ledger)}"
    assert f"the store said: {marks} are revoked" in agents.condition("SecretsReady")["message"]
    seen = agents.everything_of(operator)
    del seen["ExternalSecret"]  # it is there that the test has said it
    assert [place for place, text in seen.items() for one in (credential, ledger) if one in text] == []


def test_operator_may_not_write_secrets(operator: OperatorProcess, kube: KubeClient, namespace: str) -> None:
    """Its own account is refused by the API server, for it has no such right."""
    for verb, expected in (("get", True), ("list", True), ("create", False), ("patch", False), ("delete", False)):
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "metadata": {},
            "spec": {
                "user": operator.user,
                "resourceAttributes": {"namespace": namespace, "verb": verb, "resource": "secrets"},
            },
        }
        assert kube.create(review)["status"]["allowed"] is expected, verb
    assert operator.service_account == f"ameide-operators-{SUBJECT.operator}"
