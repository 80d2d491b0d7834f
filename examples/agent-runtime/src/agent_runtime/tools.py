"""Carries out what a model asks of tools: only what is granted, and each refusal says what was asked and why not."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, quote

import httpx

from agent_runtime.config import Config
from agent_runtime.credentials import CredentialError, Credentials
from agent_runtime.definition import METHODS, Binding, segments_of
from agent_runtime.grants import ToolGrant, tool_key
from agent_runtime.metrics import REFUSALS, TOOL_SECONDS
from agent_runtime.standing import Standing

MOST_BYTES: Final = 200_000
_READING: Final = ("GET", "HEAD", "DELETE")
_UNNAMED: Final = "other"


@dataclass(frozen=True, slots=True)
class ToolCall:
    """What is asked for: an operation by name, or by method and path. `id` is the asker's name for it."""

    id: str
    tool: str
    operation: str
    method: str
    path: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a call is not made. `code` is for programs."""

    code: str
    tool: str
    operation: str
    message: str

    def document(self) -> dict[str, str]:
        """As it goes to the model and to whoever asked for the session."""
        return {"code": self.code, "tool": self.tool, "operation": self.operation, "message": self.message}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a call: `status` is ok, failed or refused; `content` is what the model is told of it."""

    call: ToolCall
    status: str
    content: str
    http_status: int | None = None
    refusal: Refusal | None = None

    def document(self) -> dict[str, Any]:
        """For whoever asked for the session: what was done, not what came of it; the answer is the model's to give."""
        told: dict[str, Any] = {"id": self.call.id, "tool": self.call.tool, "status": self.status}
        if self.call.operation:
            told["operation"] = self.call.operation
        if self.call.method:
            told |= {"method": self.call.method, "path": self.call.path}
        if self.http_status is not None:
            told["httpStatus"] = self.http_status
        if self.refusal is not None:
            told["refusal"] = self.refusal.document()
        return told


class RefusedError(Exception):
    """A call that is not made."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


@dataclass(frozen=True, slots=True)
class Request:
    """A call that may be made. `operation` is the name it was permitted by."""

    grant: ToolGrant
    operation: str
    method: str
    segments: tuple[str, ...]
    inputs: Mapping[str, Any]

    @property
    def url(self) -> str:
        """Where it goes: each segment escaped as a whole, so that no value can leave its own."""
        address = self.grant.address
        protocol = "https" if address.get("https") else "http"
        base = address[protocol].rstrip("/")
        return (base if "://" in base else f"{protocol}://{base}") + "".join(
            "/" + quote(each, safe="") for each in self.segments
        )


def resolve(call: ToolCall, standing: Standing) -> Request:
    """The request that a call amounts to. Raises RefusedError where it is not granted or cannot be made.

    Operations are what grants speak of, so a request is made only if its operation is known. Where the whole tool is
    granted it needs no name. A request that fits several operations needs all of them: a server decides by the path.
    """
    grants = standing.grants
    key = tool_key(call.tool, grants.namespace) if grants else None
    name = call.operation or f"{call.method} {call.path}"

    def refused(code: str, message: str) -> RefusedError:
        return RefusedError(Refusal(code, str(key or call.tool), name, message))

    if grants is None:
        raise refused("GrantsUnavailable", "the grants cannot be read now; nothing is granted until they can")
    if key is None:
        raise refused(
            "InvalidCall", f"{call.tool!r} is no tool: write domain/orders, agent/shop/clerk or primitive/name"
        )
    grant = grants.tools.get(key)
    if grant is None:
        if key in grants.pending:
            raise refused("ToolPending", f"{key} is granted, and not there yet; try again later")
        raise refused("ToolNotGranted", f"{key} is not granted to this agent; do without it")
    bindings = standing.operations(key)
    method, segments, inputs = _request(call, bindings, refused)
    fitting = [binding for binding in bindings if binding.matched(method, segments) is not None]
    operations = [binding.operation for binding in fitting]
    if not fitting:
        if not grant.whole:
            raise refused(
                "OperationUnknown",
                f"{method} on this path of {key} is no operation that the definition describes, and only operations "
                "are granted; use one that is described",
            )
        operations = [name]
    elif lacking := [each for each in operations if not grant.permits(each)]:
        raise refused("OperationNotGranted", f"{key} is granted without {', '.join(lacking)}; do without it")
    if not any(grant.address.get(protocol) for protocol in ("https", "http")):
        raise refused("ProtocolNotSupported", f"{key} speaks {', '.join(grant.address)}, and this runtime HTTP only")
    return Request(grant, call.operation or operations[0], method, segments, inputs)


def _request(
    call: ToolCall, bindings: tuple[Binding, ...], refused: Callable[[str, str], RefusedError]
) -> tuple[str, tuple[str, ...], Mapping[str, Any]]:
    """Method, segments of the path, and what is left of the arguments for query or body."""
    inputs = dict(call.arguments)
    if call.operation:
        binding = next((each for each in bindings if each.operation == call.operation), None)
        if binding is None:
            known = ", ".join(each.operation for each in bindings) or "none"
            raise refused("OperationUnknown", f"the definition does not describe it; it describes: {known}")
        segments = []
        for each in binding.segments:
            value = each if isinstance(each, str) else inputs.pop(each[0], None)
            if isinstance(value, bool) or not isinstance(value, str | int):
                raise refused("InvalidCall", f"the argument {each[0]} must be a text or a whole number")
            segments.append(str(value))
        path = "/" + "/".join(quote(each, safe="") for each in segments)
        method = binding.method
    else:
        path, _, query = call.path.partition("?")
        method = call.method.upper()
        inputs |= dict(parse_qsl(query, keep_blank_values=True))
    try:
        if method not in METHODS or "#" in path:
            raise ValueError(f"{method!r} must be one of {', '.join(METHODS)}, and the path without #")
        return method, segments_of(path), inputs
    except ValueError as error:
        raise refused("InvalidCall", f"it cannot be sent: {error}") from None


class Tools:
    """Calls tools over HTTP. One instance serves all sessions."""

    def __init__(self, config: Config, credentials: Credentials, http: httpx.AsyncClient) -> None:
        self._config = config
        self._credentials = credentials
        self._http = http

    async def call(self, call: ToolCall, standing: Standing, seconds: float) -> Outcome:
        """Make a call, or refuse it. Never raises for what a tool or a model does; `seconds` is the time limit."""
        try:
            request = resolve(call, standing)
            assert standing.grants is not None  # otherwise it was refused
            try:
                header = self._credentials.header(standing.grants, request.grant.credentials)
            except CredentialError as error:
                refusal = Refusal("CredentialMissing", str(request.grant.key), request.operation, str(error))
                raise RefusedError(refusal) from None
        except RefusedError as error:
            return self._refuse(call, standing, error.refusal)
        started = time.monotonic()
        outcome = "unreachable"
        tool = str(request.grant.key)
        try:
            status, content = await self._send(request, header, seconds)
            outcome = "ok" if status < 400 else f"http_{status}"
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            told = f"{tool} cannot be reached: {self._credentials.scrub(str(error)) or 'no answer in time'}"
            return Outcome(call, "failed", json.dumps({"error": {"code": "Unreachable", "message": told}}))
        finally:
            TOOL_SECONDS.labels(tool, outcome).observe(time.monotonic() - started)
        # A tool that shows the headers of requests must not teach the model our credentials.
        content = self._credentials.scrub(content)
        return Outcome(call, "ok" if status < 400 else "failed", _told(status, content), status)

    def _refuse(self, call: ToolCall, standing: Standing, refusal: Refusal) -> Outcome:
        grants = standing.grants
        key = tool_key(call.tool, grants.namespace) if grants else None
        known = grants is not None and key is not None and (key in grants.tools or key in grants.pending)
        REFUSALS.labels(str(key) if known else _UNNAMED, refusal.code).inc()
        return Outcome(call, "refused", json.dumps({"error": refusal.document()}), refusal=refusal)

    async def _send(self, request: Request, header: Mapping[str, str], seconds: float) -> tuple[int, str]:
        url = request.url
        texts = {"accept": "application/json", "idempotency-key": str(uuid.uuid4()), **header}
        if self._config.tenant:
            texts[self._config.tenant_header] = self._config.tenant
        headers = [(name.encode(), value.encode()) for name, value in texts.items()]
        reading = request.method in _READING
        params = _query(request.inputs) if reading and request.inputs else None
        body = None if reading else dict(request.inputs)
        async with (
            asyncio.timeout(seconds),
            self._http.stream(request.method, url, headers=headers, params=params, json=body) as response,
        ):
            content = bytearray()
            async for chunk in response.aiter_bytes():
                content += chunk
                if len(content) > MOST_BYTES:
                    return 502, json.dumps({"error": f"the answer has more than {MOST_BYTES} bytes; ask for less"})
        return response.status_code, content.decode("utf-8", "replace")


def _query(inputs: Mapping[str, Any]) -> list[tuple[str, str | int | float | bool | None]]:
    """Query parameters; lists repeat the name, objects are JSON, null is left out."""
    return [
        (name, item if isinstance(item, str) else json.dumps(item))
        for name, value in inputs.items()
        for item in (value if isinstance(value, list) else [value])
        if item is not None
    ]


def _told(status: int, content: str) -> str:
    if status < 400:
        return content or "{}"
    return json.dumps({"error": {"code": f"HTTP_{status}", "message": content[:2000]}})
