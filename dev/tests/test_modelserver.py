"""The echo model speaks the chat completions interface, asks for its key, and fails as it is told to."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from ameide_dev.modelserver import Answer, ModelServer, echo
from ameide_dev.ports import Ports
from ameide_dev.processes import spawn, terminate
from ameide_dev.testing.waiting import until
from ameide_dev.webserver import WebServerError

KEY = "the-key"
TOOLS = [{"type": "function", "function": {"name": "call_tool"}}]


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer(KEY) as server:
        yield server


def ask(server: ModelServer, text: str, key: str = KEY, **more: Any) -> httpx.Response:
    body = {"model": "echo-1", "messages": [{"role": "user", "content": text}], **more}
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return httpx.post(f"{server.url}/v1/chat/completions", json=body, headers=headers, timeout=5)


def chunks(answer: httpx.Response) -> list[Any]:
    lines = [line.removeprefix("data: ") for line in answer.text.splitlines() if line]
    assert lines.pop() == "[DONE]"
    return [json.loads(line) for line in lines]


def test_it_answers_with_what_it_was_asked(server: ModelServer) -> None:
    answer = ask(server, "good  morning").json()
    assert answer["object"] == "chat.completion"
    assert answer["model"] == "echo-1"
    [choice] = answer["choices"]
    assert choice == {
        "index": 0,
        "message": {"role": "assistant", "content": "good  morning"},
        "finish_reason": "stop",
    }
    assert answer["usage"] == {"prompt_tokens": 2, "completion_tokens": 2, "total_tokens": 4}


def test_streams_are_the_same_in_parts(server: ModelServer) -> None:
    found = chunks(ask(server, "good  morning\nall ", stream=True, stream_options={"include_usage": True}))
    assert "".join(each["choices"][0]["delta"].get("content", "") for each in found[:-1]) == "good  morning\nall "
    assert found[-1]["choices"] == []
    assert found[-1]["usage"]["completion_tokens"] == 3
    assert found[-2]["choices"][0]["finish_reason"] == "stop"
    assert all("usage" not in each for each in chunks(ask(server, "hi", stream=True)))


@pytest.mark.parametrize("stream", [True, False])
def test_it_asks_for_tools(server: ModelServer, stream: bool) -> None:
    text = 'please\ncall domain/orders GetOrder {"id": 7}\ncall domain/orders GET /orders\ncall off'
    answer = ask(server, text, tools=TOOLS, stream=stream)
    wanted = [
        {"tool": "domain/orders", "operation": "GetOrder", "arguments": {"id": 7}},
        {"tool": "domain/orders", "method": "GET", "path": "/orders", "arguments": {}},
    ]
    if stream:
        written: dict[int, str] = {}
        for each in chunks(answer):
            for call in each["choices"][0]["delta"].get("tool_calls", ()):
                written[call["index"]] = written.get(call["index"], "") + call["function"]["arguments"]
        assert [json.loads(written[index]) for index in sorted(written)] == wanted
        return
    [choice] = answer.json()["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert [json.loads(each["function"]["arguments"]) for each in choice["message"]["tool_calls"]] == wanted


@pytest.mark.parametrize(
    ("messages", "tools", "content"),
    [
        ([], ["call_tool"], ""),
        ([{"role": "system", "content": "Be brief."}], ["call_tool"], ""),
        ([{"role": "user", "content": "call a/b C"}], [], "call a/b C"),
        ([{"role": "user", "content": "call a/b C {"}], ["call_tool"], "call a/b C {"),
        (
            [{"role": "user", "content": "call a/b C"}, {"role": "assistant"}, {"role": "tool", "content": "done"}],
            ["call_tool"],
            "done",
        ),
        (
            [{"role": "tool", "content": "old"}, {"role": "user", "content": "thanks"}],
            ["call_tool"],
            "thanks",
        ),
    ],
)
def test_what_it_says_in_a_conversation(messages: Sequence[dict[str, str]], tools: Sequence[str], content: str) -> None:
    assert echo(messages, tools) == Answer(content)


def test_it_asks_for_its_key(server: ModelServer) -> None:
    assert [ask(server, "hi", key).status_code for key in ("", "another", KEY)] == [401, 401, 200]
    server.api_key = None
    assert ask(server, "hi", "").status_code == 200
    assert [(asked.status, asked.key) for asked in server.asked()] == [
        (401, False),
        (401, True),
        (200, True),
        (200, False),
    ]
    server.clear()
    assert server.asked() == []


def test_what_is_no_completion_is_refused(server: ModelServer) -> None:
    url = f"{server.url}/v1/chat/completions"
    assert [httpx.post(url, content=body).status_code for body in (b"", b"[]", b"{}", b'{"model": "m"}')] == [400] * 4


@pytest.mark.parametrize(("name", "status"), [("rate-limited", 429), ("error", 500), ("unavailable", 503)])
def test_faults_last_as_long_as_told(server: ModelServer, name: Any, status: int) -> None:
    server.fault(name, seconds=2, times=1)
    first = ask(server, "hi")
    assert (first.status_code, first.headers["retry-after"]) == (status, "2")
    assert "message" in first.json()["error"]
    assert ask(server, "hi").status_code == 200


@pytest.mark.parametrize("stream", [True, False])
def test_answers_can_break_off(server: ModelServer, stream: bool) -> None:
    server.fault("truncated")
    with pytest.raises(httpx.RemoteProtocolError):
        ask(server, "one two three four", stream=stream)
    server.fault("wrong-body")
    assert ask(server, "hi").json() == {"unexpected": True}
    server.fault(None)
    assert ask(server, "hi").status_code == 200


def test_answers_can_be_laid_in_store(server: ModelServer) -> None:
    server.script(Answer("first"), Answer("second"))
    said = [ask(server, "hi").json()["choices"][0]["message"]["content"] for _ in range(3)]
    assert said == ["first", "second", "hi"]


def test_a_port_that_is_taken_is_told(server: ModelServer) -> None:
    with pytest.raises(WebServerError, match=str(server.port)):
        ModelServer(port=server.port).start()
    with pytest.raises(WebServerError, match="served already"):
        server.start()


def test_the_command_reads_its_key_anew(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("one\n")
    ports = Ports()
    port = ports.reserve()
    command = [sys.executable, "-m", "ameide_dev.modelserver", "--port", str(port), "--api-key-file", str(key)]
    process = spawn(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}"

        def models(value: str) -> int:
            return httpx.get(f"{url}/v1/models", headers={"authorization": f"Bearer {value}"}).status_code

        def answers() -> bool:
            try:
                return httpx.get(f"{url}/healthz").is_success
            except httpx.TransportError:
                return False

        until("the model to answer", answers, 15)
        assert [models("one"), models("two")] == [200, 401]
        key.write_text("two")
        assert [models("one"), models("two")] == [401, 200]
    finally:
        code = terminate(process, first=signal.SIGTERM, grace_seconds=5)
        ports.release()
    assert code in (0, -signal.SIGTERM)
