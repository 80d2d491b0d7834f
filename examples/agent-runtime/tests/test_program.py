"""The program's life: what makes it ready, what it follows while it runs, what it logs, and how it stops."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from agent_runtime_support import DEFINITION, MODEL_KEY, SOURCE, TOOL_TOKEN, Program, Starter, ToolServer, grants

from ameide_dev.modelserver import ModelServer

Break = Callable[[Program], object]


def test_it_says_what_it_runs(program: Program) -> None:
    assert program.http.get("/readyz").json() == {"status": "ready"}
    assert program.http.get("/healthz").json() == {"status": "ok"}
    text = program.http.get("/metrics").text
    assert 'definition_id="clerk"' in text
    assert 'risk_tier="low"' in text
    assert program.metric("agent_runtime_ready") == 1
    assert program.metric("agent_runtime_granted_tools") == 3
    assert program.metric("agent_runtime_sessions_limit") == 2


def orders(*deny: str) -> dict[str, Any]:
    return {
        "kind": "domain", "namespace": "shop", "name": "orders", "address": {"http": "http://127.0.0.1:1"},
        "operations": {"allow": ["*"], "deny": list(deny)}, "credentials": [],
    }  # fmt: skip


UNREADY: dict[str, tuple[Break, str]] = {
    "no definition": (lambda one: one.remove("agent/definition.json"), "the definition cannot be read from"),
    "no grants": (lambda one: one.remove("agent/grants.json"), "the grants cannot be read from"),
    "broken grants": (lambda one: one.write("agent/grants.json", "{"), "cannot be used: it is no JSON"),
    "future grants": (lambda one: one.grant(version="grants.ameide.io/v2"), "this runtime reads 'grants.ameide.io/v1'"),
    "grants without tools": (lambda one: one.grant(tools=None), "tools must be a list"),
    "another definition": (
        lambda one: one.write("agent/definition.json", json.dumps(DEFINITION | {"instructions": "Obey."})),
        "it is not the definition that these pods are for",
    ),
    "another tenant": (
        lambda one: one.grant(agent={"namespace": "shop", "name": "clerk", "tenantId": "globex"}),
        "the grants are for 'globex', and TENANT_ID is 'acme'",
    ),
    "another tier": (lambda one: one.grant(riskTier="high"), "RISK_TIER is 'low'"),
    "another model": (
        lambda one: one.grant(model={"provider": "echo", "name": "echo-2", "credentials": []}),
        "the grants are for the model echo/echo-2",
    ),
    "a model without address": (
        lambda one: one.grant(model={"provider": "echo", "name": "echo-1", "credentials": []}),
        "nobody says where provider echo is",
    ),
    "quarantine": (lambda one: one.grant(model=None, tools=[], pending=[]), "everything has been taken"),
    "a tool that is needed": (lambda one: one.grant(tools=[]), "needs domain/shop/orders, which is not granted"),
    "an operation that is needed": (
        lambda one: one.grant(tools=[orders("List*")]),
        "needs domain/shop/orders:ListOrders, which is not granted",
    ),
    "no credential": (lambda one: one.remove("credentials/runner/token"), "primitive/runner: credential runner: its"),
    "an empty credential": (lambda one: one.write("credentials/echo/api-key", "\n"), "the model: credential echo: its"),
    "a strange credential": (
        lambda one: one.grant(credentials={"echo": {"values": []}, "runner": {"values": []}}),
        "this runtime can send a single value",
    ),
    "an unknown credential": (lambda one: one.grant(credentials={}), "credential echo is not among the credentials"),
}


@pytest.mark.parametrize("name", UNREADY)
def test_it_is_ready_only_when_all_is_there_and_fits(start_program: Starter, name: str) -> None:
    program = start_program(wait=False)
    wrong, told = UNREADY[name]
    wrong(program)
    program.start()
    answer = program.until("/readyz", lambda answer: answer.status_code == 503)
    assert any(told in problem for problem in answer.json()["problems"]), answer.text
    assert program.http.get("/healthz").status_code == 200
    refused = program.ask("hi")
    assert (refused.status_code, refused.json()["code"]) == (503, "NotReady")
    assert program.metric("agent_runtime_ready") == 0
    # All that was wrong is mended while it runs.
    program.write("agent/definition.json", json.dumps(DEFINITION))
    program.write("credentials/echo/api-key", MODEL_KEY)
    program.write("credentials/runner/token", TOOL_TOKEN)
    program.grant()
    program.ready()
    assert program.told("hi")["output"] == "hi"


def test_grants_of_a_namespace_without_a_tenant_fit(start_program: Starter, tool: ToolServer) -> None:
    program = start_program(wait=False)
    program.grant(agent={"namespace": "shop", "name": "clerk", "tenantId": ""})
    program.start()
    program.ready()
    program.told("call domain/orders ListOrders")
    assert tool.seen[0].headers["x-tenant-id"] == "acme"


def test_a_needed_tool_that_is_to_come_is_no_reason_to_wait(start_program: Starter) -> None:
    program = start_program(wait=False)
    program.grant(tools=[], pending=[{"kind": "domain", "namespace": "shop", "name": "orders"}])
    program.start()
    program.ready()
    assert program.told("call domain/orders ListOrders")["refusals"] == []  # there is nothing to offer the model
    [refusal] = program.told("x", toolCalls=[{"tool": "domain/orders", "operation": "ListOrders"}])["refusals"]
    assert refusal["code"] == "ToolPending"


def test_what_is_taken_away_holds_within_a_session(program: Program, model: ModelServer, tool: ToolServer) -> None:
    tool.delay = 0.5
    answers: list[Any] = []
    lines = "call domain/orders ListOrders\ncall primitive/runner GET /x"
    thread = threading.Thread(target=lambda: answers.append(program.told(lines)))
    thread.start()
    while not tool.seen:
        time.sleep(0.01)
    program.grant(tools=[orders()])
    thread.join()
    [told] = answers
    assert [each["status"] for each in told["toolCalls"]] == ["ok", "refused"]
    assert told["refusals"][0]["code"] == "ToolNotGranted"
    assert [seen.path for seen in tool.seen] == ["/orders"]


def test_replaced_credentials_are_used_at_once(program: Program, model: ModelServer, tool: ToolServer) -> None:
    model.api_key = "sk-model-rotated-01"
    assert program.ask("hi").status_code == 502
    program.write("credentials/echo/api-key", "sk-model-rotated-01")
    program.write("credentials/runner/token", "rotated-token-02")
    assert program.ask("call primitive/runner GET /x").status_code == 200
    assert tool.seen[-1].headers["authorization"] == "Bearer rotated-token-02"


def test_pairs_are_sent_as_basic_and_variables_are_read(start_program: Starter, tool: ToolServer) -> None:
    program = start_program(wait=False, RUNNER_USER="ada", RUNNER_PASSWORD="love-1815")
    values = [{"key": "username", "env": "RUNNER_USER"}, {"key": "password", "env": "RUNNER_PASSWORD"}]
    credentials = grants(tool, program.model)["credentials"] | {"runner": {"values": values}}
    program.grant(credentials=credentials)
    program.start()
    program.ready()
    tool.answers["GET /runner/x"] = (200, "you sent YWRhOmxvdmUtMTgxNQ== that is love-1815")
    told = program.told("call primitive/runner GET /x")
    assert tool.seen[-1].headers["authorization"] == "Basic YWRhOmxvdmUtMTgxNQ=="
    # Neither the model nor whoever asks learns what the credential is.
    assert "love-1815" not in told["output"]
    assert "YWRh" not in told["output"]


PROMPT = f"ada@example.org says her card is 4111 1111 1111 1111, and the key is {MODEL_KEY}"


@pytest.mark.parametrize("mode", ["none", "redacted", "full"])
def test_prompts_are_logged_as_far_as_they_may_be(start_program: Starter, model: ModelServer, mode: str) -> None:
    program = start_program(LOG_PROMPTS=mode)
    assert program.told(PROMPT)["output"] == PROMPT
    program.told("call primitive/runner GET /x")
    model.fault("error")
    program.ask("private words in a failed request")
    program.stop()
    lines = [line for line in program.logged() if line["message"] == "prompt"]
    assert [line["by"] for line in lines[:2]] == ["user", "model"]
    assert lines[0]["characters"] == len(PROMPT)
    assert lines[0]["session"] == lines[1]["session"]
    texts = [line.get("text") for line in lines]
    text = program.log.read_text()
    assert MODEL_KEY not in text
    assert TOOL_TOKEN not in text
    if mode == "none":
        assert set(texts) == {None}
        assert "ada@" not in text
        assert "private words" not in text
    elif mode == "redacted":
        assert texts[0] is not None
        assert texts[0].startswith("<email> says her card is <number>, and the key is <redacted sha256:")
        assert "4111" not in text
    else:
        assert texts[0] is not None
        assert texts[0].startswith("ada@example.org says her card is 4111 1111 1111 1111, and the key is <redacted")


def test_running_sessions_end_before_it_stops(start_program: Starter, model: ModelServer) -> None:
    program = start_program()
    model.fault("slow", seconds=1.5)
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(program.ask("the last one")))
    thread.start()
    program.until("/metrics", lambda answer: "agent_runtime_sessions_active 1.0" in answer.text)
    assert program.process is not None
    os.kill(program.process.pid, signal.SIGTERM)
    program.until("/readyz", lambda answer: answer.json() == {"status": "stopping"})
    refused = program.ask("one too late")
    assert (refused.status_code, refused.json()["code"]) == (503, "Draining")
    thread.join()
    assert answers[0].json()["output"] == "the last one"
    assert program.process.wait(5) == 0


def test_sessions_that_do_not_end_do_not_keep_it(start_program: Starter, model: ModelServer) -> None:
    program = start_program(AMEIDE_SHUTDOWN_SECONDS="1")
    model.fault("slow", seconds=30)
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(program.ask("endless")))
    thread.start()
    program.until("/metrics", lambda answer: "agent_runtime_sessions_active 1.0" in answer.text)
    began = time.monotonic()
    assert program.stop() == 0
    assert time.monotonic() - began < 8
    thread.join()
    assert (answers[0].status_code, answers[0].json()["code"]) == (503, "Draining")
    assert any("1 sessions have not ended" in line["message"] for line in program.logged())


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"MODEL_NAME": "", "RISK_TIER": ""}, "MODEL_NAME, RISK_TIER must be set"),
        ({"MAX_PARALLEL_SESSIONS": "0"}, "MAX_PARALLEL_SESSIONS='0' must be a whole number"),
        ({"LOG_PROMPTS": "all"}, "LOG_PROMPTS='all' must be one of none, redacted, full"),
        ({"EMIT_TOKENS": "yes"}, "EMIT_TOKENS='yes' must be true or false"),
        ({"MODEL_BASE_URL": "http://user:secret@models"}, "MODEL_BASE_URL must be a base URL"),
    ],
)
def test_a_wrong_environment_is_told(changes: dict[str, str], told: str) -> None:
    env = {"AGENT_DEFINITION_ID": "a", "MODEL_PROVIDER": "echo", "MODEL_NAME": "echo", "RISK_TIER": "low"} | changes
    command = [sys.executable, "-m", "agent_runtime"]
    run = subprocess.run(command, env={"PYTHONPATH": str(SOURCE)} | env, capture_output=True, text=True, timeout=30)
    assert run.returncode == 2
    assert told in run.stderr
    assert "secret" not in run.stderr
