"""A stand-in for a model provider: real HTTP, the chat completions interface, an answer for every message, faults.

    with ModelServer(api_key="…") as server:
        server.fault("rate-limited", seconds=1, times=2)

It answers with what it was asked. A line `call domain/orders GetOrder {"id": 7}`, or `call domain/orders GET /orders`,
makes it ask for that tool, and then it answers with what came of it. `script` lays answers in store instead.

`python -m ameide_dev.modelserver` serves until it is stopped; it is the host node's image `hostnode-echo-model`.
"""

from __future__ import annotations

import asyncio
import hmac
import itertools
import json
import re
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import click
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from ameide_dev.webserver import WebServer, configuration

_FUNCTION = "call_tool"
_CALL = re.compile(r"^call\s+(?P<tool>\S+)\s+(?:(?P<method>[A-Z]+)\s+(?P<path>/\S*)|(?P<operation>\S+))(?P<more>.*)$")

FaultName = Literal["rate-limited", "error", "unavailable", "slow", "truncated", "wrong-body"]
_STATUS: Mapping[str, tuple[int, str]] = {
    "rate-limited": (429, "You ask too often."),
    "error": (500, "Something broke."),
    "unavailable": (503, "The model is overloaded."),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong on purpose.

    `rate-limited` (429), `error` (500), `unavailable` (503), each with Retry-After where `seconds` is above 0; `slow`:
    every answer takes `seconds` longer; `truncated`: a stream ends in its middle, anything else before its body;
    `wrong-body`: no chat completion. With `times` above 0, only so many requests are concerned.
    """

    name: FaultName
    seconds: float = 0.0
    times: int = 0


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it was answered; `status` is that of the answer's head. `key` tells whether one was sent."""

    status: int
    model: str
    messages: Sequence[Mapping[str, Any]]
    tools: Sequence[str]
    stream: bool
    key: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model says, and which functions it wants called: (name, arguments)."""

    content: str = ""
    calls: tuple[tuple[str, Mapping[str, Any]], ...] = ()


class _BrokenOffError(Exception):
    """Raised in the middle of an answer: the server then closes the connection."""


def echo(messages: Sequence[Mapping[str, Any]], tools: Sequence[str]) -> Answer:
    """The answer to a conversation: calls that its last user asks for, then what came of them, else the same text."""
    last = max((index for index, message in enumerate(messages) if message.get("role") == "user"), default=-1)
    said = str(messages[last].get("content") or "") if last >= 0 else ""
    results = [str(each.get("content")) for each in messages[last + 1 :] if each.get("role") == "tool"]
    if results:
        return Answer("\n".join(results))
    calls = tuple(_calls(said)) if _FUNCTION in tools else ()
    return Answer(calls=calls) if calls else Answer(said)


def _calls(text: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for line in text.splitlines():
        found = _CALL.match(line.strip())
        if found is None:
            continue
        call = {name: value for name in ("tool", "method", "path", "operation") if (value := found[name])}
        try:
            yield _FUNCTION, call | {"arguments": json.loads(found["more"] or "{}")}
        except ValueError:
            continue  # a line that merely begins like a call


class ModelApp:
    """The application. `api_key` and `fault` may be set at any time; without a key anybody may ask."""

    def __init__(self, api_key: str | None, api_key_file: Path | None = None) -> None:
        self.api_key = api_key
        self.api_key_file = api_key_file
        self.scripted: deque[Answer] = deque()
        self._fault: Fault | None = None
        self._faulted = 0
        self._asked: list[Asked] = []
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self.routes = Starlette(
            routes=[
                Route("/v1/chat/completions", self._completions, methods=["POST"]),
                Route("/v1/models", self._models, methods=["GET"]),
                Route("/healthz", self._healthz, methods=["GET"]),
            ]
        )

    @property
    def fault(self) -> Fault | None:
        """What goes wrong; None for nothing."""
        return self._fault

    @fault.setter
    def fault(self, value: Fault | None) -> None:
        with self._lock:
            self._fault, self._faulted = value, 0

    def asked(self) -> list[Asked]:
        """All requests since the start, or since they were cleared, in the order in which they came."""
        with self._lock:
            return list(self._asked)

    def clear(self) -> None:
        """Begin the list of requests anew."""
        with self._lock:
            self._asked.clear()

    async def _healthz(self, _: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def _models(self, request: Request) -> Response:
        if refusal := self._refusal(request):
            return refusal
        return JSONResponse({"object": "list", "data": [{"id": "echo", "object": "model", "owned_by": "ameide"}]})

    async def _completions(self, request: Request) -> Response:
        try:
            body = json.loads(await request.body())
            model, messages = str(body["model"]), list(body["messages"])
            tools = [str(each["function"]["name"]) for each in body.get("tools") or ()]
            stream = body.get("stream") is True
        except (ValueError, LookupError, TypeError):
            return _error(400, "The request is no chat completion.")
        fault = self._take_fault()
        if fault is not None and fault.name == "slow":
            await asyncio.sleep(fault.seconds)
        response = self._refusal(request) or self._answer(fault, model, messages, tools, stream, body)
        told = Asked(response.status_code, model, messages, tools, stream, "authorization" in request.headers)
        with self._lock:
            self._asked.append(told)
        return response

    def _take_fault(self) -> Fault | None:
        with self._lock:
            fault = self._fault
            if fault is None or (fault.times and self._faulted >= fault.times):
                return None
            self._faulted += 1
            return fault

    def _refusal(self, request: Request) -> Response | None:
        key = self.api_key
        if self.api_key_file is not None:
            key = self.api_key_file.read_text("utf-8").strip()
        scheme, _, sent = request.headers.get("authorization", "").partition(" ")
        if key is None or (scheme.lower() == "bearer" and hmac.compare_digest(sent.encode(), key.encode())):
            return None
        return _error(401, "The API key is not accepted.")

    def _answer(
        self,
        fault: Fault | None,
        model: str,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[str],
        stream: bool,
        body: Mapping[str, Any],
    ) -> Response:
        if fault is not None and fault.name in _STATUS:
            status, reason = _STATUS[fault.name]
            return _error(status, reason, {"retry-after": f"{fault.seconds:g}"} if fault.seconds else {})
        if fault is not None and fault.name == "wrong-body":
            return JSONResponse({"unexpected": True})
        with self._lock:
            scripted = self.scripted.popleft() if self.scripted else None
        answer = scripted or echo(messages, tools)
        broken = fault is not None and fault.name == "truncated"
        calls = [
            {
                "id": f"call_{next(self._numbers)}",
                "type": "function",
                "function": {"name": name, "arguments": json.dumps(arguments)},
            }
            for name, arguments in answer.calls
        ]
        head = {"id": f"chatcmpl-{next(self._numbers)}", "created": int(time.time()), "model": model}
        usage = _usage(messages, answer)
        if stream:
            wants_usage = bool((body.get("stream_options") or {}).get("include_usage"))
            chunks = _chunks(head, answer.content, calls, usage if wants_usage else None)
            return StreamingResponse(_sent(list(chunks), broken=broken), media_type="text/event-stream")
        if broken:
            return StreamingResponse(_sent(["{"], broken=True), media_type="application/json")
        message: dict[str, Any] = {"role": "assistant", "content": answer.content or None}
        if calls:
            message["tool_calls"] = calls
        choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if calls else "stop"}
        return JSONResponse({**head, "object": "chat.completion", "choices": [choice], "usage": usage})


def _chunks(
    head: Mapping[str, Any], content: str, calls: Sequence[Mapping[str, Any]], usage: Mapping[str, int] | None
) -> Iterator[str]:
    """An answer as a stream: its head, a word each, calls in two halves, the end, and what it took."""

    def chunk(delta: Mapping[str, Any], finish: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return f"data: {json.dumps({**head, 'object': 'chat.completion.chunk', 'choices': [choice]})}\n\n"

    yield chunk({"role": "assistant"})
    for word in re.findall(r"\s*\S+\s*?|\s+", content):
        yield chunk({"content": word})
    for index, call in enumerate(calls):
        arguments = call["function"]["arguments"]
        half = len(arguments) // 2
        yield chunk({"tool_calls": [{**call, "index": index, "function": {**call["function"], "arguments": ""}}]})
        for part in (arguments[:half], arguments[half:]):
            yield chunk({"tool_calls": [{"index": index, "function": {"arguments": part}}]})
    yield chunk({}, "tool_calls" if calls else "stop")
    if usage is not None:
        yield f"data: {json.dumps({**head, 'object': 'chat.completion.chunk', 'choices': [], 'usage': usage})}\n\n"
    yield "data: [DONE]\n\n"


async def _sent(parts: Sequence[str], *, broken: bool) -> AsyncIterator[str]:
    for part in parts[: (len(parts) + 1) // 2] if broken else parts:
        yield part
        await asyncio.sleep(0)
    if broken:
        raise _BrokenOffError


def _usage(messages: Sequence[Mapping[str, Any]], answer: Answer) -> dict[str, int]:
    """Tokens as this model counts them: words."""
    asked = sum(len(str(message.get("content") or "").split()) for message in messages)
    told = len(answer.content.split()) + len(answer.calls)
    return {"prompt_tokens": asked, "completion_tokens": told, "total_tokens": asked + told}


def _error(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse({"error": {"message": message, "type": "error", "code": status}}, status, headers)


class ModelServer(WebServer):
    """The server in a thread of this process; `stop` and `start` keep its port. The interface is below /v1."""

    def __init__(self, api_key: str | None = None, *, port: int | None = None) -> None:
        """`api_key`: none means that anybody may ask. `port`: any free one unless given."""
        self.app = ModelApp(api_key)
        super().__init__(self.app.routes, "model", port=port)

    @property
    def api_key(self) -> str | None:
        """The key that is asked for. May be set while it serves."""
        return self.app.api_key

    @api_key.setter
    def api_key(self, value: str | None) -> None:
        self.app.api_key = value

    def fault(self, name: FaultName | None, *, seconds: float = 0.0, times: int = 0) -> None:
        """Let something go wrong from now on, as `Fault` says; None ends it."""
        assert name is None or name in get_args(FaultName)
        self.app.fault = None if name is None else Fault(name, seconds, times)

    def script(self, *answers: Answer) -> None:
        """Answers to be given next, each once, instead of the echo."""
        self.app.scripted.extend(answers)

    def asked(self) -> list[Asked]:
        """All requests since the start, or since they were cleared."""
        return self.app.asked()

    def clear(self) -> None:
        """Begin the list of requests anew."""
        self.app.clear()


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=int, default=8080, envvar="PORT_HTTP", show_default=True, help="Port to listen on.")
@click.option(
    "--api-key-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    envvar="MODEL_API_KEY_FILE",
    help="With the key that is asked for; read anew for each request. Anybody may ask unless given.",
)
def main(host: str, port: int, api_key_file: Path | None) -> None:
    """Serve a model that answers with what it was asked."""
    app = ModelApp(None, api_key_file)
    uvicorn.Server(configuration(app.routes, host=host, port=port)).run()


if __name__ == "__main__":
    main()
