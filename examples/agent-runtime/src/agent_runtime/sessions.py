"""One session: the model is asked, what it wants of tools is carried out, until it has nothing more to ask."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from agent_runtime.config import Config
from agent_runtime.model import Answer, Called, Message, Model
from agent_runtime.prompts import Prompts
from agent_runtime.standing import Standing, Watch
from agent_runtime.tools import Outcome, ToolCall, Tools

FUNCTION: Final = "call_tool"
_TOOL_SECONDS: Final = 30.0
_MOST_CALLS: Final = 32
"""Calls that one answer of the model may ask for; those beyond are not looked at."""

Event = tuple[str, Mapping[str, Any]]
OnEvent = Callable[[str, Mapping[str, Any]], Awaitable[None]]


class InvalidRequestError(ValueError):
    """The request for a session is none; the message names the field and what was expected."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request for a session: what the user says, and calls that are to be made before the model is asked."""

    input: str
    calls: tuple[ToolCall, ...]


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a session."""

    id: str
    output: str
    outcomes: tuple[Outcome, ...]
    steps: int
    finished: bool
    """False where the model wanted to call tools once more than it may be asked."""
    prompt_tokens: int
    completion_tokens: int

    def document(self) -> dict[str, Any]:
        """The answer to the request."""
        return {
            "id": self.id,
            "output": self.output,
            "toolCalls": [each.document() for each in self.outcomes],
            "refusals": [each.refusal.document() for each in self.outcomes if each.refusal is not None],
            "steps": self.steps,
            "finished": self.finished,
            "usage": {"promptTokens": self.prompt_tokens, "completionTokens": self.completion_tokens},
        }


@dataclass(slots=True)
class _Conversation:
    """What has been said so far."""

    id: str
    messages: list[Message]
    outcomes: list[Outcome] = field(default_factory=list)
    prompt_tokens: int = 0
    completion_tokens: int = 0


def asked(data: Any) -> Asked:
    """Read the body of a request. Raises InvalidRequestError."""
    if not isinstance(data, dict):
        raise InvalidRequestError('the body must be a JSON object such as {"input": "…"}')
    if unknown := sorted(data.keys() - {"input", "toolCalls"}):
        raise InvalidRequestError(f"{', '.join(unknown)}: there are input and toolCalls only")
    said = data.get("input")
    if not isinstance(said, str) or not said.strip():
        raise InvalidRequestError("input must be a text that is not empty")
    if not sendable(said):
        raise InvalidRequestError("input has half a character (a lone surrogate)")
    calls = data.get("toolCalls", [])
    if not isinstance(calls, list) or len(calls) > _MOST_CALLS:
        raise InvalidRequestError(f"toolCalls must be a list of at most {_MOST_CALLS} calls")
    return Asked(said, tuple(_given(each, f"toolCalls[{index}]", index) for index, each in enumerate(calls)))


def tool_call(identity: str, data: Any) -> ToolCall:
    """A call as it is written: {tool, operation | method and path, arguments}. Raises ValueError."""
    if not isinstance(data, dict):
        raise ValueError("a call must be an object")
    texts = {name: data.get(name) or "" for name in ("tool", "operation", "method", "path")}
    if not all(isinstance(each, str) for each in texts.values()) or not texts["tool"]:
        raise ValueError("tool, operation, method and path must be texts, and tool not empty")
    if bool(texts["operation"]) == bool(texts["method"] or texts["path"]):
        raise ValueError("a call must have either operation, or method and path")
    arguments = data.get("arguments") or {}
    if not isinstance(arguments, dict):
        raise ValueError("arguments must be an object")
    if not sendable(data):
        raise ValueError("it has half a character (a lone surrogate)")
    return ToolCall(identity, texts["tool"], texts["operation"], texts["method"].upper(), texts["path"], arguments)


def sendable(data: Any) -> bool:
    """Whether JSON can be sent on: it may hold halves of characters, which UTF-8 has no place for."""
    try:
        json.dumps(data, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def functions(standing: Standing) -> list[Message]:
    """What the model may call: one function, which names the tools that are granted and their operations."""
    if standing.grants is None or not standing.grants.tools:
        return []
    lines = []
    for key, grant in standing.grants.tools.items():
        known = [each for each in standing.operations(key) if grant.permits(each.operation)]
        lines += [
            f"- {key}: {each.operation} ({each.method} {each.path}) {each.description}".rstrip() for each in known
        ] or [f"- {key}: {'any method and path' if grant.whole else 'no operation is described'}"]
    text = {"type": "string"}
    properties = {
        "tool": text | {"enum": [str(key) for key in standing.grants.tools]},
        "operation": text | {"description": "An operation of the tool. Or else give method and path."},
        "method": text,
        "path": text,
        "arguments": {"type": "object", "description": "Parameters of the path by name; the rest is query or body."},
    }
    return [
        {
            "type": "function",
            "function": {
                "name": FUNCTION,
                "description": "Calls a tool:\n" + "\n".join(lines),
                "parameters": {"type": "object", "properties": properties, "required": ["tool"]},
            },
        }
    ]


class Sessions:
    """Holds sessions. What is granted is looked at anew at each step: what is taken away holds within a session."""

    def __init__(self, config: Config, watch: Watch, model: Model, tools: Tools, prompts: Prompts) -> None:
        self._config = config
        self._watch = watch
        self._model = model
        self._tools = tools
        self._prompts = prompts

    async def hold(self, request: Asked, on_event: OnEvent, *, tokens: bool) -> Result:
        """Hold a session to its end. Raises ModelError.

        `on_event` hears `tool` after each call and, with `tokens`, `token` for each part of what the model says.
        """
        talk = _Conversation(str(uuid.uuid4()), self._opening(request))
        self._prompts.said(talk.id, "user", request.input)
        if request.calls:
            called = tuple(Called(each.id, FUNCTION, _written(each)) for each in request.calls)
            talk.messages.append(Answer("", called).message())
            await self._carry_out(talk, request.calls, on_event)

        async def on_token(text: str) -> None:
            await on_event("token", {"text": text})

        answer = Answer("")
        for step in range(1, self._config.max_steps + 1):
            standing = self._watch.now()
            # The last answer has to be one: without functions the model cannot ask for more.
            offered = functions(standing) if step < self._config.max_steps else []
            answer = await self._model.ask(standing, talk.messages, offered, on_token if tokens else None)
            talk.prompt_tokens += answer.prompt_tokens
            talk.completion_tokens += answer.completion_tokens
            self._prompts.said(talk.id, "model", answer.content)
            if not answer.called or not offered:
                break
            talk.messages.append(answer.message())
            await self._answer_calls(talk, answer.called, on_event)
        return Result(
            id=talk.id,
            output=answer.content,
            outcomes=tuple(talk.outcomes),
            steps=step,
            finished=not answer.called,
            prompt_tokens=talk.prompt_tokens,
            completion_tokens=talk.completion_tokens,
        )

    def _opening(self, request: Asked) -> list[Message]:
        definition = self._watch.now().definition
        said: list[Message] = [{"role": "user", "content": request.input}]
        if definition is not None and definition.instructions:
            return [{"role": "system", "content": definition.instructions}, *said]
        return said

    async def _answer_calls(self, talk: _Conversation, called: Sequence[Called], on_event: OnEvent) -> None:
        """Carry out what the model asks for; every call gets an answer, since models insist on one each."""
        for each in called[_MOST_CALLS:]:
            self._tell(talk, each.id, json.dumps({"error": {"code": "TooManyCalls", "message": "ask for fewer"}}))
        for each in called[:_MOST_CALLS]:
            try:
                if each.name != FUNCTION:
                    raise ValueError(f"there is no function {each.name!r}, only {FUNCTION}")
                call = tool_call(each.id, json.loads(each.arguments or "{}"))
            except (ValueError, RecursionError) as error:
                self._tell(talk, each.id, json.dumps({"error": {"code": "InvalidCall", "message": str(error)}}))
                continue
            await self._carry_out(talk, (call,), on_event)

    async def _carry_out(self, talk: _Conversation, calls: Sequence[ToolCall], on_event: OnEvent) -> None:
        for call in calls:
            self._prompts.said(talk.id, "call", _written(call))
            seconds = min(_TOOL_SECONDS, self._config.session_seconds)
            started = time.monotonic()
            outcome = await self._tools.call(call, self._watch.now(), seconds)
            talk.outcomes.append(outcome)
            self._tell(talk, call.id, outcome.content)
            await on_event("tool", {**outcome.document(), "seconds": round(time.monotonic() - started, 3)})

    def _tell(self, talk: _Conversation, identity: str, content: str) -> None:
        self._prompts.said(talk.id, "tool", content)
        talk.messages.append({"role": "tool", "tool_call_id": identity, "content": content})


def _given(data: Any, field: str, index: int) -> ToolCall:
    try:
        return tool_call(f"given-{index}", data)
    except ValueError as error:
        raise InvalidRequestError(f"{field}: {error}") from None


def _written(call: ToolCall) -> str:
    """A call as the model would have written it."""
    parts = {"tool": call.tool, "operation": call.operation, "method": call.method, "path": call.path}
    return json.dumps({name: text for name, text in parts.items() if text} | {"arguments": dict(call.arguments)})
