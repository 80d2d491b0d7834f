"""Sessions over HTTP, with a model and tools that are servers: what is granted is done, and nothing else."""

import json
import threading
import time
from typing import Any

import httpx
import pytest
from agent_runtime_support import MODEL_KEY, TOOL_TOKEN, Program, Starter, ToolServer

from ameide_dev.modelserver import Answer, ModelServer


def test_the_model_answers_and_is_told_its_instructions_and_tools(program: Program, model: ModelServer) -> None:
    told = program.told("good morning")
    assert told["output"] == "good morning"
    assert told["finished"]
    assert told["usage"] == {"promptTokens": 6, "completionTokens": 2}
    [asked] = model.asked()
    assert [message["role"] for message in asked.messages] == ["system", "user"]
    assert asked.messages[0]["content"] == "You are a clerk."
    assert (asked.model, asked.tools, asked.stream, asked.key) == ("echo-1", ["call_tool"], False, True)


@pytest.mark.parametrize(
    ("line", "method", "path", "body"),
    [
        ("call domain/orders ListOrders", "GET", "/orders", None),
        ("call domain/orders GET /orders", "GET", "/orders", None),
        ("call domain/shop/orders GET /orders?limit=3", "GET", "/orders?limit=3", None),
        ('call domain/orders GetOrder {"id": 7, "deep": true}', "GET", "/orders/7?deep=true", None),
        ('call domain/orders GetOrder {"id": "a/b"}', None, "", None),
        ('call domain/orders CreateOrder {"item": "book"}', "POST", "/orders", {"item": "book"}),
        ('call primitive/runner POST /run {"code": "1"}', "POST", "/runner/run", {"code": "1"}),
    ],
)
def test_granted_calls_are_made(
    program: Program, tool: ToolServer, line: str, method: str | None, path: str, body: Any
) -> None:
    told = program.told(line)
    if method is None:
        assert tool.seen == []
        assert told["refusals"][0]["code"] == "InvalidCall"
        return
    [seen] = tool.seen
    assert (seen.method, seen.path) == (method, path)
    assert (json.loads(seen.body) if seen.body else None) == body
    assert seen.headers["x-tenant-id"] == "acme"
    expected = f"Bearer {TOOL_TOKEN}" if "primitive" in line else None
    assert seen.headers.get("authorization") == expected
    assert json.loads(told["output"]) == {"done": f"{method} {path}"}
    assert [(each["status"], each["httpStatus"]) for each in told["toolCalls"]] == [("ok", 200)]
    assert told["refusals"] == []


@pytest.mark.parametrize(
    ("line", "code", "named"),
    [
        ("call domain/billing ListInvoices", "ToolNotGranted", "domain/shop/billing"),
        ("call domain/other/orders ListOrders", "ToolNotGranted", "domain/other/orders"),
        ("call primitive/shell POST /run", "ToolNotGranted", "primitive/shell"),
        ("call domain/invoices ListInvoices", "ToolPending", "domain/shop/invoices"),
        ('call domain/orders DeleteOrder {"id": 7}', "OperationNotGranted", "domain/shop/orders"),
        ("call domain/orders DELETE /orders/7", "OperationNotGranted", "domain/shop/orders"),
        ("call domain/orders POST /orders/7/delete", "OperationUnknown", "domain/shop/orders"),
        ("call domain/orders ExportOrders", "OperationUnknown", "domain/shop/orders"),
        ("call domain/orders GET /orders/..", "InvalidCall", "domain/shop/orders"),
        ("call domain/orders GET /orders/%2e%2e/admin", "InvalidCall", "domain/shop/orders"),
        ("call domain/orders GET /orders/a%2Fb", "InvalidCall", "domain/shop/orders"),
        ("call process/l2o POST /start", "ProtocolNotSupported", "process/shop/l2o"),
        ("call shell/x Run", "InvalidCall", "shell/x"),
    ],
)
def test_what_is_not_granted_is_refused_and_named(
    program: Program, tool: ToolServer, line: str, code: str, named: str
) -> None:
    told = program.told(line)
    assert tool.seen == []
    [refusal] = told["refusals"]
    assert (refusal["code"], refusal["tool"]) == (code, named)
    assert named in refusal["message"] or code in ("OperationUnknown", "InvalidCall")
    # The model was told the same, and says so.
    assert json.loads(told["output"])["error"] == refusal
    known = named in ("domain/shop/orders", "domain/shop/invoices", "process/shop/l2o")
    label = {"reason": code, "tool": named if known else "other"}
    assert program.metric("agent_runtime_tool_refusals_total", **label) == 1


def test_whoever_asks_can_have_tools_called_first(program: Program, tool: ToolServer, model: ModelServer) -> None:
    calls = [
        {"tool": "domain/orders", "operation": "GetOrder", "arguments": {"id": 1}},
        {"tool": "domain/secrets", "method": "GET", "path": "/all"},
    ]
    told = program.told("what is in it?", toolCalls=calls)
    assert [seen.path for seen in tool.seen] == ["/orders/1"]
    assert [each["status"] for each in told["toolCalls"]] == ["ok", "refused"]
    [asked] = model.asked()
    assert [message["role"] for message in asked.messages] == ["system", "user", "assistant", "tool", "tool"]


def test_agents_can_ask_agents(program: Program) -> None:
    own = f"http://127.0.0.1:{program.port}"
    tool = {"kind": "agent", "namespace": "shop", "name": "helper", "address": {"http": own}, "credentials": []}
    program.grant(
        tools=[tool | {"operations": {"allow": ["CreateSession"], "deny": []}}],
        pending=[{"kind": "domain", "namespace": "shop", "name": "orders"}],
    )
    told = program.told('call agent/helper CreateSession {"input": "what is the time?"}')
    assert json.loads(told["output"])["output"] == "what is the time?"


def test_failures_of_tools_are_told_to_the_model(program: Program, tool: ToolServer) -> None:
    tool.answers["GET /orders"] = (503, "down for repair")
    told = program.told("call domain/orders ListOrders")
    assert json.loads(told["output"])["error"] == {"code": "HTTP_503", "message": "down for repair"}
    assert (told["toolCalls"][0]["status"], told["toolCalls"][0]["httpStatus"]) == ("failed", 503)


def test_an_answer_that_is_too_large_is_not_passed_on(program: Program, tool: ToolServer) -> None:
    tool.answers["GET /orders"] = (200, "x" * 300_000)
    told = program.told("call domain/orders ListOrders")
    assert "200000 bytes" in told["output"]
    assert len(told["output"]) < 1000


def test_a_tool_that_is_gone_is_told_to_the_model(program: Program, tool: ToolServer, model: ModelServer) -> None:
    gone = ToolServer(1)  # a port that only root may serve
    program.tool = gone
    program.grant()
    told = program.told("call domain/orders ListOrders")
    assert json.loads(told["output"])["error"]["code"] == "Unreachable"
    assert told["toolCalls"][0]["status"] == "failed"


@pytest.mark.parametrize("tokens", [True, False])
def test_events_are_streamed_and_tokens_where_they_are_wanted(
    start_program: Starter, model: ModelServer, tokens: bool
) -> None:
    program = start_program(EMIT_TOKENS=str(tokens).lower())
    model.script(
        Answer(calls=(("call_tool", {"tool": "domain/orders", "operation": "ListOrders"}),)),
        Answer("all three are sent"),
    )
    events: list[tuple[str, Any]] = []
    body = {"input": "how many?"}
    with program.http.stream("POST", "/v1/sessions", json=body, headers={"accept": "text/event-stream"}) as answer:
        name = ""
        for line in answer.iter_lines():
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                events.append((name, json.loads(line.removeprefix("data: "))))
    names = [name for name, _ in events]
    words = [data["text"] for name, data in events if name == "token"]
    assert words == (["all", " three", " are", " sent"] if tokens else [])
    assert names[0] == "tool"
    assert names[-1] == "done"
    done = events[-1][1]
    assert done["output"] == "all three are sent"
    assert done["usage"]["completionTokens"] == 5
    assert [asked.stream for asked in model.asked()] == [tokens, tokens]


def test_the_model_cannot_ask_for_ever(start_program: Starter, model: ModelServer, tool: ToolServer) -> None:
    program = start_program(AMEIDE_MAX_STEPS="3")
    model.script(*[Answer(calls=(("call_tool", {"tool": "domain/orders", "operation": "ListOrders"}),))] * 5)
    told = program.told("go on")
    assert (told["steps"], told["finished"], len(tool.seen)) == (3, False, 2)
    assert [asked.tools for asked in model.asked()] == [["call_tool"], ["call_tool"], []]


@pytest.mark.parametrize(
    ("name", "arguments", "reason"),
    [
        ("rm", {}, "no function 'rm'"),
        ("call_tool", {"operation": "ListOrders"}, "tool not empty"),
        ("call_tool", {"tool": "domain/orders"}, "either operation, or method and path"),
        ("call_tool", {"tool": "domain/orders", "operation": "A", "arguments": [1]}, "arguments must be an object"),
        ("call_tool", {"tool": "domain/orders", "operation": "A", "arguments": {"x": "\ud800"}}, "half a character"),
    ],
)
def test_nonsense_of_the_model_is_answered(
    program: Program, model: ModelServer, tool: ToolServer, name: str, arguments: dict[str, Any], reason: str
) -> None:
    model.script(Answer(calls=((name, arguments),)))
    told = program.told("go on")
    assert reason in json.loads(told["output"])["error"]["message"]
    assert tool.seen == []


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"{}", b'{"input": ""}', b'{"input": 3}', b'{"input": "a", "x": 1}', b'{"input": "\\ud800"}',
     b'{"input": "a", "toolCalls": [{"tool": "domain/orders"}]}', b"[" * 100_000],
)  # fmt: skip
def test_requests_that_are_none(program: Program, model: ModelServer, body: bytes) -> None:
    answer = program.http.post("/v1/sessions", content=body)
    assert (answer.status_code, answer.json()["code"]) == (400, "InvalidRequest")
    assert answer.headers["content-type"] == "application/problem+json"
    assert model.asked() == []


def test_requests_of_other_tenants_and_large_ones_are_refused(program: Program, model: ModelServer) -> None:
    answer = program.http.post("/v1/sessions", json={"input": "hi"}, headers={"x-tenant-id": "globex"})
    assert (answer.status_code, answer.json()["code"]) == (403, "TenantMismatch")
    answer = program.http.post("/v1/sessions", json={"input": "x" * 1_100_000})
    assert (answer.status_code, answer.json()["code"]) == (413, "RequestTooLarge")
    assert model.asked() == []
    own = program.http.post("/v1/sessions", json={"input": "hi"}, headers={"x-tenant-id": "acme"})
    assert own.status_code == 200


def test_sessions_beyond_the_limit_are_refused_and_places_come_free(program: Program, model: ModelServer) -> None:
    model.fault("slow", seconds=1.5)
    answers: list[int] = []
    threads = [threading.Thread(target=lambda: answers.append(program.ask("hi").status_code)) for _ in range(2)]
    for each in threads:
        each.start()
    program.until("/metrics", lambda answer: "agent_runtime_sessions_active 2.0" in answer.text)
    third = program.ask("hi")
    assert (third.status_code, third.json()["code"], third.headers["retry-after"]) == (429, "TooManySessions", "1")
    for each in threads:
        each.join()
    model.fault(None)
    assert answers == [200, 200]
    assert program.ask("hi").status_code == 200
    assert program.metric("agent_runtime_sessions_total", outcome="rejected") == 1
    assert program.metric("agent_runtime_sessions_active") == 0


def test_a_listener_that_leaves_gives_its_place_back(start_program: Starter, model: ModelServer) -> None:
    program = start_program(MAX_PARALLEL_SESSIONS="1", EMIT_TOKENS="true")
    model.fault("slow", seconds=3)
    with program.http.stream("POST", "/v1/sessions", json={"input": "hi"}, headers={"accept": "text/event-stream"}):
        assert program.metric("agent_runtime_sessions_active") == 1
    program.until("/metrics", lambda answer: "agent_runtime_sessions_active 0.0" in answer.text, seconds=2.5)
    assert program.metric("agent_runtime_sessions_total", outcome="cancelled") == 1


@pytest.mark.parametrize("name", ["rate-limited", "error", "unavailable", "truncated"])
@pytest.mark.parametrize("tokens", [True, False])
def test_what_passes_is_tried_again(start_program: Starter, model: ModelServer, name: Any, tokens: bool) -> None:
    program = start_program(EMIT_TOKENS=str(tokens).lower())
    model.fault(name, seconds=0.1, times=2)
    told = program.told("hi")
    assert told["output"] == "hi"
    assert len(model.asked()) == 3


@pytest.mark.parametrize(
    ("name", "status", "code", "asked"),
    [
        ("rate-limited", 503, "ModelBusy", 4),
        ("error", 503, "ModelUnavailable", 4),
        ("wrong-body", 502, "ModelInvalid", 1),
    ],
)
def test_what_does_not_pass_fails_the_session(
    program: Program, model: ModelServer, name: Any, status: int, code: str, asked: int
) -> None:
    model.fault(name)
    answer = program.ask("hi")
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert len(model.asked()) == asked
    assert program.metric("agent_runtime_sessions_total", outcome=code) == 1


def test_a_long_retry_after_is_handed_to_the_caller(program: Program, model: ModelServer) -> None:
    model.fault("rate-limited", seconds=90)
    answer = program.ask("hi")
    assert (answer.status_code, answer.headers["retry-after"], len(model.asked())) == (503, "90", 1)


def test_a_session_that_takes_too_long_is_ended(start_program: Starter, model: ModelServer) -> None:
    program = start_program(AMEIDE_SESSION_SECONDS="1")
    model.fault("slow", seconds=5)
    began = time.monotonic()
    answer = program.ask("hi")
    assert (answer.status_code, answer.json()["code"]) == (504, "SessionTimeout")
    assert time.monotonic() - began < 4


def test_a_key_that_is_not_accepted_is_not_told(program: Program, model: ModelServer) -> None:
    model.api_key = "another"
    answer = program.ask("hi")
    assert (answer.status_code, answer.json()["code"]) == (502, "ModelRefused")
    assert len(model.asked()) == 1
    assert MODEL_KEY not in answer.text


def test_a_model_that_is_gone(program: Program, model: ModelServer) -> None:
    model.stop()
    answer = program.ask("hi")
    assert (answer.status_code, answer.json()["code"]) == (503, "ModelUnavailable")
    assert program.http.get("/readyz").status_code == 200
    assert isinstance(answer, httpx.Response)
