"""Asks the model, by the chat completions interface that most providers and gateways serve; answers may be streamed."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import stamina

from agent_runtime.config import Config
from agent_runtime.credentials import CredentialError, Credentials
from agent_runtime.metrics import MODEL_SECONDS, TOKENS
from agent_runtime.standing import Standing

Message = Mapping[str, Any]
OnToken = Callable[[str], Awaitable[None]]

_ATTEMPTS: Final = 4
_LONGEST_WAIT: Final = 10.0
_CONNECT_SECONDS: Final = 10.0
_MOST_BYTES: Final = 4_000_000


class ModelError(Exception):
    """The model gives no answer. `code` is for programs; `retry_after` seconds where another try may help, else None.

    Codes: ModelNotGranted, ModelUnavailable, ModelBusy, ModelRefused (the credential), ModelRejected (the request) and
    ModelInvalid (the answer).
    """

    def __init__(self, code: str, message: str, retry_after: float | None = None, said: str = "") -> None:
        """`said` is the provider's own text: it may quote the prompt, so it goes to the caller and into no log."""
        super().__init__(message)
        self.code = code
        self.retry_after = retry_after
        self.said = said


@dataclass(frozen=True, slots=True)
class Called:
    """A function that the model wants called; `arguments` is the text that it wrote, JSON if all is well."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model says. Tokens are as the provider counts them."""

    content: str
    called: tuple[Called, ...] = ()
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def message(self) -> Message:
        """As it stands in the conversation."""
        told: dict[str, Any] = {"role": "assistant", "content": self.content or None}
        if self.called:
            told["tool_calls"] = [
                {"id": each.id, "type": "function", "function": {"name": each.name, "arguments": each.arguments}}
                for each in self.called
            ]
        return told


class Model:
    """The one model of this Agent. One instance serves all sessions."""

    def __init__(self, config: Config, credentials: Credentials, http: httpx.AsyncClient) -> None:
        self._config = config
        self._credentials = credentials
        self._http = http

    async def ask(
        self, standing: Standing, messages: Sequence[Message], functions: Sequence[Message], on_token: OnToken | None
    ) -> Answer:
        """The model's next message; with `on_token` it is streamed there as it comes. Raises ModelError.

        What may pass by itself is tried again, but never after the first token has been passed on.
        """
        url, header = self._place(standing)
        body: dict[str, Any] = {"model": self._config.model, "messages": list(messages)}
        if functions:
            body["tools"] = list(functions)
        if on_token is not None:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        started, outcome = time.monotonic(), "cancelled"
        try:
            answer = await self._with_retries(url, header, body, on_token)
            outcome = "ok"
        except ModelError as error:
            outcome = error.code
            raise
        finally:
            MODEL_SECONDS.labels(outcome).observe(time.monotonic() - started)
        TOKENS.labels("prompt").inc(answer.prompt_tokens)
        TOKENS.labels("completion").inc(answer.completion_tokens)
        return answer

    def _place(self, standing: Standing) -> tuple[str, Mapping[str, str]]:
        grants = standing.grants
        if grants is None or grants.model is None:
            raise ModelError(
                "ModelNotGranted", "no model is granted to this agent now; see the conditions of the Agent"
            )
        if (grants.model.provider, grants.model.name) != (self._config.provider, self._config.model):
            raise ModelError("ModelNotGranted", "another model is granted than the one that this pod is for")
        # Where the policy says where a provider is, nobody else has a say in it.
        base = grants.model.address or self._config.base_url
        try:
            header = self._credentials.header(grants, grants.model.credentials)
        except CredentialError as error:
            raise ModelError("ModelRefused", str(error)) from None
        return completions_url(base), header

    async def _with_retries(
        self, url: str, header: Mapping[str, str], body: Mapping[str, Any], on_token: OnToken | None
    ) -> Answer:
        async for attempt in stamina.retry_context(
            on=_wait, attempts=_ATTEMPTS, timeout=None, wait_initial=0.2, wait_max=_LONGEST_WAIT, wait_jitter=0.1
        ):
            with attempt:
                return await self._ask_once(url, header, body, on_token)
        raise AssertionError("the last attempt either returns or raises")

    async def _ask_once(
        self, url: str, header: Mapping[str, str], body: Mapping[str, Any], on_token: OnToken | None
    ) -> Answer:
        timeout = httpx.Timeout(self._config.session_seconds, connect=_CONNECT_SECONDS)
        told = _Told()
        try:
            async with self._http.stream("POST", url, headers=header, json=body, timeout=timeout) as response:
                if response.status_code != 200:
                    raise self._failure(response, await _bounded(response))
                if response.headers.get("content-type", "").startswith("text/event-stream"):
                    return await _streamed(response, told, on_token)
                answer = _whole(await _bounded(response))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            reason = self._credentials.scrub(str(error)) or type(error).__name__
            message = f"the model at {_origin(url)} cannot be reached: {reason}"
            raise ModelError("ModelUnavailable", message, None if told.passed_on else 0.0) from None
        if on_token is not None and answer.content:
            await on_token(answer.content)
        return answer

    def _failure(self, response: httpx.Response, content: bytes) -> ModelError:
        status = response.status_code
        reason = self._credentials.scrub(_reason(content))
        message = f"the model at {_origin(str(response.url))} answered {status}"
        if status == 429:
            return ModelError("ModelBusy", message, _retry_after(response), reason)
        if status >= 500 or status in (408, 425):
            return ModelError("ModelUnavailable", message, _retry_after(response), reason)
        if status in (401, 403):
            return ModelError("ModelRefused", f"{message}; check the credential of the provider", said=reason)
        return ModelError("ModelRejected", message, said=reason)


def completions_url(base: str) -> str:
    """The address of chat completions below a base URL; one without a path means the usual /v1."""
    base = base.rstrip("/")
    return f"{base}{'' if urlsplit(base).path else '/v1'}/chat/completions"


@dataclass(slots=True)
class _Told:
    """An answer that is still coming."""

    content: list[str] = field(default_factory=list)
    called: dict[int, list[str]] = field(default_factory=dict)
    """Index → id, name, arguments."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    passed_on: bool = False

    def answer(self) -> Answer:
        called = tuple(Called(*self.called[index]) for index in sorted(self.called))
        return Answer("".join(self.content), called, self.prompt_tokens, self.completion_tokens)


def _wait(error: Exception) -> bool | float:
    """Whether to try again: False, True for the usual delay, or the seconds that the provider asks for."""
    if not isinstance(error, ModelError) or error.retry_after is None or error.retry_after > _LONGEST_WAIT:
        return False
    return error.retry_after or True


def _retry_after(response: httpx.Response) -> float:
    try:
        return max(float(response.headers.get("retry-after", "0")), 0.0)
    except ValueError:
        return 0.0


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _reason(content: bytes) -> str:
    try:
        told = json.loads(content)
        error = told.get("error") if isinstance(told, dict) else None
        message = error.get("message") if isinstance(error, dict) else error
    except (ValueError, RecursionError):
        return ""
    return message[:300] if isinstance(message, str) else ""


async def _bounded(response: httpx.Response) -> bytes:
    content = bytearray()
    async for chunk in response.aiter_bytes():
        content += chunk
        if len(content) > _MOST_BYTES:
            raise ModelError("ModelInvalid", f"the model answered with more than {_MOST_BYTES} bytes")
    return bytes(content)


def _whole(content: bytes) -> Answer:
    try:
        data = json.loads(content)
        message = data["choices"][0]["message"]
        told = _Told([_clean(message.get("content") or "")])
        for index, each in enumerate(message.get("tool_calls") or ()):
            told.called[index] = [
                each["id"],
                each["function"]["name"],
                _clean(each["function"].get("arguments") or "{}"),
            ]
        _count(told, data.get("usage"))
        return told.answer()
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise ModelError("ModelInvalid", "the model's answer is no chat completion") from None


async def _streamed(response: httpx.Response, told: _Told, on_token: OnToken | None) -> Answer:
    ended, size = False, 0
    async for line in _lines(response):
        size += len(line)
        if size > _MOST_BYTES:
            raise ModelError("ModelInvalid", f"the model answered with more than {_MOST_BYTES} characters")
        if not line.startswith("data:"):
            continue
        data = line.removeprefix("data:").strip()
        if data == "[DONE]":
            ended = True
            break
        token = _chunk(data, told)
        if token and on_token is not None:
            told.passed_on = True
            await on_token(token)
    if not ended:
        retry = None if told.passed_on else 0.0
        raise ModelError("ModelUnavailable", "the model broke off in the middle of its answer", retry)
    return told.answer()


async def _lines(response: httpx.Response) -> AsyncIterator[str]:
    async for line in response.aiter_lines():
        yield line


def _chunk(data: str, told: _Told) -> str:
    """Add a chunk to what has been told; its part of the text."""
    try:
        chunk = json.loads(data)
        _count(told, chunk.get("usage"))
        if chunk.get("error"):
            raise ModelError("ModelUnavailable", "the model failed in the middle of its answer")
        token = ""
        for choice in chunk.get("choices") or ():
            delta = choice.get("delta") or {}
            token += _clean(delta.get("content") or "")
            for each in delta.get("tool_calls") or ():
                parts = told.called.setdefault(int(each["index"]), ["", "", ""])
                function = each.get("function") or {}
                parts[0] = each.get("id") or parts[0]
                parts[1] += function.get("name") or ""
                parts[2] += _clean(function.get("arguments") or "")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise ModelError(
            "ModelInvalid", "the model's answer has a part that is no chunk of a chat completion"
        ) from None
    told.content.append(token)
    return token


def _clean(text: str) -> str:
    """Without halves of characters, which could not be sent back."""
    return text.encode("utf-8", "replace").decode()


def _count(told: _Told, usage: Any) -> None:
    if isinstance(usage, dict):
        told.prompt_tokens = int(usage.get("prompt_tokens") or 0)
        told.completion_tokens = int(usage.get("completion_tokens") or 0)
