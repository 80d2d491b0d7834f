"""A proxy between one operator and the API server, through which tests make requests late, lost or refused."""

from __future__ import annotations

import asyncio
import json
import secrets
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import aiohttp
import yaml
from aiohttp import web

from ameide_dev.controlplane import ControlPlane
from ameide_dev.operators import NAMESPACE, service_account

_WRITES = ("POST", "PUT", "PATCH", "DELETE")
_PASSED_ON = ("Content-Type", "Retry-After", "Warning")


@dataclass(frozen=True, slots=True)
class Call:
    """One request on its way to the API server."""

    method: str
    path: str
    query: Mapping[str, str]
    body: bytes = field(repr=False)

    @property
    def watches(self) -> bool:
        return self.query.get("watch") == "true"

    @property
    def writes(self) -> bool:
        """Whether it changes something; Events and Leases apart."""
        return self.method in _WRITES and not {"events", "leases"} & set(self.path.split("/"))

    def concerns(self, namespace: str) -> bool:
        """Whether its object lies in the namespace, or bears its name elsewhere."""
        return (
            f"/namespaces/{namespace}/" in self.path or f"/{namespace}-" in self.path or namespace.encode() in self.body
        )


@dataclass(frozen=True, slots=True)
class Answer:
    """The proxy answers by itself."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Late:
    """The request is passed on after so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Cut:
    """The connection ends without an answer, and nothing was passed on."""


Fault = Answer | Late | Cut | None


@dataclass(slots=True)
class Stop:
    """Where everything stops: at the `number`-th call that counts. `reached` is set when it has come to that.

    `done`: the API server has carried out that call, only its answer is withheld; otherwise it never saw it.
    """

    number: int
    done: bool
    counts: Callable[[Call], bool]
    reached: threading.Event = field(default_factory=threading.Event)
    seen: int = 0


class ApiProxy:
    """One proxy on loopback. `fault` decides on each call, `hides` on each watch event; both run in its thread."""

    def __init__(self, control_plane: ControlPlane) -> None:
        self.fault: Callable[[Call], Fault] = lambda call: None
        self.hides: Callable[[dict[str, Any]], bool] = lambda event: False
        self.calls: list[Call] = []
        """Everything that was asked, in order."""
        self._control_plane = control_plane
        self._stop: Stop | None = None
        self._held = False
        self._released = asyncio.Event()
        self._watches: dict[int, web.BaseRequest] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="API proxy", daemon=True)
        self._session: aiohttp.ClientSession
        self._runner: web.ServerRunner
        self.url = ""

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def kubeconfig(self, operator: str, directory: Path) -> Path:
        """A kubeconfig of an operator's ServiceAccount (`domain`) that goes through this proxy."""
        path = self._control_plane.kubeconfig_for_service_account(NAMESPACE, service_account(operator), directory)
        content = yaml.safe_load(path.read_text())
        content["clusters"][0]["cluster"]["server"] = self.url
        path.write_text(yaml.safe_dump(content))
        return path

    def stop_at(self, number: int, counts: Callable[[Call], bool], *, done: bool) -> Stop:
        """Let nothing pass any more from the `number`-th of the calls that count, until `resume`."""
        self._stop = Stop(number, done, counts)
        return self._stop

    def resume(self) -> None:
        """Let calls pass again; those that were held back are lost."""
        self._call(self._release)

    def cut_watches(self) -> None:
        """End every open watch without a word."""
        self._call(self._cut)

    # --- in the thread ----------------------------------------------------------------------------------------------

    def _call(self, function: Callable[[], None]) -> None:
        async def call() -> None:
            function()

        asyncio.run_coroutine_threadsafe(call(), self._loop).result(10)

    async def _start(self) -> None:
        trust = ssl.create_default_context(cadata=self._control_plane.ca_pem.decode())
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, ssl=trust), auto_decompress=False)
        certificate, key = self._control_plane.pki.server(f"api-proxy-{secrets.token_hex(4)}", ["127.0.0.1"])
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate, key)
        self._runner = web.ServerRunner(web.Server(self._handle, access_log=None), shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        self.url = f"https://127.0.0.1:{self._runner.addresses[0][1]}"

    async def _end(self) -> None:
        self._release()
        self._cut()
        await self._runner.cleanup()
        await self._session.close()

    def _release(self) -> None:
        self._stop, self._held = None, False
        self._released.set()
        self._released = asyncio.Event()

    def _cut(self) -> None:
        for request in self._watches.values():
            _close(request)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        call = Call(request.method, request.path, dict(request.query), await request.read())
        self.calls.append(call)
        stop = self._stop
        last = False
        if stop is not None and not self._held and stop.counts(call):
            stop.seen += 1
            last = stop.seen == stop.number
        if self._held or (last and stop is not None and not stop.done):
            return await self._hold(request, stop)
        match self.fault(call):
            case Answer(410) if call.watches:  # the API server says so within the stream
                return web.Response(text=json.dumps({"type": "ERROR", "object": _status(410)}) + "\n")
            case Answer(status, headers):
                return web.json_response(_status(status), status=status, headers=headers)
            case Late(seconds):
                await asyncio.sleep(seconds)
            case Cut():
                return _close(request)
        headers = {k: v for k, v in request.headers.items() if k.lower() not in ("host", "accept-encoding")}
        headers["Accept-Encoding"] = "identity"  # events are read here
        url = f"{self._control_plane.server_url}{request.raw_path}"
        try:
            async with self._session.request(
                request.method, url, data=call.body or None, headers=headers, timeout=aiohttp.ClientTimeout(total=None)
            ) as answer:
                if call.watches and answer.status == 200:
                    return await self._relay(request, answer)
                content = await answer.read()
        except (aiohttp.ClientError, OSError):
            return _close(request)
        if last or self._held:
            return await self._hold(request, stop)
        passed = {name: answer.headers[name] for name in _PASSED_ON if name in answer.headers}
        return web.Response(status=answer.status, body=content, headers=passed)

    async def _hold(self, request: web.BaseRequest, stop: Stop | None) -> web.StreamResponse:
        self._held = True
        if stop is not None:
            stop.reached.set()
        await self._released.wait()
        return _close(request)

    async def _relay(self, request: web.BaseRequest, answer: aiohttp.ClientResponse) -> web.StreamResponse:
        """Pass a watch on, event by event."""
        response = web.StreamResponse(headers={"Content-Type": answer.headers["Content-Type"]})
        await response.prepare(request)
        self._watches[id(request)] = request
        try:
            buffer = b""
            async for chunk in answer.content.iter_any():
                *lines, buffer = (buffer + chunk).split(b"\n")
                for line in lines:
                    if line and not self.hides(json.loads(line)):
                        await response.write(line + b"\n")
        except (aiohttp.ClientError, OSError):
            _close(request)
        finally:
            self._watches.pop(id(request), None)
        return response


def _close(request: web.BaseRequest) -> web.Response:
    """End the connection of a request; what is returned reaches nobody."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=502)


def _status(code: int) -> dict[str, Any]:
    """A Status object, as the API server answers when it refuses."""
    reasons = {410: "Expired", 429: "TooManyRequests", 500: "InternalError", 503: "ServiceUnavailable"}
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": "the test says so",
        "reason": reasons.get(code, ""),
        "code": code,
    }
